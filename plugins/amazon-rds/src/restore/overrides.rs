//! `[part.config.restore]`: what a restored database is to have instead of what was recorded.

use bkhost_sdk::{Error, Result};
use serde::Deserialize;

use crate::kind::Kind;
use crate::settings::{Cluster, Instance};

/// The keys; see `config.schema.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Overrides {
    class: Option<String>,
    multi_az: Option<bool>,
    pub(super) zone: Option<String>,
    subnet_group: Option<String>,
    security_groups: Option<Vec<String>>,
    parameter_group: Option<String>,
    cluster_parameter_group: Option<String>,
    option_group: Option<String>,
    storage_type: Option<String>,
    iops: Option<u64>,
    throughput: Option<u64>,
    port: Option<u16>,
    public: Option<bool>,
    deletion_protection: Option<bool>,
    #[serde(default = "day")]
    pub(crate) timeout_minutes: f64,
}

fn day() -> f64 {
    1440.0
}

/// Take the value if there is one.
fn take<T: Clone>(from: Option<&T>, to: &mut T) {
    if let Some(value) = from {
        to.clone_from(value);
    }
}

fn take_option<T: Clone>(from: Option<&T>, to: &mut Option<T>) {
    if from.is_some() {
        *to = from.cloned();
    }
}

impl Overrides {
    /// For a database that is looked at and deleted: nothing makes it dearer, lets others reach it, or protects it.
    pub(super) fn throw_away(self) -> Self {
        Self { multi_az: None, public: None, deletion_protection: None, ..self }
    }

    /// Refuse keys that mean nothing to this kind of database, or contradict each other.
    pub(crate) fn fit(&self, kind: Kind) -> Result<()> {
        let refuse = |key: &str, why: &str| {
            Err(Error::invalid_config(format!("restore.{key} cannot be used: {why}"))
                .hint("remove it from [part.config]"))
        };
        if kind == Kind::Cluster {
            let only_instances = [
                ("multi-az", self.multi_az.is_some()),
                ("zone", self.zone.is_some()),
                ("option-group", self.option_group.is_some()),
                ("throughput", self.throughput.is_some()),
            ];
            if let Some((key, _)) = only_instances.iter().find(|(_, set)| *set) {
                return refuse(key, "a cluster does not have it");
            }
        } else if self.cluster_parameter_group.is_some() {
            return refuse("cluster-parameter-group", "an instance does not have it");
        }
        if self.zone.is_some() && self.multi_az == Some(true) {
            return refuse("zone", "with multi-az, Amazon chooses the zones");
        }
        Ok(())
    }

    pub(super) fn instance(&self, settings: &mut Instance) {
        if self.zone.is_some() {
            settings.multi_az = false;
        }
        if self.storage_type.is_some() {
            // What was provisioned for the recorded type may not be possible with this one.
            settings.iops = None;
            settings.throughput = None;
        }
        take(self.class.as_ref(), &mut settings.class);
        take(self.multi_az.as_ref(), &mut settings.multi_az);
        take_option(self.subnet_group.as_ref(), &mut settings.subnet_group);
        take(self.security_groups.as_ref(), &mut settings.security_groups);
        take_option(self.parameter_group.as_ref(), &mut settings.parameter_group);
        take_option(self.option_group.as_ref(), &mut settings.option_group);
        take_option(self.storage_type.as_ref(), &mut settings.storage_type);
        take_option(self.iops.as_ref(), &mut settings.iops);
        take_option(self.throughput.as_ref(), &mut settings.throughput);
        take_option(self.port.as_ref(), &mut settings.port);
        take_option(self.public.as_ref(), &mut settings.public);
        take(self.deletion_protection.as_ref(), &mut settings.deletion_protection);
    }

    pub(super) fn cluster(&self, settings: &mut Cluster) {
        if self.storage_type.is_some() {
            settings.iops = None;
        }
        take_option(self.subnet_group.as_ref(), &mut settings.subnet_group);
        take(self.security_groups.as_ref(), &mut settings.security_groups);
        take_option(self.cluster_parameter_group.as_ref(), &mut settings.parameter_group);
        take_option(self.storage_type.as_ref(), &mut settings.storage_type);
        take_option(self.iops.as_ref(), &mut settings.iops);
        take_option(self.port.as_ref(), &mut settings.port);
        take(self.deletion_protection.as_ref(), &mut settings.deletion_protection);
        if settings.class.is_some() {
            take_option(self.class.as_ref(), &mut settings.class);
            take_option(self.public.as_ref(), &mut settings.public);
        } else if settings.members.is_empty() && self.class.is_some() {
            settings.members.push(Instance { writer: true, ..Instance::default() });
        }
        for member in &mut settings.members {
            take(self.class.as_ref(), &mut member.class);
            take_option(self.parameter_group.as_ref(), &mut member.parameter_group);
            take_option(self.public.as_ref(), &mut member.public);
        }
    }
}
