//! What a strategy may offer beyond the contract's necessary part. Named after the strategy in
//! [`export!`](crate::export): `bkhost_sdk::export!(Acme: Verify + Drill);`.

use crate::{Archived, Finding, Place, Result, Snapshot, Strategy, Volume};

/// A strategy whose vendor has a tool that checks what was archived.
///
/// The host itself reads every byte of every object and compares every file with the index, before it asks: this is for
/// what only the vendor's own tool can tell.
pub trait Verify: Strategy {
    /// Check deeply what was archived. On a fresh value: `/staging` is empty, its own, and removed afterwards; nothing else
    /// may be changed. A [failure](Finding::failure) among the findings says that this cannot be restored.
    ///
    /// # Errors
    /// The check itself did not work.
    fn verify(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>>;
}

/// A strategy that can rehearse a restore without touching production.
///
/// A strategy that restores into a directory the files as they were archived needs none: the host lets it restore into a
/// scratch directory, and compares every file itself.
pub trait Drill: Strategy {
    /// Restore into a target of its own making (a throw-away server below `/staging`, a scratch dataset) and check there
    /// what was recorded at the capture. On a fresh value: `/staging` is empty, its own, and removed afterwards. What was
    /// started or made is gone on return, also after an error. A [failure](Finding::failure) among the findings fails the
    /// drill; an [info](Finding::info) says what was checked.
    ///
    /// # Errors
    /// It could not be restored or not be checked.
    fn rehearse(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>>;

    /// Remove what a rehearsal that was cut short may have left at the vendor: only what carries this part's tag. On a fresh
    /// value, before a rehearsal and after each that did not end well. The files in `/staging` are the host's to remove, and
    /// the processes that were started are gone. Idempotent.
    ///
    /// # Errors
    /// Something of it is left.
    fn clear(&mut self) -> Result<()>;
}

/// A strategy whose system has a name of its own that is not its address.
pub trait Identity: Strategy {
    /// The identifier that the system gives itself. None: it has none, or none that can be asked for with this
    /// configuration. Changes nothing. When it is another one than that of the backup, the host asks the operator before a
    /// restore to the original place.
    ///
    /// # Errors
    /// The system cannot be asked.
    fn identity(&mut self) -> Result<Option<String>>;
}

/// A strategy whose snapshots stay with its vendor, and which can copy them to another place there.
///
/// A value that works for a place has the place's settings as `offsite` in its configuration, with its `name`: then `check`,
/// `list`, `delete` and `restore` of [`Strategy`] are about the place and the copies there, and about nothing else.
pub trait Offsite: Strategy {
    /// Copy what a run captured, wait until the copy is complete and proved, and give its record: that from which `restore`
    /// and `delete` work. What is there already and good is not made again, what has failed there is deleted first. What it
    /// opens to the place, such as a share, is closed again in any case.
    ///
    /// # Errors
    /// It was not copied. [`undo`](Self::undo) is called next, on a fresh value.
    fn copy(&mut self, snapshot: &Snapshot) -> Result<Snapshot>;

    /// Undo whatever a [`copy`](Self::copy) of this snapshot may have left: what it opened is closed, what it made at the place
    /// is deleted. On a fresh value. Idempotent.
    ///
    /// # Errors
    /// Something of it is left.
    fn undo(&mut self, snapshot: &Snapshot) -> Result<()>;

    /// The complete copy at the place of what the run with this label captured, as the vendor alone tells it. None if there is
    /// none.
    ///
    /// # Errors
    /// The vendor cannot be asked.
    fn find(&mut self, label: &str) -> Result<Option<Snapshot>>;
}

/// A strategy that captures whole volumes, on which files of other parts may lie.
pub trait Covers: Strategy {
    /// The volume of this part's configuration that holds the place. None: it is on another. On a fresh value, as in a dry run:
    /// nothing can be changed.
    ///
    /// # Errors
    /// It cannot be found out.
    fn volume_of(&mut self, place: &Place) -> Result<Option<Volume>>;
}

/// A strategy whose restore makes something at its vendor, of which a crash would leave a half. One that restores into
/// `/target` needs none.
pub trait Unfinished: Strategy {
    /// Remove what the restore of this label ([`archive::label`](crate::archive::label)) to this target has made: only what
    /// provably was made by it. True: it had come to its end, all of it is there, and nothing is removed. On a fresh value. It may have made nothing, all, or anything in between. Idempotent.
    ///
    /// # Errors
    /// Something of it is left: it is tried again.
    fn abandon(&mut self, label: &str, to: Option<&str>) -> Result<bool>;
}
