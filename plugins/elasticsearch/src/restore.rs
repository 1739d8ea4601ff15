//! Restore: the cluster reads the snapshot from its repository and makes the indices of it.
//!
//! - no `--to`: under their own names. Indices that exist refuse it, unless `restore.existing` says that they are replaced.
//! - `--to restored` or `--to 'old-*'`: under other names, beside the others, without their aliases.

mod watch;

use std::collections::BTreeSet;

use bkhost_sdk::http::Method;
use bkhost_sdk::{Error, Result, info, warn};
use serde_json::json;

use crate::client::Client;
use crate::cluster::{self, Index};
use crate::config::{Config, Existing};
use crate::failure::Failure;
use crate::names::{Renaming, segment};
use crate::proof;
use crate::shot;
use crate::state::State;

/// What a restore makes of what.
pub(crate) struct Plan {
    /// The names of the new indices.
    targets: BTreeSet<String>,
    renaming: Option<Renaming>,
    /// Open indices in the way, which are closed for it.
    close: Vec<String>,
    /// All indices in the way.
    replaced: Vec<String>,
}

pub(crate) fn restore(config: &Config, client: &Client, state: &State, to: Option<&str>) -> Result<()> {
    if state.name.is_empty() || state.planned || state.indices.is_empty() {
        return Err(Error::not_found("the set holds no snapshot of an index"));
    }
    let renaming = to.map(Renaming::parse).transpose()?;
    // Only read: a repository that this cluster may not write to is good enough.
    state.repository.ensure(client, false)?;
    proof::usable(state, shot::look(client, &state.repository, &state.name)?.as_ref())?;
    let plan = Plan::make(config, state, renaming, &cluster::indices(client)?)?;
    let closed = close(client, &plan.close)?;
    if let Err(error) = start(config, client, state, &plan) {
        open(client, &closed);
        return Err(error);
    }
    match watch::until_usable(config, client, state, &plan.targets) {
        Ok(()) => {
            let names: Vec<_> = plan.targets.iter().map(String::as_str).collect();
            info!("{} indices are restored from {}: {}", names.len(), state.name, shown(&names));
            Ok(())
        }
        Err(error) => {
            remove(client, plan.made());
            let lost: Vec<_> = plan.replaced.iter().map(String::as_str).collect();
            if !lost.is_empty() {
                warn!("these indices were being replaced and are not usable: {}. Restore again", shown(&lost));
            }
            Err(error)
        }
    }
}

fn shown(names: &[&str]) -> String {
    let more = names.len().saturating_sub(10);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", names.iter().take(10).copied().collect::<Vec<_>>().join(", "))
}

impl Plan {
    /// What has to be done with what is there.
    ///
    /// # Errors
    /// `already-exists`: something is in the way that may not be replaced.
    pub(crate) fn make(config: &Config, state: &State, renaming: Option<Renaming>, there: &[Index]) -> Result<Self> {
        let name = |name: &String| renaming.as_ref().map_or_else(|| name.clone(), |to| to.apply(name));
        let targets: BTreeSet<String> = state.indices.iter().map(name).collect();
        if let Some(long) = targets.iter().find(|name| name.len() > 255) {
            return Err(Error::invalid_config(format!("{long} is too long for the name of an index"))
                .hint("take a shorter text for --to"));
        }
        let in_the_way: Vec<_> = there.iter().filter(|index| targets.contains(&index.name)).collect();
        let names: Vec<_> = in_the_way.iter().map(|index| index.name.as_str()).collect();
        if !names.is_empty() && (renaming.is_some() || config.restore.existing == Existing::Refuse) {
            let hint = if renaming.is_some() {
                "delete them, or take another text for --to"
            } else {
                "--to 'restored-*' restores beside them; or delete them first; or say under [part.config.restore]: existing = \"replace\""
            };
            return Err(Error::already_exists(format!("indices exist that the restore would make: {}", shown(&names)))
                .hint(hint));
        }
        let replaced = names.iter().map(|name| (*name).to_owned()).collect();
        let close = in_the_way.iter().filter(|index| index.open).map(|index| index.name.clone()).collect();
        Ok(Self { targets, renaming, close, replaced })
    }

    /// What the restore makes that was not there.
    fn made(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter(|name| !self.replaced.contains(name)).map(String::as_str)
    }
}

/// Closes them; those that were.
fn close(client: &Client, names: &[String]) -> Result<Vec<String>> {
    let mut closed = Vec::new();
    for name in names {
        match client.change(Method::Post, &format!("{}/_close", segment(name)), None) {
            Ok(_) => closed.push(name.clone()),
            Err(failure) => {
                open(client, &closed);
                return Err(Error::from(failure).context(format!("the index {name} cannot be closed to be replaced")));
            }
        }
    }
    Ok(closed)
}

fn open(client: &Client, names: &[String]) {
    for name in names {
        if let Err(failure) = client.change(Method::Post, &format!("{}/_open", segment(name)), None) {
            warn!("the index {name} is left closed: {}. Open it: POST {name}/_open", Error::from(failure).message);
        }
    }
}

/// Has the cluster begin.
fn start(config: &Config, client: &Client, state: &State, plan: &Plan) -> Result<()> {
    let in_place = plan.renaming.is_none();
    let mut body = json!({
        "indices": state.indices.join(","),
        "ignore_unavailable": false,
        "partial": false,
        "include_global_state": in_place && state.global_state && config.restore.global_state,
        // An alias of the original must not come to mean the copy too.
        "include_aliases": in_place,
    });
    if let (Some(renaming), Some(body)) = (&plan.renaming, body.as_object_mut()) {
        body.insert("rename_pattern".to_owned(), json!("^(.+)$"));
        body.insert("rename_replacement".to_owned(), json!(renaming.replacement()));
    }
    let path = format!("{}/{}/_restore?wait_for_completion=false", state.repository.path(), segment(&state.name));
    match client.change(Method::Post, &path, Some(&body)) {
        Ok(_) => Ok(()),
        Err(failure) => begun(client, state, plan, failure),
    }
}

/// The call failed. If an attempt whose answer was lost has begun it, the indices are there, and they are being restored from
/// this snapshot: anybody else's would not be.
fn begun(client: &Client, state: &State, plan: &Plan, failure: Failure) -> Result<()> {
    let exists = failure.status() == 500 || failure.status() == 400 || failure.is("snapshot_restore_exception");
    if failure.is_interrupted() || !(failure.is_uncertain() || exists) {
        return Err(failure.into());
    }
    let from_here = watch::restoring(client, state)?;
    if plan.targets.iter().all(|name| from_here.contains(name)) {
        return Ok(());
    }
    if failure.is_uncertain() {
        let some: Vec<_> = plan.made().filter(|name| from_here.contains(*name)).map(str::to_owned).collect();
        remove(client, some.iter().map(String::as_str));
    }
    Err(Error::from(failure).context(format!("{} cannot be restored", state.name)))
}

/// Deletes what a failed restore has made.
fn remove<'a>(client: &Client, names: impl Iterator<Item = &'a str>) {
    for name in names {
        match client.change(Method::Delete, &segment(name), None) {
            Ok(_) => info!("the index {name}, which the restore had begun to make, is deleted"),
            Err(failure) if failure.is_missing() => {}
            Err(failure) => warn!("the index {name} of the failed restore is left: {}", Error::from(failure).message),
        }
    }
}
