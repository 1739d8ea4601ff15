//! Which files have several names.
//!
//! There may be a million of them, so little is kept of each: names lie in one block, directories are kept once for all
//! names that were met in them one after the other, and of a status only a hash.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::status::{Identity, Status};
use crate::path::{join, split};

/// Files with several names that were met in a walk, until all of their names were.
#[derive(Default)]
pub(crate) struct LinkTable {
    files: HashMap<Identity, First>,
    directories: Vec<Box<[u8]>>,
    names: Vec<u8>,
}

struct First {
    /// Of its name in the block of names.
    at: usize,
    /// What must not change while its names are met.
    state: u64,
    directory: u32,
    left: u32,
    length: u8,
}

/// What a name is.
pub(crate) enum Name {
    /// The only or first one that was met.
    First,
    /// A further one of the file that was first met at this path.
    Another(Vec<u8>),
    /// A further one, but the file is not the same any more: it changed, or its inode number was used again.
    Changed,
}

impl LinkTable {
    /// Looks a file up.
    pub(crate) fn look(&mut self, status: &Status) -> Name {
        if status.links < 2 {
            return Name::First;
        }
        let Some(first) = self.files.get_mut(&status.identity()) else { return Name::First };
        if first.state != state(status) {
            return Name::Changed;
        }
        first.left = first.left.saturating_sub(1);
        let (directory, end) = (first.directory, first.at.saturating_add(usize::from(first.length)));
        let name = self.names.get(first.at..end).unwrap_or_default();
        let above = usize::try_from(directory).ok().and_then(|at| self.directories.get(at));
        let path = join(above.map(AsRef::as_ref).unwrap_or_default(), name);
        if first.left == 0 {
            self.files.remove(&status.identity());
            if self.files.is_empty() {
                self.clear();
            }
        }
        Name::Another(path)
    }

    /// Remembers where a file was first met.
    pub(crate) fn insert(&mut self, path: &[u8], status: &Status) {
        let Some(left) = status.links.checked_sub(1).filter(|left| *left > 0) else { return };
        let (above, name) = split(path);
        if self.directories.last().is_none_or(|last| last.as_ref() != above) {
            self.directories.push(above.into());
        }
        // No system has longer names, or so many directories. If one had, the file would be kept once for each name.
        let last = self.directories.len().saturating_sub(1);
        let (Ok(length), Ok(directory)) = (u8::try_from(name.len()), u32::try_from(last)) else { return };
        let first = First { at: self.names.len(), state: state(status), directory, left, length };
        self.names.extend_from_slice(name);
        self.files.insert(status.identity(), first);
    }

    /// Forgets everything, and gives its memory back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What [`Status::unchanged`] compares, its identity aside.
fn state(status: &Status) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (mtime, ctime) = (status.mtime, status.ctime);
    (status.size, mtime.seconds, mtime.nanos, ctime.seconds, ctime.nanos).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_name_takes_little() {
        assert!(size_of::<(Identity, First)>() <= 48, "{}", size_of::<(Identity, First)>());
    }

    #[test]
    fn names_are_kept_until_all_were_met() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("f"), "x").unwrap();
        std::fs::hard_link(scratch.path().join("f"), scratch.path().join("g")).unwrap();
        let status = Status::of(std::fs::File::open(scratch.path().join("f")).unwrap()).unwrap();
        let mut table = LinkTable::default();
        for path in [&b"a/b/f"[..], b"f"] {
            assert!(matches!(table.look(&status), Name::First));
            table.insert(path, &status);
            assert!(matches!(table.look(&status), Name::Another(first) if first == path));
            assert!(table.names.is_empty() && table.files.is_empty(), "there were two names");
        }
        table.insert(b"f", &status);
        let later = Status { size: status.size + 1, ..status };
        assert!(matches!(table.look(&later), Name::Changed));
    }
}
