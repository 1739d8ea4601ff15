//! Under the lock: the snapshot is started, and all of its shards have begun.
//!
//! A shard's point in time is when its own snapshot starts: the node flushes it and holds on to that commit. What is indexed
//! later is in no snapshot. So the lock has to last until no shard waits to begin; the copying goes on after it.

use std::time::Duration;

use bkhost_sdk::http::Method;
use bkhost_sdk::{Consistency, Error, ErrorCode, Result, Snapshot, now};
use bkhost_sdk_aws::{Backoff, Deadline};
use serde_json::{Value, json};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::names::segment;
use crate::repository::Repository;
use crate::shot;
use crate::state::State;

pub(crate) fn capture(
    config: &Config,
    client: &Client,
    cluster: &Cluster,
    repository: &Repository,
    label: &str,
) -> Result<Snapshot> {
    let name = shot::name(label);
    let deadline = Deadline::after(config.start_timeout());
    // The point is fixed somewhere in the following: at its beginning, to be careful.
    let begun = now();
    let planned = !start(config, &client.patience(deadline.left()), repository, label, &name)?;
    if !planned {
        until_begun(client, repository, &name, &deadline)?;
    }
    let state = State {
        label: label.to_owned(),
        name: name.clone(),
        repository: repository.clone(),
        global_state: config.global_state,
        planned,
        ..State::default()
    };
    let mut snapshot =
        Snapshot::new(name, Consistency::Exported, &state)?.version(cluster.product(), cluster.version.as_str());
    snapshot.created = begun;
    Ok(snapshot)
}

/// Not in a dry run.
fn start(config: &Config, client: &Client, repository: &Repository, label: &str, name: &str) -> Result<bool> {
    let body = json!({
        "indices": config.indices.join(","),
        "expand_wildcards": "open,closed",
        "ignore_unavailable": false,
        "include_global_state": config.global_state,
        "partial": false,
        "metadata": shot::metadata(label),
    });
    let path = format!("{}/{}?wait_for_completion=false", repository.path(), segment(name));
    let failure = match client.change(Method::Put, &path, Some(&body)) {
        Ok(answer) => return Ok(answer.is_some()),
        Err(failure) => failure,
    };
    // A name that holds this run's id is taken: an attempt before this has done it, and its answer was lost.
    let perhaps = failure.is_taken() || (failure.is_uncertain() && !failure.is_interrupted());
    if perhaps && shot::look(client, repository, name)?.is_some_and(|shot| shot.is_ours()) {
        return Ok(true);
    }
    Err(failure.into())
}

/// How far the shards of a running snapshot are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    /// Those that wait to begin.
    pub(crate) waiting: u64,
    pub(crate) shards: u64,
    /// Those that failed: `index[shard]: why`.
    pub(crate) failed: Vec<String>,
    /// Bytes to copy, and copied.
    pub(crate) total: u64,
    pub(crate) done: u64,
}

/// How a snapshot stands that is being taken; none if it is not (any more).
pub(crate) fn stand(
    client: &Client,
    repository: &Repository,
    name: &str,
) -> Result<Option<Stand>, crate::failure::Failure> {
    // Without its name: that of one which is complete is read shard by shard from the repository.
    let answer = match client.get(&format!("{}/_status", repository.path())) {
        Ok(answer) => answer,
        Err(failure) if failure.is_missing() => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let running = answer.get("snapshots").and_then(Value::as_array).into_iter().flatten();
    let mut of_name = running.filter(|item| item.get("snapshot").and_then(Value::as_str) == Some(name));
    Ok(of_name.next().map(Stand::read))
}

impl Stand {
    pub(crate) fn read(item: &Value) -> Self {
        let mut stand = Self { waiting: 0, shards: 0, failed: Vec::new(), total: 0, done: 0 };
        for (index, of_index) in item.get("indices").and_then(Value::as_object).into_iter().flatten() {
            for (shard, of_shard) in of_index.get("shards").and_then(Value::as_object).into_iter().flatten() {
                stand.shards += 1;
                match of_shard.get("stage").and_then(Value::as_str).unwrap_or_default() {
                    "STARTED" | "FINALIZE" | "DONE" => {}
                    "FAILURE" => {
                        let why =
                            of_shard.get("reason").and_then(Value::as_str).unwrap_or("the cluster does not say why");
                        stand.failed.push(format!("{index}[{shard}]: {why}"));
                    }
                    // INIT, and whatever other form of waiting there may be.
                    _ => stand.waiting += 1,
                }
            }
        }
        let stats = item.get("stats");
        let size = |key: &str| stats?.get(key)?.get("size_in_bytes")?.as_u64();
        stand.total = size("incremental").or_else(|| size("total")).unwrap_or(0);
        stand.done = size("processed").unwrap_or(0).min(stand.total);
        stand
    }
}

fn until_begun(client: &Client, repository: &Repository, name: &str, deadline: &Deadline) -> Result<()> {
    // The application stands still meanwhile: short pauses.
    let mut pauses = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
    loop {
        let patient = client.patience(deadline.left());
        let waiting = match stand(&patient, repository, name)? {
            Some(stand) if !stand.failed.is_empty() => return Err(failed(name, &stand.failed)),
            // Just accepted: its shards are not known yet.
            Some(stand) if stand.shards == 0 => 1,
            Some(stand) => stand.waiting,
            // It is over already, or it is gone.
            None => match shot::look(&patient, repository, name)? {
                Some(shot) if shot.state == "SUCCESS" => 0,
                Some(shot) if shot.state == "IN_PROGRESS" => 1,
                Some(shot) => return Err(crate::wait::bad(&shot)),
                None => return Err(Error::not_found(format!("the snapshot {name} is gone: somebody has deleted it"))),
            },
        };
        if waiting == 0 {
            return Ok(());
        }
        if !pauses.wait(deadline) {
            let message = format!("{waiting} shards of {name} have not begun after {} s", deadline.limit().as_secs());
            return Err(Error::new(ErrorCode::TimedOut, message).hint(
                "a node copies a few shards at a time: raise start-timeout, narrow `indices`, or look for other snapshots (GET _snapshot/_status)",
            ));
        }
    }
}

fn failed(name: &str, shards: &[String]) -> Error {
    let shown: Vec<_> = shards.iter().take(5).map(String::as_str).collect();
    Error::other(format!("{} shards of the snapshot {name} failed: {}", shards.len(), shown.join("; ")))
        .hint("GET _cluster/allocation/explain, and the nodes' logs; then run again")
}
