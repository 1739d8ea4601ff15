//! Errors and findings: written for the operator.

use crate::{Error, ErrorCode, Finding, Severity};

impl Error {
    /// A failure: `message` says in one sentence what happened, and to what.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: Vec::new() }
    }

    /// The configuration cannot work.
    pub fn invalid_config(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidConfig, message)
    }

    /// Something that is needed does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// Something that must not exist does.
    pub fn already_exists(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::AlreadyExists, message)
    }

    /// Something is in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// What was read back is not what it must be.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Corrupt, message)
    }

    /// The tool, its version or this plugin cannot do it.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unsupported, message)
    }

    /// Any other failure.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Other, message)
    }

    /// A failure of `std::fs`: `what` says what was being done, to which path.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorCode::NotFound,
            std::io::ErrorKind::AlreadyExists => ErrorCode::AlreadyExists,
            std::io::ErrorKind::PermissionDenied => ErrorCode::Denied,
            _ => ErrorCode::Other,
        };
        Self::new(code, format!("{what}: {error}"))
    }

    /// The same failure, with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure, with a fact for the report.
    #[must_use]
    pub fn detail(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.push((key.into(), value.into()));
        self
    }

    /// The same failure of another sort.
    #[must_use]
    pub fn code(mut self, code: ErrorCode) -> Self {
        self.code = code;
        self
    }

    /// The same failure, told from further away: what was being done when it happened.
    #[must_use]
    pub fn context(mut self, what: impl std::fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The value of the first detail of this name: `stderr` of a command that failed.
    #[must_use]
    pub fn detail_of(&self, key: &str) -> Option<&str> {
        self.details.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl Finding {
    /// A result of `check`, about `subject`.
    pub fn new(severity: Severity, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity, subject: subject.into(), message: message.into(), hint: None }
    }

    /// Worth knowing.
    pub fn info(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, subject, message)
    }

    /// The run goes on, and says so.
    pub fn warning(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, subject, message)
    }

    /// The run would fail later.
    pub fn failure(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Failure, subject, message)
    }

    /// The failure of a step of `check`, as a finding.
    pub fn from_error(subject: impl Into<String>, error: Error) -> Self {
        Self { severity: Severity::Failure, subject: subject.into(), message: error.message, hint: error.hint }
    }

    /// The same finding, with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
