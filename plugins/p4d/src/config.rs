//! `[part.config]`, and where it says that files are.

use std::time::Duration;

use bkhost_sdk::{Error, Result};
use serde::{Deserialize, Serialize};

/// Who takes the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Method {
    P4d,
    P4,
}

/// What p4d compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Compress {
    None,
    Checkpoint,
    Both,
}

/// `[part.config]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Config {
    pub(crate) method: Method,
    pub(crate) root: String,
    pub(crate) checkpoints: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) journal: Option<String>,
    pub(crate) compress: Compress,
    pub(crate) case_handling: Option<u8>,
    pub(crate) checkpoint_every: u64,
    pub(crate) timeout: String,
    pub(crate) remove_checkpoints: bool,
    pub(crate) port: Option<String>,
    pub(crate) user: Option<String>,
}

impl Config {
    /// How long a checkpoint may take. The schema has seen to its form.
    pub(crate) fn timeout(&self) -> Duration {
        let number: String = self.timeout.chars().take_while(char::is_ascii_digit).collect();
        let unit = match self.timeout.chars().last() {
            Some('h') => 3600,
            Some('m') => 60,
            _ => 1,
        };
        Duration::from_secs(number.parse::<u64>().unwrap_or(6 * 3600).saturating_mul(unit))
    }

    /// The value of `-C`.
    pub(crate) fn case(&self) -> Option<String> {
        self.case_handling.map(|case| case.to_string())
    }
}

/// A directory that the plugin sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    Root,
    Checkpoints,
}

impl Place {
    /// Its guest path.
    pub(crate) fn guest(self) -> &'static str {
        match self {
            Self::Root => "/source/root",
            Self::Checkpoints => "/source/checkpoints",
        }
    }

    /// Its path as it is configured.
    pub(crate) fn host(self, config: &Config) -> &str {
        match self {
            Self::Root => &config.root,
            Self::Checkpoints => config.checkpoints.as_deref().unwrap_or(&config.root),
        }
    }
}

/// Where checkpoints and journals are, and what they are called before the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) place: Place,
    pub(crate) checkpoint: String,
    pub(crate) journal: String,
}

impl Layout {
    /// From the prefix in force: the configuration's, else the server's journalPrefix, else none.
    ///
    /// # Errors
    /// `invalid-config`: the prefix leads into a directory that the plugin does not see.
    pub(crate) fn new(config: &Config, journal_prefix: Option<&str>) -> Result<Self> {
        let (source, prefix) = match (&config.prefix, journal_prefix) {
            (Some(prefix), _) => ("prefix", prefix.as_str()),
            (None, Some(prefix)) => ("the server's journalPrefix", prefix),
            (None, None) => {
                return Ok(Self { place: Place::Root, checkpoint: "checkpoint".into(), journal: "journal".into() });
            }
        };
        let (directory, base) = prefix
            .rsplit_once('/')
            .map_or(("", prefix), |(directory, base)| (if directory.is_empty() { "/" } else { directory }, base));
        let root = plain(&config.root);
        let directory = match plain(directory) {
            absolute if directory.starts_with('/') => absolute,
            relative if relative == "/" => root.clone(),
            relative => format!("{}{relative}", root.trim_end_matches('/')),
        };
        let place = if config.checkpoints.as_deref().map(plain).as_deref() == Some(directory.as_str()) {
            Place::Checkpoints
        } else if directory == root {
            Place::Root
        } else {
            return Err(Error::invalid_config(format!(
                "{source} {prefix:?} puts checkpoints into {directory}, which is neither root nor checkpoints"
            ))
            .hint(format!("under [part.config]: checkpoints = {directory:?}")));
        };
        Ok(Self { place, checkpoint: format!("{base}.ckp"), journal: format!("{base}.jnl") })
    }
}

/// A path without empty components, dots and a slash at its end: `/` and what follows, whatever it began with.
fn plain(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    format!("/{}", parts.join("/"))
}
