//! Takes secrets out of what a command writes.

use std::borrow::Cow;
use std::fmt;

use regex::bytes::{NoExpand, Regex};

use super::Secret;

/// The shortest text that is masked: a shorter one would be found everywhere, and give the secret away by its gaps.
pub(super) const SHORTEST: usize = 4;

/// Replaces secrets by `***`.
#[derive(Clone, Default)]
pub(super) struct Mask {
    needles: Vec<Vec<u8>>,
    pattern: Option<Regex>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask(***)")
    }
}

impl Mask {
    /// A mask for these secrets. `open` tells texts that the guest knows anyway: masking them hides nothing.
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a Secret>, open: impl Fn(&str) -> bool) -> Self {
        let mut needles: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            // A key of several lines comes out line by line, too.
            for text in [secret.reveal()].into_iter().chain(secret.reveal().lines()) {
                let text = text.trim();
                if text.len() >= SHORTEST && !open(text) {
                    needles.push(text.as_bytes().to_vec());
                }
            }
        }
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles.dedup();
        let alternatives: Vec<_> =
            needles.iter().filter_map(|needle| std::str::from_utf8(needle).ok()).map(regex::escape).collect();
        let pattern = (!needles.is_empty()).then(|| Regex::new(&alternatives.join("|")).ok()).flatten();
        Self { needles, pattern }
    }

    /// `bytes` without the secrets.
    pub(super) fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.pattern {
            Some(pattern) => pattern.replace_all(bytes, NoExpand(b"***")),
            None => Cow::Borrowed(bytes),
        }
    }

    /// `bytes` as text without the secrets.
    pub(super) fn text(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(&self.bytes(bytes)).into_owned()
    }

    /// Text that was cut at its end: what may be the start of a secret there goes, too.
    pub(super) fn cut_at_end(&self, bytes: &[u8]) -> String {
        let partial =
            self.longest(|needle, n| n < needle.len() && needle.get(..n).is_some_and(|part| bytes.ends_with(part)));
        self.text(bytes.get(..bytes.len() - partial).unwrap_or_default())
    }

    /// Text that was cut at its start: what may be the end of a secret there goes, too.
    pub(super) fn cut_at_start(&self, bytes: &[u8]) -> String {
        let partial = self.longest(|needle, n| {
            n < needle.len() && needle.get(needle.len() - n..).is_some_and(|part| bytes.starts_with(part))
        });
        self.text(bytes.get(partial..).unwrap_or_default())
    }

    /// The largest length of a part of a needle for which `found` holds; 0 if for none.
    fn longest(&self, found: impl Fn(&[u8], usize) -> bool) -> usize {
        let each = self.needles.iter().map(|needle| (1..needle.len()).rev().find(|n| found(needle, *n)).unwrap_or(0));
        each.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let secrets: Vec<_> = secrets.iter().map(|s| Secret::new(*s)).collect();
        Mask::new(secrets.iter(), |text| text == "openly")
    }

    #[test]
    fn masks() {
        let m = mask(&["hunter2", "hunter22", "a.b*", "openly", "abc", "-----BEGIN\nline one\n"]);
        assert_eq!(m.text(b"x hunter2 hunter22 y"), "x *** *** y");
        assert_eq!(m.text(b"a.b* aXb*"), "*** aXb*");
        assert_eq!(m.text(b"openly abc"), "openly abc");
        assert_eq!(m.text(b"line one"), "***");
        assert_eq!(m.text(b"\xffhunter2\xff"), "\u{fffd}***\u{fffd}");
        assert_eq!(mask(&[]).text(b"hunter2"), "hunter2");
    }

    #[test]
    fn cut_secrets() {
        let m = mask(&["hunter2"]);
        assert_eq!(m.cut_at_end(b"password hunte"), "password ");
        assert_eq!(m.cut_at_end(b"password hunter2"), "password ***");
        assert_eq!(m.cut_at_start(b"nter2 is it"), " is it");
        assert_eq!(m.cut_at_start(b"hunter2 is it"), "*** is it");
    }
}
