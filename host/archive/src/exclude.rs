//! What a walk leaves out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, ErrorKind, Result, ResultExt as _};

/// Globs relative to the root of a walk.
///
/// `*`, `?` and `[…]` do not match a slash, `**` does. A pattern without a slash matches a name at any depth; one with a
/// slash (a leading one counts) matches the whole path. A trailing slash restricts it to directories. A directory that
/// matches is not descended.
#[derive(Debug, Clone, Default)]
pub struct Exclude {
    names: Rules,
    paths: Rules,
}

#[derive(Debug, Clone, Default)]
struct Rules {
    any: GlobSet,
    directories: GlobSet,
}

impl Rules {
    fn matches(&self, path: &OsStr, directory: bool) -> bool {
        let path = Path::new(path);
        (!self.any.is_empty() && self.any.is_match(path))
            || (directory && !self.directories.is_empty() && self.directories.is_match(path))
    }
}

impl Exclude {
    /// Reads the patterns.
    ///
    /// # Errors
    /// Kind `Config`, naming the pattern that is wrong.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut sets = [(); 4].map(|()| GlobSetBuilder::new());
        let [names, name_dirs, paths, path_dirs] = &mut sets;
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let text = pattern.strip_suffix('/').unwrap_or(pattern);
            let set = match (text.contains('/'), text.len() < pattern.len()) {
                (false, false) => &mut *names,
                (false, true) => &mut *name_dirs,
                (true, false) => &mut *paths,
                (true, true) => &mut *path_dirs,
            };
            set.add(glob(pattern, text.strip_prefix('/').unwrap_or(text))?);
        }
        let [names, name_dirs, paths, path_dirs] =
            sets.map(|set| set.build().or_error(ErrorKind::Config, || "the exclude patterns are too large together"));
        Ok(Self {
            names: Rules { any: names?, directories: name_dirs? },
            paths: Rules { any: paths?, directories: path_dirs? },
        })
    }

    /// Whether to leave out the entry `name` whose path from the root is `path`.
    pub(super) fn matches(&self, path: &[u8], name: &[u8], directory: bool) -> bool {
        self.names.matches(OsStr::from_bytes(name), directory) || self.paths.matches(OsStr::from_bytes(path), directory)
    }

    /// Whether what is at this path from the root is left out, or a directory above it.
    #[must_use]
    pub fn leaves_out(&self, path: &Path, directory: bool) -> bool {
        path.ancestors().filter(|above| !above.as_os_str().is_empty()).any(|above| {
            let name = above.file_name().unwrap_or_default();
            self.matches(above.as_os_str().as_bytes(), name.as_bytes(), directory || above != path)
        })
    }

    /// Whether nothing at the top of any tree is left, whatever its name.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        // Names that have nothing in common: what matches them all names none.
        const NAMES: [&[u8]; 6] = [b"a", b"Zz9", b".hidden", b"with space.txt", b"\xc3\xbc", b"0123456789abcdef-_~"];
        NAMES.iter().all(|name| self.matches(name, name, false) && self.matches(name, name, true))
    }

    pub(super) fn is_empty(&self) -> bool {
        [&self.names, &self.paths].iter().all(|rules| rules.any.is_empty() && rules.directories.is_empty())
    }
}

fn glob(pattern: &str, text: &str) -> Result<Glob> {
    let wrong =
        |hint: &str| Error::new(ErrorKind::Config, format!("the exclude pattern `{pattern}` is wrong")).hint(hint);
    if text.is_empty() {
        return Err(wrong("a pattern needs a name; to leave out everything, leave out the part"));
    }
    if text.starts_with('!') {
        return Err(wrong(
            "patterns cannot be negated; a name that starts with an exclamation mark is written `\\!name`",
        ));
    }
    if text.split('/').any(|c| matches!(c, "" | "." | "..")) {
        return Err(wrong("patterns are paths below the root: no `.`, `..` or empty components"));
    }
    GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|e| wrong("see the documentation of globs: * ? ** [abc] {a,b}").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &str, directory: bool) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        Exclude::new(patterns).unwrap().matches(path.as_bytes(), name.as_bytes(), directory)
    }

    #[test]
    fn a_pattern_without_a_slash_matches_at_any_depth() {
        assert!(excluded(&["*.tmp"], "a/b/c.tmp", false));
        assert!(excluded(&["cache"], "cache", true));
        assert!(!excluded(&["cache"], "a/cached", true));
    }

    #[test]
    fn a_pattern_with_a_slash_is_anchored() {
        assert!(excluded(&["shared/cache"], "shared/cache", true));
        assert!(!excluded(&["shared/cache"], "x/shared/cache", true));
        assert!(excluded(&["/cache"], "cache", true));
        assert!(!excluded(&["/cache"], "a/cache", true));
        assert!(!excluded(&["a/*"], "a/b/c", false));
        assert!(excluded(&["a/**/c"], "a/x/y/c", false));
    }

    #[test]
    fn a_trailing_slash_means_directories() {
        assert!(excluded(&["tmp/"], "a/tmp", true));
        assert!(!excluded(&["tmp/"], "a/tmp", false));
    }

    #[test]
    fn what_leaves_out_everything_is_known() {
        for pattern in ["*", "**", "/*", "/**", "**/*", "?*", "{*,a}", "{a*,[!a]*}"] {
            assert!(Exclude::new([pattern]).unwrap().is_everything(), "{pattern}");
        }
        for pattern in ["*/", ".*", "*.*", "a", "/*/*", "[a-z]*"] {
            assert!(!Exclude::new([pattern]).unwrap().is_everything(), "{pattern}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_match() {
        assert!(Exclude::new(["*.lo?"]).unwrap().matches(b"d/\xff.log", b"\xff.log", false));
    }

    #[test]
    fn wrong_patterns_are_named() {
        for pattern in ["", "/", "!a", "a/../b", "a//b", "[a"] {
            let error = Exclude::new([pattern]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{pattern}");
            assert!(error.message().contains(pattern) && error.hint_text().is_some(), "{error}");
        }
    }
}
