//! The repository: registered if it is missing, and never changed.

use std::collections::BTreeMap;

use bkhost_sdk::http::Method;
use bkhost_sdk::{Error, ErrorCode, Result, info};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::Client;
use crate::failure::Failure;
use crate::names::segment;

/// A repository as it is to be, or as the cluster has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Repository {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) settings: BTreeMap<String, String>,
}

/// Settings that say where it is: also one that the configuration does not have makes it another place.
const PLACE: [&str; 3] = ["location", "bucket", "base_path"];

impl Repository {
    /// The path of its calls.
    pub(crate) fn path(&self) -> String {
        format!("_snapshot/{}", segment(&self.name))
    }

    /// As the cluster has it; none if it is not registered.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub(crate) fn registered(&self, client: &Client) -> Result<Option<Self>, Failure> {
        let answer = match client.get(&self.path()) {
            Ok(answer) => answer,
            Err(failure) if failure.is_missing() => return Ok(None),
            Err(failure) => return Err(failure),
        };
        Ok(answer.get(&self.name).map(|found| Self::read(&self.name, found)))
    }

    pub(crate) fn read(name: &str, found: &Value) -> Self {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let settings = found.get("settings").and_then(Value::as_object).into_iter().flatten();
        Self {
            name: name.to_owned(),
            kind: found.get("type").and_then(Value::as_str).unwrap_or_default().to_owned(),
            settings: settings.map(|(key, value)| (key.clone(), text(value))).collect(),
        }
    }

    /// What is other than it is to be, in words.
    pub(crate) fn differences(&self, found: &Self) -> Vec<String> {
        if self.kind != found.kind {
            return vec![format!("its type is {} and not {}", found.kind, self.kind)];
        }
        let normal = |key: &str, value: Option<&String>| {
            let value = value.map(|value| value.trim_end_matches('/')).unwrap_or_default();
            if key == "client" && value.is_empty() { "default".to_owned() } else { value.to_owned() }
        };
        let missing = PLACE.iter().copied().filter(|key| !self.settings.contains_key(*key));
        let keys = self.settings.keys().map(String::as_str).chain(missing);
        let of = |key| (normal(key, self.settings.get(key)), normal(key, found.settings.get(key)));
        let different = keys.map(|key| (key, of(key))).filter(|(_, (wanted, found))| wanted != found);
        let shown = |value: &str| if value.is_empty() { "not set".to_owned() } else { format!("{value:?}") };
        different
            .map(|(key, (wanted, found))| format!("{key} is {} and not {}", shown(&found), shown(&wanted)))
            .collect()
    }

    /// Whether nothing can be written to it.
    pub(crate) fn is_readonly(&self) -> bool {
        self.settings.get("readonly").is_some_and(|value| value == "true")
    }

    /// Why a registered one cannot be used for this, if so.
    pub(crate) fn objection(&self, found: &Self, writing: bool) -> Option<Error> {
        let differences = self.differences(found);
        if !differences.is_empty() {
            let message =
                format!("the repository {} is registered with other settings: {}", self.name, differences.join("; "));
            return Some(Error::conflict(message).hint(
                "it is not changed, because others may use it: take another name under [part.config.repository], or write its settings there",
            ));
        }
        (writing && found.is_readonly()).then(|| {
            Error::new(ErrorCode::Denied, format!("the repository {} is registered as readonly", self.name))
                .hint("only one cluster may write to a repository: register it for writing here, or take another")
        })
    }

    /// It is there afterwards, as it is to be.
    ///
    /// # Errors
    /// `conflict`: it is another one; `denied`: it is readonly; the cluster cannot write to it.
    pub(crate) fn ensure(&self, client: &Client, writing: bool) -> Result<()> {
        if let Some(found) = self.registered(client)? {
            return self.objection(&found, writing).map_or(Ok(()), Err);
        }
        let body = json!({ "type": self.kind, "settings": self.settings });
        // The cluster verifies that all nodes can write to it, and does not register it otherwise.
        match client.change(Method::Put, &self.path(), Some(&body)) {
            Ok(Some(_)) => info!("the repository {} was registered ({} {})", self.name, self.kind, self.place()),
            Ok(None) => {}
            Err(failure) => return Err(unusable(self, failure)),
        }
        Ok(())
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> String {
        let places = PLACE.iter().filter_map(|key| self.settings.get(*key));
        places.cloned().collect::<Vec<_>>().join("/")
    }

    /// Whether all nodes can write to it; the number of nodes. None in a dry run.
    ///
    /// # Errors
    /// One cannot, or the cluster cannot be asked.
    pub(crate) fn verify(&self, client: &Client) -> Result<Option<usize>> {
        match client.change(Method::Post, &format!("{}/_verify", self.path()), None) {
            Ok(Some(answer)) => {
                Ok(Some(answer.get("nodes").and_then(Value::as_object).map_or(0, serde_json::Map::len)))
            }
            Ok(None) => Ok(None),
            Err(failure) => Err(unusable(self, failure)),
        }
    }
}

fn unusable(repository: &Repository, failure: Failure) -> Error {
    let (refused, unknown) = (failure.is("repository_verification_exception"), failure.is("repository_exception"));
    let error = Error::from(failure).context(format!("the repository {} cannot be used", repository.name));
    match (repository.kind.as_str(), refused, unknown) {
        ("fs", true, _) => {
            error.hint("each node has to see the same directory at this path, and to be allowed to write there")
        }
        ("fs", _, true) => error.hint(
            "its location has to be below a directory that path.repo names, in the elasticsearch.yml of every node",
        ),
        ("s3", true, _) => error
            .hint("the bucket has to be there, and the nodes' credentials (or the role) have to allow to write to it"),
        ("s3", _, true) => error.hint(
            "before Elasticsearch 8, and for OpenSearch, the plugin repository-s3 has to be installed on every node",
        ),
        _ => error,
    }
}
