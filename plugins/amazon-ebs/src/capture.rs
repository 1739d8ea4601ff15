//! Under the lock: one call.

use std::time::Duration;

use bkhost_sdk::{Error, Result, Snapshot, freeze, now, warn};
use bkhost_sdk_aws::{Element, Failure, Parameters};

use crate::ec2::{Ec2, Shot};
use crate::owned;
use crate::state::{Captured, State, Target};

/// How long a call is repeated that EC2 refuses for now: the application is locked meanwhile. A volume that was
/// snapshotted a moment ago is refused for 15 seconds.
const PATIENCE: Duration = Duration::from_secs(45);

pub(crate) fn capture(ec2: &Ec2, target: &Target, mounts: &[String], label: &str) -> Result<Snapshot> {
    // The point is fixed somewhere in the call: at its beginning, to be careful.
    let begun = now();
    let outcome = frozen(mounts, || take(ec2, target, label)).and_then(|shots| match shots {
        Some(shots) => keep(target, label, &shots).map(Some),
        None => Ok(None),
    });
    let state = match outcome {
        Ok(Some(state)) => state,
        Ok(None) => return planned(target, label),
        Err(error) => {
            // Its siblings may be there.
            if let Err(left) = owned::of_run(ec2, label).and_then(|shots| owned::remove(ec2, shots.iter())) {
                warn!("{}", left.message);
            }
            return Err(error);
        }
    };
    let mut snapshot = Snapshot::atomic(ids(&state), &state)?;
    snapshot.created = begun;
    Ok(snapshot)
}

/// While the file systems stand still, if any are to. They go on before anything else is done.
fn frozen<T>(mounts: &[String], work: impl FnOnce() -> Result<T>) -> Result<T> {
    if mounts.is_empty() {
        return work();
    }
    let frozen = freeze(mounts)?;
    let outcome = work();
    let thawed = frozen.thaw();
    // A thaw that came too late says that the point is none, whatever was made.
    outcome.and_then(|value| thawed.map(|()| value))
}

fn ids(state: &State) -> String {
    state.volumes.iter().map(|captured| captured.snapshot.as_str()).collect::<Vec<_>>().join(" ")
}

fn planned(target: &Target, label: &str) -> Result<Snapshot> {
    let instance = target.instance.as_ref();
    let volumes = target.volumes.iter().map(|volume| Captured::new("snap-planned", volume, instance)).collect();
    let state = State { label: label.to_owned(), volumes, planned: true, ..State::default() };
    Snapshot::atomic(label, &state)
}

/// None in a dry run.
fn take(ec2: &Ec2, target: &Target, label: &str) -> Result<Option<Vec<Shot>>> {
    let common = owned::specification("snapshot", &owned::tags(label)).set("Description", label);
    match (&target.instance, target.volumes.as_slice()) {
        (Some(instance), [_, _, ..]) => {
            let boot = instance.devices.get(&instance.root_device);
            let without_boot = boot.is_some_and(|boot| target.others.contains(boot));
            let others = target.others.iter().filter(|other| Some(*other) != boot);
            let call = common.set("InstanceSpecification.InstanceId", &instance.id);
            let call = if without_boot { call.set("InstanceSpecification.ExcludeBootVolume", true) } else { call };
            let call = call.list("InstanceSpecification.ExcludeDataVolumeId", others);
            let volumes: Vec<_> = target.volumes.iter().map(|volume| volume.id.as_str()).collect();
            make(ec2, "CreateSnapshots", &call, &volumes, label)
        }
        // One, or several that stand frozen together.
        (_, volumes) => {
            let mut all = Vec::new();
            for volume in volumes {
                let call = common.clone().set("VolumeId", &volume.id);
                let Some(made) = make(ec2, "CreateSnapshot", &call, &[&volume.id], label)? else { return Ok(None) };
                all.extend(made);
            }
            Ok(Some(all))
        }
    }
}

fn make(ec2: &Ec2, action: &str, call: &Parameters, volumes: &[&str], label: &str) -> Result<Option<Vec<Shot>>> {
    match ec2.client.patience(PATIENCE).change(action, call) {
        Ok(Some(answer)) => Ok(Some(read(&answer))),
        Ok(None) => Ok(None),
        Err(failure) => lost(ec2, volumes, label, failure).map(Some),
    }
}

fn read(answer: &Element) -> Vec<Shot> {
    match answer.list("snapshotSet") {
        [] => vec![Shot::read(answer)],
        items => items.iter().map(Shot::read).collect(),
    }
}

/// The call failed. If nobody knows whether it was done, EC2 does: what it made has our tags from the first moment. The
/// application is still locked, so what is there by now is a good point.
fn lost(ec2: &Ec2, volumes: &[&str], label: &str, failure: Failure) -> Result<Vec<Shot>> {
    if !failure.is_uncertain() || failure.is_interrupted() {
        return Err(failure.into());
    }
    let mut found = owned::made(ec2, label, volumes)?;
    if let [volume] = volumes {
        found.retain(|shot| shot.volume == *volume);
    }
    if volumes.iter().all(|volume| found.iter().any(|shot| shot.volume == *volume)) {
        warn!("the answer was lost, and the snapshots are there: {}", Error::from(failure).message);
        return Ok(found);
    }
    Err(failure.into())
}

/// One snapshot for each volume; others are not kept.
fn keep(target: &Target, label: &str, shots: &[Shot]) -> Result<State> {
    let mut state = State { label: label.to_owned(), ..State::default() };
    for volume in &target.volumes {
        let shot = shots.iter().find(|shot| shot.volume == volume.id && !shot.id.is_empty()).ok_or_else(|| {
            Error::other(format!("EC2 made no snapshot of {}", volume.id))
                .hint("was it detached after the run began? Run again")
        })?;
        state.volumes.push(Captured::new(&shot.id, volume, target.instance.as_ref()));
    }
    let kept: Vec<&str> = state.volumes.iter().map(|captured| captured.snapshot.as_str()).collect();
    let extra = shots.iter().map(|shot| shot.id.clone()).filter(|id| !kept.contains(&id.as_str()) && !id.is_empty());
    state.extra = extra.collect();
    Ok(state)
}
