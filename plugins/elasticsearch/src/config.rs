//! `[part.config]`.

use std::collections::BTreeMap;
use std::time::Duration;

use bkhost_sdk::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::repository::Repository;

/// Settings of a repository that have keys of their own, are no business of this, or would show a secret.
const RESERVED: [&str; 10] = [
    "location",
    "bucket",
    "base_path",
    "region",
    "endpoint",
    "client",
    "role_arn",
    "readonly",
    "access_key",
    "secret_key",
];

/// The part's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    #[serde(default)]
    pub(crate) mode: Mode,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default = "all")]
    pub(crate) indices: Vec<String>,
    #[serde(default)]
    pub(crate) global_state: bool,
    #[serde(default)]
    repository: Option<Settings>,
    #[serde(default = "start_timeout")]
    start_timeout: u64,
    #[serde(default = "timeout")]
    timeout: u64,
    #[serde(default = "delete_timeout")]
    delete_timeout: u64,
    #[serde(default)]
    pub(crate) restore: Restore,
    #[serde(default)]
    pub(crate) rebuild: Rebuild,
}

/// Whether there is something to capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    #[default]
    Snapshot,
    Rebuild,
}

/// `[part.config.repository]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    location: Option<String>,
    #[serde(default)]
    bucket: Option<String>,
    #[serde(default)]
    base_path: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    role_arn: Option<String>,
    #[serde(default)]
    settings: BTreeMap<String, Value>,
}

/// `[part.config.restore]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Restore {
    #[serde(default)]
    pub(crate) existing: Existing,
    #[serde(default)]
    pub(crate) global_state: bool,
}

/// What becomes of indices that exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Existing {
    #[default]
    Refuse,
    Replace,
}

/// `[part.config.rebuild]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Rebuild {
    #[serde(default)]
    pub(crate) steps: Vec<String>,
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

fn start_timeout() -> u64 {
    120
}

fn timeout() -> u64 {
    43_200
}

fn delete_timeout() -> u64 {
    900
}

impl Config {
    /// Values that are missing or contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        match (self.mode, &self.repository) {
            (Mode::Rebuild, None) => Ok(()),
            (Mode::Snapshot, None) => Err(Error::invalid_config("no repository says where the snapshots are to be")
                .hint("under [part.config]: repository = { name = \"bkhost\", type = \"fs\", location = \"…\" }, or mode = \"rebuild\"")),
            (_, Some(repository)) => {
                self.url()?;
                repository.check()?;
                self.check_amazon(repository)
            }
        }
    }

    /// Amazon's service keeps snapshots in buckets, which it writes to by a role.
    fn check_amazon(&self, repository: &Settings) -> Result<()> {
        if self.region.is_none() || repository.role_arn.is_some() {
            return Ok(());
        }
        Err(Error::invalid_config("region says that it is Amazon's service, and the repository names no role")
            .hint("repository: type = \"s3\", bucket, and role-arn = \"arn:aws:iam::…:role/…\"; without Amazon's service, leave out region"))
    }

    /// Where the cluster is.
    pub(crate) fn url(&self) -> Result<&str> {
        self.url.as_deref().ok_or_else(|| {
            Error::invalid_config("no url says where the cluster is")
                .hint("under [part.config]: url = \"http://localhost:9200\"")
        })
    }

    /// The configured repository; none if nothing is captured.
    pub(crate) fn repository(&self) -> Option<Repository> {
        self.repository.as_ref().map(Settings::repository)
    }

    /// For all shards to begin.
    pub(crate) fn start_timeout(&self) -> Duration {
        Duration::from_secs(self.start_timeout)
    }

    /// For a snapshot to become complete, or restored indices usable.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// For a snapshot to be deleted.
    pub(crate) fn delete_timeout(&self) -> Duration {
        Duration::from_secs(self.delete_timeout)
    }
}

impl Settings {
    fn places(&self) -> [(&'static str, &'static str, Option<&String>); 7] {
        [
            ("fs", "location", self.location.as_ref()),
            ("s3", "bucket", self.bucket.as_ref()),
            ("s3", "base_path", self.base_path.as_ref()),
            ("s3", "region", self.region.as_ref()),
            ("s3", "endpoint", self.endpoint.as_ref()),
            ("s3", "client", self.client.as_ref()),
            ("s3", "role_arn", self.role_arn.as_ref()),
        ]
    }

    fn check(&self) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::invalid_config(format!("repository: {what}")).hint(hint));
        let set = |key: &str| self.places().iter().any(|(_, known, value)| *known == key && value.is_some());
        if self.kind == "fs" && !set("location") {
            return refuse("type fs needs a location".to_owned(), "a directory below path.repo that all nodes share");
        }
        if self.kind == "s3" && !set("bucket") {
            return refuse("type s3 needs a bucket".to_owned(), "bucket = \"…\", and base-path for its place there");
        }
        if let Some((kind, key, _)) =
            self.places().iter().find(|(kind, _, value)| value.is_some() && *kind != self.kind)
        {
            let key = key.replace('_', "-");
            return refuse(format!("{key} is for type {kind}, and the type is {}", self.kind), "leave one of them out");
        }
        if let Some(key) = self.settings.keys().find(|key| RESERVED.contains(&key.as_str())) {
            let hint = "a place has a key of its own; credentials belong into the nodes' keystore";
            return refuse(format!("settings.{key} has no place there"), hint);
        }
        Ok(())
    }

    fn repository(&self) -> Repository {
        let places = self.places().into_iter().filter_map(|(_, key, value)| Some((key.to_owned(), value?.clone())));
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let others = self.settings.iter().map(|(key, value)| (key.clone(), text(value)));
        Repository { name: self.name.clone(), kind: self.kind.clone(), settings: places.chain(others).collect() }
    }
}
