use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::archive::set;
use crate::store::{Record, RecordKind, SetRecords};
use crate::units::Span;

/// Later than everything.
fn now() -> Timestamp {
    "2040-01-01T00:00:00Z".parse().unwrap()
}

fn none() -> Policy {
    Policy { now: now(), ..Policy::default() }
}

fn last(last: u32) -> Policy {
    Policy { last, ..none() }
}

fn decide(sets: &[SetEntry], policy: &Policy) -> Vec<Decision> {
    super::decide(sets, &Uses::new(), policy)
}

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
    let decisions = decide(&sets(states), &last(keep_last));
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
    let decisions = decide(&sets("pppdu"), &last(2));
    let why: Vec<&str> = decisions.iter().map(|d| d.why.as_str()).collect();
    assert_eq!(
        why,
        [
            "unpublished: does not count; a later run removes it",
            "damaged: does not count, and is not deleted automatically",
            "the last proved set is never deleted; keep-last 2: number 1",
            "keep-last 2: number 2",
            "kept by none of keep-last 2",
        ]
    );
}

#[test]
fn copies_go_by_the_same_rules() {
    let copies: Vec<_> =
        at(&["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-02T10:00:00Z", "2050-01-01T00:00:00Z"])
            .iter()
            .map(|set| (set.id.clone(), set.manifest().unwrap().created))
            .collect();
    let stays = |pinned: &[usize], policy: &Policy| {
        let pinned = pinned.iter().map(|n| copies[*n].0.clone()).collect();
        fates(&decide_copies(&copies, &pinned, policy))
    };
    for (pinned, policy, expected) in [
        (&[][..], none(), "KKKK"),
        (&[], last(1), "--KK"),
        (&[0], last(1), "K-KK"),
        (&[], Policy { daily: 2, ..none() }, "K-KK"),
        (&[], Policy { within: Some(Span::from_secs(1)), ..none() }, "-KKK"),
    ] {
        assert_eq!(stays(pinned, &policy), expected, "{policy}");
    }
    assert!(decide_copies(&[], &BTreeSet::new(), &last(1)).is_empty());
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
        assert_eq!(fates(&decide(&sets, &last(keep_last))), stays, "{states} {back:?} {keep_last}");
    }
    let decisions = decide(&chained("ppp", &[0, 1, 1]), &last(1));
    assert_eq!(decisions[1].why, "kept by none of keep-last 1, but set 20261121-000002-4f2a9c builds on it");
    assert_eq!(decisions[2].why, "kept by none of keep-last 1, but set 20261121-000001-4f2a9c builds on it");
}

#[test]
fn a_chain_goes_from_its_end() {
    let sets = chained("pppppp", &[0, 1, 0, 2, 1, 0]);
    let decisions = decide(&sets, &last(1));
    let order: Vec<SetId> = order(&sets, &decisions);
    assert_eq!(order, [4, 3, 1, 0, 2].map(|n: usize| sets[n].id.clone()));
}

/// Proved sets of these times, from the oldest to the newest by their ids.
fn at(times: &[&str]) -> Vec<SetEntry> {
    let mut sets = sets(&"p".repeat(times.len()));
    for (set, time) in sets.iter_mut().zip(times) {
        created(set, time.parse().unwrap());
    }
    sets
}

fn created(set: &mut SetEntry, time: Timestamp) {
    if let SetState::Proved(manifest) = &mut set.state {
        manifest.created = time;
    }
}

/// What stays of sets of these times.
fn stays(times: &[&str], policy: &Policy) -> String {
    fates(&decide(&at(times), policy))
}

#[test]
fn the_newest_of_each_bucket() {
    let times = [
        "2024-12-30T12:00:00Z", // Monday of ISO week 2025-W01
        "2025-01-01T00:10:00Z",
        "2025-01-01T00:50:00Z",
        "2025-01-05T23:59:59Z", // Sunday of that week
        "2025-01-06T00:00:00Z",
        "2025-02-28T10:00:00Z",
        "2025-02-28T10:59:59Z",
        "2025-02-28T11:00:00Z",
    ];
    for (policy, expected) in [
        (Policy { hourly: 2, ..none() }, "------KK"),
        (Policy { hourly: 4, ..none() }, "---KK-KK"),
        (Policy { daily: 2, ..none() }, "----K--K"),
        (Policy { daily: 9, ..none() }, "K-KKK--K"),
        (Policy { weekly: 3, ..none() }, "---KK--K"),
        (Policy { monthly: 9, ..none() }, "K---K--K"),
        (Policy { yearly: 1, ..none() }, "-------K"),
        (Policy { yearly: 2, ..none() }, "K------K"),
        (Policy { last: 2, yearly: 2, ..none() }, "K-----KK"),
        (Policy { yearly: 1, proved_min: 3, ..none() }, "-----KKK"),
        (Policy { yearly: 1, proved_min: 0, ..none() }, "-------K"),
        (none(), "KKKKKKKK"),
        (Policy { proved_min: 2, ..none() }, "KKKKKKKK"),
    ] {
        assert_eq!(stays(&times, &policy), expected, "{policy}");
    }
    let decisions = decide(&at(&times), &Policy { daily: 2, monthly: 1, ..none() });
    assert_eq!(
        decisions[0].why,
        "the last proved set is never deleted; keep-daily 2: the last of 2025-02-28; keep-monthly 1: the last of 2025-02"
    );
    assert_eq!(decisions[7].why, "kept by none of keep-daily 2, keep-monthly 1");
}

/// A day is one of the place, and an hour that there is twice is two.
#[test]
fn days_and_hours_of_a_place() {
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    // 00:30 and 23:30 of one day there, in summer; in UTC they are of two.
    let day = ["2026-07-01T22:30:00Z", "2026-07-02T21:30:00Z"];
    assert_eq!(stays(&day, &Policy { daily: 9, ..none() }), "KK");
    assert_eq!(stays(&day, &Policy { daily: 9, time_zone: berlin.clone(), ..none() }), "-K");
    // 02:30 in summer, and an hour later 02:30 in winter; then 02:45.
    let back = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T01:45:00Z"];
    assert_eq!(stays(&back, &Policy { hourly: 9, time_zone: berlin.clone(), ..none() }), "K-K");
    assert_eq!(stays(&back, &Policy { daily: 9, time_zone: berlin.clone(), ..none() }), "--K");
    // The day on which they go forward has 23 hours, and each of them is one.
    let hours: Vec<String> = (0..24)
        .map(|hour| {
            ("2026-03-28T23:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_hours(hour)).to_string()
        })
        .collect();
    let hours: Vec<&str> = hours.iter().map(String::as_str).collect();
    assert_eq!(stays(&hours, &Policy { hourly: 99, time_zone: berlin.clone(), ..none() }), "K".repeat(24));
    assert_eq!(stays(&hours, &Policy { daily: 99, time_zone: berlin, ..none() }), format!("{}KK", "-".repeat(22)));
}

#[test]
fn young_enough() {
    let times = ["2026-01-01T00:00:00Z", "2026-01-20T00:00:00Z", "2026-02-10T00:00:00Z", "2026-02-20T00:00:00Z"];
    let within = |days: u64, now: &str| Policy {
        within: Some(Span::from_secs(days * 86_400)),
        now: now.parse().unwrap(),
        ..Policy::default()
    };
    assert_eq!(stays(&times, &within(30, "2026-02-20T00:00:00Z")), "--KK");
    assert_eq!(stays(&times, &within(31, "2026-02-20T00:00:00Z")), "-KKK");
    // Exactly so old is young enough.
    assert_eq!(stays(&times, &within(10, "2026-02-20T00:00:00Z")), "--KK");
    // After a long pause, or a leap of the clock, one set alone makes none of the others old.
    let leap = [&times[..], &["2036-01-01T00:00:00Z"]].concat();
    assert_eq!(stays(&leap, &within(30, "2036-01-01T00:00:00Z")), "--KKK");
    assert_eq!(stays(&times, &within(1, "2030-01-01T00:00:00Z")), "--KK");
    assert_eq!(stays(&times[..1], &within(1, "2030-01-01T00:00:00Z")), "K");
    // By a clock that was set back they are all of the future, and stay.
    assert_eq!(stays(&times, &within(1, "2020-01-01T00:00:00Z")), "KKKK");
}

/// A run by a clock that was years ahead: it takes nobody's place, and nobody else goes for it.
#[test]
fn sets_from_the_future_take_nobodys_place() {
    let times = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2035-01-01T00:00:00Z", "2026-01-03T00:00:00Z"];
    for (policy, expected) in [
        (Policy { last: 2, ..none() }, "-KKK"),
        (Policy { last: 1, ..none() }, "--KK"),
        (Policy { yearly: 1, proved_min: 2, ..none() }, "-KKK"),
        (Policy { daily: 3, ..none() }, "KKKK"),
    ] {
        let policy = Policy { now: "2026-01-03T01:00:00Z".parse().unwrap(), ..policy };
        assert_eq!(stays(&times, &policy), expected, "{policy}");
    }
    let policy = Policy { last: 1, now: "2026-01-03T01:00:00Z".parse().unwrap(), ..none() };
    assert_eq!(
        decide(&at(&times), &policy)[1].why,
        "from the future, by its own word of 2035-01-01T00:00:00Z: does not count"
    );
}

#[test]
fn pins_and_readers_hold_what_they_need() {
    let mut sets = chained("pppppp", &[0, 1, 0, 1, 0, 0]);
    let id = sets[1].id.clone();
    sets[1].records.list.push(Record::new(RecordKind::Pin, &id).note("before the upgrade"));
    assert_eq!(fates(&decide(&sets, &last(1))), "KK---K");
    let why = &decide(&sets, &last(1))[4].why;
    assert!(why.starts_with("pinned by ") && why.ends_with(": before the upgrade"), "{why}");
    // A pin that cannot be read may be one.
    sets[4].records.unreadable.push("wiki/records/x.json".to_owned());
    assert_eq!(fates(&decide(&sets, &last(1))), "KK--KK");
    let uses = Uses::from([(sets[3].id.clone(), "a restore by process 7 on host".to_owned())]);
    let decisions = super::decide(&sets, &uses, &last(1));
    assert_eq!(fates(&decisions), "KKKKKK");
    assert_eq!(decisions[2].why, "in use: a restore by process 7 on host");
    assert_eq!(decisions[3].why, format!("kept by none of keep-last 1, but set {} builds on it", sets[3].id));
    // What tells something else pins nothing.
    for kind in [RecordKind::Verify, RecordKind::Drill, RecordKind::Restore] {
        sets[2].records.list = vec![Record::new(kind, &sets[2].id.clone())];
        assert_eq!(fates(&decide(&sets, &last(1))), "KK--KK");
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let counts = (0_u32..5, 0_u32..5, 0_u32..5, 0_u32..4, 0_u32..4, 0_u32..3);
    (counts, proptest::option::of(0_u64..400), 0_u32..4, -12_i64..=12).prop_map(
        |((last, hourly, daily, weekly, monthly, yearly), within, proved_min, offset)| Policy {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within: within.map(|hours| Span::from_secs(hours * 3600)),
            proved_min,
            time_zone: jiff::tz::offset(i8::try_from(offset).unwrap()).to_time_zone(),
            now: "2026-06-01T00:00:00Z".parse().unwrap(),
        },
    )
}

/// Sets of random hours before (or, a few, after) the policies' now, some of them chained, pinned, damaged, unpublished.
fn worlds() -> impl Strategy<Value = Vec<SetEntry>> {
    let set = ("[ppppppdu]", -200_i64..10_000, 0_usize..4, 0_u8..12);
    proptest::collection::vec(set, 0..40).prop_map(|list| {
        let states: String = list.iter().map(|(state, ..)| state.as_str()).collect();
        let back: Vec<usize> = list.iter().map(|(_, _, back, _)| back.saturating_sub(2)).collect();
        let mut sets = chained(&states, &back);
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        for (set, (_, hours, _, pin)) in sets.iter_mut().zip(&list) {
            created(set, now - jiff::SignedDuration::from_hours(*hours));
            if *pin == 0 {
                set.records.list.push(Record::new(RecordKind::Pin, &set.id.clone()));
            }
        }
        sets
    })
}

fn kept(decisions: &[Decision]) -> BTreeSet<SetId> {
    decisions.iter().filter(|d| d.keep).map(|d| d.id.clone()).collect()
}

fn counts(set: &SetEntry, policy: &Policy) -> bool {
    set.manifest().is_some_and(|manifest| manifest.created <= policy.now)
}

proptest! {
    #[test]
    fn rules_of_policies(sets in worlds(), policy in policies(), reader in 0_usize..40, stop in 0_usize..40) {
        let uses: Uses = sets.get(reader).map(|set| (set.id.clone(), "a restore".to_owned())).into_iter().collect();
        let decisions = super::decide(&sets, &uses, &policy);
        let stays = kept(&decisions);
        let counted: Vec<&SetEntry> = sets.iter().filter(|set| counts(set, &policy)).collect();
        for set in &sets {
            let held = set.records.pin().is_some() || uses.contains_key(&set.id) || !counts(set, &policy);
            prop_assert!(!held || stays.contains(&set.id));
            // What stays can be restored.
            prop_assert!(!stays.contains(&set.id) || set.needs.iter().all(|need| stays.contains(need)));
        }
        // Never under the minimum, and the newest first.
        for set in counted.iter().rev().take(policy.proved_min.max(1) as usize) {
            prop_assert!(stays.contains(&set.id));
        }
        if policy.keeps_all() {
            prop_assert_eq!(stays.len(), sets.len());
        }
        // It is all the same to each rule what the others say: together they keep what any one keeps.
        let alone = |one: Policy| if one.keeps_all() { BTreeSet::new() } else { kept(&decide(&sets, &one)) };
        let base = || Policy { time_zone: policy.time_zone.clone(), now: policy.now, ..Policy::default() };
        let mut any: BTreeSet<SetId> = BTreeSet::new();
        any.extend(alone(Policy { last: policy.last, ..base() }));
        any.extend(alone(Policy { hourly: policy.hourly, ..base() }));
        any.extend(alone(Policy { daily: policy.daily, ..base() }));
        any.extend(alone(Policy { weekly: policy.weekly, ..base() }));
        any.extend(alone(Policy { monthly: policy.monthly, ..base() }));
        any.extend(alone(Policy { yearly: policy.yearly, ..base() }));
        any.extend(alone(Policy { within: policy.within, ..base() }));
        any.extend(alone(Policy { last: policy.proved_min.max(1), ..base() }));
        if !policy.keeps_all() {
            prop_assert_eq!(&kept(&decide(&sets, &policy)), &any);
        }
        // Interrupted anywhere, or done, the next prune by the same rules deletes what is left of this and nothing else.
        let order = order(&sets, &decisions);
        let gone: BTreeSet<SetId> = order.into_iter().take(stop).collect();
        let left: Vec<SetEntry> = sets.iter().filter(|set| !gone.contains(&set.id)).cloned().collect();
        let again = kept(&super::decide(&left, &uses, &policy));
        prop_assert!(stays.is_subset(&again));
    }

    /// That there is a set that does not count changes nothing for those that do, unless it builds on them.
    #[test]
    fn what_does_not_count_takes_no_place(sets in worlds(), policy in policies()) {
        let all = kept(&decide(&sets, &policy));
        let counted: Vec<SetEntry> = sets.iter().filter(|set| counts(set, &policy)).cloned().collect();
        prop_assert!(kept(&decide(&counted, &policy)).is_subset(&all));
        let mut plain = sets.clone();
        plain.iter_mut().for_each(|set| set.needs.clear());
        let mut counted = counted;
        counted.iter_mut().for_each(|set| set.needs.clear());
        let others: BTreeSet<SetId> = sets.iter().filter(|set| !counts(set, &policy)).map(|set| set.id.clone()).collect();
        let without = kept(&decide(&counted, &policy));
        prop_assert_eq!(kept(&decide(&plain, &policy)).difference(&others).cloned().collect::<BTreeSet<_>>(), without);
    }

    /// Days, counted once more and in another way.
    #[test]
    fn days_by_hand(sets in worlds(), daily in 1_u32..6) {
        let policy = Policy { daily, now: "2026-06-01T00:00:00Z".parse().unwrap(), ..Policy::default() };
        let mut sets = sets;
        sets.iter_mut().for_each(|set| { set.needs.clear(); set.records.list.clear(); });
        let day = |set: &SetEntry| set.manifest().map(|manifest| manifest.created.as_second().div_euclid(86_400));
        let counted: Vec<&SetEntry> = sets.iter().filter(|set| counts(set, &policy)).collect();
        let mut expected: BTreeSet<SetId> = sets.iter().filter(|set| !counts(set, &policy)).map(|set| set.id.clone()).collect();
        let newest_of_days: Vec<&&SetEntry> = counted.iter().enumerate()
            .filter(|(n, set)| !counted[n + 1..].iter().any(|later| day(later) == day(set))).map(|(_, set)| set).collect();
        expected.extend(newest_of_days.iter().rev().take(daily as usize).map(|set| set.id.clone()));
        prop_assert_eq!(kept(&decide(&sets, &policy)), expected);
    }

    #[test]
    fn rules_of_chains(
        links in proptest::collection::vec(("[ppppdu]", 0_usize..4), 0..40),
        keep_last in 0_u32..12,
        stop in 0_usize..40,
    ) {
        let states: String = links.iter().map(|(state, _)| state.as_str()).collect();
        let back: Vec<usize> = links.iter().map(|(_, back)| *back).collect();
        let sets = chained(&states, &back);
        let policy = last(keep_last);
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
        let policy = last(keep_last);
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
