//! Applications that programs of this machine bring to rest and back: `service` and `command`.
//!
//! What gives them back is noted before the first program runs: the programs themselves, so that a changed configuration
//! changes nothing, and of services only those that ran. Giving back may be repeated at any time.

mod lock;
mod release;
mod service;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    Application, ApplicationKind, Finding, Held, HeldState, Hooks, Lock, Outcome, PlannedCalls, Release, Severity,
    Stage,
};
use crate::capability::{Leaves, LifecycleCommand, check_program};
use crate::config;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use lock::CommandedLock;
use service::Services;

/// A program (an absolute path) and its arguments.
type Argv = Vec<String>;

/// One thing that is brought to rest and back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    /// For people.
    name: String,
    /// Brings it to rest.
    stop: Argv,
    /// Brings it back.
    start: Argv,
    /// What tells whether it is at rest.
    rest: Option<Probe>,
    /// What tells whether it runs.
    runs: Option<Probe>,
}

/// A program that answers a question with its exit status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The program and its arguments.
    argv: Argv,
    /// The statuses that mean yes.
    yes: Vec<i32>,
    /// The statuses that mean no; empty: all others.
    no: Vec<i32>,
}

impl Probe {
    /// Whether the answer is yes.
    ///
    /// # Errors
    /// In words: there was no answer, or one that is neither.
    async fn ask(&self, timeout: Duration) -> Result<bool, String> {
        let command = LifecycleCommand { argv: &self.argv, timeout, leaves: Leaves::Daemons };
        let ended = command.run().await?;
        if self.yes.contains(&ended.status) {
            return Ok(true);
        }
        if self.no.is_empty() || self.no.contains(&ended.status) {
            return Ok(false);
        }
        Err(format!("{} ended with status {}: {}", self.argv.join(" "), ended.status, ended.output))
    }
}

/// What brings one piece back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resume {
    /// For people.
    name: String,
    /// Brings it back.
    start: Argv,
    /// Whether it is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runs: Option<Probe>,
}

/// Services, or an application with commands of its own.
pub struct Commanded {
    kind: ApplicationKind,
    name: String,
    pieces: Vec<Piece>,
    services: Option<Services>,
    timeout: Duration,
    max_lock_time: Duration,
}

impl Commanded {
    /// An application with commands of its own.
    #[must_use]
    pub fn command(settings: &config::CommandApplication) -> Self {
        let probe = |argv: &Option<Argv>| argv.clone().map(|argv| Probe { argv, yes: vec![0], no: Vec::new() });
        let piece = Piece {
            name: settings.name(),
            stop: settings.quiesce.clone(),
            start: settings.resume.clone(),
            rest: probe(&settings.at_rest),
            runs: probe(&settings.running),
        };
        Self {
            kind: ApplicationKind::Command,
            name: settings.name(),
            pieces: vec![piece],
            services: None,
            timeout: settings.timeout.0,
            max_lock_time: settings.max_lock_time.0,
        }
    }

    /// Services.
    #[must_use]
    pub fn services(settings: &config::ServiceApplication) -> Self {
        let services = Services::of(settings);
        Self {
            kind: ApplicationKind::Service,
            name: settings.services.join(", "),
            pieces: services.pieces(&settings.services),
            services: Some(services),
            timeout: settings.timeout.0,
            max_lock_time: settings.max_lock_time.0,
        }
    }

    /// The pieces that are to be stopped: of services, those that run.
    async fn running(&self) -> Result<Vec<Piece>> {
        if self.kind == ApplicationKind::Command {
            return Ok(self.pieces.clone());
        }
        let mut running = Vec::new();
        for piece in &self.pieces {
            if self.runs(piece).await? {
                running.push(piece.clone());
            }
        }
        Ok(running)
    }

    async fn runs(&self, piece: &Piece) -> Result<bool> {
        let Some(probe) = &piece.runs else {
            return Err(Error::new(ErrorKind::Config, format!("nobody can tell whether {} is running", piece.name))
                .hint("give [application] a command `running` that succeeds if it is; [\"/bin/false\"] says that it never is"));
        };
        let answer = probe.ask(self.timeout).await;
        answer.or_error(ErrorKind::Application, || format!("cannot tell whether {} is running", piece.name))
    }

    fn held(&self, pieces: &[Piece]) -> Result<Held> {
        let since = Timestamp::now();
        let until = SignedDuration::try_from(self.max_lock_time)
            .and_then(|time| since.checked_add(time))
            .or_error(ErrorKind::Config, || "application.max-lock-time is too long")?;
        let resume = |piece: &Piece| Resume {
            name: piece.name.clone(),
            start: piece.start.clone(),
            // A command's `running` says whether its processes are there, which they may be all the time.
            runs: piece.runs.clone().filter(|_| self.kind == ApplicationKind::Service),
        };
        let resume = pieces.iter().rev().map(resume).collect();
        let state = HeldState::Commanded { kind: self.kind, name: self.name.clone(), resume, timeout: self.timeout };
        Ok(Held { stage: Stage::Intended, since, until, state })
    }

    fn finding(&self, severity: Severity, subject: &str, message: String, hint: Option<&str>) -> Finding {
        Finding {
            severity,
            kind: ErrorKind::Application,
            subject: subject.to_owned(),
            message,
            hint: hint.map(str::to_owned),
        }
    }

    async fn check_piece(&self, piece: &Piece) -> Vec<Finding> {
        let probes = [&piece.rest, &piece.runs];
        let argvs =
            [&piece.stop, &piece.start].into_iter().chain(probes.into_iter().flatten().map(|probe| &probe.argv));
        for argv in argvs {
            if let Err(why) = check_program(argv) {
                let hint = "name a program by its absolute path that only root and its user can change";
                return vec![self.finding(Severity::Failure, &piece.name, why, Some(hint))];
            }
        }
        if let Some(services) = &self.services {
            return services.check(self, piece).await;
        }
        match &piece.runs {
            None => Vec::new(),
            Some(probe) => match probe.ask(self.timeout).await {
                Ok(true) => Vec::new(),
                Ok(false) => {
                    vec![self.finding(Severity::Warning, &piece.name, "it is not running".to_owned(), None)]
                }
                Err(why) => vec![self.finding(Severity::Warning, &piece.name, why, None)],
            },
        }
    }
}

#[async_trait]
impl Application for Commanded {
    fn kind(&self) -> ApplicationKind {
        self.kind
    }

    fn describe(&self) -> String {
        describe(self.kind, &self.name)
    }

    fn locks(&self) -> bool {
        true
    }

    fn max_lock_time(&self) -> Option<Duration> {
        Some(self.max_lock_time)
    }

    async fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for piece in &self.pieces {
            findings.extend(self.check_piece(piece).await);
        }
        findings
    }

    async fn version(&self) -> Result<Option<String>> {
        Ok(None)
    }

    async fn is_running(&self) -> Result<bool> {
        for piece in &self.pieces {
            if self.runs(piece).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn planned_calls(&self) -> PlannedCalls {
        PlannedCalls {
            lock: self.pieces.iter().map(|piece| piece.stop.join(" ")).collect(),
            unlock: self.pieces.iter().rev().map(|piece| piece.start.join(" ")).collect(),
        }
    }

    async fn lock(&self, hooks: &Hooks) -> Result<Arc<dyn Lock>> {
        let cancelled =
            || Error::new(ErrorKind::Cancelled, format!("cancelled while {} was brought to rest", self.name));
        if hooks.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let pieces = self.running().await?;
        let mut held = self.held(&pieces)?;
        hooks.keeper.note(&held).await?;
        let result = async {
            for piece in &pieces {
                stop(piece, self.timeout, hooks).await?;
            }
            held.stage = Stage::Locked;
            hooks.keeper.note(&held).await
        }
        .await;
        if let Err(error) = result {
            let error = if hooks.cancel.is_cancelled() { cancelled().because(error) } else { error };
            return Err(match release::release(&held, release::PATIENCE, hooks).await {
                Ok(_) => error,
                Err(still) => error.detail("state", still.to_string()),
            });
        }
        Ok(Arc::new(self.locked(held, Instant::now(), hooks)))
    }

    fn adopt(&self, held: Held, began: Instant, hooks: &Hooks) -> Result<Arc<dyn Lock>> {
        if held.kind() != self.kind || held.stage < Stage::Locked {
            return Err(Error::new(ErrorKind::Internal, format!("{} is not held by this", self.describe())));
        }
        Ok(Arc::new(self.locked(held, began, hooks)))
    }

    async fn release(&self, held: &Held, _: Outcome, patience: Duration, hooks: &Hooks) -> Result<Release> {
        if !held.is_open() {
            return Ok(Release::Gone);
        }
        release::release(held, patience, hooks).await
    }
}

impl Commanded {
    fn locked(&self, held: Held, began: Instant, hooks: &Hooks) -> CommandedLock {
        let rest = self.pieces.iter().filter_map(|piece| Some((piece.name.clone(), piece.rest.clone()?))).collect();
        CommandedLock::new(self.describe(), held, began + self.max_lock_time, rest, self.timeout, hooks)
    }
}

/// Brings one piece to rest.
async fn stop(piece: &Piece, timeout: Duration, hooks: &Hooks) -> Result<()> {
    release::call(hooks, &piece.stop);
    let leaves = Leaves::Nothing { run: &hooks.run, cancel: &hooks.cancel };
    let command = LifecycleCommand { argv: &piece.stop, timeout, leaves };
    let what = format!("{} to come to rest", piece.name);
    let stopped = crate::report::waiting(&hooks.reporter, &what, command.succeed()).await;
    stopped.or_error(ErrorKind::Application, || format!("{} could not be brought to rest", piece.name))?;
    let Some(probe) = &piece.rest else { return Ok(()) };
    // Some stop in the background: what counts is what they say afterwards.
    let settled = settle(probe, timeout, &hooks.cancel);
    let settled = crate::report::waiting(&hooks.reporter, &what, settled).await;
    settled.or_error(ErrorKind::Application, || format!("{} does not come to rest", piece.name))
}

/// Waits until the answer is yes.
async fn settle(probe: &Probe, timeout: Duration, cancel: &CancellationToken) -> Result<(), String> {
    let end = Instant::now() + timeout;
    loop {
        let answer = probe.ask(timeout).await;
        if answer == Ok(true) {
            return Ok(());
        }
        if cancel.is_cancelled() {
            return Err("cancelled".to_owned());
        }
        if Instant::now() >= end {
            return Err(answer.err().unwrap_or_else(|| format!("not within {} s", timeout.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn describe(kind: ApplicationKind, name: &str) -> String {
    match kind {
        ApplicationKind::Service => format!("service {name}"),
        _ => format!("application {name}"),
    }
}
