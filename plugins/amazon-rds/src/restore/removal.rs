//! What a failed restore has made, and only that, goes again.

use std::time::Duration;

use bkhost_sdk::{Error, ErrorCode, Result, info, warn};
use bkhost_sdk_aws::{Deadline, Element, Parameters};

use super::{DRILL, Job};
use crate::kind::Kind;
use crate::rds::{Rds, timed_out};

/// How long RDS may refuse to delete what it is still making.
const LIMIT: Duration = Duration::from_secs(1200);
/// After a cancellation, the host waits only a little longer than this.
const CANCELLED: Duration = Duration::from_secs(100);

/// Remove what this call has made of these, in their order; the error to report.
pub(super) fn remove(job: &Job<'_>, candidates: &[(Kind, String)], error: Error) -> Error {
    let deadline = Deadline::after(if error.code == ErrorCode::Interrupted { CANCELLED } else { LIMIT });
    let mut left = Vec::new();
    for (kind, id) in candidates {
        match one(job.rds, &|found| job.made(found), *kind, id, &deadline) {
            Ok(false) => {}
            Ok(true) => info!("{} {id}, which the failed restore has made, is being deleted", kind.names().word),
            Err(removal) => {
                warn!("{} {id} is left of the failed restore: {}", kind.names().word, removal.message);
                left.push(id.as_str());
            }
        }
    }
    if left.is_empty() { error } else { error.detail("left", left.join(", ")) }
}

/// Have what a drill has made of these deleted, in their order. Gives those that RDS is still deleting.
///
/// # Errors
/// What RDS refuses for longer than it may take.
pub(super) fn remove_drilled<'a>(
    rds: &Rds,
    drill: &str,
    candidates: &'a [(Kind, String)],
) -> Result<Vec<&'a (Kind, String)>> {
    let deadline = Deadline::after(LIMIT);
    let mut going = Vec::new();
    for candidate in candidates {
        let (kind, id) = candidate;
        if one(rds, &|found| found.tag("TagList", DRILL) == Some(drill), *kind, id, &deadline)? {
            info!("{} {id}, which a drill has made, is being deleted", kind.names().word);
            going.push(candidate);
        }
    }
    Ok(going)
}

/// Wait until they are gone: nothing new can have their names before.
///
/// # Errors
/// They are not, after a time in which they should be.
pub(super) fn gone(rds: &Rds, going: &[&(Kind, String)]) -> Result<()> {
    let deadline = Deadline::after(LIMIT);
    for (kind, id) in going {
        let gone = rds.watch(&deadline, |rds| Ok(rds.find(*kind, id)?.is_none().then_some(())))?;
        gone.ok_or_else(|| {
            timed_out(format!("{} {id}, which a drill has made, was not gone", kind.names().word), &deadline)
        })?;
    }
    Ok(())
}

/// Whether there was something to delete, of what is `ours`.
fn one(rds: &Rds, ours: &dyn Fn(&Element) -> bool, kind: Kind, id: &str, deadline: &Deadline) -> Result<bool> {
    let names = kind.names();
    let (modify, delete) = match kind {
        Kind::Instance => ("ModifyDBInstance", "DeleteDBInstance"),
        Kind::Cluster => ("ModifyDBCluster", "DeleteDBCluster"),
    };
    let mut refused = None;
    let outcome = rds.watch(deadline, |rds| {
        // Looked at before each attempt: never delete what has taken the name meanwhile.
        let Some(found) = rds.find(kind, id)?.filter(|found| ours(found)) else { return Ok(Some(false)) };
        if found.text(names.status) == "deleting" {
            return Ok(Some(true));
        }
        let this = Parameters::new().set(names.id, id);
        if found.flag("DeletionProtection") {
            let call = this.clone().set("DeletionProtection", false).set("ApplyImmediately", true);
            rds.client.change_again(modify, &call)?;
        }
        match rds.client.change_again(delete, &this.set("SkipFinalSnapshot", true)) {
            Ok(_) => Ok(Some(true)),
            Err(failure) if failure.is_missing() => Ok(Some(true)),
            Err(failure) if failure.code().starts_with("InvalidDB") => {
                refused = Some(failure);
                Ok(None)
            }
            Err(failure) => Err(failure.into()),
        }
    })?;
    outcome.ok_or_else(|| match refused {
        Some(failure) => Error::from(failure),
        None => timed_out(format!("{id} could not be deleted"), deadline),
    })
}
