//! Programs that the operator names in the configuration for the host itself: a password manager, a pager.

use std::path::Path;
use std::time::Duration;

use super::process::{self, Ending, Options, Running};
use super::program::Program;

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
    pub async fn run(self) -> Result<Vec<u8>, String> {
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
