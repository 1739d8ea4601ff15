//! The rules themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::archive::SetId;
use crate::units::Span;

/// What the operator wants kept. Without any rule everything stays.
#[derive(Debug, Clone)]
pub struct Policy {
    /// So many of the newest; 0: no such rule.
    pub last: u32,
    /// The newest of each of so many hours that have one; 0: no such rule.
    pub hourly: u32,
    /// The newest of each of so many days.
    pub daily: u32,
    /// The newest of each of so many weeks, which begin on Monday.
    pub weekly: u32,
    /// The newest of each of so many months.
    pub monthly: u32,
    /// The newest of each of so many years.
    pub yearly: u32,
    /// All that are not older than this.
    pub within: Option<Span>,
    /// So many of the newest stay whatever the rules say; 0 is as 1.
    pub proved_min: u32,
    /// Whose days and hours are meant.
    pub time_zone: TimeZone,
    /// The time by the clock.
    pub now: Timestamp,
}

impl Default for Policy {
    /// No rule: everything stays.
    fn default() -> Self {
        Self {
            last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            within: None,
            proved_min: 1,
            time_zone: TimeZone::UTC,
            now: Timestamp::now(),
        }
    }
}

/// Which sets the rules keep.
pub(super) struct Kept(BTreeMap<SetId, Vec<String>>);

impl Kept {
    /// Why a set stays; nothing if no rule keeps it.
    pub(super) fn reasons(&self, id: &SetId) -> Vec<String> {
        self.0.get(id).cloned().unwrap_or_default()
    }

    fn add(&mut self, id: &SetId, why: String) {
        self.0.entry(id.clone()).or_default().push(why);
    }
}

/// What the sets of one hour, day, week, month or year have in common.
type Bucket = fn(&Zoned) -> String;

impl Policy {
    /// Whether there is no rule at all.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.last == 0 && self.within.is_none() && self.buckets().iter().all(|(_, count, _)| *count == 0)
    }

    fn buckets(&self) -> [(&'static str, u32, Bucket); 5] {
        [
            // With its offset: on the day on which the clocks go back there are two of the same name.
            ("keep-hourly", self.hourly, |time| time.strftime("%Y-%m-%d %H:00%:z").to_string()),
            ("keep-daily", self.daily, |time| time.strftime("%Y-%m-%d").to_string()),
            ("keep-weekly", self.weekly, |time| time.strftime("%G-W%V").to_string()),
            ("keep-monthly", self.monthly, |time| time.strftime("%Y-%m").to_string()),
            ("keep-yearly", self.yearly, |time| time.strftime("%Y").to_string()),
        ]
    }

    /// What the rules keep of these sets, proved ones, the newest first: each with when it was made.
    pub(super) fn apply<'a>(&self, sets: impl IntoIterator<Item = (&'a SetId, Timestamp)>) -> Kept {
        let mut kept = Kept(BTreeMap::new());
        let mut counted: Vec<(&SetId, Timestamp)> = Vec::new();
        for (id, created) in sets {
            if created > self.now {
                let why = format!("from the future, by its own word of {created:.0}: does not count");
                kept.add(id, why);
            } else {
                counted.push((id, created));
            }
        }
        if self.keeps_all() {
            counted.iter().for_each(|(id, _)| kept.add(id, "no rule is configured: all proved sets stay".to_owned()));
            return kept;
        }
        if let Some((id, _)) = counted.first() {
            kept.add(id, "the last proved set is never deleted".to_owned());
        }
        for ((id, _), nth) in counted.iter().zip(1..=self.last) {
            kept.add(id, format!("keep-last {}: number {nth}", self.last));
        }
        for (rule, count, bucket) in self.buckets() {
            self.keep_newest(&counted, (rule, count, bucket), &mut kept);
        }
        self.keep_young(&counted, &mut kept);
        for ((id, _), nth) in counted.iter().zip(1..=self.proved_min) {
            if nth > 1 {
                kept.add(id, format!("keep-proved-min {}: number {nth}", self.proved_min));
            }
        }
        kept
    }

    /// The newest set of each bucket. The buckets that hold a set count, not those of the calendar: a week without a backup
    /// does not make an older one go.
    fn keep_newest(&self, sets: &[(&SetId, Timestamp)], (rule, count, bucket): (&str, u32, Bucket), kept: &mut Kept) {
        let mut seen = BTreeSet::new();
        for (id, time) in sets {
            if seen.len() >= usize::try_from(count).unwrap_or(usize::MAX) {
                return;
            }
            let name = bucket(&time.to_zoned(self.time_zone.clone()));
            if seen.insert(name.clone()) {
                kept.add(id, format!("{rule} {count}: the last of {name}"));
            }
        }
    }

    /// The sets that are young enough. Where fewer than two are, the clock may have jumped ahead, or there may have been no
    /// backup for long: then it is counted from the newest set but one, so that a single strange one ages none of the others.
    fn keep_young(&self, sets: &[(&SetId, Timestamp)], kept: &mut Kept) {
        let Some(span) = self.within else { return };
        let since = |time: Timestamp| time.checked_sub(span.0).unwrap_or(Timestamp::MIN);
        let mut begin = since(self.now);
        if sets.iter().filter(|(_, time)| *time >= begin).count() < 2
            && let Some((_, time)) = sets.get(1)
        {
            begin = begin.min(since(*time));
        }
        sets.iter().filter(|(_, time)| *time >= begin).for_each(|(id, _)| kept.add(id, format!("keep-within {span}")));
    }
}

impl fmt::Display for Policy {
    /// The rules that there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rules = Vec::new();
        if self.last > 0 {
            rules.push(format!("keep-last {}", self.last));
        }
        rules.extend(self.buckets().iter().filter(|(_, n, _)| *n > 0).map(|(rule, n, _)| format!("{rule} {n}")));
        rules.extend(self.within.map(|span| format!("keep-within {span}")));
        f.write_str(&rules.join(", "))
    }
}
