//! The gate of one part: every effect a guest can have goes through here, and is decided here before it happens.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Access, Argument, CallError, Code, Completed, HostPath, HttpTimeouts, Preopen, Process, ResponseBody, Rights,
    Witness,
};
use crate::report::Reporter;

/// Whether things really happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They do.
    Live,
    /// Commands with `effect = "change"` and requests other than GET and HEAD are only recorded.
    DryRun,
}

/// The gate of one part.
pub struct Gate {
    rights: Rights,
    reporter: Reporter,
    mode: Mode,
    cancel: CancellationToken,
    witness: Arc<dyn Witness>,
}

fn not_yet() -> CallError {
    CallError::new(Code::Unsupported, "not available")
}

impl Gate {
    /// A gate that grants these rights. Once `cancel` fires, what runs is ended and nothing more is started.
    #[must_use]
    pub fn new(
        rights: Rights,
        reporter: Reporter,
        mode: Mode,
        cancel: CancellationToken,
        witness: Arc<dyn Witness>,
    ) -> Self {
        Self { rights, reporter, mode, cancel, witness }
    }

    /// The rights it grants.
    #[must_use]
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Whether things really happen.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Run a command and wait for its end. A status other than 0 is no error.
    ///
    /// # Errors
    /// `denied`, before anything ran; `timed-out`, `interrupted`: its group was killed and reaped.
    pub async fn run(&self, _command: &str, _arguments: &[Argument]) -> Result<Completed, CallError> {
        let _ = (&self.reporter, &self.cancel, &self.witness);
        Err(not_yet())
    }

    /// Start a command and go on.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub async fn spawn(&self, _command: &str, _arguments: &[Argument]) -> Result<Process, CallError> {
        Err(not_yet())
    }

    /// Run a command with `input` on its stdin. If `input` fails, the command is killed.
    ///
    /// # Errors
    /// As [`Gate::run`]; `corrupt` or `other` if `input` fails.
    pub async fn feed(
        &self,
        _command: &str,
        _arguments: &[Argument],
        _input: Box<dyn Read + Send>,
    ) -> Result<Completed, CallError> {
        Err(not_yet())
    }

    /// The directories the guest sees. A source that is denied or missing is left out; see [`Gate::missing`].
    ///
    /// # Errors
    /// `/staging`, `/state` or `/target` cannot be opened.
    pub async fn preopens(&self) -> Result<Vec<Preopen>, CallError> {
        Err(not_yet())
    }

    /// The sources that are not there, by guest path, with the reason.
    ///
    /// # Errors
    /// As [`Gate::preopens`].
    pub async fn missing(&self) -> Result<Vec<(String, CallError)>, CallError> {
        Err(not_yet())
    }

    /// The host's file or directory that a guest path names.
    ///
    /// # Errors
    /// `denied`: outside of what is granted, `..`, or a symbolic link on the way. `not-found`: it does not exist.
    pub async fn host_path(&self, _guest: &str, _access: Access) -> Result<HostPath, CallError> {
        Err(not_yet())
    }

    /// Send a request to a granted server. Redirects are not followed.
    ///
    /// # Errors
    /// `denied`, before anything was sent; `unavailable`, `timed-out`, `interrupted`.
    pub async fn http<B>(
        &self,
        _request: http::Request<B>,
        _timeouts: HttpTimeouts,
    ) -> Result<http::Response<ResponseBody>, CallError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Err(not_yet())
    }

    /// Kill and reap whatever still runs.
    pub async fn shutdown(&self) {}
}
