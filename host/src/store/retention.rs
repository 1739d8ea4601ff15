//! Which sets stay and which go: a pure function of what is there.

use std::collections::{BTreeMap, BTreeSet};

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
/// and a run may be writing the second. A set on whose archive one that stays builds, directly or through others, stays
/// with it.
#[must_use]
pub fn decide(sets: &[SetEntry], policy: &Policy) -> Vec<Decision> {
    let mut newest_first: Vec<&SetEntry> = sets.iter().collect();
    newest_first.sort_by(|a, b| b.id.cmp(&a.id));
    let mut proved: u32 = 0;
    // The sets that one which stays builds on: they are older, and so they are met later.
    let mut needed: BTreeMap<&SetId, &SetId> = BTreeMap::new();
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

/// What happens to the `nth` newest proved set, counted from 1.
fn fate(nth: u32, keep_last: u32) -> (bool, String) {
    match (nth, keep_last) {
        (_, 0) => (true, "keep-last is 0: all proved sets stay".to_owned()),
        (1, _) => (true, "the last proved set is never deleted".to_owned()),
        _ if nth <= keep_last => (true, format!("proved set {nth} of the last {keep_last}")),
        _ => (false, format!("older than the last {keep_last} proved sets")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::set;
    use crate::store::SetRecords;

    /// Sets from the oldest to the newest: p(roved), d(amaged), u(npublished).
    fn sets(states: &str) -> Vec<SetEntry> {
        states
            .chars()
            .enumerate()
            .map(|(n, state)| {
                let id = format!("20261121-{n:06}-4f2a9c");
                SetEntry {
                    id: id.parse().unwrap(),
                    needs: Vec::new(),
                    records: SetRecords::default(),
                    state: match state {
                        'p' => SetState::Proved(Box::new(set::seal::tests::manifest(&id))),
                        'd' => SetState::Damaged("cut".into()),
                        _ => SetState::Unpublished,
                    },
                }
            })
            .collect()
    }

    /// What stays (`K`) and goes (`-`), from the oldest to the newest.
    fn outcome(states: &str, keep_last: u32) -> String {
        let decisions = decide(&sets(states), &Policy { keep_last });
        decisions.iter().rev().map(|d| if d.keep { 'K' } else { '-' }).collect()
    }

    #[test]
    fn cases() {
        for (states, keep_last, stays) in [
            ("", 1, ""),
            ("p", 1, "K"),
            ("ppppp", 0, "KKKKK"),
            ("ppppp", 2, "---KK"),
            ("ppppp", 9, "KKKKK"),
            // Damaged and unpublished sets take nobody's place, and stay.
            ("pppddu", 2, "-KKKKK"),
            ("pdpup", 1, "-K-KK"),
            ("pdd", 1, "KKK"),
        ] {
            assert_eq!(outcome(states, keep_last), stays, "{states} {keep_last}");
        }
    }

    #[test]
    fn reasons() {
        let decisions = decide(&sets("pppdu"), &Policy { keep_last: 2 });
        let why: Vec<&str> = decisions.iter().map(|d| d.why.as_str()).collect();
        assert_eq!(
            why,
            [
                "unpublished: does not count; a later run removes it",
                "damaged: does not count, and is not deleted automatically",
                "the last proved set is never deleted",
                "proved set 2 of the last 2",
                "older than the last 2 proved sets",
            ]
        );
    }

    /// As `sets`, each building on the one so many before it; 0: on none.
    fn chained(states: &str, back: &[usize]) -> Vec<SetEntry> {
        let mut sets = sets(states);
        for n in 0..sets.len() {
            let base = back.get(n).filter(|back| **back > 0).and_then(|back| n.checked_sub(*back));
            sets[n].needs = base.map(|base| sets[base].id.clone()).into_iter().collect();
        }
        sets
    }

    fn fates(decisions: &[Decision]) -> String {
        decisions.iter().rev().map(|d| if d.keep { 'K' } else { '-' }).collect()
    }

    #[test]
    fn what_is_built_on_stays() {
        for (states, back, keep_last, stays) in [
            // full, 2 incrementals, full, 2 incrementals.
            ("pppppp", &[0, 1, 1, 0, 1, 1][..], 1, "---KKK"),
            ("pppppp", &[0, 1, 1, 0, 1, 1], 3, "---KKK"),
            ("pppppp", &[0, 1, 1, 0, 1, 1], 4, "KKKKKK"),
            ("pppp", &[0, 1, 2, 3], 1, "K--K"),
            // A damaged set may still be saved from, with what it needs; an unpublished one has no manifest.
            ("ppdp", &[0, 1, 1, 0], 1, "KKKK"),
            // What a set cannot build on does not count.
            ("pp", &[0, 2], 1, "-K"),
        ] {
            let sets = chained(states, back);
            assert_eq!(fates(&decide(&sets, &Policy { keep_last })), stays, "{states} {back:?} {keep_last}");
        }
        let decisions = decide(&chained("ppp", &[0, 1, 1]), &Policy { keep_last: 1 });
        assert_eq!(decisions[1].why, "older than the last 1 proved sets, but set 20261121-000002-4f2a9c builds on it");
        assert_eq!(decisions[2].why, "older than the last 1 proved sets, but set 20261121-000001-4f2a9c builds on it");
    }

    #[test]
    fn a_chain_goes_from_its_end() {
        let sets = chained("pppppp", &[0, 1, 0, 2, 1, 0]);
        let decisions = decide(&sets, &Policy { keep_last: 1 });
        let order: Vec<SetId> = order(&sets, &decisions);
        assert_eq!(order, [4, 3, 1, 0, 2].map(|n: usize| sets[n].id.clone()));
    }

    proptest! {
        #[test]
        fn rules_of_chains(
            links in proptest::collection::vec(("[ppppdu]", 0_usize..4), 0..40),
            keep_last in 0_u32..12,
            stop in 0_usize..40,
        ) {
            let states: String = links.iter().map(|(state, _)| state.as_str()).collect();
            let back: Vec<usize> = links.iter().map(|(_, back)| *back).collect();
            let sets = chained(&states, &back);
            let policy = Policy { keep_last };
            let decisions = decide(&sets, &policy);
            let keeps = |id: &SetId| decisions.iter().any(|d| d.id == *id && d.keep);
            for set in &sets {
                // What stays can be restored.
                if keeps(&set.id) {
                    prop_assert!(set.needs.iter().all(&keeps), "{} {:?}", set.id, decisions);
                }
            }
            // Chains keep more, and never less.
            let alone = decide(&super::tests::sets(&states), &policy);
            for (alone, chained) in alone.iter().zip(&decisions) {
                prop_assert!(!alone.keep || chained.keep);
                // What stays beyond that, stays for a set that stays.
                if chained.keep && !alone.keep {
                    prop_assert!(sets.iter().any(|set| set.needs.contains(&chained.id) && keeps(&set.id)));
                    prop_assert!(chained.why.contains("builds on it"));
                }
            }
            // Wherever the deletion stops, nothing is left that lacks what it needs.
            let order = order(&sets, &decisions);
            prop_assert_eq!(order.len(), decisions.iter().filter(|d| !d.keep).count());
            let gone: BTreeSet<&SetId> = order.iter().take(stop).collect();
            for set in sets.iter().filter(|set| !gone.contains(&set.id)) {
                prop_assert!(set.needs.iter().all(|need| !gone.contains(need)));
            }
        }

        #[test]
        fn rules(states in "[pdu]{0,40}", keep_last in 0_u32..45, seed in any::<u64>()) {
            let mut sets = sets(&states);
            let policy = Policy { keep_last };
            let decisions = decide(&sets, &policy);
            prop_assert_eq!(decisions.len(), sets.len());
            prop_assert!(decisions.is_sorted_by(|a, b| a.id > b.id));

            let proved = states.matches('p').count();
            let gone = decisions.iter().filter(|d| !d.keep).count();
            let expected = if keep_last == 0 { 0 } else { proved.saturating_sub(keep_last as usize) };
            prop_assert_eq!(gone, expected);
            for decision in &decisions {
                let set = sets.iter().find(|set| set.id == decision.id).unwrap();
                prop_assert!(!decision.why.is_empty());
                if !decision.keep {
                    prop_assert!(set.manifest().is_some());
                    // Only what is older than everything proved that stays.
                    prop_assert!(decisions.iter().filter(|d| d.keep).all(|kept| kept.id > set.id
                        || sets.iter().any(|s| s.id == kept.id && s.manifest().is_none())));
                }
            }
            if let Some(last) = sets.iter().filter(|set| set.manifest().is_some()).max_by(|a, b| a.id.cmp(&b.id)) {
                prop_assert!(decisions.iter().any(|d| d.keep && d.id == last.id));
            }

            // The order in which the sets come does not matter.
            let len = sets.len().max(1);
            sets.rotate_left(usize::try_from(seed % len as u64).unwrap());
            prop_assert_eq!(&decide(&sets, &policy), &decisions);

            // Deciding again after the deletion deletes nothing more.
            sets.retain(|set| decisions.iter().any(|d| d.keep && d.id == set.id));
            prop_assert!(decide(&sets, &policy).iter().all(|d| d.keep));
        }
    }
}
