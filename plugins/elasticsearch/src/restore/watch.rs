//! Until restored indices can be used.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bkhost_sdk::{Error, ErrorCode, Result, progress, warn};
use bkhost_sdk_aws::Deadline;
use serde_json::Value;

use crate::client::{Client, pauses};
use crate::config::Config;
use crate::failure::Failure;
use crate::state::State;

/// How long a shard may stay failed: the cluster tries it five times, one right after the other.
const FAILED: Duration = Duration::from_secs(5);

/// How the new indices stand.
#[derive(Debug, Default)]
struct Standing {
    /// Primary shards, and those of them that work.
    shards: u64,
    active: u64,
    /// Those that are green or yellow.
    usable: usize,
}

pub(super) fn until_usable(config: &Config, client: &Client, state: &State, targets: &BTreeSet<String>) -> Result<()> {
    let deadline = Deadline::after(config.timeout());
    let mut pauses = pauses();
    let mut failed_since: Option<Instant> = None;
    loop {
        let outcome = look(client, targets);
        let standing = match outcome {
            Ok((standing, failed)) => {
                failed_since = if failed.is_empty() { None } else { failed_since.or_else(|| Some(Instant::now())) };
                if failed_since.is_some_and(|since| since.elapsed() >= FAILED) {
                    return Err(broken(state, &failed));
                }
                standing
            }
            Err(failure) if failure.is_passing() && !failure.is_interrupted() => {
                warn!("asking again: {}", Error::from(failure).message);
                Standing::default()
            }
            Err(failure) => return Err(failure.into()),
        };
        if standing.usable == targets.len() {
            return if standing.shards == state.shards {
                Ok(())
            } else {
                let message = format!("{} shards were restored, and {} captured", standing.shards, state.shards);
                Err(Error::corrupt(message))
            };
        }
        if !pauses.wait(&deadline) {
            let message = format!(
                "the indices are not usable after {} s: {} of {} are green or yellow, {} of {} primary shards work",
                deadline.limit().as_secs(),
                standing.usable,
                targets.len(),
                standing.active,
                standing.shards
            );
            return Err(Error::new(ErrorCode::TimedOut, message)
                .hint("GET _cluster/allocation/explain says why; under [part.config]: raise timeout, if they were still being copied"));
        }
    }
}

fn look(client: &Client, targets: &BTreeSet<String>) -> Result<(Standing, Vec<String>), Failure> {
    let recovered = recovery(client, targets)?;
    progress::report("search restore", recovered.0, Some(recovered.1));
    let standing = health(&client.get("_cluster/health?level=indices")?, targets);
    if standing.usable == targets.len() {
        return Ok((standing, Vec::new()));
    }
    let shards =
        client.get("_cat/shards?format=json&h=index,shard,prirep,state,unassigned.reason,unassigned.details")?;
    Ok((standing, failed(&shards, targets)))
}

fn health(answer: &Value, targets: &BTreeSet<String>) -> Standing {
    let mut standing = Standing::default();
    let indices = answer.get("indices").and_then(Value::as_object);
    for (_, index) in indices.into_iter().flatten().filter(|(name, _)| targets.contains(*name)) {
        let number = |key: &str| index.get(key).and_then(Value::as_u64).unwrap_or(0);
        standing.shards += number("number_of_shards");
        standing.active += number("active_primary_shards");
        let status = index.get("status").and_then(Value::as_str).unwrap_or_default();
        let works =
            ["green", "yellow"].contains(&status) && number("active_primary_shards") == number("number_of_shards");
        standing.usable += usize::from(works);
    }
    standing
}

fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The primary shards that the cluster could not restore, each with its reason.
fn failed(shards: &Value, targets: &BTreeSet<String>) -> Vec<String> {
    let of_targets = shards.as_array().into_iter().flatten().filter(|shard| targets.contains(text(shard, "index")));
    of_targets
        .filter(|shard| text(shard, "prirep") == "p" && text(shard, "state") == "UNASSIGNED")
        .filter(|shard| text(shard, "unassigned.reason") == "ALLOCATION_FAILED")
        .map(|shard| {
            format!("{}[{}]: {}", text(shard, "index"), text(shard, "shard"), text(shard, "unassigned.details"))
        })
        .collect()
}

/// Bytes that were copied of these indices, and all that there are.
fn recovery(client: &Client, targets: &BTreeSet<String>) -> Result<(u64, u64), Failure> {
    let answer = recoveries(client)?;
    let of_targets = answer.as_array().into_iter().flatten().filter(|shard| targets.contains(text(shard, "index")));
    let snapshots = of_targets.filter(|shard| text(shard, "type") == "snapshot");
    Ok(snapshots.fold((0, 0), |(done, total), shard| {
        let number = |key: &str| text(shard, key).parse::<u64>().unwrap_or(0);
        (done + number("bytes_recovered"), total + number("bytes_total"))
    }))
}

fn recoveries(client: &Client) -> Result<Value, Failure> {
    client.get(
        "_cat/recovery?format=json&bytes=b&h=index,shard,type,stage,repository,snapshot,bytes_recovered,bytes_total",
    )
}

/// The indices that are being, or were, restored from this snapshot.
///
/// # Errors
/// The cluster cannot be asked.
pub(super) fn restoring(client: &Client, state: &State) -> Result<BTreeSet<String>> {
    let answer = recoveries(client)?;
    let shards = answer.as_array().into_iter().flatten();
    let ours = shards
        .filter(|shard| text(shard, "repository") == state.repository.name && text(shard, "snapshot") == state.name);
    Ok(ours.map(|shard| text(shard, "index").to_owned()).collect())
}

fn broken(state: &State, failed: &[String]) -> Error {
    let shown: Vec<_> = failed.iter().take(3).map(String::as_str).collect();
    let message = format!("{} shards of {} cannot be restored: {}", failed.len(), state.name, shown.join("; "));
    Error::corrupt(message).hint("files of the snapshot are missing or damaged in the repository, or no node may hold the shards: take another set, or see the nodes' logs")
}
