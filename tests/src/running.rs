//! A child process with a deadline: no test can hang because of one, and none outlives its test.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a child is waited for.
const LIMIT: Duration = Duration::from_secs(90);
/// How long a pipe may stay open after its child has ended. Longer means that the child left somebody behind.
const CLOSES: Duration = Duration::from_secs(5);
/// The same, where the run's guard has work to do.
const GUARD_ENDS: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(5);

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// How long it took.
    pub elapsed: Duration,
}

impl Outcome {
    /// The outcome, if it is a success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// The outcome, if it failed with this code and says all of this.
    #[track_caller]
    pub fn fails(self, code: i32, says: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self}");
        for text in says {
            assert!(self.stderr.contains(text), "stderr does not say `{text}`: {self}");
        }
        self
    }

    /// The last line of stdout, which `--json` makes the result.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{e} in {self}"))
    }

    /// All lines of stdout, each of which `--json` makes an object.
    #[must_use]
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in `{line}` of {self}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// What a table that was printed has in this column of the row that begins so.
#[must_use]
#[track_caller]
pub fn cell(table: &str, row: &str, column: &str) -> String {
    let lines: Vec<&str> = table.lines().collect();
    let at = lines.iter().position(|line| line.starts_with(row)).unwrap_or_else(|| panic!("no row {row}: {table}"));
    let header = lines[..at].iter().rev().find(|line| line.contains(column));
    let begin = header.and_then(|header| header.find(column)).unwrap_or_else(|| panic!("no column {column}: {table}"));
    lines[at].get(begin..).unwrap_or_default().split("  ").next().unwrap_or_default().trim().to_owned()
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, elapsed } = self;
        write!(f, "exit code {code} after {elapsed:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// What a pipe has brought so far.
#[derive(Clone, Default)]
struct Text {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Arc<AtomicBool>,
}

impl Text {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Self::default();
        let ours = text.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                ours.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]);
            }
            ours.ended.store(true, Ordering::Release);
        });
        text
    }

    fn get(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// A child process. It is killed when this is dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Text,
    stderr: Text,
    what: String,
    start: Instant,
    limit: Duration,
}

impl Running {
    /// Start it, with a pipe for its stdin if it is to be written to.
    #[must_use]
    #[track_caller]
    pub fn start(mut command: Command, stdin: bool) -> Self {
        let what = format!("{command:?}");
        let start = Instant::now();
        let mut child = command
            .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {what}: {e}"));
        Self {
            stdin: child.stdin.take(),
            stdout: Text::of(child.stdout.take().unwrap()),
            stderr: Text::of(child.stderr.take().unwrap()),
            child,
            what,
            start,
            limit: LIMIT,
        }
    }

    /// It may take so long, instead of a minute and a half.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Send it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Write to its stdin.
    pub fn write(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// What it has printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.get()
    }

    /// Wait until it has printed this; the line in which it did.
    #[track_caller]
    pub fn says(&mut self, text: &str) -> String {
        let since = Instant::now();
        loop {
            // Looked at first: what it prints before its end counts.
            let ended = self.child.try_wait().unwrap().is_some() && self.stdout.ended.load(Ordering::Acquire);
            if let Some(line) = self.stdout().lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(!ended, "ended without saying `{text}`: {}", self.report());
            self.in_time(since, &format!("does not say `{text}`"));
            std::thread::sleep(PAUSE);
        }
    }

    /// Wait until the phase has begun (`--json`).
    #[track_caller]
    pub fn reaches(&mut self, phase: &str) {
        self.says(&format!(r#""event":"phase-started","phase":"{phase}""#));
    }

    /// Its time begins again: it was not meant to end so far.
    pub fn begin_again(&mut self) {
        self.start = Instant::now();
    }

    /// Wait until it has stopped itself (SIGSTOP); not if it has ended.
    #[track_caller]
    pub fn stops(&mut self) -> bool {
        let since = Instant::now();
        while self.runs() {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
            if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
                return true;
            }
            self.in_time(since, "neither stops nor ends");
            std::thread::sleep(PAUSE);
        }
        false
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Wait for its exit code. What it left behind may still write.
    #[track_caller]
    pub fn code(&mut self) -> i32 {
        self.status().code().unwrap_or(-1)
    }

    /// Wait for its end.
    #[must_use]
    #[track_caller]
    pub fn end(self) -> Outcome {
        self.end_within(CLOSES)
    }

    /// Wait for its end, and for that of its guard, which writes to the same pipes.
    #[must_use]
    #[track_caller]
    pub fn end_with_guard(self) -> Outcome {
        self.end_within(GUARD_ENDS)
    }

    #[track_caller]
    fn status(&mut self) -> ExitStatus {
        // Not since its start: a server may run for as long as its test does.
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            self.in_time(since, "does not end");
            std::thread::sleep(PAUSE);
        }
    }

    #[track_caller]
    fn end_within(mut self, closes: Duration) -> Outcome {
        drop(self.stdin.take());
        let status = self.status();
        let elapsed = self.start.elapsed();
        let ended = Instant::now();
        for (name, pipe) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            while !pipe.ended.load(Ordering::Acquire) {
                assert!(ended.elapsed() < closes, "somebody holds the {name} of what has ended: {}", self.report());
                std::thread::sleep(PAUSE);
            }
        }
        Outcome { code: status.code().unwrap_or(-1), stdout: self.stdout.get(), stderr: self.stderr.get(), elapsed }
    }

    #[track_caller]
    fn in_time(&self, since: Instant, what: &str) {
        assert!(since.elapsed() < self.limit, "{what} within {:?}: {}", self.limit, self.report());
    }

    fn report(&self) -> String {
        format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.what, self.stdout.get(), self.stderr.get())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The scripts that hold a server end it when their stdin does.
        if self.stdin.take().is_some() {
            let asked = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < CLOSES {
                std::thread::sleep(PAUSE);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Run a tool that has to succeed; what it printed.
#[track_caller]
pub fn tool(command: Command) -> String {
    Running::start(command, false).end().ok().stdout
}

/// Wait until this holds.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}
