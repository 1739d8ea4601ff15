//! What the simulator pretends to be, and what was done to it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::options::{Call, Fault, Options};
use crate::error::{ErrorKind, Result, ResultExt};

/// One call that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HistoryEntry {
    /// When, by the wall clock.
    pub time: Timestamp,
    /// When, since the start, in milliseconds.
    pub millis: u64,
    /// Which call.
    pub call: String,
    /// The status that was, or would have been, answered; `None` if the call's work was not done.
    pub status: Option<u16>,
    /// What went wrong on purpose.
    pub fault: Option<String>,
    /// Of a progress call.
    pub percentage: Option<u8>,
}

/// How the simulator stands, and what was done to it: `GET /simulator/state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateReport {
    /// What this is.
    pub simulator: String,
    /// Whether anybody holds the lock.
    pub locked: bool,
    /// Who holds it.
    pub locked_by: Option<String>,
    /// The backup task's state, if there is a task: `RUNNING`, `SUCCESSFUL`, `CANCELED`.
    pub backup: Option<String>,
    /// `AVAILABLE`, `DRAINING` or `DRAINED`.
    pub db_state: String,
    /// `AVAILABLE`, `DRAINING` or `DRAINED`.
    pub scm_state: String,
    /// The backup's progress.
    pub percentage: Option<u8>,
    /// All calls of the API so far, oldest first.
    pub history: Vec<HistoryEntry>,
}

/// An answer before anything goes wrong with it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Option<Value>,
}

/// What a call brings along.
#[derive(Default)]
pub(super) struct Given {
    pub(super) authenticated: bool,
    pub(super) lock_token: Option<String>,
    pub(super) token: Option<String>,
    pub(super) percentage: Option<u8>,
}

pub(super) struct State {
    pub(super) options: Options,
    start: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lock: Option<Held>,
    backup: Option<Backup>,
    used: Vec<u32>,
    history: Vec<HistoryEntry>,
}

struct Held {
    token: String,
    owner: String,
}

struct Backup {
    id: String,
    cancel_token: String,
    begun: Instant,
    ended: Option<&'static str>,
    percentage: u8,
}

impl Backup {
    fn state(&self, options: &Options) -> &'static str {
        match self.ended {
            Some(state) => state,
            None if options.operator_cancel_after.is_some_and(|after| self.begun.elapsed() >= after) => "CANCELED",
            None => "RUNNING",
        }
    }

    fn latches(&self, options: &Options) -> &'static str {
        match self.state(options) {
            "RUNNING" if self.begun.elapsed() >= options.drain => "DRAINED",
            "RUNNING" => "DRAINING",
            _ => "AVAILABLE",
        }
    }

    fn task(&self, options: &Options) -> Value {
        json!({
            "id": self.id,
            "type": "BACKUP",
            "state": self.state(options),
            "progress": { "message": "Simulated backup", "percentage": self.percentage },
        })
    }
}

impl State {
    pub(super) fn new(options: Options) -> Result<Self> {
        let lock = match options.locked_by_other {
            true => Some(Held { token: random()?, owner: "somebody-else".to_owned() }),
            false => None,
        };
        let used = vec![0; options.faults.len()];
        let inner = Inner { lock, used, ..Inner::default() };
        Ok(Self { options, start: Instant::now(), inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that this call runs into.
    pub(super) fn fault(&self, call: Call) -> Option<Fault> {
        let mut inner = self.inner();
        let mut faults = self.options.faults.iter().zip(inner.used.iter_mut());
        let (fault, used) = faults.find(|(f, used)| f.call == call && f.times.is_none_or(|times| **used < times))?;
        *used += 1;
        Some(*fault)
    }

    pub(super) fn record(&self, call: Call, given: &Given, status: Option<StatusCode>, fault: Option<Fault>) {
        let entry = HistoryEntry {
            time: Timestamp::now(),
            millis: millis(self.start.elapsed()),
            call: call.name().to_owned(),
            status: status.map(|s| s.as_u16()),
            fault: fault.map(|f| f.to_string()),
            percentage: given.percentage,
        };
        self.inner().history.push(entry);
    }

    /// The operator cancels on the web page.
    pub(super) fn operator_cancels(&self) -> bool {
        match &mut self.inner().backup {
            Some(backup) if backup.state(&self.options) == "RUNNING" => {
                backup.ended = Some("CANCELED");
                true
            }
            _ => false,
        }
    }

    pub(super) fn report(&self) -> StateReport {
        let inner = self.inner();
        let backup = inner.backup.as_ref();
        let latches = backup.map_or("AVAILABLE", |b| b.latches(&self.options)).to_owned();
        StateReport {
            simulator: super::NAME.to_owned(),
            locked: inner.lock.is_some(),
            locked_by: inner.lock.as_ref().map(|held| held.owner.clone()),
            backup: backup.map(|b| b.state(&self.options).to_owned()),
            db_state: latches.clone(),
            scm_state: latches,
            percentage: backup.map(|b| b.percentage),
            history: inner.history.clone(),
        }
    }

    /// Whose the lock is.
    pub(super) fn owner(&self, given: &Given) -> Answer {
        if !given.authenticated {
            return refusal(StatusCode::UNAUTHORIZED, "Authentication is required.");
        }
        match &self.inner().lock {
            Some(held) => ok(json!({ "owner": { "name": held.owner, "displayName": held.owner } })),
            None => refusal(StatusCode::NOT_FOUND, "There is no maintenance lock."),
        }
    }

    /// Does what the call asks for.
    pub(super) fn work(&self, call: Call, given: &Given) -> Result<Answer> {
        if !given.authenticated && call != Call::Version {
            return Ok(refusal(StatusCode::UNAUTHORIZED, "Authentication is required."));
        }
        let mut inner = self.inner();
        Ok(match call {
            Call::Version => ok(json!({
                "version": self.options.version,
                "buildNumber": "0",
                "buildDate": "0",
                "displayName": super::DISPLAY_NAME,
            })),
            Call::Lock => inner.lock(&self.options)?,
            Call::Begin => inner.begin(&self.options, given)?,
            Call::Poll => inner.poll(&self.options),
            Call::Progress => inner.progress(&self.options, given),
            Call::Cancel => inner.cancel(given),
            Call::Unlock => inner.unlock(&self.options, given),
        })
    }
}

impl Inner {
    fn lock(&mut self, options: &Options) -> Result<Answer> {
        if let Some(held) = &self.lock {
            let message = format!("Already locked for maintenance by {}.", held.owner);
            return Ok(refusal(StatusCode::CONFLICT, &message));
        }
        let held = Held { token: random()?, owner: options.username.clone() };
        let answer = json!({
            "unlockToken": held.token,
            "owner": { "name": held.owner, "displayName": held.owner },
        });
        self.lock = Some(held);
        Ok(accepted(answer))
    }

    fn begin(&mut self, options: &Options, given: &Given) -> Result<Answer> {
        if !self.holds(given.lock_token.as_deref()) {
            return Ok(refusal(StatusCode::CONFLICT, "The maintenance token does not match the lock."));
        }
        if self.backup.as_ref().is_some_and(|b| b.state(options) == "RUNNING") {
            return Ok(refusal(StatusCode::CONFLICT, "A maintenance task is already running."));
        }
        let backup =
            Backup { id: random()?, cancel_token: random()?, begun: Instant::now(), ended: None, percentage: 0 };
        let mut answer = backup.task(options);
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("cancelToken".to_owned(), Value::String(backup.cancel_token.clone()));
        }
        self.backup = Some(backup);
        Ok(accepted(answer))
    }

    fn poll(&self, options: &Options) -> Answer {
        let latches = self.backup.as_ref().map_or("AVAILABLE", |b| b.latches(options));
        let mut answer = json!({ "db-state": latches, "scm-state": latches });
        if let (Some(backup), Some(answer)) = (&self.backup, answer.as_object_mut()) {
            answer.insert("task".to_owned(), backup.task(options));
        }
        ok(answer)
    }

    fn progress(&mut self, options: &Options, given: &Given) -> Answer {
        let Some(percentage) = given.percentage.filter(|p| *p <= 100) else {
            return refusal(StatusCode::BAD_REQUEST, "A percentage from 0 to 100 is required.");
        };
        if !self.holds(given.token.as_deref()) {
            return refusal(StatusCode::CONFLICT, "The token does not match the lock.");
        }
        match &mut self.backup {
            Some(backup) if backup.state(options) == "RUNNING" => {
                backup.percentage = percentage;
                if percentage == 100 {
                    backup.ended = Some("SUCCESSFUL");
                }
                Answer { status: StatusCode::ACCEPTED, body: None }
            }
            _ => refusal(StatusCode::CONFLICT, "No backup is running."),
        }
    }

    fn cancel(&mut self, given: &Given) -> Answer {
        match &mut self.backup {
            Some(backup) if given.token.as_ref() == Some(&backup.cancel_token) => {
                backup.ended = backup.ended.or(Some("CANCELED"));
                accepted(json!({}))
            }
            _ => refusal(StatusCode::CONFLICT, "The token does not match a running task."),
        }
    }

    fn unlock(&mut self, options: &Options, given: &Given) -> Answer {
        if self.lock.is_none() {
            return refusal(StatusCode::NOT_FOUND, "There is no maintenance lock.");
        }
        if !self.holds(given.token.as_deref()) {
            return refusal(StatusCode::CONFLICT, "The token does not match the lock.");
        }
        self.lock = None;
        self.backup = None;
        let status = if options.unlock_ok { StatusCode::OK } else { StatusCode::ACCEPTED };
        Answer { status, body: None }
    }

    fn holds(&self, token: Option<&str>) -> bool {
        self.lock.as_ref().is_some_and(|held| Some(held.token.as_str()) == token)
    }
}

fn ok(body: Value) -> Answer {
    Answer { status: StatusCode::OK, body: Some(body) }
}

fn accepted(body: Value) -> Answer {
    Answer { status: StatusCode::ACCEPTED, body: Some(body) }
}

/// In the shape in which Bitbucket refuses.
pub(super) fn refusal(status: StatusCode, message: &str) -> Answer {
    let body = json!({ "errors": [{ "context": null, "message": message, "exceptionName": null }] });
    Answer { status, body: Some(body) }
}

fn random() -> Result<String> {
    let mut bytes = [0_u8; 20];
    getrandom::fill(&mut bytes).or_error(ErrorKind::Internal, || "the operating system gives no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
