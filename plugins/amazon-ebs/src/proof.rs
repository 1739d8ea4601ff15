//! Whether the snapshots of a set are still there, and what they were.

use bkhost_sdk::{Finding, Result};

use crate::ec2::{Ec2, Shot};
use crate::owned;
use crate::state::{Captured, State};

/// Amazon checks the blocks themselves; what can be seen from here is that the snapshots exist, are complete, carry our
/// tags and are encrypted if the volumes were.
pub(crate) fn verify(ec2: &Ec2, state: &State) -> Result<Vec<Finding>> {
    let found = owned::of_run(ec2, &state.label)?;
    Ok(state.volumes.iter().map(|captured| judge(captured, &found)).collect())
}

fn judge(captured: &Captured, found: &[Shot]) -> Finding {
    let Captured { snapshot, volume, .. } = captured;
    let subject = format!("snapshot {snapshot} of {volume}");
    match found.iter().find(|shot| shot.id == *snapshot) {
        None => Finding::failure(subject, "is not there, or does not carry this run's tags any more"),
        Some(shot) if !captured.is_of(shot) => Finding::failure(subject, format!("is of {}", shot.volume)),
        Some(shot) if shot.status != "completed" => Finding::failure(subject, format!("is {}", shot.status)),
        Some(shot) if captured.encrypted && !shot.encrypted => {
            Finding::failure(subject, "is not encrypted, and its volume was")
        }
        Some(shot) => Finding::info(subject, format!("is complete, {} GiB", shot.gib)),
    }
}
