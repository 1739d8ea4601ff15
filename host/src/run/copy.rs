//! Copying sets from store to store: proved on reading and by reading back, published last.
//!
//! What is there already and is the same is not copied again, so that a copy that was interrupted is gone on with. What is
//! there and is something else is refused.

use std::collections::BTreeSet;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::in_use;
use super::lease::Lease;
use super::lock::InstanceLock;
use super::prune::blocking;
use super::session::Session;
use super::tee::{hash_of, same_bytes};
use crate::archive::SetId;
use crate::archive::set::ObjectRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, waiting};
use crate::store::{SetWriter, Store, StoredSet};

/// What was copied.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Copied {
    /// The sets that were copied, each after those that it builds on.
    pub copied: Vec<SetId>,
    /// Those that were there already, the same.
    pub present: Vec<SetId>,
    /// Bytes of objects that were sent.
    pub bytes: u64,
}

/// Copy these sets, and those that they build on.
///
/// # Errors
/// `NotFound`, `Damaged` for a set that cannot be copied; `Conflict` if the other store has something else of its id;
/// `Busy` if something works on the instance; `Store`; `Cancelled`. Sets that were copied until then stay.
pub async fn copy(session: &Session, from: &Store, to: &Store, ids: &[SetId]) -> Result<Copied> {
    let _lock = InstanceLock::take(session.dirs.instance(), "copy")?;
    let wanted = with_bases(session, from, ids).await?;
    let lease = Lease::take(session, to, "copy").await?;
    // An earlier copy may have died.
    in_use::clear(from, session.instance()).await;
    let lost = lease.lost();
    let cancel = session.cancel.child_token();
    let work = async {
        let mut copied = Copied::default();
        for id in wanted {
            one(session, from, to, &id, &mut copied, &cancel).await.map_err(|e| e.within(format!("set {id}")))?;
        }
        Ok(copied)
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

/// The sets and all that they build on, the oldest first: no set is published before what it needs.
async fn with_bases(session: &Session, from: &Store, ids: &[SetId]) -> Result<BTreeSet<SetId>> {
    let (store, instance, mut next) = (from.clone(), session.instance().to_owned(), ids.to_vec());
    blocking(move || {
        let mut all = BTreeSet::new();
        while let Some(id) = next.pop() {
            if all.insert(id.clone()) {
                next.extend(store.open_set(&instance, &id)?.manifest.bases());
            }
        }
        Ok(all)
    })
    .await
}

async fn one(
    session: &Session,
    from: &Store,
    to: &Store,
    id: &SetId,
    copied: &mut Copied,
    cancel: &CancellationToken,
) -> Result<()> {
    let (instance, ours) = (session.instance().to_owned(), (from.clone(), to.cancelled_by(cancel), id.clone()));
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
        copied.present.push(id.clone());
        return Ok(());
    };
    let in_use = in_use::read(&session.reporter, &set, "copy").await?;
    let sent = objects(session, from, to, &set, &writer, cancel).await;
    in_use.end().await;
    copied.bytes = copied.bytes.saturating_add(sent?);
    let manifest = set.manifest.clone();
    blocking(move || writer.publish_as(&manifest, &bytes)).await?;
    session.reporter.message(Level::Info, None, format!("set {id} is copied to store `{}`", to.name()));
    copied.copied.push(id.clone());
    Ok(())
}

/// All objects of a set. Gives the bytes that were sent.
async fn objects(
    session: &Session,
    from: &Store,
    to: &Store,
    set: &StoredSet,
    writer: &SetWriter,
    cancel: &CancellationToken,
) -> Result<u64> {
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
        return Err(
            Error::new(ErrorKind::Damaged, text).hint("`bkhost verify` tells more; another store may have it whole")
        );
    }
    target.finish()?;
    same_bytes(writer.read(&object.file)?, object, interrupted)?;
    Ok(object.bytes)
}
