//! The failure of a call that a guest made: the same shape as the contract's `error`.

use std::fmt;

use crate::{Error, ErrorKind};

/// What sort of failure it is. One to one with the contract's `error-code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The part's configuration cannot work.
    InvalidConfig,
    /// Something that was named does not exist.
    NotFound,
    /// Something that must not exist does.
    AlreadyExists,
    /// The gate or the operating system refused.
    Denied,
    /// The state of the system forbids the step.
    Conflict,
    /// A service does not answer, or not now.
    Unavailable,
    /// A deadline passed.
    TimedOut,
    /// Data that was read back is not what it must be.
    Corrupt,
    /// The tool, its version or the plugin cannot do it.
    Unsupported,
    /// The host cancelled the call.
    Interrupted,
    /// None of the above.
    Other,
}

impl Code {
    /// Its name in the contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidConfig => "invalid-config",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed-out",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Interrupted => "interrupted",
            Self::Other => "other",
        }
    }
}

/// A failed call, written for the operator; the guest gets the same text.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CallError {
    /// What sort of failure it is.
    pub code: Code,
    /// One sentence without a full stop: what happened, to what.
    pub message: String,
    /// What the operator can do; for a denial, the exact lines of `bkhost.toml` that would allow the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Facts for the report. Secrets are masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<(String, String)>,
}

impl CallError {
    /// A failure of this sort.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: Vec::new() }
    }

    /// A refusal; `message` names the rule.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Code::Denied, message)
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A fact for the report.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.push((name.into(), value.into()));
        self
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}

impl From<CallError> for Error {
    fn from(e: CallError) -> Self {
        let kind = match e.code {
            Code::InvalidConfig => ErrorKind::Config,
            Code::NotFound => ErrorKind::NotFound,
            Code::Denied => ErrorKind::Denied,
            Code::AlreadyExists | Code::Conflict => ErrorKind::Conflict,
            Code::TimedOut => ErrorKind::TimedOut,
            Code::Corrupt => ErrorKind::Damaged,
            Code::Interrupted => ErrorKind::Cancelled,
            Code::Unavailable | Code::Unsupported | Code::Other => ErrorKind::Plugin,
        };
        let mut error = Self::new(kind, e.message);
        if let Some(hint) = e.hint {
            error = error.hint(hint);
        }
        e.details.into_iter().fold(error, |error, (name, value)| error.detail(name, value))
    }
}

impl From<Error> for CallError {
    fn from(e: Error) -> Self {
        let code = match e.kind() {
            ErrorKind::Config => Code::InvalidConfig,
            ErrorKind::Denied => Code::Denied,
            ErrorKind::Damaged => Code::Corrupt,
            ErrorKind::Conflict | ErrorKind::Busy => Code::Conflict,
            ErrorKind::Cancelled => Code::Interrupted,
            ErrorKind::TimedOut => Code::TimedOut,
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::Application | ErrorKind::Store => Code::Unavailable,
            ErrorKind::Plugin | ErrorKind::Io | ErrorKind::Internal => Code::Other,
        };
        let mut message = e.message().to_owned();
        for cause in e.causes() {
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        Self { code, message, hint: e.hint_text().map(str::to_owned), details: e.details().to_vec() }
    }
}
