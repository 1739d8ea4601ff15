//! What the cluster is, and which indices it has.

use bkhost_sdk::{Error, Result};
use serde_json::Value;

use crate::client::Client;
use crate::names::fits;

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    /// OpenSearch says so; all else is Elasticsearch.
    pub(crate) opensearch: bool,
    pub(crate) version: String,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) open: bool,
    /// `green`, `yellow`, `red`.
    pub(crate) health: String,
}

impl Cluster {
    /// Ask it who it is.
    ///
    /// # Errors
    /// It does not answer, does not let us in, or is something else.
    pub(crate) fn find(client: &Client) -> Result<Self> {
        Self::read(&client.get("")?).ok_or_else(|| {
            Error::corrupt(format!("what answers at {} is no Elasticsearch or OpenSearch", client.base()))
                .hint("under [part.config]: url is the cluster's own address, such as http://localhost:9200")
        })
    }

    pub(crate) fn read(answer: &Value) -> Option<Self> {
        let version = answer.get("version")?;
        Some(Self {
            name: answer.get("cluster_name")?.as_str()?.to_owned(),
            opensearch: version.get("distribution").and_then(Value::as_str) == Some("opensearch"),
            version: version.get("number")?.as_str()?.to_owned(),
        })
    }

    /// The product's name.
    pub(crate) fn product(&self) -> &'static str {
        if self.opensearch { "opensearch" } else { "elasticsearch" }
    }

    fn major_minor(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Whether it says all that is asked of it.
    pub(crate) fn is_too_old(&self) -> bool {
        // OpenSearch began after 7.10, and may call itself so.
        self.major_minor() < (if self.opensearch { (1, 0) } else { (7, 10) })
    }

    /// Whether its nodes write to S3 without a plugin.
    pub(crate) fn has_s3(&self) -> bool {
        !self.opensearch && self.major_minor() >= (8, 0)
    }
}

/// All indices, the hidden ones and those of data streams included.
///
/// # Errors
/// The cluster cannot be asked.
pub(crate) fn indices(client: &Client) -> Result<Vec<Index>> {
    let answer = client.get("_cat/indices?format=json&h=index,status,health&expand_wildcards=all")?;
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let index = |item: &Value| Index {
        name: text(item, "index"),
        open: text(item, "status") == "open",
        health: text(item, "health"),
    };
    Ok(answer.as_array().into_iter().flatten().map(index).collect())
}

/// Whether one of the configured names and patterns means this index. A pattern means a hidden index only if it begins with a
/// dot too, as the cluster has it.
pub(crate) fn is_chosen(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| means(pattern, name))
}

pub(crate) fn means(pattern: &str, name: &str) -> bool {
    fits(pattern, name) && (pattern.starts_with('.') || !name.starts_with('.'))
}

/// The names and patterns that mean none of these.
pub(crate) fn idle<'a>(patterns: &'a [String], names: &[String]) -> Vec<&'a str> {
    let idle = patterns.iter().filter(|pattern| names.iter().all(|name| !means(pattern, name)));
    idle.map(String::as_str).collect()
}

/// What is missing, as an error.
pub(crate) fn none(idle: &[&str]) -> Error {
    Error::not_found(format!("no index is called, or fits: {}", idle.join(", "))).hint(
        "under [part.config]: correct `indices`; GET _cat/indices?expand_wildcards=all names those that there are",
    )
}
