//! What the operator allows one plugin, pinned to the SHA-256 of its file: a `[[grant]]` of `bkhost.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A `[[grant]]`. What it does not name is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grant {
    /// The plugin, as `[[part]] plugin` names it.
    pub plugin: String,
    /// The SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// The program for each command id: an absolute path.
    #[serde(default)]
    pub exec: BTreeMap<String, PathBuf>,
    /// Directories that may be read, with all that is below them.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// Directories that may be read and written, with all that is below them.
    #[serde(default)]
    pub write: Vec<PathBuf>,
    /// Directories whose file systems may be frozen while a snapshot is taken, with all that is below them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<PathBuf>,
    /// Servers that may be called.
    #[serde(default)]
    pub http: Vec<HttpGrant>,
    /// Servers (their origins) whose requests are signed with our keys, for a plugin that asks for it. They have to be in
    /// `http` too.
    #[serde(default)]
    pub sign: Vec<String>,
}

/// A server that may be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HttpGrant {
    /// Its origin: `https://host`, `https://host:port`. A name has to resolve to public addresses; an IP address and
    /// `localhost` are allowed as they stand.
    Origin(String),
    /// An origin whose name may resolve to a private address.
    Full(HttpGrantTable),
}

/// The long form of a server that may be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HttpGrantTable {
    /// Its origin.
    pub url: String,
    /// Its name may resolve to a loopback, private or link-local address.
    #[serde(default)]
    pub private: bool,
}

impl HttpGrant {
    /// The origin, as it was written.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Origin(url) | Self::Full(HttpGrantTable { url, .. }) => url,
        }
    }

    /// Whether its name may resolve to a private address.
    #[must_use]
    pub fn private(&self) -> bool {
        matches!(self, Self::Full(HttpGrantTable { private: true, .. }))
    }
}
