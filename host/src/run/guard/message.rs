//! What a run and its guard say to each other: lines of JSON, over the guard's stdin and stdout.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::application::Held;
use crate::archive::SetId;
use crate::capability::Secret;
use crate::config;
use crate::error::{Error, ErrorKind};
use crate::notify::Channels;
use crate::report::Level;
use crate::run::access::Access;
use crate::run::identity::ProcessId;
use crate::run::journal::FrozenRecord;

/// The first line: all that the guard will ever need. Never on a command line, since it holds the password.
#[derive(Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) run: SetId,
    /// The instance's state directory, which holds its lock.
    pub(super) dir: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) host: ProcessId,
    application: config::Application,
    password: Option<String>,
    /// Who is told that the application is still locked.
    pub(super) notify: Channels,
}

impl Task {
    pub(super) fn new(
        run: SetId,
        dir: PathBuf,
        journal: PathBuf,
        host: ProcessId,
        access: &Access,
        notify: &Channels,
    ) -> Self {
        Self {
            run,
            dir,
            journal,
            host,
            application: access.application.clone(),
            notify: notify.clone(),
            password: access.password.as_ref().map(|password| password.reveal().to_owned()),
        }
    }

    pub(super) fn access(&self) -> Access {
        Access { application: self.application.clone(), password: self.password.as_deref().map(Secret::new) }
    }
}

/// From the run to its guard.
#[derive(Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(super) enum ToGuard {
    /// Lock the application.
    Lock,
    /// Do not go on with locking.
    CancelLock,
    /// What was to be noted is in the journal, or not.
    Noted { error: Option<WireError> },
    /// This is what the application is held by now.
    Held { held: Held },
    /// The run is giving the application back.
    Releasing,
    /// A file system is about to be frozen, as the journal says, for so long at most.
    Freezing { frozen: FrozenRecord, millis: u64 },
    /// It is thawed.
    Thawed { freeze: u32 },
    /// The run is not stopped.
    Alive,
    /// The run is over, and nothing is left for a guard.
    Done,
}

/// From the guard to its run.
#[derive(Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(super) enum FromGuard {
    /// It is watching.
    Ready,
    /// Put this into the journal, and say so.
    Note { held: Held },
    /// The application is locked, by this.
    Locked { held: Held },
    /// It is not.
    NotLocked { error: WireError },
    /// To be reported.
    Call { what: String },
    /// To be reported.
    Waiting { what: String, millis: u64 },
    /// To be reported.
    Message { level: Level, text: String },
}

/// An error on its way to another process.
#[derive(Serialize, Deserialize)]
pub(super) struct WireError {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    details: Vec<(String, String)>,
    causes: Vec<String>,
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.message().to_owned(),
            hint: error.hint_text().map(str::to_owned),
            details: error.details().to_vec(),
            causes: error.causes(),
        }
    }
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Self {
        let mut error = Self::new(wire.kind, wire.message);
        if let Some(hint) = wire.hint {
            error = error.hint(hint);
        }
        for (name, value) in wire.details {
            error = error.detail(name, value);
        }
        if wire.causes.is_empty() { error } else { error.because(wire.causes.join(": ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way() {
        let error = Error::new(ErrorKind::Cancelled, "a").hint("b").detail("c", "d").because("e");
        let text = serde_json::to_string(&WireError::from(&error)).unwrap();
        let back = Error::from(serde_json::from_str::<WireError>(&text).unwrap());
        assert_eq!(back.to_json(), error.to_json());
    }

    #[test]
    fn the_task_carries_the_password_and_the_settings() {
        let text =
            r#"{"type":"bitbucket","url":"http://h","username":"u","password":{"env":"X"},"max-lock-time":"7s"}"#;
        let application: config::Application = serde_json::from_str(text).unwrap();
        let access = Access { application, password: Some(Secret::new("hunter2")) };
        let own = ProcessId::own().unwrap();
        let task = Task::new(SetId::generate().unwrap(), "/d".into(), "/j".into(), own, &access, &Channels::default());
        let back: Task = serde_json::from_str(&serde_json::to_string(&task).unwrap()).unwrap();
        assert_eq!(back.access().application, access.application);
        assert_eq!(back.access().password.unwrap().reveal(), "hunter2");
    }
}
