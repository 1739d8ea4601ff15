//! Snapshots and sources.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Consistency, Error, FileSource, OutputSource, Result, Snapshot, Source, TreeSource, exec};

impl Snapshot {
    /// A snapshot taken now. `id` is the vendor's name for it; `state` is all that the later calls need to know.
    ///
    /// # Errors
    /// `state` does not serialise.
    pub fn new(id: impl Into<String>, consistency: Consistency, state: &impl Serialize) -> Result<Self> {
        let mut snapshot = Self {
            id: id.into(),
            created: now(),
            consistency,
            bytes: None,
            versions: Vec::new(),
            state: String::new(),
            base: None,
        };
        snapshot.set_state(state)?;
        Ok(snapshot)
    }

    /// A snapshot of the storage, taken now.
    ///
    /// # Errors
    /// `state` does not serialise.
    pub fn atomic(id: impl Into<String>, state: &impl Serialize) -> Result<Self> {
        Self::new(id, Consistency::Atomic, state)
    }

    /// A snapshot that the vendor's server keeps while it is read, taken now.
    ///
    /// # Errors
    /// `state` does not serialise.
    pub fn exported(id: impl Into<String>, state: &impl Serialize) -> Result<Self> {
        Self::new(id, Consistency::Exported, state)
    }

    /// A copy, made now.
    ///
    /// # Errors
    /// `state` does not serialise.
    pub fn copied(id: impl Into<String>, state: &impl Serialize) -> Result<Self> {
        Self::new(id, Consistency::Copied, state)
    }

    /// The plugin's own state.
    ///
    /// # Errors
    /// `corrupt`: the state is not what this plugin writes.
    pub fn state<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.state).map_err(|error| {
            Error::corrupt(format!("the state of snapshot {} cannot be read: {error}", self.id))
                .hint("was the set made by another plugin, or by a newer version of this one?")
        })
    }

    /// Replace the plugin's own state.
    ///
    /// # Errors
    /// `state` does not serialise.
    pub fn set_state(&mut self, state: &impl Serialize) -> Result<()> {
        self.state = serde_json::to_string(state)
            .map_err(|error| Error::other(format!("the state of snapshot {} cannot be written: {error}", self.id)))?;
        Ok(())
    }

    /// The same snapshot, with the version of something that took part in it.
    #[must_use]
    pub fn version(mut self, what: impl Into<String>, version: impl Into<String>) -> Self {
        self.versions.push((what.into(), version.into()));
        self
    }
}

/// Milliseconds since the Unix epoch, UTC.
#[must_use]
pub fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl Source {
    /// A directory tree: `name` is the directory that holds it in the archive (empty: the top), `root` a guest path.
    pub fn tree(name: impl Into<String>, root: impl Into<String>) -> Self {
        Self::Tree(TreeSource { name: name.into(), root: root.into(), exclude: Vec::new() })
    }

    /// A single file: its name in the archive, and its guest path.
    pub fn file(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self::File(FileSource { name: name.into(), path: path.into() })
    }

    /// The output of a running process.
    pub fn output(name: impl Into<String>, process: exec::Process) -> Self {
        Self::Output(OutputSource { name: name.into(), process })
    }
}
