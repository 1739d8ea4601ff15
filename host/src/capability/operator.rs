//! Programs that the operator names in the configuration for the host itself: a password manager, a pager.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::process::{self, Ending, Options, Running, Witness};
use super::program::Program;
use crate::error::{Error, ErrorKind, Result};

/// So much of what a check writes is kept.
const SHOWN: usize = 64 << 10;

/// A program of the operator's, to be run by the host. It inherits our environment, since it is the operator's own and
/// may need its settings.
#[derive(Debug, Clone, Copy)]
pub struct OperatorCommand<'a> {
    /// The program (an absolute path), and its arguments.
    pub argv: &'a [String],
    /// Set in its environment.
    pub env: &'a [(&'a str, &'a str)],
    /// Written to its stdin.
    pub stdin: &'a [u8],
    /// How long it may take.
    pub timeout: Duration,
    /// The most that it may write to stdout, in bytes.
    pub max_output: usize,
}

impl OperatorCommand<'_> {
    /// Run it to its end, and give what it wrote to stdout.
    ///
    /// # Errors
    /// Why it did not do what it is for. What it wrote is not told: it may be a secret.
    pub async fn run(self) -> std::result::Result<Vec<u8>, String> {
        let (program, arguments) = self.argv.split_first().ok_or("the command is empty")?;
        let path = Program::check(Path::new(program))?.path;
        let mut command = tokio::process::Command::new(&path);
        command.args(arguments).envs(self.env.iter().copied());
        let tell = |e: std::io::Error| format!("{program}: {e}");
        let launched = process::launch(command, !self.stdin.is_empty(), "").map_err(tell)?;
        let options = Options {
            timeout: self.timeout,
            max_output: self.max_output,
            argv: vec![program.clone()],
            ..Options::default()
        };
        let mut running = Running::start(launched, options).map_err(tell)?;
        if !self.stdin.is_empty() {
            // One that does not read its stdin may still do its work: its status tells.
            let _ = tokio::time::timeout(self.timeout, running.write(self.stdin)).await;
            running.stdin = None;
        }
        let output = running.finish().await;
        match (output.ending, output.status) {
            (Ending::TimedOut, _) => Err(format!("{program} did not end within {} s", self.timeout.as_secs())),
            (Ending::Exited, 0) if output.truncated => {
                Err(format!("{program} wrote more than {} KiB", self.max_output >> 10))
            }
            (Ending::Exited, 0) => Ok(output.stdout),
            (_, status) => Err(format!("{program} ended with status {status}")),
        }
    }
}

/// A check that the operator wrote, run by the host: its output is shown, and it can be ended.
pub struct OperatorCheck<'a> {
    /// The program (an absolute path), and its arguments.
    pub argv: &'a [String],
    /// Set in its environment, besides what ours has.
    pub env: &'a [(String, String)],
    /// Where it starts.
    pub dir: &'a Path,
    /// How long it may take.
    pub timeout: Duration,
    /// Ends it, with all that it started.
    pub cancel: CancellationToken,
    /// Is told about it.
    pub witness: Arc<dyn Witness>,
}

impl OperatorCheck<'_> {
    /// Run it to its end. Gives the end of what it wrote, first to stdout, then to stderr, for people.
    ///
    /// # Errors
    /// `Plugin` if it failed or could not be run; `TimedOut`; `Cancelled`.
    pub async fn run(self) -> Result<String> {
        let shown = self.argv.join(" ");
        let failed = |why: String| Error::new(ErrorKind::Plugin, format!("the check `{shown}` {why}"));
        let (program, arguments) = self.argv.split_first().ok_or_else(|| failed("names no program".to_owned()))?;
        let path = Program::check(Path::new(program)).map_err(|e| failed(format!("cannot be run: {e}")))?.path;
        let mut command = tokio::process::Command::new(&path);
        command.args(arguments).envs(self.env.iter().map(|(name, value)| (name, value))).current_dir(self.dir);
        let unstarted = |e: std::io::Error| failed(format!("cannot be run: {e}"));
        let launched = process::launch(command, false, self.witness.owner()).map_err(unstarted)?;
        let tasks = TaskTracker::new();
        let options = Options {
            timeout: self.timeout,
            max_output: SHOWN,
            argv: self.argv.to_vec(),
            cancel: self.cancel,
            witness: self.witness,
            tasks: tasks.clone(),
        };
        let mut running = Running::start(launched, options).map_err(unstarted)?;
        let output = running.finish().await;
        let said = [output.stdout.as_slice(), &running.stderr_bytes()].map(String::from_utf8_lossy).concat();
        let said: String = said.trim().chars().filter(|c| !c.is_control() || *c == '\n').collect();
        let last = said.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("; ");
        let why = if last.is_empty() { String::new() } else { format!(": {last}") };
        tasks.close();
        tasks.wait().await;
        match (output.ending, output.status) {
            (Ending::Exited, 0) => Ok(said),
            (Ending::Exited, status) => Err(failed(format!("ended with status {status}{why}"))),
            (Ending::TimedOut, _) => Err(Error::new(
                ErrorKind::TimedOut,
                format!("the check `{shown}` did not end within {} s: killed{why}", self.timeout.as_secs()),
            )
            .hint("give it longer with `[drill] check-timeout`")),
            (Ending::Cancelled, _) => Err(Error::new(ErrorKind::Cancelled, format!("the check `{shown}` was ended"))),
            (Ending::Killed, _) => Err(failed(format!("was killed{why}"))),
        }
    }
}
