//! What is told of a set beside it, when it is copied.
//!
//! What holds wherever the set is comes along: its pins, and where its vendors have copies of it. What was found out about it
//! in one store says nothing of another one: that it was restored from there does not mean that it can be restored from
//! here. That stays known as what it is, told of the place where it happened, and counts for nothing here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Copied, Way};
use crate::error::Result;
use crate::report::Level;
use crate::run::prune::blocking;
use crate::store::{Record, RecordKind, SetEntry};

/// What is remembered of a place where a set was.
const HISTORY: [RecordKind; 3] = [RecordKind::Verify, RecordKind::Drill, RecordKind::Restore];

/// What a record told in the store that a set was copied from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ToldThere {
    /// That store's name.
    pub store: String,
    /// The record, without its detail.
    #[serde(flatten)]
    pub record: Record,
}

impl ToldThere {
    fn new(store: &str, record: &Record) -> Self {
        Self { store: store.to_owned(), record: record.clone().detail(Value::Null) }
    }

    /// What the record of a copy tells of the places where the set was, the oldest first.
    #[must_use]
    pub fn of(record: &Record) -> Vec<Self> {
        let told = record.detail.get("told").filter(|_| record.kind == RecordKind::Copy);
        told.and_then(|told| serde_json::from_value(told.clone()).ok()).unwrap_or_default()
    }
}

/// The record of a copy: from where, and the newest of each kind that was told there, or where it came from itself.
pub(super) fn history(way: &Way<'_>, set: &SetEntry) -> Record {
    let from = way.from.name();
    let earlier = set.records.list.iter().flat_map(ToldThere::of);
    let mut told: Vec<_> = earlier.chain(set.records.list.iter().map(|record| ToldThere::new(from, record))).collect();
    told.sort_by_key(|told| told.record.at);
    let newest: BTreeMap<_, _> = told
        .into_iter()
        .filter(|told| HISTORY.contains(&told.record.kind))
        .map(|told| (told.record.kind, told))
        .collect();
    let mut newest: Vec<_> = newest.into_values().collect();
    newest.sort_by_key(|told| told.record.at);
    Record::new(RecordKind::Copy, &set.id)
        .note(format!("from the store `{from}`"))
        .detail(json!({ "from": from, "told": newest }))
}

/// Write records where the set was copied to.
///
/// # Errors
/// `Store` if they cannot be written.
pub(super) async fn write(way: &Way<'_>, records: Vec<Record>) -> Result<()> {
    let (to, instance) = (way.to.clone(), way.session.instance().to_owned());
    blocking(move || records.iter().try_for_each(|record| to.record(&instance, record).map(drop))).await
}

/// Take along what holds wherever the set is, unless it is there.
///
/// # Errors
/// `Store` if it cannot be written.
pub(super) async fn take_along(way: &Way<'_>, set: &SetEntry, copied: &mut Copied) -> Result<()> {
    for unreadable in &set.records.unreadable {
        let text = format!("{unreadable} cannot be read: if it is a pin, the copy of set {} is not pinned", set.id);
        way.session.reporter.message(Level::Warning, None, text);
    }
    let known = way.there.get(&set.id).map(|records| records.list.as_slice()).unwrap_or_default();
    let offsite = set.records.list.iter().filter(|record| record.kind == RecordKind::Offsite && record.ok);
    let new = offsite.filter(|copy| !known.iter().any(|known| known.kind == copy.kind && known.detail == copy.detail));
    let mut records: Vec<Record> = new.cloned().collect();
    if let Some(pin) = set.records.pin().filter(|_| !known.iter().any(|known| known.kind == RecordKind::Pin)) {
        copied.pinned.push(set.id.clone());
        records.push(pin.clone());
    }
    write(way, records).await
}
