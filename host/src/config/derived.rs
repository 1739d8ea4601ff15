//! Configurations that follow from a set or a store, for when the file that made it is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::drill::Drill;
use super::keep::{Coverage, Metrics, Retention};
use super::model::{Application, Archive, Config, Instance, Limits, NoApplication, Part, StoreConfig};
use super::profile::Profile;
use super::restore::RestoreConfig;
use crate::archive::set::{PartRecord, SetManifest};

impl Config {
    /// An instance without parts: enough to look at its sets.
    #[must_use]
    pub fn without_parts(instance: &str, store: &str) -> Self {
        Self {
            instance: Instance { name: instance.to_owned(), state: None, rpo: None },
            application: Application::None(NoApplication::default()),
            parts: Vec::new(),
            stores: vec![StoreConfig::at(store)],
            retention: Retention::default(),
            coverage: Coverage::default(),
            metrics: Metrics::default(),
            archive: Archive::default(),
            restore: RestoreConfig::default(),
            encryption: None,
            drill: Drill::default(),
            notify: Vec::new(),
            grants: Vec::new(),
            dir: PathBuf::new(),
            file: None,
        }
    }

    /// What a set tells of the configuration that made it: its parts with their plugins' names and keys. No grants, no
    /// secrets and no application: those have to be given.
    #[must_use]
    pub fn from_set(set: &SetManifest, store: &str) -> Self {
        Self { parts: set.parts.iter().map(part).collect(), ..Self::without_parts(&set.instance, store) }
    }
}

fn part(record: &PartRecord) -> Part {
    let left_out = record.left_out.clone().unwrap_or_default();
    Part {
        name: record.name.clone(),
        plugin: format!("{}.wasm", record.plugin),
        after: Vec::new(),
        run_as: None,
        staging: None,
        via: Vec::new(),
        profile: left_out.profile.as_deref().and_then(Profile::named),
        exclude: left_out.exclude,
        // A set of another version may have others: what was left out then is in the set all the same.
        options: serde_json::from_value(left_out.options).unwrap_or_default(),
        config: record.config.as_object().cloned().unwrap_or_default(),
        secrets: BTreeMap::new(),
        programs: BTreeMap::new(),
        min_share: None,
        limits: Limits::default(),
        offsite: Vec::new(),
        loose: BTreeMap::new(),
    }
}
