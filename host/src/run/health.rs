//! How well an instance is backed up, by what a store holds: what `bkhost status` and the metrics tell.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::prune::blocking;
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Record, RecordKind, SetEntry, SetState, Store};
use crate::units::{self, Span};

/// How long a store may take to list its sets: one that hangs must not hang who asks.
const PATIENCE: Duration = Duration::from_secs(60);

/// How well an instance is backed up in one store.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// The store.
    pub store: String,
    /// Why it cannot be looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How old the newest proved set may be, in milliseconds, if that is configured.
    pub rpo_ms: Option<u64>,
    /// The newest proved set. One from the future, by the clock, is none: it would look new for years.
    pub newest: Option<Newest>,
    /// It is older than it may be, or there is none, or nobody knows.
    pub overdue: bool,
    /// Proved sets.
    pub proved: u64,
    /// Damaged ones.
    pub damaged: Vec<SetId>,
    /// Those that no run has completed.
    pub unpublished: u64,
    /// Pinned ones.
    pub pinned: u64,
    /// The last verification of any set that read every byte.
    pub verified: Option<Told>,
    /// The last rehearsal of a restore.
    pub drilled: Option<Told>,
    /// The last restore.
    pub restored: Option<Told>,
}

/// A proved set.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Newest {
    /// Its id.
    pub id: SetId,
    /// When its run began.
    pub created: Timestamp,
    /// How long ago that is, in milliseconds.
    pub age_ms: u64,
    /// What it takes in the store, in bytes.
    pub bytes: u64,
    /// How long its run took, in milliseconds.
    pub duration_ms: u64,
    /// How long the application was locked for it, in milliseconds.
    pub locked_ms: u64,
}

/// What a record tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// Of which set.
    pub set: SetId,
    /// When.
    pub at: Timestamp,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<u64>,
}

impl From<&Record> for Told {
    fn from(record: &Record) -> Self {
        Self { set: record.set.clone(), at: record.at, ok: record.ok, duration_ms: record.duration_ms }
    }
}

impl Health {
    /// How well an instance is backed up in the store that `open` opens. What cannot be looked into is told in the result.
    pub async fn of_store(location: &str, instance: &str, rpo: Option<Span>, open: Result<Store>) -> Self {
        let sets = match open {
            Ok(store) => {
                let (instance, location) = (instance.to_owned(), location.to_owned());
                match tokio::time::timeout(PATIENCE, blocking(move || store.list(&instance))).await {
                    Ok(sets) => sets,
                    Err(_) => Err(Error::new(
                        ErrorKind::TimedOut,
                        format!("the store {location} does not answer within {} s", PATIENCE.as_secs()),
                    )),
                }
            }
            Err(error) => Err(error),
        };
        match sets {
            Ok(sets) => Self::of(location, &sets, rpo, Timestamp::now()),
            // Nobody knows: `of` finds nothing that is young enough.
            Err(error) => Self { error: Some(error.to_string()), ..Self::of(location, &[], rpo, Timestamp::now()) },
        }
    }

    /// As of a time.
    fn of(store: &str, sets: &[SetEntry], rpo: Option<Span>, now: Timestamp) -> Self {
        let rpo_ms = rpo.map(|span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX));
        let proved = sets.iter().filter_map(SetEntry::manifest);
        let newest = proved.clone().filter(|set| set.created <= now).max_by_key(|set| set.created).map(|set| Newest {
            id: set.id.clone(),
            created: set.created,
            age_ms: u64::try_from(now.as_millisecond() - set.created.as_millisecond()).unwrap_or_default(),
            bytes: set.stored_bytes(),
            duration_ms: set.duration_ms,
            locked_ms: set.application.locked_ms,
        });
        let last = |kind| {
            let all = sets.iter().flat_map(|set| &set.records.list).filter(|record| record.kind == kind);
            all.max_by_key(|record| record.at).map(Told::from)
        };
        let count = |what: fn(&SetEntry) -> bool| sets.iter().filter(|set| what(set)).count() as u64;
        Self {
            store: store.to_owned(),
            error: None,
            overdue: rpo_ms.is_some_and(|rpo| newest.as_ref().is_none_or(|newest| newest.age_ms > rpo)),
            rpo_ms,
            newest,
            proved: proved.count() as u64,
            damaged: sets
                .iter()
                .filter(|set| matches!(set.state, SetState::Damaged(_)))
                .map(|set| set.id.clone())
                .collect(),
            unpublished: count(|set| matches!(set.state, SetState::Unpublished)),
            pinned: count(|set| set.records.pin().is_some()),
            verified: last(RecordKind::Verify),
            drilled: last(RecordKind::Drill),
            restored: last(RecordKind::Restore),
        }
    }

    /// In one line, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let rpo = self.rpo_ms.map(units::human_millis);
        let newest = match (&self.error, &self.newest) {
            (Some(error), _) => return format!("store {}: CANNOT BE LOOKED INTO: {error}", self.store),
            (None, None) if self.proved > 0 => {
                format!("NO PROVED SET but {} from the future, by this machine's clock", self.proved)
            }
            (None, None) => "NO PROVED SET".to_owned(),
            (None, Some(newest)) => {
                format!("the newest proved set {} is {} old", newest.id, units::human_millis(newest.age_ms))
            }
        };
        let judged = match &rpo {
            Some(rpo) if self.overdue => format!(": OVERDUE, it may be {rpo} old at most"),
            Some(rpo) => format!(", and may be {rpo} old"),
            None => String::new(),
        };
        let damaged = match self.damaged.len() {
            0 => String::new(),
            n => format!("; {n} DAMAGED"),
        };
        format!("store {}: {newest}{judged}{damaged}", self.store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::set;
    use crate::store::SetRecords;

    fn entry(n: u32, created: &str, state: char) -> SetEntry {
        let id = format!("20260101-{n:06}-4f2a9c");
        let mut manifest = set::seal::tests::manifest(&id);
        manifest.created = created.parse().unwrap();
        SetEntry {
            id: id.parse().unwrap(),
            state: match state {
                'p' => SetState::Proved(Box::new(manifest)),
                'd' => SetState::Damaged("cut".into()),
                _ => SetState::Unpublished,
            },
            needs: Vec::new(),
            records: SetRecords::default(),
        }
    }

    fn health(sets: &[SetEntry], rpo: Option<u64>) -> Health {
        Health::of("/backups", sets, rpo.map(Span::from_secs), "2026-01-02T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_newest_proved_set_counts() {
        assert!(!health(&[], None).overdue);
        assert!(health(&[], Some(3600)).overdue);
        assert!(health(&[], Some(3600)).describe().contains("NO PROVED SET: OVERDUE"));
        let ahead = health(&[entry(1, "2026-01-02T00:00:01Z", 'p')], Some(3600));
        assert!(ahead.overdue && ahead.describe().contains("NO PROVED SET but 1 from the future"), "{ahead:?}");
        let six_hours = [entry(1, "2026-01-01T18:00:00Z", 'p')];
        assert!(!health(&six_hours, Some(6 * 3600)).overdue);
        assert!(health(&six_hours, Some(6 * 3600 - 1)).overdue);
        assert!(!health(&six_hours, None).overdue);
        // What is newer and no proved set of the past does not help.
        let mut sets = vec![
            entry(5, "2035-01-01T00:00:00Z", 'p'),
            entry(4, "2026-01-01T23:00:00Z", 'd'),
            entry(3, "2026-01-01T23:00:00Z", 'u'),
            entry(2, "2026-01-01T18:00:00Z", 'p'),
            entry(1, "2026-01-01T10:00:00Z", 'p'),
        ];
        let found = health(&sets, Some(3600));
        assert!(found.overdue);
        assert_eq!(found.newest.as_ref().unwrap().id, sets[3].id);
        assert_eq!((found.proved, found.damaged.len(), found.unpublished, found.pinned), (3, 1, 1, 0));
        assert_eq!(
            found.describe(),
            format!(
                "store /backups: the newest proved set {} is 6h 00m old: OVERDUE, it may be 1h 00m old at most; 1 DAMAGED",
                sets[3].id
            )
        );
        let drill = Record::new(RecordKind::Drill, &sets[4].id.clone()).failed("a file differs");
        sets[4].records.list = vec![drill.clone()];
        assert_eq!(health(&sets, None).drilled, Some(Told::from(&drill)));
    }
}
