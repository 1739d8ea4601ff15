//! Undoing what a run that published nothing has left: the application first, then children, snapshots and objects.
//!
//! It works from the journal alone, so that it does not matter whether the run failed a moment ago in this process or died
//! with the machine yesterday.

use std::ops::AsyncFnOnce;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::frozen;
use super::journal::{self, Journal, Record};
use super::keeper::JournalKeeper;
use super::leftovers::{Leftovers, PartLeft};
use super::offsite;
use super::orphans;
use super::part::{LivePart, Part, Purpose};
use super::prune::blocking;
use super::session::Session;
use super::stores::{self, Stores, Target};
use crate::application::{Application, Hooks, Outcome};
use crate::archive::id::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, Level, waiting_for};
use crate::store::Store;

/// How long a strategy may take to undo its part, from its start.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long what it runs may take to go when it is killed after that.
const REAP_PATIENCE: Duration = Duration::from_secs(25);

/// What is worked with to undo one run.
pub(super) struct Undo<'a> {
    session: &'a Session,
    id: &'a SetId,
    journal: Arc<Journal>,
    keeper: Arc<JournalKeeper>,
}

impl<'a> Undo<'a> {
    /// Undo the run `id`, whose journal this is.
    pub(super) fn new(session: &'a Session, id: &'a SetId, journal: Arc<Journal>, keeper: Arc<JournalKeeper>) -> Self {
        Self { session, id, journal, keeper }
    }

    /// What is left, as the journal stands.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(super) fn left(&self) -> Result<Leftovers> {
        Ok(Leftovers::of(&journal::read(self.journal.path())?))
    }

    /// Thaw what it left frozen and kill what it left running, its process being dead. Gives what may still be frozen.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(super) async fn stop(&self) -> Result<Option<Error>> {
        // What waits for a frozen file system cannot be killed.
        let _ = frozen::thaw_left(&self.left()?, Some(&self.session.reporter)).await;
        for pgid in orphans::kill(self.id, &self.left()?, &self.session.reporter).await {
            self.note(Record::ChildEnded { pgid });
        }
        // A child that was freezing may have done it meanwhile.
        self.thaw().await
    }

    /// Thaw what is left frozen. Gives what may still be.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(super) async fn thaw(&self) -> Result<Option<Error>> {
        let thawed = frozen::thaw_left(&self.left()?, Some(&self.session.reporter)).await;
        thawed.over.into_iter().for_each(|freeze| self.note(Record::Thawed { freeze }));
        Ok(combine(thawed.failed))
    }

    /// Give the application back, if it is held.
    ///
    /// # Errors
    /// If it could not be confirmed.
    pub(super) async fn give_back(&self, application: &dyn Application, patience: Duration) -> Result<()> {
        let Some(held) = self.left()?.held else { return Ok(()) };
        self.keeper.releasing();
        let hooks = Hooks {
            run: self.id.to_string(),
            keeper: Arc::clone(&self.keeper) as _,
            reporter: self.session.reporter.clone(),
            cancel: CancellationToken::new(),
        };
        let release = application.release(&held, Outcome::Cancelled, patience, &hooks);
        self.session.while_locked(release).await.map(|_| ())
    }

    /// Undo snapshots and objects; of a set that is published, only what was made for reading. Each step is tried,
    /// whatever becomes of the others. Gives what failed.
    pub(super) async fn clean(&self, parts: &[Part], stores: &Stores) -> Vec<Error> {
        let mut failures = Vec::new();
        let (left, published) = match self.state(stores).await {
            Ok(state) => state,
            Err(error) => return vec![error],
        };
        if published {
            let text = format!("set {} is published: it stays, with its snapshots", self.id);
            self.session.reporter.message(Level::Info, None, text);
            if !left.published {
                self.note(Record::Published);
            }
        }
        for left in &left.parts {
            let Some(part) = parts.iter().find(|part| part.name() == left.part) else {
                self.give_up(left);
                continue;
            };
            match undo_part(self.session, part, left, published, &self.keeper).await {
                Ok(()) => self.note(Record::Undone { part: left.part.clone() }),
                Err(error) => failures.push(error),
            }
        }
        for copy in &left.copies {
            match offsite::undo_left(self.session, parts, copy).await {
                Ok(()) => {
                    let (set, part, place) = (copy.set.clone(), copy.part.clone(), copy.place.clone());
                    self.note(Record::CopiedOffsite { set, part, place });
                }
                Err(error) => failures.push(error),
            }
        }
        if !published {
            super::sealed::forget(&self.session.dirs.sealed(), self.id);
        }
        for place in &left.stores {
            match self.abandon(place, stores).await {
                Ok(()) => self.note(Record::Abandoned { store: place.clone() }),
                Err(error) => failures.push(error),
            }
        }
        failures
    }

    /// All is undone.
    ///
    /// # Errors
    /// If the journal cannot be written to.
    pub(super) fn end(&self) -> Result<()> {
        let ok = self.left()?.published;
        self.journal.write(Record::Ended { ok })
    }

    /// A journal that misses a record may not know that the set was published: the store knows it in any case.
    async fn state(&self, stores: &Stores) -> Result<(Leftovers, bool)> {
        let left = self.left()?;
        let stored = !left.stores.is_empty() || left.publishing;
        let mut published = left.published;
        if stored && !published {
            // Where it is published at all, it is in a required one.
            for store in stores.required() {
                published |= is_published(store, self.session.instance(), self.id).await?;
            }
        }
        Ok((left, published))
    }

    /// Remove what a store has got, unless it is published there.
    async fn abandon(&self, location: &str, stores: &Stores) -> Result<()> {
        let instance = self.session.instance();
        let Some(target) = stores.at(location) else {
            if self.session.has_store_at(location) {
                return Err(Error::new(ErrorKind::Store, format!("the store {location} cannot be opened")));
            }
            let text = format!("the store {location} is no longer configured: what its run left there stays");
            self.session.reporter.message(Level::Error, None, text);
            return Ok(());
        };
        let store: &Target = target;
        if stores::has(&store.store, instance, self.id).await? {
            return Ok(());
        }
        abandon(&store.store, instance, self.id).await
    }

    /// What was undone is undone, even if that cannot be written down: it is tried again then, to no harm.
    fn note(&self, record: Record) {
        if let Err(error) = self.journal.write(record) {
            self.session.reporter.message(Level::Warning, None, error.to_string());
        }
    }

    /// Waiting for a part that was removed from the configuration would keep every later run from starting.
    fn give_up(&self, left: &PartLeft) {
        let text = format!(
            "part `{}` is no longer configured: what its run left with its vendor stays there; remove `{}` with the \
             vendor's own tool",
            left.part, left.label
        );
        self.session.reporter.message(Level::Error, None, text);
        self.note(Record::GivenUp { part: left.part.clone() });
    }
}

/// Undo what a run of this process has left.
///
/// # Errors
/// What could not be undone.
pub(super) async fn undo(
    undo: &Undo<'_>,
    application: &dyn Application,
    patience: Duration,
    parts: &[Part],
    stores: &Stores,
) -> Result<()> {
    let frozen = undo.thaw().await.unwrap_or_else(Some);
    // An application that does not answer does not keep the snapshots from being undone.
    let (given_back, failures) = tokio::join!(undo.give_back(application, patience), undo.clean(parts, stores));
    match combine(frozen.into_iter().chain(given_back.err()).chain(failures)) {
        None => undo.end(),
        Some(error) => Err(error),
    }
}

/// The first failure, with the others as its details.
pub(super) fn combine(failures: impl IntoIterator<Item = Error>) -> Option<Error> {
    failures.into_iter().reduce(|first, other| first.detail("also", other.to_string()))
}

/// In a fresh instance: the one that captured may have been stopped in the middle of it.
async fn undo_part(
    session: &Session,
    part: &Part,
    left: &PartLeft,
    published: bool,
    keeper: &Arc<JournalKeeper>,
) -> Result<()> {
    let what = format!("part `{}`: discard {}", left.part, left.label);
    let work = async |live: &mut LivePart<'_>| {
        if let Some(snapshot) = &left.snapshot {
            live.instance.close(snapshot).await?;
        }
        if published {
            return Ok(());
        }
        if let Some(snapshot) = &left.snapshot {
            live.instance.delete(snapshot).await?;
        }
        // Also after a delete: a capture that failed half-way through several datasets left no record.
        live.instance.discard(&left.label).await
    };
    in_fresh_instance(session, (part, None), keeper, &what, work).await
}

/// Have a part's plugin undo something, in a fresh instance, whose slots `restore.to` are this. It is given its time.
///
/// # Errors
/// Those of `work`; it took too long.
pub(super) async fn in_fresh_instance<T>(
    session: &Session,
    (part, restore_to): (&Part, Option<String>),
    keeper: &Arc<JournalKeeper>,
    what: &str,
    work: impl AsyncFnOnce(&mut LivePart<'_>) -> Result<T>,
) -> Result<T> {
    session.reporter.event(&Event::Call { what: what.to_owned(), planned: false });
    let cancel = CancellationToken::new();
    let purpose = Purpose { witness: Arc::clone(keeper) as _, restore_to, ..Purpose::plain(cancel.clone()) };
    let mut live: Option<LivePart<'_>> = None;
    // Also the start may wait: it asks the vendor where things are.
    let work = async { work(live.insert(part.start(session, purpose).await?)).await };
    let bounded = async {
        let mut work = pin!(work);
        if let Ok(result) = tokio::time::timeout(PATIENCE, &mut work).await {
            return result;
        }
        let error = Error::new(ErrorKind::TimedOut, format!("`{what}` took more than {PATIENCE:?}"))
            .hint("find out why the vendor's tool hangs; then `bkhost recover`, or the next run, tries again");
        let error = keeper.running().into_iter().fold(error, |error, command| error.detail("was running", command));
        // It ends by itself then, and what it runs is killed. What does not go is stuck in the kernel.
        cancel.cancel();
        let _ = tokio::time::timeout(REAP_PATIENCE, &mut work).await;
        Err(error)
    };
    let result = waiting_for(&session.reporter, || keeper.running_in(what), bounded).await;
    cancel.cancel();
    if let Some(live) = live {
        live.stop().await;
    }
    result.map_err(|e| e.within(format!("part `{}`", part.name())))
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
