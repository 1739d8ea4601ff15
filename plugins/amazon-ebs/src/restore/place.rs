//! Where the volumes go, and what has to make room there.

use std::collections::BTreeMap;

use bkhost_sdk::{Error, Result};

use crate::config::Config;
use crate::ec2::{Ec2, Instance};
use crate::state::{Captured, State};

/// A device of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) instance: String,
    pub(super) device: String,
    pub(super) zone: String,
    /// The volume that is there now, and goes.
    pub(super) occupant: Option<String>,
}

/// Where they were captured.
pub(super) fn original(config: &Config, ec2: &Ec2, state: &State) -> Result<Vec<Place>> {
    let mut instances: BTreeMap<String, Instance> = BTreeMap::new();
    let mut places = Vec::new();
    for captured in &state.volumes {
        let nowhere = || {
            Error::conflict(format!("{} was attached nowhere when it was captured", captured.volume))
                .hint("--to volumes creates the volume only, --to i-… attaches it")
        };
        let id = captured.instance.as_ref().ok_or_else(nowhere)?;
        let device = captured.device.as_ref().ok_or_else(nowhere)?;
        if let Some(now) = &config.instance_id
            && now != id
        {
            return Err(Error::conflict(format!(
                "{} was captured at {id}, and the configuration names {now}",
                captured.volume
            ))
            .hint(format!("--to {now} attaches to that one, without detaching anything")));
        }
        let instance = match instances.get(id) {
            Some(known) => known,
            None => instances.entry(id.clone()).or_insert(ec2.instance(id)?),
        };
        usable(instance)?;
        let occupant = instance.devices.get(device).cloned();
        if let Some(other) = &occupant {
            replaceable(config, captured, device, other)?;
        }
        if *device == instance.root_device && instance.state != "stopped" {
            return Err(Error::conflict(format!(
                "{} is the boot volume of {id}, which is {}",
                captured.volume, instance.state
            ))
            .hint(format!("stop it first: aws ec2 stop-instances --instance-ids {id}")));
        }
        places.push(Place { instance: id.clone(), device: device.clone(), zone: instance.zone.clone(), occupant });
    }
    Ok(places)
}

/// Only what the set or the configuration names is put aside.
fn replaceable(config: &Config, captured: &Captured, device: &str, other: &str) -> Result<()> {
    let named = |name: &String| name == other || name == device;
    if other == captured.volume || config.volumes.iter().any(named) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "{other} is at {device} of {}, where {} was captured",
        captured.instance.as_deref().unwrap_or_default(),
        captured.volume
    ))
    .hint(format!(
        "if it may make room, name it (or {device}) under [part.config] volumes; or restore with --to volumes"
    )))
}

/// At another instance, where nothing is put aside.
pub(super) fn elsewhere(config: &Config, ec2: &Ec2, state: &State, to: &str) -> Result<Vec<Place>> {
    let instance = ec2.instance(to)?;
    usable(&instance)?;
    let mut places = Vec::new();
    for captured in &state.volumes {
        let device = captured.device.as_ref().ok_or_else(|| {
            Error::conflict(format!("nobody knows the device of {}: it was attached nowhere", captured.volume))
                .hint("--to volumes creates the volume only")
        })?;
        if let Some(other) = instance.devices.get(device) {
            return Err(Error::conflict(format!("{other} is at {device} of {to}"))
                .hint("--to volumes creates the volumes only: attach them where there is room"));
        }
        places.push(Place {
            instance: to.to_owned(),
            device: device.clone(),
            zone: instance.zone.clone(),
            occupant: None,
        });
    }
    if let Some(zone) = config.restore.zone.as_ref().filter(|zone| **zone != instance.zone) {
        return Err(Error::invalid_config(format!("restore.zone is {zone}, and {to} is in {}", instance.zone))
            .hint("leave it out: a volume can only be attached in its own zone"));
    }
    Ok(places)
}

fn usable(instance: &Instance) -> Result<()> {
    if ["running", "stopped"].contains(&instance.state.as_str()) {
        return Ok(());
    }
    Err(Error::conflict(format!("the instance {} is {}", instance.id, instance.state))
        .hint("it has to be running or stopped; --to volumes needs no instance"))
}
