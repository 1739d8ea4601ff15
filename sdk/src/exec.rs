//! Commands of the plugin's manifest.
//!
//! The plugin names a command and fills its slots; the host checks every value, renders the arguments and runs the
//! program: no shell, a cleared environment, a deadline. A call that is not allowed runs nothing and returns `denied`.

use std::time::Duration;

use crate::bindings::bkhost::snapshot::exec as wit;
use crate::{Error, ErrorCode, Result};

pub use wit::Process;

/// Run a command whose slots take one value each.
///
/// # Errors
/// The host's: not allowed, not startable, past its deadline, cancelled. A status other than 0 is no error here: see
/// [`Output::ok`].
pub fn run(id: &str, slots: &[(&str, &str)]) -> Result<Output> {
    let mut command = command(id);
    for (slot, value) in slots {
        command = command.slot(slot, *value);
    }
    command.run()
}

/// A command of the manifest, to be filled and run.
#[must_use]
pub fn command(id: &str) -> Command {
    Command { id: id.to_owned(), slots: Vec::new() }
}

/// A command of the manifest and the values of its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    id: String,
    slots: Vec<(String, Vec<String>)>,
}

impl Command {
    /// Fill a slot with one value.
    #[must_use]
    pub fn slot(self, name: &str, value: impl Into<String>) -> Self {
        self.slots(name, [value])
    }

    /// Fill a slot with a value if there is one; an optional group of the command's arguments is left out otherwise.
    #[must_use]
    pub fn slot_if(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.slot(name, value),
            None => self,
        }
    }

    /// Fill a repeated slot (`{name...}`).
    #[must_use]
    pub fn slots<V: Into<String>>(mut self, name: &str, values: impl IntoIterator<Item = V>) -> Self {
        self.slots.push((name.to_owned(), values.into_iter().map(Into::into).collect()));
        self
    }

    /// The command's id in the manifest.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The values of a slot; none if it was not filled.
    #[must_use]
    pub fn values(&self, slot: &str) -> Option<&[String]> {
        self.slots.iter().find(|(name, _)| name == slot).map(|(_, values)| values.as_slice())
    }

    /// Run it and wait for its end.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(self) -> Result<Output> {
        #[cfg(target_arch = "wasm32")]
        return wit::run(&self.id, &self.arguments()).map(|completed| Output::new(&self.id, completed));
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::with(|host| host.run(&self))
    }

    /// Start it as a source for the host to drain.
    ///
    /// # Errors
    /// As [`run`].
    pub fn spawn(self) -> Result<Process> {
        wit::spawn(&self.id, &self.arguments())
    }

    /// Start it as a session: lines in, lines out.
    ///
    /// # Errors
    /// As [`run`].
    pub fn session(self) -> Result<Session> {
        #[cfg(target_arch = "wasm32")]
        let process = wit::spawn(&self.id, &self.arguments())?;
        #[cfg(not(target_arch = "wasm32"))]
        let process = crate::testing::with(|host| host.session(&self))?;
        Ok(Session { id: self.id, process: Some(process) })
    }

    pub(crate) fn arguments(&self) -> Vec<wit::Argument> {
        arguments(&self.slots)
    }
}

fn arguments(slots: &[(String, Vec<String>)]) -> Vec<wit::Argument> {
    slots.iter().map(|(slot, values)| wit::Argument { slot: slot.clone(), values: values.clone() }).collect()
}

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The command's id in the manifest.
    pub command: String,
    /// The exit code; 128 + n if signal n ended it.
    pub status: i32,
    /// What it wrote to stdout, up to the command's cap.
    pub stdout: String,
    /// The end of what it wrote to stderr.
    pub stderr: String,
    /// stdout was longer than the cap.
    pub truncated: bool,
    /// A dry run: the command was recorded and not run.
    pub planned: bool,
}

impl Output {
    #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
    pub(crate) fn new(command: &str, completed: wit::Completed) -> Self {
        let wit::Completed { status, stdout, stderr, truncated, planned } = completed;
        Self { command: command.to_owned(), status, stdout, stderr, truncated, planned }
    }

    /// The output of a command that succeeded.
    ///
    /// # Errors
    /// The status is not 0: the last line of stderr in the message, all of it in the detail `stderr`. An output that
    /// was cut off at its cap is `unsupported`: half an answer is none.
    pub fn ok(self) -> Result<Self> {
        if self.status != 0 {
            return Err(self.failure());
        }
        if self.truncated {
            return Err(Error::unsupported(format!("the output of command '{}' is longer than its cap", self.command))
                .hint("raise max-output of this command in plugin.toml"));
        }
        Ok(self)
    }

    /// The error for a command that failed.
    #[must_use]
    pub fn failure(&self) -> Error {
        // The last line that is not the indented continuation of another.
        let lines = || self.stderr.lines().rev().filter(|line| !line.trim().is_empty());
        let said = lines().find(|line| !line.starts_with([' ', '\t'])).or_else(|| lines().next()).map(str::trim);
        let message = match said {
            Some(line) => format!("command '{}' failed: {line}", self.command),
            None => format!("command '{}' failed with status {} and said nothing", self.command, self.status),
        };
        Error::new(ErrorCode::Other, message)
            .detail("command", &self.command)
            .detail("status", self.status.to_string())
            .detail("stderr", self.stderr.trim_end())
    }

    /// The first line of stdout, trimmed.
    #[must_use]
    pub fn first_line(&self) -> &str {
        self.stdout.lines().next().unwrap_or_default().trim()
    }
}

/// A running command that is talked to line by line. Dropping it kills its process group.
#[derive(Debug)]
pub struct Session {
    id: String,
    #[cfg(target_arch = "wasm32")]
    process: Option<Process>,
    #[cfg(not(target_arch = "wasm32"))]
    process: Option<Box<dyn crate::testing::Process>>,
}

impl Session {
    /// Send a line of the command's `[exec.stdin]` table, its slots filled.
    ///
    /// # Errors
    /// The host's: not allowed, the process has ended.
    pub fn send(&mut self, line: &str, slots: &[(&str, &str)]) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        {
            let slots: Vec<_> =
                slots.iter().map(|(slot, value)| ((*slot).to_owned(), vec![(*value).to_owned()])).collect();
            self.process()?.send(line, &arguments(&slots))
        }
        #[cfg(not(target_arch = "wasm32"))]
        self.process()?.send(line, slots)
    }

    /// The next line of its stdout.
    ///
    /// # Errors
    /// `timed-out`; or the process ended instead of answering: then what it said on stderr.
    pub fn read_line(&mut self, timeout: Duration) -> Result<String> {
        match self.process()?.read_line(milliseconds(timeout))? {
            Some(line) => Ok(line),
            None => Err(self.ended(timeout)),
        }
    }

    /// Send a line that has no slots, and read the one line that answers it.
    ///
    /// # Errors
    /// As [`read_line`](Self::read_line).
    pub fn ask(&mut self, line: &str, timeout: Duration) -> Result<String> {
        if let Err(error) = self.send(line, &[]) {
            // A pipe that is closed says nothing; what the process said says why.
            return if error.code == ErrorCode::Denied { Err(error) } else { Err(self.ended(timeout)) };
        }
        self.read_line(timeout)
    }

    /// Close its stdin and wait for its end.
    ///
    /// # Errors
    /// `timed-out` (it was killed), or a status other than 0.
    pub fn end(mut self, timeout: Duration) -> Result<Output> {
        let process = self.process()?;
        let outcome = process.close_input().and_then(|()| process.wait(milliseconds(timeout)));
        if outcome.is_err() {
            process.kill()?;
        }
        self.output(outcome?).ok()
    }

    /// Wait for its end, but no longer than this; none: it goes on.
    ///
    /// # Errors
    /// The host's, such as a run that was cancelled. A status other than 0 is no error here: see [`Output::ok`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Output>> {
        match self.process()?.wait(milliseconds(timeout)) {
            Ok(completed) => Ok(Some(self.output(completed))),
            Err(error) if error.code == ErrorCode::TimedOut => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Kill it now.
    ///
    /// # Errors
    /// The host could not kill it.
    pub fn kill(mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    #[cfg(target_arch = "wasm32")]
    fn process(&mut self) -> Result<&mut Process> {
        let Self { id, process } = self;
        process.as_mut().ok_or_else(|| Error::other(format!("the session '{id}' has ended")))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn process(&mut self) -> Result<&mut Box<dyn crate::testing::Process>> {
        let Self { id, process } = self;
        process.as_mut().ok_or_else(|| Error::other(format!("the session '{id}' has ended")))
    }

    #[cfg(target_arch = "wasm32")]
    fn output(&self, completed: wit::Completed) -> Output {
        Output::new(&self.id, completed)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn output(&self, output: Output) -> Output {
        Output { command: self.id.clone(), ..output }
    }

    fn ended(&mut self, timeout: Duration) -> Error {
        let outcome = self.process().and_then(|process| process.wait(milliseconds(timeout)));
        match outcome {
            Ok(completed) => self.output(completed).failure(),
            Err(error) => error.context(format!("session '{}' closed its output", self.id)),
        }
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(status: i32, stderr: &str) -> Output {
        Output { command: "dump".into(), status, stderr: stderr.into(), ..Output::default() }
    }

    #[test]
    fn a_failed_command_speaks_with_its_last_line() {
        let error = output(1, "pg_dump: warning\npg_dump: error: no such table\n\n").ok().unwrap_err();
        assert_eq!(error.message, "command 'dump' failed: pg_dump: error: no such table");
        assert_eq!(error.detail_of("status"), Some("1"));
        assert_eq!(error.detail_of("stderr"), Some("pg_dump: warning\npg_dump: error: no such table"));
        let silent = output(137, "").ok().unwrap_err();
        assert_eq!(silent.message, "command 'dump' failed with status 137 and said nothing");
    }

    #[test]
    fn half_an_answer_is_none() {
        let error = Output { truncated: true, ..output(0, "") }.ok().unwrap_err();
        assert_eq!(error.code, ErrorCode::Unsupported);
    }

    #[test]
    fn an_optional_slot_without_value_is_not_filled() {
        let command = command("zfs").slot_if("a", None::<String>).slot_if("b", Some("x")).slots("c", ["1", "2"]);
        assert_eq!(command.values("a"), None);
        assert_eq!(command.values("b"), Some(&["x".to_owned()][..]));
        assert_eq!(command.values("c").map(<[String]>::len), Some(2));
    }
}
