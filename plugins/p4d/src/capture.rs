//! The checkpoint, or the rotation of the journal. One attempt: p4d is never asked again after a failure.

use std::time::{Duration, Instant};

use bkhost_sdk::{Error, ErrorCode, Result, exec, info, progress};

use crate::config::{Compress, Config, Layout, Method};
use crate::files::{self, File, Kind};
use crate::ledger::{self, Intent};
use crate::server::{self, Counters};

/// How often the growing checkpoint is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What was captured.
pub(crate) struct Captured {
    /// The checkpoint first, then the journals since.
    pub(crate) files: Vec<File>,
    /// The sequence number of the live journal after it.
    pub(crate) sequence: u64,
    pub(crate) action: String,
    /// How long p4d took.
    pub(crate) took: Duration,
    pub(crate) planned: bool,
}

/// Take a checkpoint, or rotate the journal if the chain since the last one is still short enough.
///
/// # Errors
/// p4d's, or that what it left is not what it says; with the state that p4d is in.
pub(crate) fn capture(config: &Config, label: &str) -> Result<Captured> {
    let layout = Layout::new(config, server::journal_prefix(config)?.as_deref())?;
    let before = server::counters(config)?;
    let full = wants_checkpoint(config, &layout, &before);
    let next = before.journal.saturating_add(1);
    let attempt = Attempt { config, layout: &layout, before: &before, full, next };
    attempt.refuse_leftovers()?;
    ledger::intend(&Intent { label: label.to_owned(), checkpoint: full.then_some(next), method: config.method })?;
    let second = other_second(&before);
    let began = Instant::now();
    let output = attempt.run()?;
    let took = began.elapsed();
    let planned = output.planned;
    if planned {
        return Ok(Captured { files: Vec::new(), sequence: next, action: String::new(), took, planned });
    }
    if output.status != 0 {
        return Err(attempt.failed(server::explain(output.failure())));
    }
    let after = server::counters(config)?;
    let files = attempt.proved(&after, second).map_err(|error| attempt.failed(error))?;
    Ok(Captured { files, sequence: next, action: after.action, took, planned })
}

/// The second in which p4d is asked: not that of the last checkpoint, or lastCheckpointAction would say the same of both.
fn other_second(before: &Counters) -> u64 {
    for _ in 0..30 {
        let second = bkhost_sdk::now() / 1000;
        if before.completed() != Some(second) {
            return second;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bkhost_sdk::now() / 1000
}

/// Whether this run takes a checkpoint.
pub(crate) fn wants_checkpoint(config: &Config, layout: &Layout, counters: &Counters) -> bool {
    let Some(every) = config.checkpoint_every.checked_sub(1).filter(|every| *every > 0) else { return true };
    // A checkpoint and its `.md5`, then a journal for each run since.
    match files::chain(layout, counters.journal) {
        Some(chain) => chain.len().saturating_sub(2) as u64 >= every || !chain.first().is_some_and(trusted),
        None => true,
    }
}

/// Whether journals may be put on top of this checkpoint: the last run went well, and one of ours has proved it.
fn trusted(checkpoint: &File) -> bool {
    let proved = |state: crate::State| {
        state.files.iter().any(|file| {
            file.kind == Kind::Checkpoint
                && (file.place, &file.name) == (checkpoint.place, &checkpoint.name)
                && file.md5.is_some()
                && file.unchanged()
        })
    };
    let made = ledger::all().unwrap_or_default();
    let last = ledger::last().ok().flatten();
    last.is_some_and(|last| made.contains_key(&last.label))
        && made.values().any(|made| serde_json::from_str(&made.state).is_ok_and(proved))
}

struct Attempt<'a> {
    config: &'a Config,
    layout: &'a Layout,
    before: &'a Counters,
    full: bool,
    /// The sequence number that comes of it.
    next: u64,
}

impl Attempt<'_> {
    /// What p4d would not overwrite, and fail at.
    fn refuse_leftovers(&self) -> Result<()> {
        let files = [
            self.full.then(|| files::checkpoint(self.layout, self.next)).flatten(),
            files::journal(self.layout, self.before.journal),
        ];
        match files.into_iter().flatten().next() {
            None => Ok(()),
            Some(file) => Err(leftover(self.config, &file, self.before)),
        }
    }

    fn run(&self) -> Result<exec::Output> {
        let config = self.config;
        let compress = match (config.compress, self.full) {
            (Compress::Both, _) => Some("z"),
            (Compress::Checkpoint, true) => Some("Z"),
            _ => None,
        };
        let command = match (config.method, self.full) {
            (Method::P4d, true) => server::p4d(config, "checkpoint"),
            (Method::P4d, false) => server::p4d(config, "rotate"),
            (Method::P4, true) => server::p4(config, "p4-checkpoint")?,
            (Method::P4, false) => server::p4(config, "p4-rotate")?,
        };
        let command = match config.method {
            Method::P4d => command.slot_if("journal", config.journal.as_ref()),
            Method::P4 => command,
        };
        let mut session = command.slot_if("compress", compress).slot_if("prefix", config.prefix.as_ref()).session()?;
        let began = Instant::now();
        let usual = files::newest(self.layout, self.before.journal).map(|(_, file)| file.bytes);
        loop {
            if let Some(output) = session.wait(LOOK)? {
                return Ok(output);
            }
            if began.elapsed() >= config.timeout() {
                session.kill()?;
                let message = format!("it has not ended after {} and was stopped", config.timeout);
                let error = Error::new(ErrorCode::TimedOut, message).hint(match config.method {
                    Method::P4d => "raise [part.config] timeout, or find out what it waits for",
                    Method::P4 => "only p4 was stopped: the server may still be writing. Look at lastCheckpointAction",
                });
                return Err(self.failed(error));
            }
            if let Some(file) = files::checkpoint(self.layout, self.next).filter(|_| self.full) {
                progress::report("checkpoint", file.bytes, usual.filter(|usual| *usual >= file.bytes));
            }
        }
    }

    /// Whether what p4d says it did is there. What the files hold is checked when the database is free again.
    fn proved(&self, after: &Counters, second: u64) -> Result<Vec<File>> {
        if after.journal != self.next {
            return Err(Error::corrupt(format!(
                "the journal's number is {} after it, and not {}: did somebody else rotate it meanwhile?",
                after.journal, self.next
            )));
        }
        if self.full {
            match after.completed() {
                Some(at) if at >= second && after.action != self.before.action => {}
                Some(_) => {
                    return Err(Error::corrupt(
                        "lastCheckpointAction tells of an older checkpoint, and not of this one",
                    ));
                }
                None => {
                    return Err(Error::corrupt("lastCheckpointAction does not say that the checkpoint was completed"));
                }
            }
        }
        let missing = |what: &str| Error::not_found(format!("{what} is not where it is expected"));
        let rotated = files::journal(self.layout, self.before.journal)
            .ok_or_else(|| missing(&format!("{}.{}", self.layout.journal, self.before.journal)))?;
        let mut made = Vec::new();
        if self.full {
            let checkpoint = files::checkpoint(self.layout, self.next)
                .ok_or_else(|| missing(&format!("{}.{}", self.layout.checkpoint, self.next)))?;
            let md5 = files::md5_of(&checkpoint).ok_or_else(|| missing(&format!("the .md5 of {}", checkpoint.name)))?;
            // Of no use to the checkpoint, but to the one before it.
            made.extend([checkpoint, md5, rotated]);
        } else {
            made =
                files::chain(self.layout, self.next).ok_or_else(|| missing("a journal since the last checkpoint"))?;
        }
        for file in &mut made {
            file.made = self.full || (file.kind, file.sequence) == (Kind::Journal, self.before.journal);
            if file.bytes == 0 && file.kind != Kind::Journal {
                return Err(Error::corrupt(format!("{} is empty", file.host(self.config))));
            }
        }
        Ok(made)
    }

    /// A failure, with the state that p4d is in.
    fn failed(&self, error: Error) -> Error {
        let what =
            if self.full { "the checkpoint failed, and is not tried again" } else { "the journal was not rotated" };
        let mut facts = Vec::new();
        match server::counters(self.config) {
            Ok(now) => {
                facts.push(match now.journal.checked_sub(self.before.journal) {
                    Some(0) => format!("p4d goes on with journal {}, which was not rotated", now.journal),
                    _ => format!("p4d goes on with journal {} (it was {} before)", now.journal, self.before.journal),
                });
                facts.push(format!("lastCheckpointAction is {:?}", now.action));
            }
            Err(error) => facts.push(format!("p4d does not tell its state ({})", error.message)),
        }
        if let Some(file) = files::checkpoint(self.layout, self.next).filter(|_| self.full) {
            let whole = if files::md5_of(&file).is_some() { "with its .md5" } else { "without .md5: incomplete" };
            facts.push(format!("{} is there, {} bytes, {whole}", file.host(self.config), file.bytes));
        }
        let facts = facts.join("; ");
        info!("{facts}");
        let hint = error
            .hint
            .clone()
            .unwrap_or_else(|| "see the server's log; a checkpoint can be taken again by hand".into());
        error.context(what).hint(hint).detail("state of p4d", facts)
    }
}

/// The error for a file that is in the way of what p4d writes next.
pub(crate) fn leftover(config: &Config, file: &File, counters: &Counters) -> Error {
    Error::already_exists(format!(
        "{} is there already, and p4d's live journal is number {}: it is left from a checkpoint that failed, or another \
         server writes there",
        file.host(config),
        counters.journal
    ))
    .hint("find out why (the server's log, lastCheckpointAction), and move it away: p4d does not overwrite it")
}
