//! Secrets: where they come from, and a type that does not print them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// A secret's value. Neither `Debug` nor `Display` shows it.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret of this value.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The value itself. For a child's environment, or a request that the host signs; nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    /// An environment variable of bkhost.
    Env(String),
    /// A file; one newline at its end is cut off.
    File(PathBuf),
    /// The stdout of a program (absolute path, then arguments; no shell); one newline at its end is cut off.
    Command(Vec<String>),
    /// A systemd credential (`LoadCredential=` of the unit).
    Credential(String),
}

/// A secret as it was read, and what the operator should know about its source.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The secret.
    pub secret: Secret,
    /// For example that others can read its file.
    pub warnings: Vec<String>,
}

impl SecretSource {
    /// Read the secret. `name` is how the configuration calls it, for messages.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: it cannot be read, or it is empty.
    pub async fn resolve(&self, name: &str) -> Result<Resolved> {
        Err(Error::new(ErrorKind::Config, format!("secret {name:?} cannot be read")))
    }
}
