//! What is kept of a snapshot.

use serde::{Deserialize, Serialize};

use crate::repository::Repository;

/// The plugin's state of a snapshot: all that a fresh instance needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct State {
    /// The run's.
    pub(crate) label: String,
    /// The snapshot's name in the repository. Empty: nothing was captured.
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) repository: Repository,
    /// What tells it from another of the same name.
    #[serde(default)]
    pub(crate) uuid: String,
    #[serde(default)]
    pub(crate) indices: Vec<String>,
    /// Primary shards.
    #[serde(default)]
    pub(crate) shards: u64,
    #[serde(default)]
    pub(crate) global_state: bool,
    /// Nothing was captured, and this is what to do instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rebuild: Vec<String>,
    /// A dry run: nothing was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) planned: bool,
}
