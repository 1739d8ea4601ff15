//! What is captured, and what is kept of it.

use bkhost_sdk::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::{Config, is_id};
use crate::ec2::{Ec2, Instance, Shot, Volume};

/// The plugin's state of a snapshot: all that a fresh instance needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct State {
    pub(crate) label: String,
    pub(crate) volumes: Vec<Captured>,
    /// Snapshots that the call made of volumes that nobody asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) extra: Vec<String>,
    /// A dry run: nothing was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) planned: bool,
}

/// The snapshot of one volume, and what the volume was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Captured {
    pub(crate) snapshot: String,
    pub(crate) volume: String,
    /// The snapshot is a copy of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    #[serde(default)]
    pub(crate) instance: Option<String>,
    #[serde(default)]
    pub(crate) device: Option<String>,
    /// The instance boots from it.
    #[serde(default)]
    pub(crate) boot: bool,
    pub(crate) gib: u64,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) iops: Option<u32>,
    #[serde(default)]
    pub(crate) throughput: Option<u32>,
    pub(crate) zone: String,
    pub(crate) encrypted: bool,
    #[serde(default)]
    pub(crate) kms_key: Option<String>,
}

impl State {
    pub(crate) fn snapshots(&self) -> Vec<String> {
        self.volumes.iter().map(|captured| captured.snapshot.clone()).chain(self.extra.iter().cloned()).collect()
    }
}

impl Captured {
    /// Whether a snapshot is of its volume. Of a copy EC2 does not say so, but our tag says what it is a copy of.
    pub(crate) fn is_of(&self, shot: &Shot) -> bool {
        match &self.source {
            Some(_) => shot.source == self.source,
            None => shot.volume == self.volume,
        }
    }

    pub(crate) fn new(snapshot: &str, volume: &Volume, instance: Option<&Instance>) -> Self {
        let attachment = match instance {
            Some(instance) => volume.at(&instance.id),
            None => volume.attachments.first(),
        };
        Self {
            snapshot: snapshot.to_owned(),
            volume: volume.id.clone(),
            source: None,
            instance: attachment.map(|a| a.instance.clone()),
            device: attachment.map(|a| a.device.clone()),
            boot: instance.zip(attachment).is_some_and(|(instance, a)| a.device == instance.root_device),
            gib: volume.gib,
            kind: volume.kind.clone(),
            iops: volume.iops,
            throughput: volume.throughput,
            zone: volume.zone.clone(),
            encrypted: volume.encrypted,
            kms_key: volume.kms_key.clone(),
        }
    }
}

/// The volumes to capture, as they are now.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The instance that all of them are attached to.
    pub(crate) instance: Option<Instance>,
    pub(crate) volumes: Vec<Volume>,
    /// The other volumes of the instance.
    pub(crate) others: Vec<String>,
}

impl Target {
    pub(crate) fn find(config: &Config, ec2: &Ec2) -> Result<Self> {
        let Some(id) = &config.instance_id else {
            let volumes = config.volumes.iter().map(|id| ec2.volume(id)).collect::<Result<Vec<_>>>()?;
            return Ok(Self { instance: None, volumes, others: Vec::new() });
        };
        let instance = ec2.instance(id)?;
        let attached = ec2.volumes_of(id)?;
        let (volumes, others) = choose(config, ec2, &instance, attached)?;
        if volumes.is_empty() {
            return Err(Error::invalid_config(format!("the instance {id} has no volume but its boot volume"))
                .hint("set boot-volume = true, or name the volumes"));
        }
        Ok(Self { instance: Some(instance), volumes, others: others.into_iter().map(|volume| volume.id).collect() })
    }
}

/// The chosen ones, and the rest.
fn choose(
    config: &Config,
    ec2: &Ec2,
    instance: &Instance,
    attached: Vec<Volume>,
) -> Result<(Vec<Volume>, Vec<Volume>)> {
    let device = |volume: &Volume| volume.at(&instance.id).map(|a| a.device.clone()).unwrap_or_default();
    if config.volumes.is_empty() {
        return Ok(attached.into_iter().partition(|v| config.boot_volume || device(v) != instance.root_device));
    }
    for name in &config.volumes {
        if attached.iter().any(|volume| volume.id == *name || device(volume) == *name) {
            continue;
        }
        if !is_id(name) {
            let known: Vec<_> = attached.iter().map(device).collect();
            return Err(Error::not_found(format!("the instance {} has no volume at {name}", instance.id))
                .hint(format!("it has: {}", known.join(", "))));
        }
        let volume = ec2.volume(name)?;
        let place = match volume.attachments.first() {
            Some(attachment) => format!("it is attached to {}", attachment.instance),
            None => "it is attached to none".to_owned(),
        };
        return Err(Error::invalid_config(format!(
            "the volume {name} is not attached to the instance {}: {place}",
            instance.id
        ))
        .hint(
            "after a restore in place the new volume has another id: name volumes by their devices (/dev/sdf) instead",
        ));
    }
    Ok(attached.into_iter().partition(|v| config.volumes.iter().any(|name| *name == v.id || *name == device(v))))
}
