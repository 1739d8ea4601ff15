//! Copying sets from store to store: proved on reading and by reading back, published last.
//!
//! What is there already and is the same is not copied again, so that a copy that was interrupted is gone on with. What is
//! there and is something else is refused, and so is a set that is known to be damaged where it would be copied from.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::damage;
use super::in_use;
use super::lease::Lease;
use super::lock::InstanceLock;
use super::prune::blocking;
use super::session::Session;
use super::tee::{hash_of, same_bytes};
use super::undo::combine;
use super::verify;
use crate::archive::SetId;
use crate::archive::set::ObjectRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, waiting};
use crate::store::{SetEntry, SetRecords, SetState, SetWriter, Store, StoredSet};

pub use self::told::ToldThere;

/// The store in which something was found, where it was to be copied from.
const SOURCE: &str = "store";

/// What was copied.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Copied {
    /// The sets that were copied, each after those that it builds on.
    pub copied: Vec<SetId>,
    /// Those that were there already, the same.
    pub present: Vec<SetId>,
    /// Those of both whose pins were taken along.
    pub pinned: Vec<SetId>,
    /// Bytes of objects that were sent.
    pub bytes: u64,
    /// Those of which every byte was read where they are now, and of those that they build on.
    #[serde(skip)]
    read: BTreeSet<SetId>,
}

/// From where to where.
struct Way<'a> {
    session: &'a Session,
    from: &'a Store,
    to: &'a Store,
    /// What is told there.
    there: BTreeMap<SetId, SetRecords>,
    cancel: CancellationToken,
}

/// Copy these sets, and those that they build on. One that cannot be copied keeps none from being copied but those that build
/// on it.
///
/// # Errors
/// `NotFound`, `Damaged` for a set that cannot be copied; `Conflict` if the other store has something else of its id;
/// `Busy` if something works on the instance; `Store`; `Cancelled`. Sets that were copied stay.
pub async fn copy(session: &Session, from: &Store, to: &Store, ids: &[SetId]) -> Result<Copied> {
    let _lock = InstanceLock::take(session.dirs.instance(), "copy")?;
    let sets = listed(session, from).await?;
    let wanted = with_bases(from, &sets, ids)?;
    let lease = Lease::take(session, to, "copy").await?;
    // An earlier copy may have died.
    in_use::clear(from, session.instance()).await;
    let lost = lease.lost();
    let cancel = session.cancel.child_token();
    let work = async {
        let (store, instance) = (to.clone(), session.instance().to_owned());
        let there = blocking(move || store.records(&instance)).await?.by_set();
        all(&Way { session, from, to, there, cancel: cancel.clone() }, wanted).await
    };
    let mut work = std::pin::pin!(work);
    let result = tokio::select! {
        biased;
        result = &mut work => result,
        () = lost.cancelled() => {
            cancel.cancel();
            let _ = work.await;
            Err(super::lease::lost())
        }
    };
    lease.release().await;
    result
}

async fn listed(session: &Session, store: &Store) -> Result<BTreeMap<SetId, SetEntry>> {
    let (store, instance) = (store.clone(), session.instance().to_owned());
    let sets = blocking(move || store.list(&instance)).await?;
    Ok(sets.into_iter().map(|set| (set.id.clone(), set)).collect())
}

/// The sets and all that they build on, the oldest first: no set is published before what it needs.
fn with_bases<'a>(from: &Store, sets: &'a BTreeMap<SetId, SetEntry>, ids: &[SetId]) -> Result<Vec<&'a SetEntry>> {
    let (mut all, mut next) = (BTreeMap::new(), ids.to_vec());
    while let Some(id) = next.pop() {
        let none = || {
            Error::new(ErrorKind::NotFound, format!("there is no set {id} in store `{}`", from.name()))
                .hint("`bkhost list` shows the sets that can be copied")
        };
        let set = sets.get(&id).ok_or_else(none)?;
        match &set.state {
            SetState::Proved(_) => {}
            SetState::Unpublished => return Err(none()),
            // Also one whose bytes are as they were, and are of no use: its copy would look as if nothing were known.
            SetState::Damaged(why) => {
                let text = format!("the set {id} is damaged in store `{}`: {why}", from.name());
                return Err(Error::new(ErrorKind::Damaged, text).hint(
                    "another store may have it whole; if it is whole here after all, `bkhost verify` finds that",
                ));
            }
        }
        if all.insert(id, set).is_none() {
            next.extend(set.needs.iter().cloned());
        }
    }
    Ok(all.into_values().collect())
}

async fn all(way: &Way<'_>, sets: Vec<&SetEntry>) -> Result<Copied> {
    let mut copied = Copied::default();
    let mut failed: BTreeMap<&SetId, Error> = BTreeMap::new();
    for set in sets {
        let result = match set.needs.iter().find(|need| failed.contains_key(need)) {
            Some(need) => Err(Error::new(ErrorKind::Damaged, format!("it builds on set {need}, which was not copied"))),
            None => one(way, set, &mut copied).await,
        };
        match result.map_err(|e| e.within(format!("set {}", set.id))) {
            Ok(()) => told::take_along(way, set, &mut copied).await?,
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Conflict | ErrorKind::NotFound) => {
                way.session.reporter.message(Level::Warning, None, format!("not copied: {error}"));
                failed.insert(&set.id, error);
            }
            Err(error) => return Err(error),
        }
    }
    combine(failed.into_values()).map_or(Ok(copied), Err)
}

async fn one(way: &Way<'_>, entry: &SetEntry, copied: &mut Copied) -> Result<()> {
    let Way { session, from, to, cancel, there } = way;
    let (id, start) = (&entry.id, Instant::now());
    let (instance, ours) = (session.instance().to_owned(), ((*from).clone(), to.cancelled_by(cancel), id.clone()));
    let begun = blocking(move || {
        let (from, to, id) = ours;
        let set = from.open_set(&instance, &id)?;
        let bytes = from.manifest_bytes(&instance, &id)?;
        match to.is_published(&instance, &id)? {
            false => Ok(Some((set, to.begin_again(&instance, &id)?, bytes))),
            true if to.manifest_bytes(&instance, &id)? == bytes => {
                // Its objects too, in their sizes.
                to.open_set(&instance, &id).map(|_| None)
            }
            true => {
                Err(Error::new(ErrorKind::Conflict, format!("the store `{}` has another set of this id", to.name()))
                    .hint("nothing that a store holds is ever overwritten: find out which of them is the right one"))
            }
        }
    })
    .await?;
    let Some((set, writer, bytes)) = begun else {
        if let Some(damage) = there.get(id).and_then(SetRecords::damage) {
            let why = damage.note.as_deref().unwrap_or("no more is known");
            let text = format!("the store `{}` has it already, and there it was found damaged: {why}", to.name());
            return Err(Error::new(ErrorKind::Damaged, text).hint(
                "nothing that a store holds is ever overwritten: remove its directory there by hand, and copy it again",
            ));
        }
        copied.present.push(id.clone());
        return Ok(());
    };
    let in_use = in_use::read(&session.reporter, &set, "copy").await?;
    let sent = objects(way, &set, &writer).await;
    if let Err(error) = &sent
        && error.detail_of(SOURCE).is_some()
    {
        damage::note(&session.reporter, &set, error).await;
    }
    in_use.end().await;
    copied.bytes = copied.bytes.saturating_add(sent?);
    let manifest = set.manifest.clone();
    blocking(move || writer.publish_as(&manifest, &bytes)).await?;
    session.reporter.message(Level::Info, None, format!("set {id} is copied to store `{}`", to.name()));
    let mut records = vec![told::history(way, entry)];
    // What it builds on was read too, and not only found there.
    if entry.needs.iter().all(|need| copied.read.contains(need)) {
        records.push(verify::read_back(&set.manifest, start.elapsed()).note("read back as it was copied here"));
        copied.read.insert(id.clone());
    }
    told::write(way, records).await?;
    copied.copied.push(id.clone());
    Ok(())
}

/// All objects of a set. Gives the bytes that were sent.
async fn objects(way: &Way<'_>, set: &StoredSet, writer: &SetWriter) -> Result<u64> {
    let Way { session, from, to, cancel, .. } = way;
    let mut bytes: u64 = 0;
    let (id, set) = (&set.manifest.id, set.cancelled_by(cancel));
    for object in set.manifest.objects().cloned() {
        let what = format!("copy {} of set {id} from store `{}` to `{}`", object.file, from.name(), to.name());
        session.reporter.message(Level::Debug, None, what.clone());
        let (set, writer, cancel) = (set.clone(), writer.clone(), cancel.clone());
        let sent = blocking(move || send(&set, &writer, &object, &|| cancel.is_cancelled()));
        bytes = bytes.saturating_add(waiting(&session.reporter, &what, sent).await?);
    }
    Ok(bytes)
}

/// One object, unless it is there already. Gives the bytes that were sent.
fn send(set: &StoredSet, writer: &SetWriter, object: &ObjectRecord, interrupted: &dyn Fn() -> bool) -> Result<u64> {
    if let Some(there) = writer.has(&object.file)? {
        if there == object.bytes && same_bytes(writer.read(&object.file)?, object, interrupted).is_ok() {
            return Ok(0);
        }
        // What an interrupted copy left of it.
        writer.remove(&object.file)?;
    }
    let mut reader = set.object(&object.file)?;
    let mut target = writer.object(&object.file)?;
    let hash = hash_of(&mut reader, &mut target, interrupted)?;
    if hash != object.blake3 || reader.len() != object.bytes {
        let text = format!("{} is damaged where it was to be copied from", object.file);
        return Err(Error::new(ErrorKind::Damaged, text)
            .hint("`bkhost verify` tells more; another store may have it whole")
            .detail("object", &object.file)
            .detail(SOURCE, set.store().name()));
    }
    target.finish()?;
    same_bytes(writer.read(&object.file)?, object, interrupted)?;
    Ok(object.bytes)
}
