//! Undoing what a run that published nothing has left: the application first, then children, snapshots and objects.
//!
//! It works from the journal alone, so that it does not matter whether the run failed a moment ago in this process or died
//! with the machine yesterday.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio_util::sync::CancellationToken;

use super::journal::{self, Journal, Record};
use super::keeper::JournalKeeper;
use super::leftovers::{Leftovers, PartLeft};
use super::part::{Part, Purpose};
use super::prune::blocking;
use super::session::Session;
use crate::application::{Application, Hooks, Outcome};
use crate::archive::id::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, Level};
use crate::store::Store;

/// How long a strategy may take to undo its part.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the application is asked to take the lock back.
const RELEASE_PATIENCE: Duration = Duration::from_secs(600);

/// Undo what the journal of run `id` shows. Each step is tried, whatever becomes of the others.
///
/// # Errors
/// What could not be undone.
pub(super) async fn undo(
    session: &Session,
    id: &SetId,
    application: &Arc<dyn Application>,
    parts: &[Part],
    store: &Store,
    journal: &Arc<Journal>,
) -> Result<()> {
    let left = Leftovers::of(&journal::read(journal.path())?);
    let keeper = Arc::new(JournalKeeper::new(Arc::clone(journal), session.reporter.clone()));
    let mut failures = Vec::new();
    for group in &left.groups {
        // They were the run's; one that is gone is what is wanted.
        if let Some(pid) = i32::try_from(*group).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
    if let Some(held) = &left.held {
        let hooks = Hooks {
            keeper: Arc::clone(&keeper) as _,
            reporter: session.reporter.clone(),
            cancel: CancellationToken::new(),
        };
        if let Err(error) = application.release(held, Outcome::Cancelled, RELEASE_PATIENCE, &hooks).await {
            failures.push(error);
        }
    }
    if left.published || (left.publishing && is_published(store, session.instance(), id).await?) {
        session.reporter.message(Level::Info, None, format!("set {id} is published: its snapshots stay"));
    } else {
        for left in &left.parts {
            match undo_part(session, parts, left, &keeper).await {
                Ok(()) => journal.write(Record::Undone { part: left.part.clone() })?,
                Err(error) => failures.push(error),
            }
        }
        for place in &left.stores {
            match abandon(store, session.instance(), id).await {
                Ok(()) => journal.write(Record::Abandoned { store: place.clone() })?,
                Err(error) => failures.push(error),
            }
        }
    }
    if failures.is_empty() {
        return journal.write(Record::Ended { ok: false });
    }
    let mut failures = failures.into_iter();
    let first = failures.next().unwrap_or_else(|| Error::new(ErrorKind::Internal, "a failure got lost"));
    Err(failures.fold(first, |first, other| first.detail("also", other.to_string())))
}

/// In a fresh instance: the one that captured may have been stopped in the middle of it.
async fn undo_part(session: &Session, parts: &[Part], left: &PartLeft, keeper: &Arc<JournalKeeper>) -> Result<()> {
    let part = parts.iter().find(|part| part.name() == left.part).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("part `{}` is no longer configured: `{}` is left", left.part, left.label))
            .hint("remove it with the vendor's own tool")
    })?;
    session
        .reporter
        .event(&Event::Call { what: format!("part `{}`: discard {}", left.part, left.label), planned: false });
    let cancel = CancellationToken::new();
    let purpose = Purpose { witness: Arc::clone(keeper) as _, ..Purpose::plain(cancel.clone()) };
    let mut live = part.start(session, purpose).await?;
    let work = async {
        if let Some(snapshot) = &left.snapshot {
            live.instance.close(snapshot).await?;
            live.instance.delete(snapshot).await?;
        }
        // Also after a delete: a capture that failed half-way through several datasets left no record.
        live.instance.discard(&left.label).await
    };
    let result = tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::TimedOut, format!("undoing `{}` took more than {PATIENCE:?}", left.label)))
    });
    cancel.cancel();
    live.stop().await;
    result.map_err(|e| e.within(format!("part `{}`", left.part)))
}

async fn abandon(store: &Store, instance: &str, id: &SetId) -> Result<()> {
    let (store, instance, id) = (store.clone(), instance.to_owned(), id.clone());
    blocking(move || store.abandon(&instance, &id)).await
}

async fn is_published(store: &Store, instance: &str, id: &SetId) -> Result<bool> {
    let (store, instance, id) = (store.clone(), instance.to_owned(), id.clone());
    blocking(move || match store.open_set(&instance, &id) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    })
    .await
}
