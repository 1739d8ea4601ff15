//! `[part.config]`.

use std::time::Duration;

use bkhost_sdk::{Error, Result};
use serde::Deserialize;

/// The part's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    pub(crate) region: String,
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    #[serde(default)]
    pub(crate) instance_id: Option<String>,
    /// Ids, or devices of the instance.
    #[serde(default)]
    pub(crate) volumes: Vec<String>,
    #[serde(default)]
    pub(crate) boot_volume: bool,
    /// Mount points that stand frozen meanwhile.
    #[serde(default)]
    pub(crate) freeze: Vec<String>,
    #[serde(default = "timeout")]
    timeout: u64,
    #[serde(default = "attach_timeout")]
    attach_timeout: u64,
    #[serde(default)]
    pub(crate) restore: Wanted,
    /// A drill may create volumes.
    #[serde(default)]
    pub(crate) drill: bool,
    /// The other place that this instance works for.
    #[serde(default)]
    pub(crate) offsite: Option<Place>,
}

/// Where copies go.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) region: String,
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// In another account.
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    pub(crate) kms_key: Option<String>,
    #[serde(default)]
    zone: Option<String>,
}

impl Place {
    /// The other account, if it is one.
    pub(crate) fn account(&self) -> Option<&str> {
        self.role.as_deref()?.split(':').nth(4)
    }
}

/// What the volumes of a restore are to be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Wanted {
    #[serde(default)]
    pub(crate) zone: Option<String>,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) iops: Option<u32>,
    #[serde(default)]
    pub(crate) throughput: Option<u32>,
    #[serde(default)]
    pub(crate) kms_key: Option<String>,
}

fn timeout() -> u64 {
    43_200
}

fn attach_timeout() -> u64 {
    600
}

impl Config {
    /// Values that contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(place) = self.offsite.as_ref().filter(|place| place.region == self.region && place.role.is_none()) {
            return Err(Error::invalid_config(format!(
                "the place `{}` is {}, where the volumes are, and in the same account: that is no other place",
                place.name, place.region
            ))
            .hint("under [part.offsite.config]: another region, or a role in another account"));
        }
        if self.instance_id.is_some() {
            return Ok(());
        }
        if self.volumes.is_empty() {
            return Err(Error::invalid_config("neither instance-id nor volumes says what to back up")
                .hint("set instance-id for all data volumes of an instance, or volumes to their ids"));
        }
        if let Some(device) = self.volumes.iter().find(|name| !is_id(name)) {
            return Err(Error::invalid_config(format!(
                "volumes: {device} is a device, and no instance-id says of what"
            ))
            .hint("set instance-id, or name the volumes by their ids (vol-…)"));
        }
        if self.volumes.len() > 1 && self.freeze.is_empty() {
            return Err(Error::invalid_config(format!(
                "{} volumes cannot be captured at one point without an instance-id or frozen file systems",
                self.volumes.len()
            ))
            .hint("set instance-id to the instance they are attached to, or freeze to the mount points of their file systems here"));
        }
        Ok(())
    }

    /// What a restore at the place goes by: zones and keys are others there.
    pub(crate) fn there(mut self) -> Self {
        if let Some(place) = &self.offsite {
            self.restore.zone = place.zone.clone();
            self.restore.kms_key = None;
        }
        self
    }

    /// The directories to freeze, as the guest sees them.
    pub(crate) fn mounts(&self) -> Vec<String> {
        (0..self.freeze.len()).map(|n| format!("/source/mount/{n}")).collect()
    }

    /// For a snapshot to become complete, or a volume available.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// For a volume to be attached or detached.
    pub(crate) fn attach_timeout(&self) -> Duration {
        Duration::from_secs(self.attach_timeout)
    }
}

/// Whether this names a volume by its id.
pub(crate) fn is_id(name: &str) -> bool {
    name.starts_with("vol-")
}
