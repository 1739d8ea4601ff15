//! Restores that did not come to their end: what they left is removed or brought into its place, and what they completed
//! is not done again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::partial::{How, Partial};
use super::unfinished;
use crate::archive::{Control, SetId};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, waiting};
use crate::run::identity::ProcessId;
use crate::run::journal::{self, Entry, Journal, Record};
use crate::run::leftovers::Leftovers;
use crate::run::orphans;
use crate::run::prune::blocking;
use crate::run::session::Session;
use crate::run::state::StateDirs;
use crate::run::undo::combine;

/// What a restore completed is gone on with for so long: later, it may have been worked with.
const RESUMED_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// A part that a restore has begun.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::run) struct Begun {
    /// The part.
    pub(in crate::run) part: String,
    /// Where to, as the plan shows it.
    pub(in crate::run) to: String,
    /// The directory that is written to meanwhile.
    pub(in crate::run) partial: Option<Partial>,
    /// The operator's target, for a strategy that restores to a name.
    pub(super) name: Option<String>,
    /// How far it is.
    pub(in crate::run) stage: Stage,
    /// For what comes into its place: when it last changed at its top.
    changed: String,
}

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run) enum Stage {
    /// It is written.
    Writing,
    /// It is whole, and comes into its place.
    Settling,
    /// It is restored.
    Restored(Timestamp),
    /// What was made of it is gone.
    Cleared,
}

impl Begun {
    /// Whether there is something left to do.
    pub(in crate::run) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Writing | Stage::Settling)
    }
}

/// The parts of a restore, by its journal.
pub(in crate::run) fn parts(entries: &[Entry]) -> Vec<Begun> {
    let mut parts: Vec<Begun> = Vec::new();
    for Entry { record, time, .. } in entries {
        let mut top = None;
        let (name, stage) = match record {
            Record::Restoring { part, to, partial, name } => {
                let (part, to, partial, name) = (part.clone(), to.clone(), partial.clone(), name.clone());
                parts.push(Begun { part, to, partial, name, stage: Stage::Writing, changed: String::new() });
                continue;
            }
            Record::Settling { part, changed } => {
                top = Some(changed.clone());
                (part, Stage::Settling)
            }
            Record::Restored { part } => (part, Stage::Restored(*time)),
            Record::Cleared { part } => (part, Stage::Cleared),
            _ => continue,
        };
        if let Some(begun) = parts.iter_mut().find(|begun| begun.part == *name) {
            begun.stage = stage;
            begun.changed = top.unwrap_or_default();
        }
    }
    parts
}

/// What the last restore of the instance has completed, if it was of this set, did not come to its end, and is not long
/// ago. What it has yet to bring into its place counts too.
pub(super) fn completed(dirs: &StateDirs, set: &SetId) -> Vec<Completed> {
    let Some((_, entries)) = journals(dirs).into_iter().next_back() else { return Vec::new() };
    let of = entries.iter().find_map(|entry| match &entry.record {
        Record::Restore { set } => Some(set),
        _ => None,
    });
    let ended_well = entries.iter().any(|entry| matches!(entry.record, Record::Ended { ok: true }));
    let age = |time: Timestamp| Timestamp::now().duration_since(time).unsigned_abs();
    let recent = entries.last().is_some_and(|entry| age(entry.time) <= RESUMED_WITHIN);
    if of != Some(set) || ended_well || !recent {
        return Vec::new();
    }
    let latest = entries.last().map(|entry| entry.time).unwrap_or_default();
    let completed = |Begun { part, to, stage, .. }| match stage {
        Stage::Restored(at) => Some(Completed { part, to, at, in_place: true }),
        Stage::Settling => Some(Completed { part, to, at: latest, in_place: false }),
        Stage::Writing | Stage::Cleared => None,
    };
    parts(&entries).into_iter().filter_map(completed).collect()
}

/// A part that an earlier restore has completed.
pub(super) struct Completed {
    /// The part.
    pub(super) part: String,
    /// Where to, as the plan shows it.
    pub(super) to: String,
    /// When.
    pub(super) at: Timestamp,
    /// It is in its place; else it is whole, and comes into it as soon as that restore is cleaned up after.
    pub(super) in_place: bool,
}

/// The directories that dead restores of the instance have left.
pub(super) fn partials(dirs: &StateDirs) -> Vec<PathBuf> {
    open(dirs).map(|partial| partial.path).collect()
}

fn open(dirs: &StateDirs) -> impl Iterator<Item = Partial> {
    let open = journals(dirs).into_iter().flat_map(|(_, entries)| parts(&entries)).filter(Begun::is_open);
    open.filter_map(|begun| begun.partial)
}

/// What dead restores of the instance have begun to restore to a name: the part, and where to as the plan shows it.
pub(super) fn unfinished(dirs: &StateDirs) -> Vec<(String, String)> {
    let open = journals(dirs).into_iter().flat_map(|(_, entries)| parts(&entries)).filter(Begun::is_open);
    open.filter(|begun| begun.partial.is_none()).map(|begun| (begun.part, begun.to)).collect()
}

/// The journals of restores that can be read, the oldest first.
fn journals(dirs: &StateDirs) -> Vec<(PathBuf, Vec<Entry>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dirs.runs())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let entries = journal::read(&path).ok()?;
        let restore = entries.iter().any(|entry| matches!(entry.record, Record::Restore { .. }));
        restore.then_some((path, entries))
    };
    paths.into_iter().filter_map(read).collect()
}

/// Clean up after all restores of the instance that died. The caller holds the instance's lock.
///
/// # Errors
/// What could not be removed; it is tried again the next time.
pub(super) async fn recover_all(session: &Session) -> Result<()> {
    let mut failures = Vec::new();
    for (path, entries) in journals(&session.dirs) {
        let ended = entries.iter().any(|entry| matches!(entry.record, Record::Ended { .. }));
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<SetId>().ok());
        if let (false, Some(id)) = (ended, id) {
            failures.extend(recover(session, &id, Arc::new(Journal::reopen(&path)?)).await.err());
        }
    }
    combine(failures).map_or(Ok(()), Err)
}

/// Whether dead restores have left something in, above or below one of these directories.
pub(super) fn left_near<'a>(dirs: &StateDirs, mut directories: impl Iterator<Item = &'a Path>) -> bool {
    let left: Vec<Partial> = open(dirs).collect();
    let near = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
    directories.any(|directory| left.iter().any(|left| near(&left.target, directory)))
}

/// Clean up after a restore that died: children are killed, what is whole comes into its place, the rest is removed.
///
/// # Errors
/// As [`recover_all`].
pub(in crate::run) async fn recover(session: &Session, id: &SetId, journal: Arc<Journal>) -> Result<()> {
    let text = format!("restore {id} did not end: cleaning up what it left");
    session.reporter.message(Level::Warning, None, text);
    let _ = journal.write(Record::TakenOver { by: "recovery".to_owned(), process: ProcessId::own()? });
    let left = Leftovers::of(&journal::read(journal.path())?);
    for pgid in orphans::kill(id, &left, &session.reporter).await {
        let _ = journal.write(Record::ChildEnded { pgid });
    }
    clean(session, id, &journal).await?;
    journal.write(Record::Ended { ok: false })
}

/// Finish or remove what the parts of a restore that is over have left.
///
/// # Errors
/// As [`recover_all`].
pub(super) async fn clean(session: &Session, id: &SetId, journal: &Arc<Journal>) -> Result<()> {
    let say = |level, part: &str, text: String| session.reporter.message(level, Some(part), text);
    let mut failures = Vec::new();
    for begun in parts(&journal::read(journal.path())?) {
        let (part, changed) = (begun.part.clone(), begun.changed.clone());
        let Some(partial) = begun.partial.clone().filter(|_| begun.is_open()) else {
            if begun.is_open() {
                let abandoned = unfinished::abandon(session, id, journal, &begun).await;
                failures.extend(abandoned.err());
            }
            continue;
        };
        let (settling, place) = (begun.stage == Stage::Settling, partial.path.display().to_string());
        let what = if settling { format!("{place} to come into its place") } else { format!("{place} to be removed") };
        let work = blocking(move || {
            let control = Control::none();
            if !settling {
                return partial.clear(&control).map(|()| None);
            }
            match partial.settle(&changed, &control) {
                Ok(()) => Ok(Some(())),
                // Something else has its place by now, and none of it is there.
                Err(error) if error.kind() == ErrorKind::Conflict && partial.how == How::Rename => {
                    partial.clear(&control).map(|()| None)
                }
                Err(error) => Err(error),
            }
        });
        match waiting(&session.reporter, &what, work).await {
            Ok(Some(())) => {
                say(Level::Info, &part, format!("restored to {}", begun.to));
                journal.write(Record::Restored { part })?;
            }
            Ok(None) => {
                say(Level::Info, &part, format!("{place}, what was restored so far, is removed"));
                journal.write(Record::Cleared { part })?;
            }
            Err(error) => failures.push(error.within(format!("part `{part}`"))),
        }
    }
    match combine(failures) {
        None => Ok(()),
        Some(error) => {
            let again = "`bkhost recover`, or the next restore, tries again";
            let hint = error.hint_text().map_or_else(|| again.to_owned(), |hint| format!("{hint}; {again}"));
            let text = "what an interrupted restore has left could not all be cleaned up";
            Err(Error::new(error.kind(), text).hint(hint).because(error))
        }
    }
}
