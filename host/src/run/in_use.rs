//! Sets that are being read are not deleted meanwhile, by whichever host: see [`crate::store::UseMark`].
//!
//! Who reads a set marks it first, and then looks whether somebody is deleting it; who deletes one marks it first, and then
//! looks whether somebody reads it. So one of the two sees the other, whichever comes first. A mark whose maker is dead does
//! not stay for ever: of a process of this machine that is known at once, of another machine's its mark grows old.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::lease::Holder;
use super::prune::blocking;
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, Reporter, waiting};
use crate::store::retention::Uses;
use crate::store::{Store, StoredSet, UseMark};

/// How often a mark is renewed.
const RENEW: Duration = Duration::from_secs(60);
/// The mark of another machine that was not renewed for so long has nobody behind it. Long enough for clocks that differ.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);
/// By a clock that is so far ahead, a mark says nothing about now.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// How long a reader waits for a deletion that may yet be called off.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer of the store is waited for at the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// What deletes a set says this of itself.
const DELETING: &str = "prune";

/// A set in use. [`InUse::end`] takes the mark away; one that is dropped leaves it to grow old.
#[derive(Debug)]
pub(crate) struct InUse {
    stop: CancellationToken,
    renewing: Option<JoinHandle<()>>,
}

/// Mark a set as being read, by `what` (`restore`, `verify`). A store that takes no mark does not keep anybody from reading:
/// that is told.
///
/// # Errors
/// `NotFound` if the set was deleted; `Busy` if it is being deleted.
pub(crate) async fn read(reporter: &Reporter, set: &StoredSet, what: &str) -> Result<InUse> {
    hold(reporter, set.store(), &set.manifest.instance, &set.manifest.id, what).await
}

/// As [`read`], for a set that may be damaged.
///
/// # Errors
/// As [`read`].
pub(crate) async fn hold(reporter: &Reporter, store: &Store, instance: &str, id: &SetId, what: &str) -> Result<InUse> {
    let begin = Instant::now();
    loop {
        let (mark, deleting) = match marked(store, instance, id, what).await {
            Ok(done) => done,
            Err(error) => {
                let text = format!("set {id} cannot be marked as in use, and `bkhost prune` may delete it: {error}");
                reporter.message(Level::Warning, None, text);
                return Ok(InUse { stop: CancellationToken::new(), renewing: None });
            }
        };
        let Some(who) = deleting else {
            let (there, name, id) = (store.clone(), instance.to_owned(), id.clone());
            let published = blocking(move || there.check_published(&name, &id)).await;
            let in_use = InUse::start(store, instance, mark);
            if let Err(error) = published {
                in_use.end().await;
                return Err(error);
            }
            return Ok(in_use);
        };
        remove(store, instance, mark).await;
        if begin.elapsed() >= PATIENCE {
            return Err(Error::new(ErrorKind::Busy, format!("set {id} is being deleted: {who}"))
                .hint("`bkhost list` shows the sets that stay"));
        }
        waiting(reporter, &format!("whether set {id} is deleted ({who})"), sleep(Duration::from_millis(500))).await;
    }
}

/// Mark a set as being deleted.
///
/// # Errors
/// `Busy`, naming who reads it, or that it is pinned by now; `Store` if that cannot be found out.
pub(super) async fn delete(store: &Store, instance: &str, id: &SetId) -> Result<InUse> {
    let (mark, _) = marked(store, instance, id, DELETING).await?;
    let in_use = InUse::start(store, instance, mark);
    let refused = match uses(store, instance).await.map(|mut uses| uses.remove(id)) {
        Ok(None) => {
            // What was decided is some time ago.
            let (store, instance, id) = (store.clone(), instance.to_owned(), id.clone());
            match blocking(move || store.is_pinned(&instance, &id)).await {
                Ok(false) => return Ok(in_use),
                Ok(true) => Error::new(ErrorKind::Busy, "it was pinned a moment ago"),
                Err(error) => error,
            }
        }
        Ok(Some(who)) => {
            Error::new(ErrorKind::Busy, format!("it is in use: {who}")).hint("prune again when that has ended")
        }
        Err(error) => error,
    };
    in_use.end().await;
    Err(refused)
}

/// Who reads which sets.
///
/// # Errors
/// `Store` if that cannot be read.
pub(super) async fn uses(store: &Store, instance: &str) -> Result<Uses> {
    let marks = living(store, instance).await?;
    Ok(marks.into_iter().filter(|(_, who)| !who.starts_with(DELETING)).map(|(mark, who)| (mark.set, who)).collect())
}

/// Remove the marks whose makers are gone. Best effort.
pub(super) async fn clear(store: &Store, instance: &str) {
    let (from, name) = (store.clone(), instance.to_owned());
    let marks = blocking(move || from.uses(&name)).await.unwrap_or_default();
    for mark in marks.into_iter().filter(|mark| maker(mark).is_none()) {
        remove(store, instance, mark).await;
    }
}

/// Make a mark, and look who deletes the set.
async fn marked(store: &Store, instance: &str, id: &SetId, what: &str) -> Result<(UseMark, Option<String>)> {
    let mark = UseMark::new(id, Holder::own(what)?.bytes()?)?;
    let (to, name, new) = (store.clone(), instance.to_owned(), mark.clone());
    blocking(move || to.mark_use(&name, &new)).await?;
    let others = match living(store, instance).await {
        Ok(others) => others,
        Err(error) => {
            remove(store, instance, mark).await;
            return Err(error);
        }
    };
    let deleting = others
        .into_iter()
        .find(|(other, who)| other.set == *id && other.token != mark.token && who.starts_with(DELETING))
        .map(|(_, who)| who);
    Ok((mark, deleting))
}

/// The marks that somebody stands behind, and who that is.
async fn living(store: &Store, instance: &str) -> Result<Vec<(UseMark, String)>> {
    let (store, instance) = (store.clone(), instance.to_owned());
    let marks = blocking(move || store.uses(&instance)).await?;
    Ok(marks.into_iter().filter_map(|mark| maker(&mark).map(|who| (mark, who))).collect())
}

/// Who made a mark, if they may still mean it.
fn maker(mark: &UseMark) -> Option<String> {
    let age = Timestamp::now().duration_since(mark.renewed);
    let fresh = age < FORGOTTEN && age > -AHEAD;
    match Holder::parse(&mark.content) {
        Some(holder) if holder.is_dead() => None,
        // A process of this machine that lives may hang in its store, and not renew; clocks do not matter.
        Some(holder) if holder.is_here() => Some(holder.describe()),
        Some(holder) => fresh.then(|| holder.describe()),
        None => fresh.then(|| format!("somebody unknown, since {:.0}", mark.renewed)),
    }
}

async fn remove(store: &Store, instance: &str, mark: UseMark) {
    let (store, instance) = (store.clone(), instance.to_owned());
    let removed = blocking(move || store.end_use(&instance, &mark));
    let _ = timeout(FAREWELL, removed).await;
}

impl InUse {
    fn start(store: &Store, instance: &str, mark: UseMark) -> Self {
        let stop = CancellationToken::new();
        let renewing = tokio::spawn(renew(store.clone(), instance.to_owned(), mark, stop.clone()));
        Self { stop, renewing: Some(renewing) }
    }

    /// Take the mark away. Best effort: one that stays grows old.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        if let Some(renewing) = self.renewing.take() {
            let _ = renewing.await;
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Renew until told to stop, and take the mark away then.
async fn renew(store: Store, instance: String, mut mark: UseMark, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return remove(&store, &instance, mark).await,
            () = sleep(RENEW) => {}
        }
        let (to, name, old) = (store.clone(), instance.clone(), mark.clone());
        // One that cannot be renewed now is tried again: it is meant for an hour.
        if let Ok(new) = blocking(move || to.renew_use(&name, &old)).await {
            mark = new;
        }
    }
}
