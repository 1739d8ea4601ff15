//! Running commands: one process group each, under a deadline, reaped before anything reports its end.
//!
//! What ends a command (its deadline, a cancel, [`Process::kill`]) sends SIGTERM to its group and, two seconds later
//! (half a second after a cancel), SIGKILL. Processes that left the group (`setsid`) are found by a mark in their environment and killed with it; only
//! one that also cleared its environment could stay. Once a command has ended by itself, what it left behind in its
//! group is killed, and so is, after two seconds, what still holds its stdout or stderr.

mod group;
mod orphans;
mod output;
mod running;
mod table;

use std::fmt;
use std::io::Read;
use std::time::Duration;

use tokio::sync::mpsc;

use super::freeze::Place;
use super::mask::Mask;
use super::slots::Forms;
use super::units::Span;
use super::{CallError, Code};

pub(super) use group::MARK;
pub use orphans::{Leader, kill_orphans};
pub use output::Output;
use running::after;
pub(super) use running::{Ending, Options, Running, launch};
pub use table::start_time;

/// The longest line that `read-line` takes.
const MAX_LINE: usize = 1 << 20;

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

impl Completed {
    /// The result of a command that was only recorded.
    pub(super) fn planned() -> Self {
        Self { status: 0, stdout: String::new(), stderr: String::new(), truncated: false, planned: true }
    }
}

/// Told about each process group, so that a journal can name what has to be killed after a crash.
pub trait Witness: Send + Sync {
    /// Whose the commands are: the id of a run, or nothing. All that they start is marked with it.
    fn owner(&self) -> &str {
        ""
    }
    /// A command was started as the leader of this group.
    fn child_started(&self, pgid: u32, argv: &[String]);
    /// The group is gone and reaped.
    fn child_ended(&self, pgid: u32);
    /// A file system is about to be frozen. It is only if this succeeds: whoever is told can have it thawed after a
    /// crash, and when it stood frozen for longer than `limit`. Gives a number by which it is known from then on. Blocks.
    ///
    /// # Errors
    /// It cannot be remembered, as by a witness that remembers nothing.
    fn freezing(&self, place: &Place, _limit: Duration) -> crate::Result<u32> {
        Err(crate::Error::new(crate::ErrorKind::Internal, format!("nobody could thaw {place} after a crash")))
    }
    /// It is thawed, or was not frozen after all. Blocks.
    fn thawed(&self, _freeze: u32) {}
}

/// A witness that remembers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWitness;

impl Witness for NoWitness {
    fn child_started(&self, _: u32, _: &[String]) {}
    fn child_ended(&self, _: u32) {}
}

/// What a process needs to know of its command.
pub(super) struct Spec {
    pub(super) id: String,
    pub(super) argv: Vec<String>,
    pub(super) timeout: Span,
    pub(super) forms: Forms,
    pub(super) lines: std::collections::BTreeMap<String, String>,
    pub(super) mask: Mask,
}

/// So many characters of a call are told.
const CALL: usize = 100;

/// A running command. Dropping it kills its process group; [`super::Gate::shutdown`] waits until it is reaped.
pub struct Process {
    spec: Spec,
    /// None: planned in a dry run.
    running: Option<Running>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("argv", &self.spec.argv).finish_non_exhaustive()
    }
}

impl Process {
    pub(super) fn new(spec: Spec, running: Option<Running>) -> Self {
        Self { spec, running }
    }

    /// Write one line of the command's `[exec.stdin]` table to its stdin.
    ///
    /// # Errors
    /// `denied`: the line or a value is not in the manifest. `unavailable`: stdin is closed, or the process is gone.
    pub async fn send(&mut self, line: &str, arguments: &[super::Argument]) -> Result<(), CallError> {
        let text = self.spec.lines.get(line).ok_or_else(|| {
            CallError::denied(format!("command {}: the manifest has no stdin line {:?}", self.spec.id, line))
                .hint("no line of bkhost.toml allows this: only the plugin's author can add a line to [exec.stdin]")
        })?;
        let filled = self.spec.forms.fill(arguments)?;
        let mut rendered = self.spec.forms.line(text, &filled)?;
        rendered.push('\n');
        let Some(running) = &mut self.running else { return Ok(()) };
        match running.write(rendered.as_bytes()).await {
            Ok(()) => Ok(()),
            Err(e) => Err(self.failure().unwrap_or_else(|| {
                CallError::new(Code::Unavailable, format!("{} does not read its stdin: {e}", self.name()))
            })),
        }
    }

    /// Close its stdin. Closing it twice is no error.
    ///
    /// # Errors
    /// None at present.
    pub async fn close_input(&mut self) -> Result<(), CallError> {
        if let Some(running) = &mut self.running {
            running.stdin = None;
        }
        Ok(())
    }

    /// The next line of its stdout without the newline; none at its end.
    ///
    /// # Errors
    /// `timed-out`: no line came, or the process ran over its deadline. `interrupted`: the run was cancelled.
    pub async fn read_line(&mut self, timeout: Duration) -> Result<Option<String>, CallError> {
        let deadline = after(timeout);
        let Some(running) = &mut self.running else { return Ok(None) };
        match running.line(deadline, MAX_LINE).await {
            Some(Ok(Some(line))) => Ok(Some(self.spec.mask.text(&line))),
            // The end of the output because it was killed is not the end of the output.
            Some(Ok(None)) => self.failure().map_or(Ok(None), Err),
            Some(Err(())) => {
                Err(CallError::new(Code::Other, format!("{} wrote a line of more than 1MiB", self.name())))
            }
            None => {
                Err(CallError::new(Code::TimedOut, format!("{} wrote no line within {}", self.name(), Span(timeout))))
            }
        }
    }

    /// The end of what it has written to stderr so far, masked, and its status if it has ended.
    ///
    /// # Errors
    /// `timed-out`, `interrupted`: it was ended by its deadline or by a cancel.
    pub fn look(&self) -> Result<(String, Option<i32>), CallError> {
        let Some(running) = &self.running else { return Ok((String::new(), Some(0))) };
        // The end first: all of stderr is there by then.
        let status = running.ended().map(|(_, status)| status);
        match self.failure() {
            Some(error) => Err(error),
            None => Ok((running.stderr(&self.spec.mask), status)),
        }
    }

    /// Wait for its end; what was not read of its stdout is in the result.
    ///
    /// # Errors
    /// `timed-out`: it goes on, or it was killed because it ran over its own deadline. `interrupted`: the run was
    /// cancelled and the process killed.
    pub async fn wait(&mut self, timeout: Duration) -> Result<Completed, CallError> {
        let deadline = after(timeout);
        let Some(running) = &mut self.running else { return Ok(Completed::planned()) };
        let Some(status) = running.collect(Some(deadline)).await else {
            return Err(CallError::new(Code::TimedOut, format!("{} still runs after {}", self.name(), Span(timeout))));
        };
        self.completed(status)
    }

    /// Close its stdin and wait for its end, which comes at the command's deadline at the latest.
    pub(super) async fn join(&mut self) -> Result<Completed, CallError> {
        let Some(running) = &mut self.running else { return Ok(Completed::planned()) };
        running.stdin = None;
        match running.collect(None).await {
            Some(status) => self.completed(status),
            None => Err(CallError::new(Code::Other, format!("{} cannot be waited for", self.name()))),
        }
    }

    /// Write all of `input` to its stdin, close it, and wait for its end.
    pub(super) async fn feed(&mut self, input: Box<dyn Read + Send>) -> Result<Completed, CallError> {
        let Some(running) = &mut self.running else { return Ok(Completed::planned()) };
        let (sender, receiver) = mpsc::channel(4);
        let reader = tokio::task::spawn_blocking(move || read_all(input, &sender));
        let fed = running.feed(receiver).await;
        if let Err(e) = &fed {
            // Killed before its stdin is closed: it must not take a part of the stream for all of it.
            running.kill().await;
            let code = if e.kind() == std::io::ErrorKind::InvalidData { Code::Corrupt } else { Code::Other };
            let name = self.name();
            return Err(CallError::new(code, format!("the input of {name} failed, and it was killed: {e}")));
        }
        let completed = self.join().await;
        // It ends as soon as its receiver is gone or its input ends; a failure of its own came through the channel.
        drop(reader);
        completed
    }

    /// End it now. It is reaped when this returns.
    ///
    /// # Errors
    /// None at present.
    pub async fn kill(&mut self) -> Result<(), CallError> {
        if let Some(running) = &mut self.running {
            running.kill().await;
        }
        Ok(())
    }

    /// Take its stdout, to drain it on a blocking thread. `read_line` has no lines from then on, and [`Process::wait`]
    /// tells the exit status alone.
    ///
    /// # Errors
    /// `conflict`: it was taken before, or this is a dry run.
    pub fn take_output(&mut self) -> Result<Output, CallError> {
        let name = self.name();
        let output = self.running.as_mut().and_then(Running::take_output);
        output.ok_or_else(|| CallError::new(Code::Conflict, format!("{name} has no output to drain")))
    }

    /// The rendered argument vector, program first; secrets are masked.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &self.spec.argv
    }

    /// How it was called, in a line that is not too long to be read again and again.
    #[must_use]
    pub fn call(&self) -> String {
        let text = self.spec.argv.join(" ");
        let mut words = text.split_whitespace();
        let program = words.next().unwrap_or("?");
        let rest: Vec<_> = std::iter::once(program.rsplit('/').next().unwrap_or(program)).chain(words).collect();
        let line = rest.join(" ");
        match line.char_indices().nth(CALL) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
            None => line,
        }
    }

    /// Whether it was only recorded, in a dry run.
    #[must_use]
    pub fn planned(&self) -> bool {
        self.running.is_none()
    }

    fn name(&self) -> String {
        let program = self.spec.argv.first().map_or("?", String::as_str);
        let program = program.rsplit('/').next().unwrap_or(program);
        format!("command {} ({program})", self.spec.id)
    }

    /// The error of a process that was ended by something else than itself or the guest.
    fn failure(&self) -> Option<CallError> {
        let running = self.running.as_ref()?;
        let error = match running.ended()?.0 {
            Ending::Exited | Ending::Killed => return None,
            Ending::TimedOut => {
                let message = format!("{} ran longer than its {} and was killed", self.name(), self.spec.timeout);
                CallError::new(Code::TimedOut, message)
                    .hint("find out what it waits for; the deadline is part of the plugin's manifest")
            }
            Ending::Cancelled => {
                CallError::new(Code::Interrupted, format!("{} was killed because the run was cancelled", self.name()))
            }
        };
        let stderr = running.stderr(&self.spec.mask);
        let error = error.detail("command", self.spec.argv.join(" "));
        Some(if stderr.is_empty() { error } else { error.detail("stderr", stderr) })
    }

    fn completed(&mut self, status: i32) -> Result<Completed, CallError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let Some(running) = &mut self.running else { return Ok(Completed::planned()) };
        let (bytes, truncated) = running.take_captured();
        let mask = &self.spec.mask;
        let stdout = if truncated { mask.cut_at_end(&bytes) } else { mask.text(&bytes) };
        Ok(Completed { status, stdout, stderr: running.stderr(mask), truncated, planned: false })
    }
}

/// Sends what `input` holds, chunk by chunk, until its end or until nobody listens.
fn read_all(mut input: Box<dyn Read + Send>, sender: &mpsc::Sender<std::io::Result<bytes::Bytes>>) {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let chunk = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => Ok(bytes::Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default())),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
        let last = chunk.is_err();
        if sender.blocking_send(chunk).is_err() || last {
            return;
        }
    }
}
