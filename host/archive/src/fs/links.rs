//! Which files have several names.

use std::collections::HashMap;

use super::status::{Identity, Status};

/// Files with several names that were met in a walk, until all of their names were.
#[derive(Default)]
pub(crate) struct LinkTable(HashMap<Identity, First>);

struct First {
    path: Vec<u8>,
    status: Status,
    left: u32,
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
        let Some(first) = self.0.get_mut(&status.identity()) else { return Name::First };
        if !first.status.unchanged(status) {
            return Name::Changed;
        }
        first.left = first.left.saturating_sub(1);
        if first.left > 0 {
            return Name::Another(first.path.clone());
        }
        self.0.remove(&status.identity()).map_or(Name::First, |first| Name::Another(first.path))
    }

    /// Remembers where a file was first met.
    pub(crate) fn insert(&mut self, path: &[u8], status: &Status) {
        if let Some(left) = status.links.checked_sub(1).filter(|left| *left > 0) {
            self.0.insert(status.identity(), First { path: path.to_vec(), status: *status, left });
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
