//! Restore: new volumes, and only when all of them are there the old ones make room. No volume is ever deleted but one
//! that a failed restore has created itself.
//!
//! - no `--to`: at the instance and the devices that the volumes were captured at. The old volume is detached and kept.
//! - `--to i-…`: at that instance, at the same devices, which have to be free.
//! - `--to volumes`: they are created, and attached to nothing.

mod drill;
mod place;
mod volumes;

use bkhost_sdk::{Error, ErrorCode, Result, info, warn};
use bkhost_sdk_aws::Parameters;

use crate::config::Config;
use crate::ec2::Ec2;
use crate::state::{Captured, State};
use place::Place;
use volumes::Made;
#[cfg(test)]
pub(crate) use volumes::wanted;

pub(crate) use drill::{clear, rehearse};

pub(crate) fn restore(config: &Config, ec2: &Ec2, state: &State, to: Option<&str>) -> Result<()> {
    complete(ec2, state)?;
    let places = match to {
        Some("volumes") => None,
        Some(to) if to.starts_with("i-") => Some(place::elsewhere(config, ec2, state, to)?),
        Some(other) => {
            return Err(Error::invalid_config(format!("--to {other:?} names no place for volumes"))
                .hint("--to i-… attaches them to that instance, --to volumes creates them only"));
        }
        None if ec2.place.is_some() => {
            return Err(Error::invalid_config("the instance that the volumes came from is not at this place")
                .hint("--to i-… attaches them to an instance there, --to volumes creates them only"));
        }
        None => Some(place::original(config, ec2, state)?),
    };
    if let Some(places) = &places {
        rights(ec2, places)?;
    }
    let zones = zones(config, state, places.as_deref(), ec2.place.as_ref())?;
    let mut made = Vec::new();
    let outcome = volumes::create(config, ec2, state, &zones, false, &mut made).and_then(|()| match &places {
        Some(places) => attach(config, ec2, places, &made),
        None => Ok(()),
    });
    match outcome {
        Ok(()) => {
            told(&made, places.as_deref());
            Ok(())
        }
        Err(error) => {
            volumes::delete(config, ec2, &made);
            Err(error)
        }
    }
}

/// The snapshots are there, and good to restore from.
fn complete(ec2: &Ec2, state: &State) -> Result<()> {
    if state.volumes.is_empty() || state.planned {
        return Err(Error::not_found("the set holds no snapshot of a volume"));
    }
    let ids: Vec<String> = state.volumes.iter().map(|captured| captured.snapshot.clone()).collect();
    let shots = ec2.shots_by_id(&ids)?;
    for captured in &state.volumes {
        let id = &captured.snapshot;
        match shots.iter().find(|shot| shot.id == *id) {
            Some(shot) if shot.status == "completed" && captured.is_of(shot) => {}
            Some(shot) if shot.status != "completed" => {
                let message =
                    format!("the snapshot {id} of {} is {}: none to restore from", captured.volume, shot.status);
                return Err(Error::new(ErrorCode::Conflict, message));
            }
            Some(shot) => {
                return Err(Error::corrupt(format!(
                    "the snapshot {id} is of {}, not of {}",
                    shot.volume, captured.volume
                )));
            }
            None => return Err(Error::not_found(format!("the snapshot {id} of {} does not exist", captured.volume))),
        }
    }
    Ok(())
}

fn zones(config: &Config, state: &State, places: Option<&[Place]>, ec2_place: Option<&String>) -> Result<Vec<String>> {
    let of = |(n, captured): (usize, &Captured)| {
        let zone = match places {
            // A volume can only be attached in its own zone.
            Some(places) => places.get(n).map(|place| place.zone.clone()),
            None => config.restore.zone.clone().or_else(|| Some(captured.zone.clone())),
        };
        zone.filter(|zone| !zone.is_empty()).ok_or_else(|| {
            Error::invalid_config(format!("nobody knows the zone for {}", captured.volume)).hint(match ec2_place {
                Some(_) => "under [part.offsite.config]: zone = \"…\"",
                None => "under [part.config]: restore = { zone = \"…\" }",
            })
        })
    };
    state.volumes.iter().enumerate().map(of).collect()
}

/// Whatever right is missing shows before anything is made. That the volumes do not exist yet does not matter to EC2 when it
/// looks at rights.
fn rights(ec2: &Ec2, places: &[Place]) -> Result<()> {
    for place in places {
        let Some(old) = &place.occupant else { continue };
        let call = Parameters::new().set("VolumeId", old).set("InstanceId", &place.instance).set("DryRun", true);
        if let Err(failure) = ec2.client.read("DetachVolume", &call)
            && failure.is_denied()
        {
            return Err(failure.into());
        }
        let call = call.set("Device", &place.device);
        if let Err(failure) = ec2.client.read("AttachVolume", &call)
            && failure.is_denied()
        {
            return Err(failure.into());
        }
    }
    Ok(())
}

/// One after the other; at the first failure everything goes back.
fn attach(config: &Config, ec2: &Ec2, places: &[Place], made: &[Made]) -> Result<()> {
    for (n, (place, new)) in places.iter().zip(made).enumerate() {
        if let Err(error) = swap(config, ec2, place, new) {
            for (place, new) in places.iter().zip(made).take(n + 1).rev() {
                back(config, ec2, place, new);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// The old volume has to go first: a device holds one volume, and the system must never see two of the same content.
fn swap(config: &Config, ec2: &Ec2, place: &Place, new: &Made) -> Result<()> {
    if let Some(old) = &place.occupant {
        volumes::detach(config, ec2, old, &place.instance)?;
    }
    volumes::attach(config, ec2, &new.volume, place)
}

fn back(config: &Config, ec2: &Ec2, place: &Place, new: &Made) {
    let undo = || -> Result<()> {
        volumes::detach(config, ec2, &new.volume, &place.instance)?;
        match &place.occupant {
            Some(old) => volumes::attach(config, ec2, old, place),
            None => Ok(()),
        }
    };
    match (undo(), &place.occupant) {
        (Ok(()), Some(old)) => info!("{old} is at {} of {} again", place.device, place.instance),
        (Ok(()), None) => {}
        (Err(error), old) => {
            let old = old.as_deref().unwrap_or("nothing");
            warn!(
                "{} of {} could not be brought back ({old} was there): {}. Attach it by hand: aws ec2 attach-volume",
                place.device, place.instance, error.message
            );
        }
    }
}

fn told(made: &[Made], places: Option<&[Place]>) {
    for (n, new) in made.iter().enumerate() {
        match places.and_then(|places| places.get(n)) {
            Some(Place { instance, device, occupant: Some(old), .. }) => {
                info!(
                    "{} (from {}) is at {device} of {instance}; the old {old} is kept, detached",
                    new.volume, new.snapshot
                );
            }
            Some(Place { instance, device, .. }) => {
                info!("{} (from {}) is at {device} of {instance}", new.volume, new.snapshot);
            }
            None => info!("{} (from {}) is available in {}", new.volume, new.snapshot, new.zone),
        }
    }
}
