//! Creating, attaching and detaching volumes, each waited for.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bkhost_sdk::{Error, ErrorCode, Result, config, progress, warn};
use bkhost_sdk_aws::{Deadline, Failure, Parameters};

use super::place::Place;
use crate::config::Config;
use crate::ec2::{Ec2, Volume};
use crate::owned;
use crate::state::{Captured, State};
use crate::wait::pauses;

/// What a restored volume came from.
const FROM: &str = "bkhost:restored-from";

/// A volume that this restore has created.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) volume: String,
    pub(super) snapshot: String,
    pub(super) zone: String,
}

/// All of them, until each is available.
pub(super) fn create(
    config: &Config,
    ec2: &Ec2,
    state: &State,
    zones: &[String],
    drill: bool,
    made: &mut Vec<Made>,
) -> Result<()> {
    // The same token means the same volume: a lost answer does not make a second one.
    let token = RandomState::new().hash_one(&state.label);
    for (n, (captured, zone)) in state.volumes.iter().zip(zones).enumerate() {
        let call =
            wanted(config, &state.label, captured, zone, drill).set("ClientToken", format!("bkhost-{token:016x}-{n}"));
        let answer = ec2.client.change_again("CreateVolume", &call)?.unwrap_or_default();
        let volume = answer.text("volumeId").to_owned();
        if volume.is_empty() {
            return Err(Error::other("EC2 does not name the volume that it created"));
        }
        made.push(Made { volume, snapshot: captured.snapshot.clone(), zone: zone.clone() });
    }
    let deadline = Deadline::after(config.timeout());
    for (n, new) in made.iter().enumerate() {
        progress::report("EBS volumes", n as u64, Some(made.len() as u64));
        until(ec2, &new.volume, &deadline, "available", |volume| match volume.status.as_str() {
            "available" => Ok(true),
            "creating" => Ok(false),
            other => Err(Error::other(format!("the new volume {} from {} is {other}", new.volume, new.snapshot))
                .hint("may the credentials use the key that the snapshot is encrypted with?")),
        })?;
    }
    progress::report("EBS volumes", made.len() as u64, Some(made.len() as u64));
    Ok(())
}

/// As the volume was, where the configuration does not say otherwise.
pub(crate) fn wanted(config: &Config, label: &str, captured: &Captured, zone: &str, drill: bool) -> Parameters {
    let restore = &config.restore;
    let was = Some(captured.kind.as_str()).filter(|kind| !kind.is_empty());
    let kind = restore.kind.as_deref().or(was);
    let same = kind == was;
    // gp2 and the magnetic ones compute theirs; EC2 refuses to be told.
    let iops = kind.is_some_and(|kind| ["gp3", "io1", "io2"].contains(&kind));
    let iops = restore.iops.or(captured.iops.filter(|_| same && iops));
    let throughput = restore.throughput.or(captured.throughput.filter(|_| same && kind == Some("gp3")));
    let key = restore.kms_key.as_ref().or(captured.kms_key.as_ref());
    let mut tags = owned::tags(label);
    // No tag of a run: that is for what a run makes.
    tags.retain(|(key, _)| key != owned::RUN);
    tags.push((FROM.to_owned(), captured.snapshot.clone()));
    tags.extend(drill.then(|| (owned::DRILL.to_owned(), "yes".to_owned())));
    owned::specification("volume", &tags)
        .set("SnapshotId", &captured.snapshot)
        .set("AvailabilityZone", zone)
        .maybe("VolumeType", kind)
        .maybe("Iops", iops)
        .maybe("Throughput", throughput)
        .maybe("Encrypted", (captured.encrypted || key.is_some()).then_some(true))
        .maybe("KmsKeyId", key)
}

/// Attach it there, unless it is, and wait until it is.
pub(super) fn attach(config: &Config, ec2: &Ec2, volume: &str, place: &Place) -> Result<()> {
    let Place { instance, device, .. } = place;
    let call = Parameters::new().set("VolumeId", volume).set("InstanceId", instance).set("Device", device);
    let there = |v: &Volume| v.at(instance).is_some_and(|a| a.device == *device && a.status != "detaching");
    if !ec2.volume(volume).is_ok_and(|volume| there(&volume)) {
        changed(ec2.client.change("AttachVolume", &call), || Ok(there(&ec2.volume(volume)?)))?;
    }
    let deadline = Deadline::after(config.attach_timeout());
    until(ec2, volume, &deadline, &format!("attached to {instance} at {device}"), |volume| {
        Ok(volume.at(instance).is_some_and(|a| a.device == *device && a.status == "attached"))
    })
}

/// Detach it from there, if it is, and wait until it is available.
pub(super) fn detach(config: &Config, ec2: &Ec2, volume: &str, instance: &str) -> Result<()> {
    let call = Parameters::new().set("VolumeId", volume).set("InstanceId", instance);
    let gone = |v: &Volume| v.at(instance).is_none_or(|a| ["detaching", "detached"].contains(&a.status.as_str()));
    let now = ec2.volume(volume)?;
    if now.at(instance).is_none() {
        return Ok(());
    }
    if !gone(&now) {
        changed(ec2.client.change("DetachVolume", &call), || Ok(gone(&ec2.volume(volume)?)))?;
    }
    let deadline = Deadline::after(config.attach_timeout());
    let outcome = until(ec2, volume, &deadline, &format!("detached from {instance}"), |volume| {
        Ok(volume.at(instance).is_none() && volume.status != "in-use")
    });
    outcome.map_err(|error| match error.code {
        ErrorCode::TimedOut => {
            error.hint("it is still in use there: stop the application and unmount its file systems")
        }
        _ => error,
    })
}

/// A call whose outcome nobody knows may have done it.
fn changed<T>(outcome: Result<T, Failure>, done: impl Fn() -> Result<bool>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(failure) if failure.is_uncertain() && !failure.is_interrupted() && done().unwrap_or(false) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// Waits until a volume is as it has to be.
fn until(
    ec2: &Ec2,
    volume: &str,
    deadline: &Deadline,
    what: &str,
    done: impl Fn(&Volume) -> Result<bool>,
) -> Result<()> {
    let mut pauses = pauses();
    loop {
        // EC2 may not know it yet, just after it was created.
        let found = ec2.volumes_by_id(&[volume.to_owned()])?.into_iter().find(|found| found.id == volume);
        if let Some(found) = &found
            && done(found)?
        {
            return Ok(());
        }
        if !pauses.wait(deadline) {
            let status = found.map_or_else(|| "unknown to EC2".to_owned(), |found| found.status);
            let message = format!("{volume} is not {what} after {} s: it is {status}", deadline.limit().as_secs());
            return Err(Error::new(ErrorCode::TimedOut, message));
        }
    }
}

/// What a failed restore has created goes.
pub(super) fn delete(config: &Config, ec2: &Ec2, made: &[Made]) {
    for new in made {
        if let Err(error) = remove(config, ec2, &new.volume) {
            let why = error.message;
            warn!("the new volume {} is left, tagged {} = {}: {why}", new.volume, owned::PART, config::part());
        }
    }
}

/// Delete a volume that was made here. Idempotent.
///
/// # Errors
/// What EC2 refuses for longer than it may take.
pub(super) fn remove(config: &Config, ec2: &Ec2, volume: &str) -> Result<()> {
    let deadline = Deadline::after(config.attach_timeout().min(Duration::from_secs(120)));
    let mut pauses = pauses();
    loop {
        match ec2.client.change_again("DeleteVolume", &Parameters::new().set("VolumeId", volume)) {
            Ok(_) => return Ok(()),
            Err(failure) if failure.is_missing() => return Ok(()),
            // It is being created or detached.
            Err(failure) if ["VolumeInUse", "IncorrectState"].contains(&failure.code()) && pauses.wait(&deadline) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
}
