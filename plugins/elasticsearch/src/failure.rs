//! What the cluster says when it refuses.

use bkhost_sdk::http::Response;
use bkhost_sdk::{Error, ErrorCode};
use serde_json::Value;

/// Refusals that pass: no master at the moment, an election, another snapshot or restore that is not over, no room in a
/// queue.
const PASSING: [&str; 16] = [
    "master_not_discovered_exception",
    "cluster_manager_not_discovered_exception",
    "not_master_exception",
    "not_cluster_manager_exception",
    "failed_to_commit_cluster_state_exception",
    "process_cluster_event_timeout_exception",
    "concurrent_snapshot_execution_exception",
    "snapshot_in_progress_exception",
    "es_rejected_execution_exception",
    "rejected_execution_exception",
    "opensearch_rejected_execution_exception",
    "circuit_breaking_exception",
    "node_closed_exception",
    "node_disconnected_exception",
    "receive_timeout_transport_exception",
    "cluster_block_exception",
];

/// A call that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// `PUT _snapshot/x/y`.
    call: String,
    status: u16,
    /// What the cluster calls it: `snapshot_missing_exception`.
    kind: String,
    reason: String,
    /// What the host said, where nothing came back.
    host: Option<Box<Error>>,
    /// What came back is nothing that a cluster says.
    strange: bool,
}

impl Failure {
    pub(crate) fn of_host(call: &str, error: Error) -> Self {
        Self {
            call: call.to_owned(),
            status: 0,
            kind: String::new(),
            reason: String::new(),
            host: Some(Box::new(error)),
            strange: false,
        }
    }

    /// A refusal, or an answer that cannot be read.
    pub(crate) fn of_answer(call: &str, response: &Response) -> Self {
        let text = response.text();
        let json: Option<Value> = serde_json::from_slice(&response.body).ok();
        let mut failure = Self {
            call: call.to_owned(),
            status: response.status,
            kind: String::new(),
            reason: String::new(),
            host: None,
            strange: false,
        };
        let of = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        match json.as_ref().map(|json| (json, json.get("error"))) {
            Some((_, Some(Value::String(reason)))) => failure.reason = reason.clone(),
            Some((_, Some(error))) => {
                failure.kind = of(error, "type");
                failure.reason = of(error, "reason");
                // The cause says more than what wraps it: a repository that cannot be written, and why.
                let mut next = error.get("caused_by");
                while let Some(cause) = next {
                    let (kind, reason) = (of(cause, "type"), of(cause, "reason"));
                    if !reason.is_empty() && !failure.reason.contains(&reason) {
                        failure.reason = format!("{}: {kind}: {reason}", failure.reason);
                    }
                    next = cause.get("caused_by");
                }
            }
            // Amazon's own, before the cluster is asked.
            Some((json, None)) if json.get("Message").or_else(|| json.get("message")).is_some() => {
                failure.reason = of(json, if json.get("Message").is_some() { "Message" } else { "message" });
            }
            _ if text.trim().is_empty() => failure.reason = "an empty answer".to_owned(),
            _ => {
                failure.strange = true;
                let start: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(120).collect();
                let html = start.to_ascii_lowercase().contains("<html") || start.starts_with("<!");
                let what = if html { "HTML" } else { "no JSON, or JSON that is cut off" };
                failure.reason = format!("the answer is {what}: {start}");
            }
        }
        failure
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// What it is about is not there.
    pub(crate) fn is_missing(&self) -> bool {
        self.status == 404 && !self.strange
    }

    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.host.as_ref().is_some_and(|error| error.code == ErrorCode::Interrupted)
    }

    /// The name is taken: perhaps by what an earlier attempt has made.
    pub(crate) fn is_taken(&self) -> bool {
        ["invalid_snapshot_name_exception", "snapshot_name_already_in_use_exception"].contains(&self.kind.as_str())
    }

    /// The same call may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        match &self.host {
            Some(error) => matches!(error.code, ErrorCode::Unavailable | ErrorCode::TimedOut),
            None => PASSING.contains(&self.kind.as_str()) || [408, 429, 502, 503, 504].contains(&self.status),
        }
    }

    /// Nobody knows whether it was done.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.host.is_some() || (self.is_passing() && self.status != 429)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let Failure { call, status, kind, reason, host, strange } = failure;
        if let Some(error) = host {
            return (*error).context(call);
        }
        let kind = if kind.is_empty() { String::new() } else { format!("{kind}: ") };
        let error = Self::other(format!("{call} was answered with {status}: {kind}{reason}"));
        match status {
            401 => error.code(ErrorCode::Denied).hint(
                "who asks? Under [part.config]: username, and password under [part.secrets]; or api-key there; or region for Amazon's service",
            ),
            403 => error.code(ErrorCode::Denied).hint(
                "the answer names the privilege that is missing: the plugin's README lists those that are needed",
            ),
            _ if strange || (300..400).contains(&status) => error
                .code(if status < 500 { ErrorCode::Corrupt } else { ErrorCode::Unavailable })
                .hint("is `url` the cluster itself, and not a proxy or a login page in front of it?"),
            404 => error.code(ErrorCode::NotFound),
            408 | 429 | 502..=504 => error.code(ErrorCode::Unavailable).hint("the cluster is busy, or has no master: look at its health, and try again"),
            _ => error,
        }
    }
}
