//! Files whose times do not tell whether they have changed since they were copied.
//!
//! rsync takes a file for unchanged that has the same size and time of modification. The clocks of file systems tick: a
//! file that was changed, copied and changed again within a tick has the same time as its copy (a tick is some
//! milliseconds on most, and two seconds on some). And a program that has a file mapped changes its times only with the
//! first write to a page after that page was last written to disk, which is why the live pass begins with a sync. So
//! whatever had been changed less than [`MARGIN`] before a pass began, or later, is not trusted to be as it was: it is
//! copied again by the next pass.

use bkhost_sdk::{Result, exec};

use crate::copies::Record;

/// Seconds: longer than the tick of any file system's clock.
const MARGIN: u64 = 3;

/// Remove from the copy of a live pass that began then the files that may have changed without a sign; also those of the
/// last good copy, from which the pass linked what had not changed, for which that holds of the pass that made it. Returns
/// how many.
///
/// Removed, and not marked, since they may be files of the last good copy too.
pub(crate) fn forget(copy: &str, started: u64, base: &Record) -> Result<usize> {
    let command = exec::command("forget").slot("copy", copy).slot("since", before(started));
    let command = command.slot("from", before(base.started)).slot("to", base.ended.saturating_add(MARGIN).to_string());
    Ok(command.run()?.ok()?.stdout.len())
}

/// The same for a copy whose files are its own: they stay, to be compared by what is in them.
pub(crate) fn distrust(copy: &str, started: u64) -> Result<usize> {
    Ok(exec::run("distrust", &[("copy", copy), ("since", &before(started))])?.ok()?.stdout.len())
}

fn before(time: u64) -> String {
    time.saturating_sub(MARGIN).to_string()
}
