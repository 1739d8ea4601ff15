//! What this part made, told from what others made; and its end.

use std::time::Duration;

use bkhost_sdk::exec::Output;
use bkhost_sdk::{Error, ErrorCode, Result, exec, retry, warn};

use crate::mark::{self, Mark, Marked};
use crate::names::snapshot_path;
use crate::show::{Found, Subvolume, absent, explain, show};

/// How long to wait for a subvolume that is busy.
const BUSY: Duration = Duration::from_secs(30);

/// Whether a failure may pass: it is mounted, or being sent.
pub(crate) fn busy(error: &Error) -> bool {
    error.detail_of("stderr").is_some_and(|stderr| stderr.contains("busy"))
}

/// What is at the place of a snapshot.
pub(crate) fn own(path: &str) -> Result<Found> {
    show("own", "snapshot", path)
}

/// Whether a subvolume is the snapshot that a mark tells of: by its identity, or, as long as that was not written down, by
/// that of what it was taken of.
pub(crate) fn is(found: &Subvolume, marked: &Marked) -> bool {
    match &marked.snapshot {
        Some(uuid) => found.uuid == *uuid,
        None => found.readonly && found.parent.as_deref() == Some(marked.source.as_str()),
    }
}

/// Delete the snapshots of a run, and its mark. `recorded` is what the set knows of them. What another has put in their
/// places is left alone. Idempotent.
pub(crate) fn delete_run(snapshots: &str, label: &str, recorded: &[Marked]) -> Result<()> {
    let found = mark::of(label)?;
    let marked = match &found {
        Some(mark) => mark.subvolumes.as_slice(),
        // Somebody removed the mark. What the set says is as good, where it knows the identity.
        None => recorded,
    };
    let mut first = Ok(());
    for (n, marked) in marked.iter().enumerate() {
        let known = recorded.get(n).filter(|known| known.snapshot.is_some()).unwrap_or(marked);
        if found.is_none() && known.snapshot.is_none() {
            continue;
        }
        let outcome = delete(&snapshot_path(snapshots, label, n), known);
        if first.is_ok() {
            first = outcome;
        }
    }
    first?;
    if found.is_some() { Mark::remove(&mark::file(label)) } else { Ok(()) }
}

/// Delete one snapshot, if it is the one.
pub(crate) fn delete(path: &str, marked: &Marked) -> Result<()> {
    match own(path)? {
        Found::Absent => return Ok(()),
        Found::Subvolume(found) if is(&found, marked) => {}
        Found::Subvolume(_) | Found::Other(_) => {
            warn!("{path} was not made by this part: left alone");
            return Ok(());
        }
    }
    destroy("delete", "snapshot", path)
}

/// Run a command that deletes a subvolume, again while it is busy; done if it is gone.
pub(crate) fn destroy(command: &str, slot: &str, path: &str) -> Result<()> {
    let gone = |output: Output| if absent(&output) { Ok(()) } else { output.ok().map(drop) };
    retry(BUSY, busy, || gone(exec::run(command, &[(slot, path)])?)).map_err(|error| match busy(&error) {
        true => {
            error.code(ErrorCode::Conflict).hint(format!("it is mounted somewhere: see `findmnt -t btrfs`, for {path}"))
        }
        false => explain(error),
    })
}
