//! Programs that bring an application to rest and back.
//!
//! They differ from all other programs in what may outlive them. Starting a service leaves a daemon behind: it must not
//! carry our mark, by which a dead run's children are found and killed, and it may keep our end of its output open as
//! long as it lives, so its output goes into a file. Stopping one is ours to kill: a `stop` that goes on after the service
//! was started again would leave it stopped.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::process::MARK;
use super::program::Program;

/// So much of what a program wrote is told.
const TOLD: u64 = 4096;
/// How long one that was asked to end may take.
const GRACE: Duration = Duration::from_secs(2);

/// A program that brings an application to rest, brings it back, or tells which of both it is.
#[derive(Debug, Clone, Copy)]
pub struct LifecycleCommand<'a> {
    /// The program (an absolute path), and its arguments.
    pub argv: &'a [String],
    /// How long it may take.
    pub timeout: Duration,
    /// What it may leave behind.
    pub leaves: Leaves<'a>,
}

/// What a program may leave behind.
#[derive(Debug, Clone, Copy)]
pub enum Leaves<'a> {
    /// Daemons: what it started is not touched, even if it does not end itself.
    Daemons,
    /// Nothing that goes on after a failure or a cancellation: all of it is killed then, by us, or after our death as a
    /// child of this run.
    Nothing {
        /// The run.
        run: &'a str,
        /// Ends it early.
        cancel: &'a CancellationToken,
    },
}

/// How a program ended that did start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; 128 and more for a signal, as shells have it.
    pub status: i32,
    /// The end of what it wrote.
    pub output: String,
}

impl LifecycleCommand<'_> {
    /// Run it to its end.
    ///
    /// # Errors
    /// In words: it may not be run, did not end in time, or was cancelled.
    pub async fn run(self) -> Result<Ended, String> {
        let (program, arguments) = self.argv.split_first().ok_or("the command is empty")?;
        let path = Program::check(Path::new(program))?.path;
        let tell = |e: std::io::Error| format!("{program}: {e}");
        let mut output = tempfile::tempfile().map_err(tell)?;
        let mut command = Command::new(&path);
        command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(tell)?)
            .stderr(output.try_clone().map_err(tell)?)
            // What ends us from the terminal does not end it half-way.
            .process_group(0);
        if let Leaves::Nothing { run, .. } = self.leaves {
            command.env(MARK, format!("{}:", lifecycle_owner(run)));
        }
        let mut child = command.spawn().map_err(tell)?;
        let cancelled = async {
            match self.leaves {
                Leaves::Nothing { cancel, .. } => cancel.cancelled().await,
                Leaves::Daemons => std::future::pending().await,
            }
        };
        let status = tokio::select! {
            biased;
            status = child.wait() => status.map_err(tell)?,
            () = cancelled => {
                self.end(&mut child).await;
                return Err(format!("{program} was cancelled"));
            }
            () = tokio::time::sleep(self.timeout) => {
                self.end(&mut child).await;
                return Err(format!("{program} did not end within {} s{}", self.timeout.as_secs(), said(&tail(&mut output))));
            }
        };
        let status = status.code().unwrap_or_else(|| 128_i32.saturating_add(status.signal().unwrap_or_default()));
        Ok(Ended { status, output: tail(&mut output) })
    }

    /// As [`LifecycleCommand::run`], and its success is what is wanted.
    ///
    /// # Errors
    /// In words, with what it wrote.
    pub async fn succeed(self) -> Result<(), String> {
        let program = self.argv.first().cloned().unwrap_or_default();
        match self.run().await? {
            Ended { status: 0, .. } => Ok(()),
            Ended { status, output } => Err(format!("{program} ended with status {status}{}", said(&output))),
        }
    }

    async fn end(&self, child: &mut Child) {
        let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else { return };
        let signal = |signal| match self.leaves {
            Leaves::Daemons => kill_process(pid, signal),
            Leaves::Nothing { .. } => kill_process_group(pid, signal),
        };
        let _ = signal(Signal::TERM);
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            let _ = signal(Signal::KILL);
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
        } else if matches!(self.leaves, Leaves::Nothing { .. }) {
            // Its own children may have ignored the request.
            let _ = signal(Signal::KILL);
        }
    }
}

/// As whose children those programs of a run are found that must not outlive it.
#[must_use]
pub fn lifecycle_owner(run: &str) -> String {
    format!("{run}:lifecycle")
}

/// Look whether a program may be run.
///
/// # Errors
/// Which rule it breaks.
pub fn check_program(argv: &[String]) -> Result<(), String> {
    let program = argv.first().ok_or("the command is empty")?;
    Program::check(Path::new(program)).map(|_| ())
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

/// The end of what was written, on one line.
fn tail(output: &mut std::fs::File) -> String {
    let mut bytes = Vec::new();
    let len = output.seek(SeekFrom::End(0)).unwrap_or_default();
    let _ = output.seek(SeekFrom::Start(len.saturating_sub(TOLD)));
    let _ = output.take(TOLD).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn argv(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn what_a_start_leaves_behind_lives_and_is_not_waited_for() {
        let start = Instant::now();
        let argv = argv("sleep 30 & echo $!");
        let command = LifecycleCommand { argv: &argv, timeout: Duration::from_secs(5), leaves: Leaves::Daemons };
        let ended = command.run().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(4), "it waited for the daemon");
        let pid = Pid::from_raw(ended.output.parse().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).expect("the daemon lives");
    }

    #[tokio::test]
    async fn what_a_stop_leaves_behind_dies_with_it() {
        let cancel = CancellationToken::new();
        let argv = argv("sleep 31 & echo $!; wait");
        let leaves = Leaves::Nothing { run: "20261121-014200-4f2a9c", cancel: &cancel };
        let command = LifecycleCommand { argv: &argv, timeout: Duration::from_millis(300), leaves };
        let error = command.run().await.unwrap_err();
        assert!(error.contains("did not end within"), "{error}");
        let pid = error.rsplit(' ').next().unwrap().parse().unwrap();
        let gone = || kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).is_err() || is_zombie(pid);
        for _ in 0..100 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("its child lives on");
    }

    fn is_zombie(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z"))
    }

    #[tokio::test]
    async fn a_failure_tells_what_it_wrote() {
        let argv = argv("echo it will not >&2; exit 3");
        let command = LifecycleCommand { argv: &argv, timeout: Duration::from_secs(5), leaves: Leaves::Daemons };
        assert_eq!(command.succeed().await.unwrap_err(), "/bin/sh ended with status 3: it will not");
    }
}
