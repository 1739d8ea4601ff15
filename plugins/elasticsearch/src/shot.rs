//! Snapshots as the cluster tells of them, and whose they are: the metadata says so, which the call sets that makes one.

use std::time::Duration;

use bkhost_sdk::http::Method;
use bkhost_sdk::{Consistency, Error, ErrorCode, Result, Snapshot, config, info, warn};
use bkhost_sdk_aws::Deadline;
use serde_json::{Value, json};

use crate::client::{Client, pauses};
use crate::failure::Failure;
use crate::names::segment;
use crate::repository::Repository;
use crate::state::State;

const INSTANCE: &str = "bkhost-instance";
const PART: &str = "bkhost-part";
const RUN: &str = "bkhost-run";

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shot {
    pub(crate) name: String,
    pub(crate) uuid: String,
    /// `IN_PROGRESS`, `SUCCESS`, `PARTIAL`, `FAILED`, `INCOMPATIBLE`, `MISSING`.
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) version: String,
    pub(crate) indices: Vec<String>,
    pub(crate) data_streams: Vec<String>,
    pub(crate) global_state: bool,
    /// `index[shard]: why`.
    pub(crate) failures: Vec<String>,
    pub(crate) shards: u64,
    pub(crate) successful: u64,
    /// Milliseconds since the epoch.
    pub(crate) started: Option<u64>,
    pub(crate) instance: String,
    pub(crate) part: String,
    pub(crate) run: String,
}

/// The name of a part's snapshot of a run.
pub(crate) fn name(label: &str) -> String {
    format!("{label}-{}", config::part())
}

/// What tells it from others.
pub(crate) fn metadata(label: &str) -> Value {
    json!({ INSTANCE: config::instance(), PART: config::part(), RUN: label })
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Shot {
    pub(crate) fn read(item: &Value) -> Self {
        let names = |key: &str| {
            let all = item.get(key).and_then(Value::as_array).into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let number =
            |key: &str| item.get("shards").and_then(|shards| shards.get(key)).and_then(Value::as_u64).unwrap_or(0);
        let failure = |failure: &Value| {
            let shard = failure.get("shard_id").or_else(|| failure.get("shard")).and_then(Value::as_u64).unwrap_or(0);
            format!("{}[{shard}]: {}", text(failure, "index"), text(failure, "reason"))
        };
        let tag = |key: &str| item.get("metadata").map(|metadata| text(metadata, key)).unwrap_or_default();
        Self {
            name: text(item, "snapshot"),
            uuid: text(item, "uuid"),
            state: text(item, "state"),
            reason: text(item, "reason"),
            version: text(item, "version"),
            indices: names("indices"),
            data_streams: names("data_streams"),
            global_state: item.get("include_global_state").and_then(Value::as_bool).unwrap_or(false),
            failures: item.get("failures").and_then(Value::as_array).into_iter().flatten().map(failure).collect(),
            shards: number("total"),
            successful: number("successful"),
            started: item.get("start_time_in_millis").and_then(Value::as_u64),
            instance: tag(INSTANCE),
            part: tag(PART),
            run: tag(RUN),
        }
    }

    /// Whether this part has made it, in the run that its name says.
    pub(crate) fn is_ours(&self) -> bool {
        self.instance == config::instance()
            && self.part == config::part()
            && self.run.starts_with("bkhost-")
            && self.name == name(&self.run)
    }

    /// The failed shards, for a message.
    pub(crate) fn told_failures(&self) -> String {
        let shown: Vec<_> = self.failures.iter().take(5).map(String::as_str).collect();
        let more = self.failures.len().saturating_sub(shown.len());
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        format!("{}{more}", shown.join("; "))
    }
}

/// The snapshots of an answer: some versions list them by repositories.
fn read(answer: &Value) -> Vec<Shot> {
    let of = |value: &Value| value.get("snapshots").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut items = of(answer);
    for response in answer.get("responses").and_then(Value::as_array).into_iter().flatten() {
        items.extend(of(response));
    }
    items.iter().map(Shot::read).collect()
}

/// The snapshot of this name; none if it is not there, or the repository is not.
///
/// # Errors
/// The cluster cannot be asked.
pub(crate) fn look(client: &Client, repository: &Repository, name: &str) -> Result<Option<Shot>, Failure> {
    match client.get(&format!("{}/{}", repository.path(), segment(name))) {
        Ok(answer) => Ok(read(&answer).into_iter().find(|shot| shot.name == name)),
        Err(failure) if failure.is_missing() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// This part's snapshots, also those that failed, which say so.
///
/// # Errors
/// The cluster cannot be asked.
pub(crate) fn list(client: &Client, repository: &Repository) -> Result<Vec<Snapshot>> {
    let pattern = format!("bkhost-{}-*", config::instance());
    let answer = match client.get(&format!("{}/{pattern}?ignore_unavailable=true", repository.path())) {
        Ok(answer) => answer,
        Err(failure) if failure.is_missing() => return Ok(Vec::new()),
        Err(failure) => return Err(failure.into()),
    };
    read(&answer).iter().filter(|shot| shot.is_ours()).map(|shot| record(repository, shot)).collect()
}

fn record(repository: &Repository, shot: &Shot) -> Result<Snapshot> {
    let state = State {
        label: shot.run.clone(),
        name: shot.name.clone(),
        repository: repository.clone(),
        uuid: shot.uuid.clone(),
        indices: shot.indices.clone(),
        shards: shot.shards,
        global_state: shot.global_state,
        ..State::default()
    };
    let mut snapshot = Snapshot::new(&shot.name, Consistency::Exported, &state)?;
    snapshot.created = shot.started.unwrap_or(snapshot.created);
    Ok(if shot.state == "SUCCESS" { snapshot } else { snapshot.version("status", &shot.state) })
}

/// Deletes the snapshot of this name if this part has made it, and waits until it is gone. One that is being taken is
/// aborted by that.
///
/// # Errors
/// It is still there.
pub(crate) fn remove(client: &Client, repository: &Repository, name: &str, limit: Duration) -> Result<()> {
    let deadline = Deadline::after(limit);
    let mut pauses = pauses();
    loop {
        let shot = match look(client, repository, name)? {
            None => return Ok(()),
            Some(shot) => shot,
        };
        if !shot.is_ours() {
            warn!("the snapshot {name} in {} is not deleted: this part has not made it", repository.name);
            return Ok(());
        }
        // The call lasts until it is done, or for as long as an answer is waited for; then it goes on in the cluster.
        let failure = match client.once(Method::Delete, &format!("{}/{}", repository.path(), segment(name)), None) {
            Ok(Some(_)) => {
                info!("the snapshot {name} in {} is deleted", repository.name);
                return Ok(());
            }
            Ok(None) => return Ok(()),
            Err(failure) if failure.is_missing() => return Ok(()),
            Err(failure) => failure,
        };
        if !failure.is_passing() || !pauses.wait(&deadline) {
            let error = Error::from(failure).context(format!("the snapshot {name} is still in {}", repository.name));
            return Err(if error.code == ErrorCode::TimedOut || error.code == ErrorCode::Unavailable {
                error.hint("another snapshot, or its clean-up, may be under way: GET _snapshot/_status; or raise delete-timeout")
            } else {
                error
            });
        }
    }
}

/// A call whose answer was lost may show what it has done a little late.
const LATE: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(700)];

/// Deletes what this part may have made in a run.
///
/// # Errors
/// It is still there.
pub(crate) fn discard(client: &Client, repository: &Repository, label: &str, limit: Duration) -> Result<()> {
    let name = name(label);
    for pause in LATE {
        if look(client, repository, &name)?.is_some() {
            break;
        }
        std::thread::sleep(pause);
    }
    remove(client, repository, &name, limit)
}
