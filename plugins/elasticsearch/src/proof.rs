//! Whether the snapshot of a set is still there, and what it was.

use bkhost_sdk::{Error, Finding, Result};

use crate::client::Client;
use crate::shot::{self, Shot};
use crate::state::State;

/// The cluster checks its own files when it reads them; what can be seen from here is that the snapshot exists, is
/// complete, is the one of the run, and that the nodes can use the repository.
pub(crate) fn verify(client: &Client, state: &State) -> Result<Vec<Finding>> {
    let State { repository, name, .. } = state;
    // A repository that is not there, or another one, says nothing of the snapshot.
    let Some(found) = repository.registered(client)? else {
        return Err(Error::not_found(format!("the repository {} is not registered with the cluster", repository.name))
            .hint("a restore registers it again, and so does a backup: bkhost run"));
    };
    if let Some(error) = repository.objection(&found, false) {
        return Err(error);
    }
    let mut findings = Vec::new();
    if !found.is_readonly() {
        let nodes = repository.verify(client)?.unwrap_or(0);
        findings.push(Finding::info(format!("repository {}", repository.name), format!("{nodes} nodes can use it")));
    }
    findings.push(judge(state, shot::look(client, repository, name)?.as_ref()));
    Ok(findings)
}

/// Of a set in which nothing was captured.
pub(crate) fn declared() -> Vec<Finding> {
    vec![Finding::info("search", "nothing was captured: the indices are declared to be built anew")]
}

fn judge(state: &State, found: Option<&Shot>) -> Finding {
    let subject = format!("snapshot {}", state.name);
    match usable(state, found) {
        Ok(shot) => {
            Finding::info(subject, format!("is complete: {} indices, {} shards", shot.indices.len(), shot.shards))
        }
        Err(error) => Finding::failure(subject, error.message),
    }
}

/// The snapshot of a set, if it can be restored from.
///
/// # Errors
/// `not-found`, `corrupt`: it cannot.
pub(crate) fn usable<'a>(state: &State, found: Option<&'a Shot>) -> Result<&'a Shot> {
    let State { name, repository, .. } = state;
    let Some(shot) = found else {
        return Err(Error::not_found(format!("the snapshot {name} is not in the repository {}", repository.name))
            .hint("it was deleted there, or the repository has lost it: take another set"));
    };
    let corrupt = |what: String| Err(Error::corrupt(format!("the snapshot {name} {what}")).hint("take another set"));
    if !shot.is_ours() || (!state.uuid.is_empty() && shot.uuid != state.uuid) {
        return corrupt("is another one of the same name".to_owned());
    }
    if shot.state != "SUCCESS" {
        return corrupt(format!("is {}: none to restore from", shot.state));
    }
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    if sorted(&shot.indices) != sorted(&state.indices) {
        return corrupt(format!("holds the indices {} and not {}", shot.indices.join(", "), state.indices.join(", ")));
    }
    if shot.shards != state.shards || shot.successful != shot.shards {
        return corrupt(format!(
            "holds {} of {} shards, and {} were captured",
            shot.successful, shot.shards, state.shards
        ));
    }
    Ok(shot)
}
