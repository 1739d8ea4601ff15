//! What a journal says is left to undo. A failed run and a later recovery read the same journal, so that there is one
//! way of undoing.

use crate::application::Held;
use crate::archive::set::SnapshotRecord;

use super::journal::{Entry, Record};

/// What a part left at its vendor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PartLeft {
    /// The part.
    pub part: String,
    /// The label of its capture.
    pub label: String,
    /// What was captured, if it was known.
    pub snapshot: Option<SnapshotRecord>,
}

/// What a run left.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Leftovers {
    /// The application, if it is (or may be) held.
    pub held: Option<Held>,
    /// Process groups that were started and not seen to end.
    pub groups: Vec<u32>,
    /// Snapshots that belong to no published set, in the order in which they were begun.
    pub parts: Vec<PartLeft>,
    /// Stores that hold an unpublished set.
    pub stores: Vec<String>,
    /// The set was about to be published: whether it is has to be looked up in the store.
    pub publishing: bool,
    /// The set is published: snapshots and objects belong to it.
    pub published: bool,
    /// The run ended and left nothing.
    pub ended: bool,
}

impl Leftovers {
    /// Read a journal from its first record to its last.
    #[must_use]
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut left = Self::default();
        for entry in entries {
            left.apply(&entry.record);
        }
        left
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Begun { .. } => {}
            Record::Application { held } => self.held = held.is_open().then(|| held.clone()),
            Record::ChildStarted { pgid } => self.groups.push(*pgid),
            Record::ChildEnded { pgid } => self.groups.retain(|group| group != pgid),
            Record::Capturing { part, label } => {
                self.parts.push(PartLeft { part: part.clone(), label: label.clone(), snapshot: None });
            }
            Record::Captured { part, snapshot } => {
                if let Some(left) = self.parts.iter_mut().find(|left| left.part == *part) {
                    left.snapshot = Some(snapshot.clone());
                }
            }
            Record::Undone { part } => self.parts.retain(|left| left.part != *part),
            Record::Storing { store } => self.stores.push(store.clone()),
            Record::Abandoned { store } => self.stores.retain(|left| left != store),
            Record::Publishing => self.publishing = true,
            Record::Published => self.published = true,
            Record::Ended { .. } => self.ended = true,
        }
    }
}
