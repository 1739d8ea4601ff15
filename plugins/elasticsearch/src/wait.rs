//! After the unlock: until the snapshot is complete.

use std::time::{Duration, Instant};

use bkhost_sdk::{Error, ErrorCode, Result, Snapshot, progress, warn};
use bkhost_sdk_aws::Deadline;

use crate::capture::stand;
use crate::client::{Client, pauses};
use crate::cluster;
use crate::config::Config;
use crate::shot::{self, Shot};
use crate::state::State;

/// The host keeps no longer state, in bytes.
const MAX_STATE: usize = 250 << 10;
/// How long it may not be seen, while it is taken out of the running ones and put among the others.
const UNSEEN: Duration = Duration::from_secs(10);

pub(crate) fn completed(config: &Config, client: &Client, mut snapshot: Snapshot) -> Result<Snapshot> {
    let mut state: State = snapshot.state()?;
    if state.planned || state.name.is_empty() {
        return Ok(snapshot);
    }
    let shot = until_over(config, client, &state, &mut snapshot.bytes)?;
    if shot.state != "SUCCESS" || !shot.failures.is_empty() || shot.successful != shot.shards {
        return Err(bad(&shot));
    }
    if !shot.is_ours() {
        return Err(Error::corrupt(format!("the snapshot {} does not carry this run's metadata", shot.name)));
    }
    if !shot.data_streams.is_empty() {
        let message = format!("data streams cannot be restored by this plugin: {}", shot.data_streams.join(", "));
        return Err(Error::unsupported(message)
            .hint("under [part.config]: let `indices` name what is to be captured without them"));
    }
    let idle = cluster::idle(&config.indices, &shot.indices);
    if !idle.is_empty() {
        return Err(cluster::none(&idle));
    }
    state.uuid = shot.uuid;
    state.indices = shot.indices;
    state.shards = shot.shards;
    snapshot.set_state(&state)?;
    if snapshot.state.len() > MAX_STATE {
        let message = format!("{} indices are too many for one part", state.indices.len());
        return Err(Error::unsupported(message).hint("spread them over several parts, each with its own `indices`"));
    }
    Ok(snapshot)
}

/// Until it is not being taken any more.
fn until_over(config: &Config, client: &Client, state: &State, bytes: &mut Option<u64>) -> Result<Shot> {
    let State { repository, name, .. } = state;
    let deadline = Deadline::after(config.timeout());
    let mut pauses = pauses();
    let mut seen = Instant::now();
    loop {
        let outcome = match stand(client, repository, name) {
            Ok(Some(stand)) => {
                seen = Instant::now();
                progress::report("search snapshot", stand.done, Some(stand.total));
                *bytes = Some(stand.total);
                Ok(None)
            }
            Ok(None) => shot::look(client, repository, name),
            Err(failure) => Err(failure),
        };
        let running = match outcome {
            Ok(Some(shot)) if shot.state != "IN_PROGRESS" => return Ok(shot),
            Ok(Some(_)) => {
                seen = Instant::now();
                String::new()
            }
            Ok(None) if seen.elapsed() < UNSEEN => String::new(),
            Ok(None) => return Err(Error::not_found(format!("the snapshot {name} is gone: somebody has deleted it"))),
            // The cluster goes on with it while it cannot be asked.
            Err(failure) if failure.is_passing() => {
                let text = Error::from(failure).message;
                warn!("asking again: {text}");
                format!(" ({text})")
            }
            Err(failure) => return Err(failure.into()),
        };
        if !pauses.wait(&deadline) {
            let message =
                format!("the snapshot {name} is not complete after {} s{running}", deadline.limit().as_secs());
            return Err(Error::new(ErrorCode::TimedOut, message)
                .hint("under [part.config]: raise timeout, if nothing else is wrong (GET _snapshot/_status)"));
        }
    }
}

/// What is wrong with a snapshot that is no success.
pub(crate) fn bad(shot: &Shot) -> Error {
    let Shot { name, state, reason, shards, successful, .. } = shot;
    let mut message = format!("the snapshot {name} is {state}: {successful} of {shards} shards are in it");
    for more in [reason.clone(), shot.told_failures()] {
        if !more.is_empty() {
            message = format!("{message}; {more}");
        }
    }
    Error::other(message)
        .hint("it is no backup and is deleted: see the nodes' logs and GET _cluster/health, then run again")
}
