//! The snapshots that this part made: what it may list and delete. Tags decide, never names.

use bkhost_sdk::{Error, Result, Snapshot, info};
use bkhost_sdk_aws::{Deadline, Parameters, milliseconds};

use crate::kind::Kind;
use crate::rds::timed_out;
use crate::{AmazonRds, State};

pub(crate) fn list(plugin: &AmazonRds) -> Result<Vec<Snapshot>> {
    let names = plugin.kind.names();
    let mut all = Vec::new();
    for found in plugin.rds.snapshots(plugin.kind)? {
        let Some(label) = plugin.rds.label(plugin.kind, &found) else { continue };
        let state = State {
            kind: plugin.kind,
            label: label.to_owned(),
            source: found.text(names.id).to_owned(),
            resource: found.get(names.resource).map(str::to_owned),
            instance: None,
            cluster: None,
            planned: false,
        };
        let mut snapshot = Snapshot::atomic(found.text(names.snapshot_id), &state)?;
        // One that is being taken has no time yet: it is of now.
        if let Some(created) = found.get("SnapshotCreateTime").and_then(milliseconds) {
            snapshot.created = created;
        }
        all.push(snapshot);
    }
    Ok(all)
}

/// Delete a snapshot of a run, if it is there and this part made it. RDS deletes only what is complete or has failed.
pub(crate) fn delete(plugin: &AmazonRds, kind: Kind, id: &str, run: &str) -> Result<()> {
    let names = kind.names();
    let deadline = Deadline::after(plugin.complete);
    let mut told = false;
    let gone = plugin.rds.watch(&deadline, |rds| {
        let Some(found) = rds.snapshot(kind, id)? else { return Ok(Some(())) };
        if rds.label(kind, &found) != Some(run) {
            return Err(Error::conflict(format!(
                "snapshot {id} does not carry the tags of this part and run: it stays"
            ))
            .hint("somebody else made it, or changed its tags: look at it, and delete it yourself"));
        }
        match found.text("Status") {
            "deleting" | "deleted" => return Ok(None),
            "creating" | "copying" | "pending" => {
                if !std::mem::replace(&mut told, true) {
                    info!("snapshot {id} can be deleted only when it is complete: waiting for that");
                }
                return Ok(None);
            }
            _ => {}
        }
        match rds.client.change_again(names.delete_snapshot, &Parameters::new().set(names.snapshot_id, id)) {
            Ok(_) => Ok(Some(())),
            Err(failure) if failure.is_missing() => Ok(Some(())),
            // It was about to be copied, or the last look was too early.
            Err(failure) if failure.code().contains("SnapshotState") => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    })?;
    gone.ok_or_else(|| timed_out(format!("snapshot {id} could not be deleted"), &deadline))
}
