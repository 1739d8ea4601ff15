//! After the unlock: until the snapshots are complete.

use std::time::{Duration, Instant};

use bkhost_sdk::{Error, ErrorCode, Result, Snapshot, info, progress, warn};
use bkhost_sdk_aws::{Backoff, Deadline};

use crate::config::Config;
use crate::ec2::{Ec2, Shot};
use crate::owned;
use crate::state::State;

/// How long EC2 may not yet know what it has just made.
const UNKNOWN: Duration = Duration::from_secs(60);

/// Pauses between two looks.
pub(crate) fn pauses() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(10))
}

pub(crate) fn completed(config: &Config, ec2: &Ec2, mut snapshot: Snapshot) -> Result<Snapshot> {
    let mut state: State = snapshot.state()?;
    if state.planned {
        return Ok(snapshot);
    }
    drop_extra(ec2, &mut state)?;
    let ids = state.snapshots();
    let total = state.volumes.iter().map(|captured| captured.gib << 30).sum();
    let deadline = Deadline::after(config.timeout());
    let start = Instant::now();
    let mut pauses = pauses();
    let shots = loop {
        let shots = match ec2.shots_by_id(&ids) {
            Ok(shots) => shots.into_iter().filter(|shot| ids.contains(&shot.id)).collect::<Vec<Shot>>(),
            // Hours of work at Amazon's are not given up because it cannot be asked for some minutes.
            Err(error) if is_passing(&error) && pauses.wait(&deadline) => {
                warn!("asking again: {}", error.message);
                continue;
            }
            Err(error) => return Err(error),
        };
        if all_done(&state, &shots, start.elapsed())? {
            break shots;
        }
        let percent = |shot: &Shot| if shot.status == "completed" { 100 } else { shot.percent.min(99) };
        let done = shots.iter().map(|shot| (shot.gib << 30) / 100 * percent(shot)).sum();
        progress::report("EBS snapshots", done, Some(total));
        if !pauses.wait(&deadline) {
            return Err(late(&shots, &deadline));
        }
    };
    progress::report("EBS snapshots", total, Some(total));
    for captured in &mut state.volumes {
        if let Some(shot) = shots.iter().find(|shot| shot.id == captured.snapshot) {
            captured.encrypted = shot.encrypted || captured.encrypted;
        }
    }
    snapshot.bytes = owned::size(&shots);
    snapshot.set_state(&state)?;
    Ok(snapshot)
}

pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(error.code, ErrorCode::Unavailable | ErrorCode::TimedOut)
}

fn late(shots: &[Shot], deadline: &Deadline) -> Error {
    let left = shots.iter().filter(|shot| shot.status != "completed");
    let left: Vec<_> = left.map(|shot| format!("{} at {}%", shot.id, shot.percent)).collect();
    let message = format!("not complete after {} s: {}", deadline.limit().as_secs(), left.join(", "));
    Error::new(ErrorCode::TimedOut, message)
        .hint("under [part.config]: raise timeout, if nothing else is wrong with them")
}

/// Snapshots of volumes that nobody asked for: not all that speak this API can leave a volume out.
fn drop_extra(ec2: &Ec2, state: &mut State) -> Result<()> {
    if state.extra.is_empty() {
        return Ok(());
    }
    info!("{} snapshots of volumes that are not configured are deleted", state.extra.len());
    let of_run = owned::of_run(ec2, &state.label)?;
    owned::remove(ec2, of_run.iter().filter(|shot| state.extra.contains(&shot.id)))?;
    state.extra.clear();
    Ok(())
}

fn all_done(state: &State, shots: &[Shot], elapsed: Duration) -> Result<bool> {
    let mut done = true;
    for captured in &state.volumes {
        let id = &captured.snapshot;
        match shots.iter().find(|shot| shot.id == *id) {
            None if elapsed < UNKNOWN => done = false,
            None => return Err(Error::not_found(format!("the snapshot {id} of {} is gone", captured.volume))),
            Some(shot) => match shot.status.as_str() {
                "completed" => {}
                "pending" => done = false,
                "error" => {
                    let why = if shot.message.is_empty() { "EC2 does not say why" } else { &shot.message };
                    return Err(Error::other(format!("the snapshot {id} of {} failed: {why}", captured.volume)));
                }
                other => {
                    return Err(Error::other(format!("the snapshot {id} of {} is {other}", captured.volume)));
                }
            },
        }
    }
    Ok(done)
}
