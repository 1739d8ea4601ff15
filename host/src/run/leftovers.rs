//! What a journal says is left to undo. A failed run and a later recovery read the same journal, so that there is one
//! way of undoing.

use crate::application::Held;
use crate::archive::SetId;
use crate::archive::set::SnapshotRecord;

use super::identity::ProcessId;
use super::journal::{ChildRecord, CopyRecord, Entry, FrozenRecord, GUARD, Record};

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
    /// The guard that took it over last, if it was one.
    pub(super) guard: Option<ProcessId>,
    /// The process that ran it.
    pub host: Option<ProcessId>,
    /// Children that were started and not seen to end.
    pub children: Vec<ChildRecord>,
    /// File systems that are, or may be, frozen.
    pub frozen: Vec<FrozenRecord>,
    /// Snapshots that belong to no published set, in the order in which they were begun.
    pub parts: Vec<PartLeft>,
    /// Copies at other places that are not recorded.
    pub copies: Vec<CopyRecord>,
    /// It is not a run: copies are made of sets that are long published.
    pub copying: bool,
    /// Stores that hold an unpublished set.
    pub stores: Vec<String>,
    /// The set was about to be published: whether it is has to be looked up in the store.
    pub publishing: bool,
    /// The set is published: snapshots and objects belong to it.
    pub published: bool,
    /// It is not a run, but a restore of this set. What it left is told by `restore::past`.
    pub restore: Option<SetId>,
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

    /// Whether nothing is left to undo.
    #[must_use]
    pub(super) fn is_nothing(&self) -> bool {
        let stored = !self.published && !self.stores.is_empty();
        self.held.is_none()
            && self.frozen.is_empty()
            && self.children.is_empty()
            && self.parts.is_empty()
            && self.copies.is_empty()
            && !stored
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Begun { host, .. } => self.host = Some(host.clone()),
            Record::TakenOver { by, process } => self.guard = (by == GUARD).then(|| process.clone()),
            Record::Application { held } => self.held = held.is_open().then(|| held.clone()),
            Record::Freezing { frozen } => self.frozen.push(frozen.clone()),
            Record::Thawed { freeze } => self.frozen.retain(|frozen| frozen.freeze != *freeze),
            Record::ChildStarted { child } => self.children.push(*child),
            Record::ChildEnded { pgid } => self.children.retain(|child| child.pgid != *pgid),
            Record::Capturing { part, label } => {
                self.parts.push(PartLeft { part: part.clone(), label: label.clone(), snapshot: None });
            }
            Record::Captured { part, snapshot } => {
                if let Some(left) = self.parts.iter_mut().find(|left| left.part == *part) {
                    left.snapshot = Some(snapshot.clone());
                }
            }
            Record::Undone { part } | Record::GivenUp { part } => self.parts.retain(|left| left.part != *part),
            Record::Storing { store } => self.stores.push(store.clone()),
            Record::Abandoned { store } => self.stores.retain(|left| left != store),
            Record::Publishing => self.publishing = true,
            Record::Published => self.published = true,
            Record::CopyingOffsite { copy } => {
                self.copying = true;
                self.copies.push(copy.clone());
            }
            Record::CopiedOffsite { set, part, place } => {
                self.copies.retain(|copy| (&copy.set, &copy.part, &copy.place) != (set, part, place));
            }
            Record::Restore { set } => self.restore = Some(set.clone()),
            Record::Restoring { .. } | Record::Settling { .. } | Record::Restored { .. } | Record::Cleared { .. } => {}
            Record::Ended { .. } => self.ended = true,
        }
    }
}
