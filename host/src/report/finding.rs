//! What a preflight found.

use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// The run goes on, and says so.
    Warning,
    /// The run would fail later: it stops here, before anything is locked.
    Failure,
}

/// One result of a preflight, of the application or of a strategy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What sort of failure it is, if it is one: what a run stops with.
    pub kind: ErrorKind,
    /// What it is about.
    pub subject: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
