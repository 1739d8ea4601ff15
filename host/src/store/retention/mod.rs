//! Which sets stay and which go: a pure function of what is there.
//!
//! Only proved sets count, and only proved sets go. A rule counts them from the newest to the oldest, by their ids, which are
//! in the order of the runs whatever was done to the clock. Of the sets of one day (hour, week, …) the newest stays. A set
//! stays if any rule keeps it.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use self::rules::Kept;
pub use self::rules::Policy;
use super::list::{SetEntry, SetState};
use crate::archive::SetId;

/// What happens to one set, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decision {
    /// The set.
    pub id: SetId,
    /// Whether it stays.
    pub keep: bool,
    /// Why, in words.
    pub why: String,
}

/// Who reads which sets just now, in words.
pub type Uses = BTreeMap<SetId, String>;

/// Decides about each set, newest first. The newest proved set always stays. Damaged and unpublished sets neither count nor
/// go: somebody may still want to save something from the first, and a run may be writing the second. So it is with sets
/// from the future, by the clock: that they are there makes no other one go. What is pinned or in use stays, and so does a
/// set on whose archive one that stays builds, directly or through others.
#[must_use]
pub fn decide(sets: &[SetEntry], uses: &Uses, policy: &Policy) -> Vec<Decision> {
    let mut newest_first: Vec<&SetEntry> = sets.iter().collect();
    newest_first.sort_by(|a, b| b.id.cmp(&a.id));
    let proved = newest_first.iter().filter_map(|set| Some((&set.id, set.manifest()?.created)));
    let kept = policy.apply(proved);
    // The sets that one which stays builds on: they are older, and so they are met later.
    let mut needed: BTreeMap<&SetId, &SetId> = BTreeMap::new();
    newest_first
        .into_iter()
        .map(|set| {
            let (keep, why) = fate(set, uses, policy, &kept);
            let by = needed.get(&set.id).copied();
            let (keep, why) = match by {
                Some(by) if !keep => (true, format!("{why}, but set {by} builds on it")),
                _ => (keep, why),
            };
            if keep {
                set.needs.iter().filter(|need| **need < set.id).for_each(|need| {
                    needed.entry(need).or_insert(&set.id);
                });
            }
            Decision { id: set.id.clone(), keep, why }
        })
        .collect()
}

/// Decides about each copy of a set at another place, by the same rules, newest first: each with when the set was made. They
/// are all good ones, and the newest always stays. `pinned` are sets that nobody deletes.
#[must_use]
pub fn decide_copies(copies: &[(SetId, Timestamp)], pinned: &BTreeSet<SetId>, policy: &Policy) -> Vec<Decision> {
    let mut newest_first: Vec<&(SetId, Timestamp)> = copies.iter().collect();
    newest_first.sort_by(|a, b| b.0.cmp(&a.0));
    let kept = policy.apply(newest_first.iter().map(|(id, created)| (id, *created)));
    let decided = newest_first.into_iter().map(|(id, _)| {
        let mut why = kept.reasons(id);
        why.extend(pinned.contains(id).then(|| "the set is pinned".to_owned()));
        let keep = !why.is_empty();
        Decision { id: id.clone(), keep, why: if keep { why.join("; ") } else { format!("kept by none of {policy}") } }
    });
    decided.collect()
}

/// What happens to one set by itself.
fn fate(set: &SetEntry, uses: &Uses, policy: &Policy, kept: &Kept) -> (bool, String) {
    match &set.state {
        SetState::Damaged(_) => return (true, "damaged: does not count, and is not deleted automatically".to_owned()),
        SetState::Unpublished => return (true, "unpublished: does not count; a later run removes it".to_owned()),
        SetState::Proved(_) => {}
    }
    let mut why = kept.reasons(&set.id);
    if let Some(pin) = set.records.pin() {
        let note = pin.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
        why.push(format!("pinned by {} on {}{note}", pin.by.user, pin.by.host));
    }
    if let Some(unreadable) = set.records.unreadable.first() {
        why.push(format!("{unreadable} cannot be read, and may be a pin"));
    }
    if let Some(by) = uses.get(&set.id) {
        why.push(format!("in use: {by}"));
    }
    if why.is_empty() { (false, format!("kept by none of {policy}")) } else { (true, why.join("; ")) }
}

/// In which order the sets that go are deleted: the oldest first, so that an interruption leaves the newest, but none
/// before those that build on it, so that it leaves none that cannot be restored.
#[must_use]
pub fn order(sets: &[SetEntry], decisions: &[Decision]) -> Vec<SetId> {
    let mut going: Vec<&SetEntry> =
        sets.iter().filter(|set| decisions.iter().any(|decision| decision.id == set.id && !decision.keep)).collect();
    going.sort_by(|a, b| a.id.cmp(&b.id));
    let mut order = Vec::new();
    let mut placed = BTreeSet::new();
    for root in &going {
        // All that build on it: they are newer, so one pass from old to new finds them.
        let mut chain = vec![*root];
        for set in &going {
            if set.id > root.id && set.needs.iter().any(|need| chain.iter().any(|below| below.id == *need)) {
                chain.push(set);
            }
        }
        order.extend(chain.into_iter().rev().filter(|set| placed.insert(&set.id)).map(|set| set.id.clone()));
    }
    order
}
