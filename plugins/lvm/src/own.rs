//! Snapshots that this part made.

use std::time::Duration;

use bkhost_sdk::exec::Output;
use bkhost_sdk::{Error, ErrorCode, Result, exec, retry, warn};

use crate::names::snapshot_name;
use crate::report::{self, Kind, Volume};
use crate::{Captured, gone};

/// How long to wait for what is busy just after an unmount.
pub(crate) const BUSY: Duration = Duration::from_secs(30);

/// Do it for all, whatever becomes of each; the first error.
pub(crate) fn each<T>(all: impl Iterator<Item = T>, mut work: impl FnMut(T) -> Result<()>) -> Result<()> {
    let mut outcome = Ok(());
    for one in all {
        let result = work(one);
        if outcome.is_ok() {
            outcome = result;
        } else if let Err(error) = result {
            warn!("{}", error.message);
        }
    }
    outcome
}

/// The output of a command of LVM that succeeded. LVM's last words are often a warning, and not why it failed.
pub(crate) fn ok(mut output: Output) -> Result<Output> {
    let told: Vec<_> = output.stderr.lines().filter(|line| !line.trim_start().starts_with("WARNING:")).collect();
    if output.status != 0 && !told.is_empty() {
        output.stderr = told.join("\n");
    }
    output.ok()
}

/// The space that a snapshot takes, in bytes.
pub(crate) fn space(snapshot: &Volume) -> u64 {
    match (snapshot.kind(), snapshot.used()) {
        (Kind::Thin, used) => percent(snapshot.size(), used.unwrap_or(0.0)),
        _ => snapshot.size(),
    }
}

fn percent(of: u64, percent: f64) -> u64 {
    (of as f64 * percent / 100.0) as u64
}

/// The snapshot of a volume, if it is there, is this part's, and is the one that is meant.
pub(crate) fn find(volume: &str, label: &str, uuid: Option<&str>) -> Result<Option<Volume>> {
    let name = snapshot_name(volume, label);
    let Some(found) = report::volume(&name)? else { return Ok(None) };
    let ours = found.label_of(volume) == Some(label) && uuid.is_none_or(|uuid| found.uuid == uuid);
    if !ours {
        warn!("{name} was not made by this part: left alone");
    }
    Ok(ours.then_some(found))
}

/// The snapshot, which has to be there and to hold what it was taken for.
pub(crate) fn usable(captured: &Captured, label: &str) -> Result<Volume> {
    let name = snapshot_name(&captured.volume, label);
    let found = find(&captured.volume, label, captured.uuid.as_deref())?.ok_or_else(|| gone(&name))?;
    if found.is_invalid() {
        return Err(Error::corrupt(format!(
            "snapshot {name} has overflowed: more was written to {} than it had room for ({} MiB), so that it holds \
             nothing any more",
            captured.volume,
            found.size() >> 20
        ))
        .hint("raise [part.config] snapshot-size, or back up at a quieter time"));
    }
    Ok(found)
}

/// Remove a snapshot, unless it is gone.
pub(crate) fn remove(volume: &str, label: &str, uuid: Option<&str>) -> Result<()> {
    if find(volume, label, uuid)?.is_none() {
        return Ok(());
    }
    let name = snapshot_name(volume, label);
    retry(BUSY, busy, || {
        let output = exec::run("remove", &[("snapshot", &name)])?;
        if output.stderr.contains("Failed to find logical volume") { Ok(()) } else { ok(output).map(drop) }
    })
    .map_err(|error| if busy(&error) { error.code(ErrorCode::Conflict).hint(in_use(&name)) } else { error })
}

pub(crate) fn in_use(name: &str) -> String {
    format!("somebody uses it: see `findmnt -S /dev/{name}` and `dmsetup ls --tree`")
}

/// A thin snapshot that stays does not need to be active; a classic one always is.
pub(crate) fn put_to_rest(captured: &Captured, label: &str) -> Result<()> {
    if captured.pool.is_none() || find(&captured.volume, label, captured.uuid.as_deref())?.is_none() {
        return Ok(());
    }
    let name = snapshot_name(&captured.volume, label);
    retry(BUSY, busy, || ok(exec::run("deactivate", &[("snapshot", &name)])?).map(drop))
}

/// Whether a command failed because something is still in use.
pub(crate) fn busy(error: &Error) -> bool {
    error.detail_of("stderr").is_some_and(|stderr| {
        ["busy", "in use", "is used by another device"].iter().any(|words| stderr.contains(words))
    })
}
