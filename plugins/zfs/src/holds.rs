//! Holds: a snapshot that this part still needs is not destroyed by another tool meanwhile.
//!
//! The tag is the run's label, so that it is told from everybody else's, and only it is ever released.

use bkhost_sdk::{Result, exec, warn};

use crate::names::snapshot_name;
use crate::own::own;
use crate::properties::{absent, gone};

/// Hold the snapshot of this run. A right that is missing, or a ZFS that cannot, is told and no failure: the snapshot is
/// as good without it.
///
/// # Errors
/// The command cannot be run, or the snapshot is gone.
pub(crate) fn hold(dataset: &str, label: &str) -> Result<()> {
    let name = snapshot_name(dataset, label);
    let output = exec::run("hold", &[("tag", label), ("snapshot", &name)])?;
    if output.status == 0 || output.stderr.contains("tag already exists") {
        return Ok(());
    }
    if absent(&output) || gone(&output) {
        return output.ok().map(drop);
    }
    warn!("{name} is not held: {}", output.failure().message);
    Ok(())
}

/// Give this run's hold back. Idempotent: a hold or a snapshot that is gone is no error.
///
/// # Errors
/// The hold is still there.
pub(crate) fn release(dataset: &str, label: &str) -> Result<()> {
    let name = snapshot_name(dataset, label);
    let output = exec::run("release", &[("tag", label), ("snapshot", &name)])?;
    if output.status == 0 || absent(&output) || gone(&output) || output.stderr.contains("no such tag") {
        return Ok(());
    }
    // Without the right to hold there is nothing to release either.
    let held = own(&name)?.is_some_and(|found| found.number("userrefs").unwrap_or(0) > 0);
    if held { output.ok().map(drop) } else { Ok(()) }
}
