//! Which sets stay and which go: a pure function of what is there.

use serde::Serialize;

use super::list::{SetEntry, SetState};
use crate::archive::SetId;

/// What the operator wants kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// So many of the newest proved sets; 0 keeps all.
    pub keep_last: u32,
}

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

/// Decides about each set, newest first. Only proved sets count and only proved sets go; the newest proved one always
/// stays. Damaged and unpublished sets neither count nor go: somebody may still want to save something from the first,
/// and a run may be writing the second.
#[must_use]
pub fn decide(sets: &[SetEntry], policy: &Policy) -> Vec<Decision> {
    let mut newest_first: Vec<&SetEntry> = sets.iter().collect();
    newest_first.sort_by(|a, b| b.id.cmp(&a.id));
    let mut proved: u32 = 0;
    newest_first
        .into_iter()
        .map(|set| {
            let (keep, why) = match &set.state {
                SetState::Proved(_) => {
                    proved = proved.saturating_add(1);
                    fate(proved, policy.keep_last)
                }
                SetState::Damaged(_) => (true, "damaged: does not count, and is not deleted automatically".to_owned()),
                SetState::Unpublished => (true, "unpublished: does not count; a later run removes it".to_owned()),
            };
            Decision { id: set.id.clone(), keep, why }
        })
        .collect()
}

/// What happens to the `nth` newest proved set, counted from 1.
fn fate(nth: u32, keep_last: u32) -> (bool, String) {
    match (nth, keep_last) {
        (_, 0) => (true, "keep-last is 0: all proved sets stay".to_owned()),
        (1, _) => (true, "the last proved set is never deleted".to_owned()),
        _ if nth <= keep_last => (true, format!("proved set {nth} of the last {keep_last}")),
        _ => (false, format!("older than the last {keep_last} proved sets")),
    }
}
