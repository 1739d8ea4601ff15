//! What is known of copies: records in the stores.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::open_stores;
use crate::archive::SetId;
use crate::archive::set::SnapshotRecord;
use crate::error::Result;
use crate::report::Level;
use crate::run::prune::blocking;
use crate::run::session::Session;
use crate::store::{Record, RecordKind, Store};

/// What a record of a copy tells besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Detail {
    /// The part.
    pub(super) part: String,
    /// The place.
    pub(super) place: String,
    /// The part's plugin.
    pub(super) plugin: String,
    /// When the set was made.
    pub(super) created: Timestamp,
    /// The copy, unless the set is encrypted: then only its vendor tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) copy: Option<SnapshotRecord>,
}

/// A copy that is there, or could not be made.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Copy {
    /// The set, which may be gone here.
    pub set: SetId,
    /// When the set was made.
    pub created: Timestamp,
    /// The part.
    pub part: String,
    /// The part's plugin.
    pub plugin: String,
    /// The place.
    pub place: String,
    /// It is there. If not, it could not be made.
    pub ok: bool,
    /// Since when.
    pub at: Timestamp,
    /// Why it could not be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the plugin restores from. None: the set is encrypted, and only the vendor tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotRecord>,
}

impl Copy {
    pub(super) fn is_at(&self, part: &str, place: &str) -> bool {
        self.part == part && self.place == place
    }

    /// What a record tells. The newest of a set, part and place counts.
    fn of(record: &Record) -> Option<Self> {
        let detail: Detail = serde_json::from_value(record.detail.clone()).ok()?;
        Some(Self {
            set: record.set.clone(),
            created: detail.created,
            part: detail.part,
            plugin: detail.plugin,
            place: detail.place,
            ok: record.ok,
            at: record.at,
            why: record.note.clone(),
            snapshot: detail.copy,
        })
    }

    /// What these records tell: the newest of each set, part and place.
    #[must_use]
    pub fn all_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Self> {
        let mut newest: BTreeMap<(SetId, String, String), Self> = BTreeMap::new();
        for copy in records.into_iter().filter(|record| record.kind == RecordKind::Offsite).filter_map(Self::of) {
            let key = (copy.set.clone(), copy.part.clone(), copy.place.clone());
            let slot = newest.entry(key).or_insert_with(|| copy.clone());
            // One that is there stays there, until its record is taken away.
            if (copy.ok, copy.at) > (slot.ok, slot.at) {
                *slot = copy;
            }
        }
        newest.into_values().collect()
    }
}

/// What the stores of an instance tell.
pub(super) struct Known {
    /// Copies that are there.
    pub(super) copies: Vec<Copy>,
    missed: Vec<Copy>,
    /// Where each record is.
    records: Vec<(Store, Record)>,
}

impl Known {
    /// Ask all stores that can be asked.
    pub(super) async fn of(session: &Session) -> Result<Self> {
        let mut records = Vec::new();
        for store in open_stores(session).await {
            let (asked, instance) = (store.clone(), session.instance().to_owned());
            match blocking(move || asked.records(&instance)).await {
                Ok(found) => records.extend(found.list.into_iter().map(|record| (store.clone(), record))),
                Err(error) => {
                    let text = format!("{error}: the copies that its records tell of are not known");
                    session.reporter.message(Level::Warning, None, text);
                }
            }
        }
        records.retain(|(_, record)| record.kind == RecordKind::Offsite);
        let all = Copy::all_of(records.iter().map(|(_, record)| record));
        let (copies, missed) = all.into_iter().partition(|copy| copy.ok);
        Ok(Self { copies, missed, records })
    }

    /// The copy of this set.
    pub(super) fn copy(&self, set: &SetId, part: &str, place: &str) -> Option<&Copy> {
        self.copies.iter().find(|copy| copy.set == *set && copy.is_at(part, place))
    }

    /// Sets that could not be copied there.
    pub(super) fn missed(&self, part: &str, place: &str) -> BTreeSet<SetId> {
        self.missed.iter().filter(|copy| copy.is_at(part, place)).map(|copy| copy.set.clone()).collect()
    }

    /// Remove what is told of a copy, or only that it failed.
    pub(super) async fn forget(
        &self,
        session: &Session,
        (set, part, place): (&SetId, &str, &str),
        only_failed: bool,
    ) -> Result<()> {
        let of = |record: &Record| Copy::of(record).is_some_and(|copy| copy.set == *set && copy.is_at(part, place));
        for (store, record) in self.records.iter().filter(|(_, record)| of(record) && !(only_failed && record.ok)) {
            let (store, record, instance) = (store.clone(), record.clone(), session.instance().to_owned());
            blocking(move || store.remove_record(&instance, &record)).await?;
        }
        Ok(())
    }
}

/// The copies that the stores tell of, and those that could not be made, the newest first.
///
/// # Errors
/// Never for a store that cannot be asked: that is told.
pub async fn copies(session: &Session) -> Result<Vec<Copy>> {
    let known = Known::of(session).await?;
    let mut all: Vec<Copy> = known.copies.into_iter().chain(known.missed).collect();
    all.sort_by(|a, b| (&b.set, &a.part, &a.place).cmp(&(&a.set, &b.part, &b.place)));
    Ok(all)
}
