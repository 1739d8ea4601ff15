//! How the runs of an instance stand, by their journals. Reads only.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::journal::{self, Entry, Record};
use super::leftovers::Leftovers;
use super::lock::{GUARD, InstanceLock};
use super::state::StateDirs;
use crate::application::{Held, HeldState, Stage};
use crate::archive::SetId;
use crate::error::{ErrorKind, Result, ResultExt};

/// So many runs that have ended are told of.
const ENDED: usize = 5;

/// How an instance stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// What is under way.
    pub under_way: Option<String>,
    /// The runs that have not ended, and the last that have; newest first.
    pub runs: Vec<RunStatus>,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunStatus {
    /// The run.
    pub id: SetId,
    /// `running`, `proved`, `undone`, `restored` (a restore), `guarded` (dead, and its guard is at work), `dead` (to be recovered), `damaged`.
    pub state: &'static str,
    /// How far it is, or was.
    pub phase: &'static str,
    /// When it began.
    pub began: Option<Timestamp>,
    /// When its journal was last written to.
    pub latest: Option<Timestamp>,
    /// What it holds of the application.
    pub held: Option<HeldStatus>,
    /// Where file systems are mounted that it has frozen, or is about to freeze.
    pub frozen: Vec<PathBuf>,
}

/// What is held of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HeldStatus {
    /// Where: an address, or the names of services.
    pub place: String,
    /// How far locking got: an intended lock may exist or not.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
    /// When it is given back at the latest.
    pub until: Timestamp,
    /// What unlocks it, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlock_token: Option<String>,
    /// What cancels its backup, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_token: Option<String>,
}

/// How the runs of an instance stand. Tokens are told only if they are asked for.
///
/// # Errors
/// If the state directory cannot be read.
pub fn status(dirs: &StateDirs, show_tokens: bool) -> Result<Status> {
    let owner = InstanceLock::owner(dirs.instance())?;
    let what = owner.as_ref().map(|owner| owner.what.as_str());
    let dir = dirs.runs();
    let unreadable = || format!("cannot read {}", dir.display());
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(&dir).or_error(ErrorKind::Io, unreadable)? {
        let path = entry.or_error(ErrorKind::Io, unreadable)?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<SetId>().ok());
        let Some(id) = id.filter(|_| path.extension().is_some_and(|extension| extension == "jsonl")) else { continue };
        runs.push(match journal::read(&path) {
            Ok(entries) => run_status(id, &entries, what, show_tokens),
            Err(error) if error.kind() == ErrorKind::Damaged => RunStatus {
                id,
                state: "damaged",
                phase: "unknown",
                began: None,
                latest: None,
                held: None,
                frozen: Vec::new(),
            },
            Err(error) => return Err(error),
        });
    }
    runs.sort_by(|a, b| b.id.cmp(&a.id));
    let mut ended = 0;
    runs.retain(|run| {
        let over = matches!(run.state, "proved" | "undone" | "restored" | "copied");
        ended += usize::from(over);
        !over || ended <= ENDED
    });
    Ok(Status { under_way: owner.map(|owner| owner.describe()), runs })
}

fn run_status(id: SetId, entries: &[Entry], owner: Option<&str>, show_tokens: bool) -> RunStatus {
    let left = Leftovers::of(entries);
    // A run makes its copies under its own name, and their journal has another.
    let owned = owner.filter(|owner| owner.ends_with(&id.to_string()) || left.copying);
    let state = match entries.last().map(|entry| &entry.record) {
        Some(Record::Ended { ok: true }) if left.restore.is_some() => "restored",
        Some(Record::Ended { ok: true }) if left.copying => "copied",
        Some(Record::Ended { ok: true }) => "proved",
        Some(Record::Ended { ok: false }) => "undone",
        _ => match owned {
            Some(owner) if owner.starts_with(GUARD) => "guarded",
            Some(_) => "running",
            // Between two tries the guard gives the instance's lock away.
            None if left.guard.as_ref().is_some_and(|guard| guard.hold().is_some()) => "guarded",
            None => "dead",
        },
    };
    RunStatus {
        id,
        state,
        phase: entries.iter().fold("plan", |phase, entry| match (phase, phase_after(&entry.record)) {
            // The application is given back by whoever undoes, too.
            (_, None) | ("undo", Some("archive")) => phase,
            (_, Some(next)) => next,
        }),
        began: entries.first().map(|entry| entry.time),
        latest: entries.last().map(|entry| entry.time),
        frozen: left.frozen.into_iter().map(|frozen| frozen.place.mount).collect(),
        held: left.held.map(|held| held_status(&held, show_tokens)),
    }
}

/// The phase that a record begins, or belongs to.
fn phase_after(record: &Record) -> Option<&'static str> {
    Some(match record {
        Record::Begun { .. } => "check",
        Record::Storing { .. } => "prepare",
        Record::Application { held } => match held.stage {
            Stage::Intended => "lock",
            Stage::Locked | Stage::Draining => "drain",
            Stage::Released => "archive",
        },
        Record::Capturing { .. } | Record::Captured { .. } | Record::Freezing { .. } => "capture",
        Record::Publishing => "publish",
        Record::Published => "close",
        Record::TakenOver { .. } | Record::Undone { .. } | Record::Abandoned { .. } | Record::GivenUp { .. } => "undo",
        Record::Restore { .. } => "verify",
        Record::Restoring { .. } | Record::Settling { .. } | Record::Restored { .. } => "restore",
        Record::Cleared { .. } => "undo",
        Record::CopyingOffsite { .. } | Record::CopiedOffsite { .. } => "offsite",
        Record::Ended { .. } => "ended",
        Record::ChildStarted { .. } | Record::ChildEnded { .. } | Record::Thawed { .. } => return None,
    })
}

fn held_status(held: &Held, show_tokens: bool) -> HeldStatus {
    let (unlock_token, cancel_token) = match &held.state {
        HeldState::Bitbucket { unlock_token, cancel_token, .. } => (unlock_token, cancel_token),
        _ => (&None, &None),
    };
    let shown = |token: &Option<crate::application::Token>| {
        token.as_ref().filter(|_| show_tokens).map(|token| token.reveal().to_owned())
    };
    HeldStatus {
        place: held.state.place().to_owned(),
        stage: held.stage,
        since: held.since,
        until: held.until,
        unlock_token: shown(unlock_token),
        cancel_token: shown(cancel_token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Token;
    use crate::run::identity::ProcessId;
    use crate::run::journal::Journal;

    fn held(stage: Stage) -> Record {
        let now = Timestamp::now();
        let state = HeldState::Bitbucket {
            url: "http://h/".into(),
            username: "admin".into(),
            unlock_token: Some(Token::new("opensesame")),
            cancel_token: None,
        };
        Record::Application { held: Held { stage, since: now, until: now, state } }
    }

    #[test]
    fn how_far_and_what_is_held_and_no_tokens() {
        let root = tempfile::tempdir().unwrap();
        let dirs = StateDirs::open(root.path(), "i").unwrap();
        let id = SetId::generate().unwrap();
        let journal = Journal::create(&dirs.runs(), &id).unwrap();
        let host = ProcessId::own().unwrap();
        journal.write(Record::Begun { instance: "i".into(), host }).unwrap();
        journal.write(held(Stage::Locked)).unwrap();
        let lock = InstanceLock::take(dirs.instance(), &format!("backup {id}")).unwrap();
        let now = status(&dirs, false).unwrap();
        assert_eq!((now.runs[0].state, now.runs[0].phase), ("running", "drain"));
        assert_eq!(now.runs[0].held.as_ref().unwrap().stage, Stage::Locked);
        assert!(!serde_json::to_string(&now).unwrap().contains("opensesame"));
        let told = status(&dirs, true).unwrap();
        assert_eq!(told.runs[0].held.as_ref().unwrap().unlock_token.as_deref(), Some("opensesame"));
        drop(lock);
        assert_eq!(status(&dirs, false).unwrap().runs[0].state, "dead");
        let lock = InstanceLock::take(dirs.instance(), &format!("{GUARD} {id}")).unwrap();
        assert_eq!(status(&dirs, false).unwrap().runs[0].state, "guarded");
        drop(lock);
        journal.write(held(Stage::Released)).unwrap();
        journal.write(Record::Ended { ok: false }).unwrap();
        let ended = status(&dirs, false).unwrap();
        assert_eq!((ended.runs[0].state, &ended.runs[0].held), ("undone", &None));
    }
}
