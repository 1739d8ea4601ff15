//! The trait that a plugin implements.

use serde::de::DeserializeOwned;

use crate::{Archived, Finding, Result, Snapshot, Source};

/// What bkhost asks of a strategy, in the order of a run.
///
/// One value lives from `check` to `close` and may hold a session in between. `restore`, `list`, `delete` and `discard`
/// are called on fresh values: all that they need has to be in the snapshot's state or in the configuration.
///
/// In a dry run (`bkhost plan`) the same methods are called; commands whose effect is a change are recorded instead of
/// run, and answer [`exec::Output::planned`](crate::exec::Output). So do not insist on the traces of such a command.
pub trait Strategy: Sized + 'static {
    /// The part's `[part.config]`: complete, and valid against the plugin's `config.schema.json`.
    type Config: DeserializeOwned;

    /// Make the strategy for one part. Runs nothing.
    ///
    /// # Errors
    /// Values that contradict each other: `invalid-config`.
    fn new(config: Self::Config) -> Result<Self>;

    /// Preflight, application up: tools, versions, space, names, rights. Changes nothing. Everything that would fail
    /// later is a finding here.
    ///
    /// # Errors
    /// Only what keeps the check itself from working.
    fn check(&mut self) -> Result<Vec<Finding>>;

    /// Application up: all that can be done before the lock.
    ///
    /// # Errors
    /// Ends the run; nothing was locked yet.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Application locked: fix the consistency point and nothing more. `label` is unique to the run and has to be part
    /// of the name of all that this makes.
    ///
    /// # Errors
    /// The host gives the application back, then calls [`discard`](Self::discard) with the same label.
    fn capture(&mut self, label: &str) -> Result<Snapshot>;

    /// Application up again: wait until the snapshot is durable, dump, verify. Returns the completed record.
    ///
    /// # Errors
    /// Fails the run; the snapshot is deleted.
    fn finish(&mut self, snapshot: Snapshot) -> Result<Snapshot> {
        Ok(snapshot)
    }

    /// Offer the sources to archive. They stay readable until [`close`](Self::close).
    ///
    /// # Errors
    /// Fails the run; the snapshot is deleted.
    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>>;

    /// Is what is being archived still what was captured? Asked every ten seconds while the sources are read, and once
    /// more when all of them were.
    ///
    /// # Errors
    /// Fails the run; the snapshot is deleted.
    fn confirm(&mut self, snapshot: &Snapshot) -> Result<()> {
        let _ = snapshot;
        Ok(())
    }

    /// Give back what `open` and `finish` made for reading. The snapshot itself stays, unless the configuration says that
    /// it is not to outlive the archive. Idempotent.
    ///
    /// # Errors
    /// Something of it is left.
    fn close(&mut self, snapshot: &Snapshot) -> Result<()> {
        let _ = snapshot;
        Ok(())
    }

    /// Restore from the vendor's snapshot or from what was archived. `to` is the operator's target: `/target` for a
    /// plugin whose manifest says `restore.target = "directory"`, or does for this configuration
    /// (`restore.directory-if`), else a name; none means the original place. Never overwrites what it was not told to.
    ///
    /// # Errors
    /// `already-exists` or `conflict` when something is in the way; what this call made itself is gone after a failure.
    fn restore(&mut self, snapshot: &Snapshot, archived: &[Archived], to: Option<&str>) -> Result<()>;

    /// The snapshots of this instance and part that exist at the vendor: only what this plugin made.
    ///
    /// # Errors
    /// The vendor cannot be asked.
    fn list(&mut self) -> Result<Vec<Snapshot>> {
        Ok(Vec::new())
    }

    /// Delete a snapshot. Idempotent: one that is gone is no error.
    ///
    /// # Errors
    /// It is still there.
    fn delete(&mut self, snapshot: &Snapshot) -> Result<()>;

    /// Undo whatever a `capture` with this label may have made, whether it ended or not. Idempotent.
    ///
    /// # Errors
    /// Something of it is left.
    fn discard(&mut self, label: &str) -> Result<()>;
}
