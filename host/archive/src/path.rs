//! Paths in archives.

use std::cmp::Ordering;

/// A path as the archive's readers use it: without the `./` before it and the slash after it. What could lead out of
/// the directory that an archive is extracted into is refused, with the reason.
pub(super) fn normalize(raw: &[u8]) -> Result<Vec<u8>, &'static str> {
    if raw.starts_with(b"/") {
        return Err("is absolute");
    }
    if raw.is_empty() {
        return Err("is empty");
    }
    if raw.contains(&0) {
        return Err("contains NUL");
    }
    let path = raw.strip_suffix(b"/").unwrap_or(raw);
    let path = path.strip_prefix(b"./").unwrap_or(path);
    if path == b"." {
        return Ok(Vec::new());
    }
    for name in path.split(|b| *b == b'/') {
        match name {
            b".." => return Err("contains `..`"),
            b"" | b"." => return Err("has an empty component"),
            _ => {}
        }
    }
    Ok(path.to_vec())
}

/// The directory part (empty at the top) and the name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at.saturating_add(1)..).unwrap_or_default()),
        None => (&[], path),
    }
}

/// `base` and `name` with a slash between them, where both are there.
pub(super) fn join(base: &[u8], name: &[u8]) -> Vec<u8> {
    if base.is_empty() || name.is_empty() { [base, name].concat() } else { [base, b"/", name].concat() }
}

/// What is left of `path` below `base`: empty for `base` itself; `None` if it is not in it.
pub(super) fn below<'a>(path: &'a [u8], base: &[u8]) -> Option<&'a [u8]> {
    if base.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(base)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// The order in which a walk meets paths: by components, each by its bytes.
pub(super) fn walk_order(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|c| *c == b'/').cmp(b.split(|c| *c == b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalized_or_refused() {
        for (raw, path) in [("./", ""), (".", ""), ("./a/b", "a/b"), ("a/", "a"), ("a/b", "a/b"), ("...", "...")] {
            assert_eq!(normalize(raw.as_bytes()), Ok(path.as_bytes().to_vec()), "{raw}");
        }
        for raw in ["", "/", "/a", "..", "a/..", "../a", "a/../b", "a//b", "a/./b", ".//a", "././a", "a\0b", "a//"] {
            assert!(normalize(raw.as_bytes()).is_err(), "{raw}");
        }
    }

    #[test]
    fn the_order_is_that_of_a_walk() {
        let mut paths = ["a.b", "a/x", "a", "a-b", "b"];
        paths.sort_by(|a, b| walk_order(a.as_bytes(), b.as_bytes()));
        assert_eq!(paths, ["a", "a/x", "a-b", "a.b", "b"]);
    }

    #[test]
    fn parts_of_paths() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
        assert_eq!(below(b"tree/a", b"tree"), Some(&b"a"[..]));
        assert_eq!(below(b"tree", b"tree"), Some(&b""[..]));
        assert_eq!(below(b"treehouse", b"tree"), None);
    }
}
