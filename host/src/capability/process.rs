//! Running commands: one process group each, under a deadline, reaped before anything reports its end.

use std::time::Duration;

use super::{CallError, Code};

/// Values for one slot of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The slot.
    pub slot: String,
    /// Its values: one for a plain slot, one or more for a repeated one.
    pub values: Vec<String>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// The exit code; 128 + n if signal n ended it.
    pub status: i32,
    /// The start of its stdout, up to the command's cap; secrets are masked.
    pub stdout: String,
    /// The end of its stderr, up to 64 KiB; secrets are masked.
    pub stderr: String,
    /// stdout was longer than the cap.
    pub truncated: bool,
    /// A dry run: it was recorded and not run.
    pub planned: bool,
}

/// Told about each process group, so that a journal can name what has to be killed after a crash.
pub trait Witness: Send + Sync {
    /// A command was started as the leader of this group.
    fn child_started(&self, pgid: u32, argv: &[String]);
    /// The group is gone and reaped.
    fn child_ended(&self, pgid: u32);
}

/// A witness that remembers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWitness;

impl Witness for NoWitness {
    fn child_started(&self, _: u32, _: &[String]) {}
    fn child_ended(&self, _: u32) {}
}

/// A running command. Dropping it kills its process group; [`super::Gate::shutdown`] waits until it is reaped.
#[derive(Debug)]
pub struct Process {}

/// The stdout of a process, for the host to drain. Reads block: for a blocking thread only.
#[derive(Debug)]
pub struct Output {}

impl std::io::Read for Output {
    fn read(&mut self, _buffer: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("not connected"))
    }
}

fn gone() -> CallError {
    CallError::new(Code::Unavailable, "the process is gone")
}

impl Process {
    /// Write one line of the command's `[exec.stdin]` table to its stdin.
    ///
    /// # Errors
    /// `denied`: the line or a value is not in the manifest. `unavailable`: stdin is closed.
    pub async fn send(&mut self, _line: &str, _arguments: &[Argument]) -> Result<(), CallError> {
        Err(gone())
    }

    /// Close its stdin. Closing it twice is no error.
    ///
    /// # Errors
    /// None at present.
    pub async fn close_input(&mut self) -> Result<(), CallError> {
        Err(gone())
    }

    /// The next line of its stdout without the newline; none at its end.
    ///
    /// # Errors
    /// `timed-out`: no line came; the process goes on. `interrupted`: the run was cancelled.
    pub async fn read_line(&mut self, _timeout: Duration) -> Result<Option<String>, CallError> {
        Err(gone())
    }

    /// Wait for its end; what was not read of its stdout is in the result.
    ///
    /// # Errors
    /// `timed-out`: it goes on. `interrupted`: the run was cancelled and the process killed.
    pub async fn wait(&mut self, _timeout: Duration) -> Result<Completed, CallError> {
        Err(gone())
    }

    /// End it now. It is reaped when this returns.
    ///
    /// # Errors
    /// None at present.
    pub async fn kill(&mut self) -> Result<(), CallError> {
        Err(gone())
    }

    /// Take its stdout, to drain it on a blocking thread. `read_line` has no lines from then on.
    /// Call [`Process::wait`] afterwards for the exit status.
    ///
    /// # Errors
    /// `conflict`: it was taken before.
    pub fn take_output(&mut self) -> Result<Output, CallError> {
        Err(gone())
    }

    /// The rendered argument vector, program first.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &[]
    }

    /// Whether it was only recorded, in a dry run.
    #[must_use]
    pub fn planned(&self) -> bool {
        false
    }
}
