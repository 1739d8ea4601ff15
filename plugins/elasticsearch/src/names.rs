//! Names: in a URL, in a pattern, and as a restore makes them.

use bkhost_sdk::{Error, Result};

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Whether a name fits a pattern, in which `*` is any text.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut pieces: Vec<_> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece).and_then(|at| rest.get(at + piece.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// How a restore names what it makes: the text of `--to`, in which `*` is the name that an index had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Renaming {
    before: String,
    after: String,
}

impl Renaming {
    /// `--to`: a prefix, or a text with one `*`.
    pub(crate) fn parse(to: &str) -> Result<Self> {
        let good =
            |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        let renaming = match to.split_once('*') {
            Some((before, after)) => Self { before: before.to_owned(), after: after.to_owned() },
            None => Self { before: format!("{to}-"), after: String::new() },
        };
        let begins = renaming.before.bytes().next();
        let refused = !good(&renaming.before)
            || !good(&renaming.after)
            || begins.is_some_and(|b| b"-_.".contains(&b))
            || to.is_empty()
            || to == "*"
            || to.len() > 200;
        if refused {
            return Err(Error::invalid_config(format!("--to {to:?} makes no name of an index"))
                .hint("lower-case letters, digits, - _ and .; `*` stands for an index's name: --to 'restored-*' (so does --to restored)"));
        }
        Ok(renaming)
    }

    /// The new name of an index.
    pub(crate) fn apply(&self, name: &str) -> String {
        format!("{}{name}{}", self.before, self.after)
    }

    /// As the cluster takes it: `rename_replacement` for the pattern `^(.+)$`.
    pub(crate) fn replacement(&self) -> String {
        format!("{}$1{}", self.before, self.after)
    }
}
