//! Recovery: runs that died are undone from their journals.

use std::path::PathBuf;
use std::sync::Arc;

use super::journal::{self, Journal};
use super::leftovers::Leftovers;
use super::lock::InstanceLock;
use super::session::Session;
use super::undo;
use crate::archive::SetId;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::report::{Level, Phase};

/// So many journals of ended runs are kept.
const KEEP: usize = 50;

/// Undo every run of the instance that did not end. Gives their ids. Idempotent.
///
/// # Errors
/// If a journal cannot be read, or something could not be undone: it is tried again the next time.
pub async fn recover(session: &Session) -> Result<Vec<SetId>> {
    let _lock = InstanceLock::take(session.dirs.instance(), "recovery")?;
    recover_locked(session).await
}

/// As [`recover`], for a caller that holds the instance's lock.
pub(super) async fn recover_locked(session: &Session) -> Result<Vec<SetId>> {
    let open = open_runs(session)?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let application = session.application().await?;
    let parts = session.parts().await?;
    let store = session.store()?;
    let mut recovered = Vec::new();
    for (id, path) in open {
        session.reporter.message(Level::Warning, None, format!("run {id} did not end: undoing what it left"));
        let journal = Arc::new(Journal::reopen(&path)?);
        session.phase(Phase::Undo, undo::undo(session, &id, &application, &parts, &store, &journal)).await?;
        recovered.push(id);
    }
    Ok(recovered)
}

/// The runs that did not end, oldest first. Old journals of those that did are removed.
fn open_runs(session: &Session) -> Result<Vec<(SetId, PathBuf)>> {
    let runs = session.dirs.runs();
    let unreadable = || format!("cannot read {}", runs.display());
    let mut open = Vec::new();
    let mut ended = Vec::new();
    for entry in std::fs::read_dir(&runs).or_error(ErrorKind::Io, unreadable)? {
        let path = entry.or_error(ErrorKind::Io, unreadable)?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<SetId>().ok());
        let Some(id) = id.filter(|_| path.extension().is_some_and(|extension| extension == "jsonl")) else { continue };
        if Leftovers::of(&journal::read(&path)?).ended {
            ended.push((id, path));
        } else {
            open.push((id, path));
        }
    }
    open.sort();
    ended.sort();
    for (_, path) in ended.iter().rev().skip(KEEP) {
        // Only history: one that stays does no harm.
        let _ = std::fs::remove_file(path);
    }
    Ok(open)
}
