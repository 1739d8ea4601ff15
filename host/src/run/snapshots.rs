//! What there is at the vendors.

use futures_util::FutureExt;
use serde::Serialize;

use super::part::{Part, Purpose};
use super::sealed;
use super::session::Session;
use crate::archive::SetId;
use crate::archive::set::SnapshotRecord;
use crate::error::{ErrorKind, Result};
use crate::report::Level;
use crate::store::{SetEntry, Store};

/// A snapshot that exists at its vendor.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Existing {
    /// The part that made it.
    pub part: String,
    /// The part's plugin.
    pub plugin: String,
    /// The set that it belongs to. None: no set in the stores knows it. The run that made it may still be under way, or
    /// wait for `bkhost recover`.
    pub set: Option<SetId>,
    /// What the vendor tells of it.
    #[serde(flatten)]
    pub snapshot: SnapshotRecord,
}

/// Ask each part's plugin for the snapshots that it made and that exist, in a fresh instance. Changes nothing. `sets` are
/// those that the stores hold. What an encrypted one hides is taken from this machine's notes, or read with `[encryption]
/// identity`; of one for which there is neither, a warning says so.
///
/// # Errors
/// If a part cannot be started, or its vendor cannot be asked.
pub async fn snapshots(session: &Session, sets: &[(Store, SetEntry)]) -> Result<Vec<Existing>> {
    let mut all = Vec::new();
    for part in session.parts().await? {
        let mut found = of_part(session, &part).await?;
        found.sort_by_key(|snapshot| snapshot.created);
        let known = if found.is_empty() { Vec::new() } else { known(session, sets, &part).await? };
        let set_of =
            |snapshot: &SnapshotRecord| known.iter().find(|(_, id)| *id == snapshot.id).map(|(set, _)| set.clone());
        all.extend(found.into_iter().map(|snapshot| Existing {
            part: part.name().to_owned(),
            plugin: part.plugin.name().to_owned(),
            set: set_of(&snapshot),
            snapshot,
        }));
    }
    Ok(all)
}

async fn of_part(session: &Session, part: &Part) -> Result<Vec<SnapshotRecord>> {
    let mut live = part.start(session, Purpose::plain(session.cancel.child_token())).await?;
    let result = live.instance.list().boxed().await;
    live.stop().await;
    result.map_err(|e| e.within(format!("part `{}`", part.name())))
}

/// The sets that hold a snapshot of this part, each with the snapshot's id.
async fn known(session: &Session, sets: &[(Store, SetEntry)], part: &Part) -> Result<Vec<(SetId, String)>> {
    let mut known = Vec::new();
    for (store, set) in sets {
        let records = set.manifest().into_iter().flat_map(|manifest| &manifest.parts);
        let of_part = records.filter(|record| record.name == part.name() && record.plugin == part.plugin.name());
        for record in of_part {
            match sealed::recall_from(session, store, &set.id, record).await {
                Ok(record) => known.push((set.id.clone(), record.snapshot.id)),
                Err(e) if matches!(e.kind(), ErrorKind::Denied | ErrorKind::Damaged | ErrorKind::Store) => {
                    let text = format!("which snapshot set {} has is not known: {e}", set.id);
                    session.reporter.message(Level::Warning, Some(part.name()), text);
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok(known)
}
