//! Recovery: runs that died are undone from their journals.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::identity::ProcessId;
use super::journal::{self, Journal, Record};
use super::keeper::JournalKeeper;
use super::lease;
use super::leftovers::Leftovers;
use super::lock::InstanceLock;
use super::restore;
use super::session::Session;
use super::undo::{Undo, combine};
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Level, Phase};

/// So many journals of ended runs are kept.
const KEEP: usize = 50;
/// How long an application that does not answer keeps the rest from being undone.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// How long the application is asked to take the lock back: after a power cut it has to start first.
const PATIENCE: Duration = Duration::from_secs(600);

/// What became of the runs that had not ended.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Undone: nothing of them is left.
    pub undone: Vec<SetId>,
    /// Damaged journals, which were put aside. What could be read of them was undone.
    pub damaged: Vec<PathBuf>,
    /// The application is still held, as far as is known.
    pub held: Option<Error>,
    /// What else could not be undone. It is tried again the next time.
    pub failed: Option<Error>,
}

/// Undo every run of the instance that did not end. Idempotent.
///
/// # Errors
/// If another bkhost works on the instance, or a journal cannot be read or gone on with.
pub async fn recover(session: &Session) -> Result<Recovered> {
    let _lock = InstanceLock::take_over(session.dirs.instance(), "recovery", &session.reporter).await?;
    recover_locked(session).await
}

/// As [`recover`], for a caller that holds the instance's lock.
pub(super) async fn recover_locked(session: &Session) -> Result<Recovered> {
    let mut recovered = Recovered::default();
    let (restores, open) = open_runs(session, &mut recovered.damaged)?;
    let mut uncleaned = Vec::new();
    for (id, path) in restores {
        match restore::recover(session, &id, Arc::new(Journal::reopen(&path)?)).await {
            Ok(()) => recovered.undone.push(id),
            Err(error) => uncleaned.push(error),
        }
    }
    if open.is_empty() {
        recovered.failed = combine(uncleaned);
        return Ok(recovered);
    }
    let mut runs = Vec::new();
    for (id, path) in &open {
        session.reporter.message(Level::Warning, None, format!("run {id} did not end: undoing what it left"));
        let journal = Arc::new(Journal::reopen(path)?);
        let keeper = Arc::new(JournalKeeper::new(Arc::clone(&journal), id, session.reporter.clone()));
        // Only history: a full disk must not keep the application locked.
        let process = ProcessId::own()?;
        let _ = journal.write(Record::TakenOver { by: "recovery".to_owned(), process });
        runs.push(Undo::new(session, id, journal, keeper));
    }
    let mut frozen = Vec::new();
    for run in &runs {
        frozen.extend(run.stop().await?);
    }
    // The application first: nothing that fails below may keep it locked.
    let given_back = session.phase(Phase::Unlock, give_back(session, &runs, FIRST_PATIENCE)).await;
    let cleaned = session.phase(Phase::Undo, clean(session, &runs)).await;
    recovered.held = match given_back {
        Ok(()) => None,
        Err(_) => session.phase(Phase::Unlock, give_back(session, &runs, PATIENCE)).await.err(),
    };
    recovered.failed = combine(frozen.into_iter().chain(cleaned.err()).chain(uncleaned));
    for ((id, _), run) in open.iter().zip(&runs) {
        if run.left()?.is_nothing() {
            run.end()?;
            recovered.undone.push(id.clone());
        }
    }
    Ok(recovered)
}

async fn give_back(session: &Session, runs: &[Undo<'_>], patience: Duration) -> Result<()> {
    let mut failures = Vec::new();
    let mut application = None;
    for run in runs {
        if run.left()?.held.is_none() {
            continue;
        }
        let application = match &application {
            Some(application) => application,
            None => application.insert(session.application().await?),
        };
        failures.extend(run.give_back(application.as_ref(), patience).await.err());
    }
    combine(failures).map_or(Ok(()), Err)
}

async fn clean(session: &Session, runs: &[Undo<'_>]) -> Result<()> {
    let parts = session.parts().await?;
    let stores = session.stores().await?;
    for target in stores.all() {
        lease::clear(&target.store, session.instance()).await;
    }
    let mut failures = Vec::new();
    for run in runs {
        failures.extend(run.clean(&parts, &stores).await);
    }
    combine(failures).map_or(Ok(()), Err)
}

/// A run or a restore, and its journal.
type Journaled = (SetId, PathBuf);

/// The restores and the runs that did not end, oldest first. Damaged journals are put aside; old journals of runs that ended are removed.
fn open_runs(session: &Session, damaged: &mut Vec<PathBuf>) -> Result<(Vec<Journaled>, Vec<Journaled>)> {
    let runs = session.dirs.runs();
    let unreadable = || format!("cannot read {}", runs.display());
    let mut open = Vec::new();
    let (mut restores, mut ended) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(&runs).or_error(ErrorKind::Io, unreadable)? {
        let path = entry.or_error(ErrorKind::Io, unreadable)?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<SetId>().ok());
        let Some(id) = id.filter(|_| path.extension().is_some_and(|extension| extension == "jsonl")) else { continue };
        let entries = match journal::read(&path) {
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let aside = journal::salvage(&path)?;
                let text = format!(
                    "{error}; it is kept as {}, and what can be read of it is undone: look whether the application is \
                     locked, and whether snapshots of run {id} are left",
                    aside.display()
                );
                session.reporter.message(Level::Error, None, text);
                damaged.push(aside);
                journal::read(&path)?
            }
            other => other?,
        };
        let left = Leftovers::of(&entries);
        match (left.ended, left.restore) {
            (true, _) => ended.push((id, path)),
            (false, Some(_)) => restores.push((id, path)),
            (false, None) => open.push((id, path)),
        }
    }
    open.sort();
    restores.sort();
    ended.sort();
    for (_, path) in ended.iter().rev().skip(KEEP) {
        // Only history: one that stays does no harm.
        let _ = std::fs::remove_file(path);
    }
    Ok((restores, open))
}
