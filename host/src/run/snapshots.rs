//! What there is at the vendors.

use futures_util::FutureExt;
use serde::Serialize;

use super::part::{Part, Purpose};
use super::session::Session;
use crate::archive::SetId;
use crate::archive::set::SnapshotRecord;
use crate::error::Result;
use crate::store::SetEntry;

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
/// those that the stores hold.
///
/// # Errors
/// If a part cannot be started, or its vendor cannot be asked.
pub async fn snapshots(session: &Session, sets: &[SetEntry]) -> Result<Vec<Existing>> {
    let mut all = Vec::new();
    for part in session.parts().await? {
        let mut found = of_part(session, &part).await?;
        found.sort_by_key(|snapshot| snapshot.created);
        all.extend(found.into_iter().map(|snapshot| Existing {
            part: part.name().to_owned(),
            plugin: part.plugin.name().to_owned(),
            set: set_of(sets, &part, &snapshot),
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

fn set_of(sets: &[SetEntry], part: &Part, snapshot: &SnapshotRecord) -> Option<SetId> {
    let knows = |set: &&SetEntry| {
        set.manifest().is_some_and(|manifest| {
            manifest.parts.iter().any(|record| {
                record.name == part.name() && record.plugin == part.plugin.name() && record.snapshot.id == snapshot.id
            })
        })
    };
    sets.iter().find(knows).map(|set| set.id.clone())
}
