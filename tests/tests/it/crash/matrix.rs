//! A fault before, in the middle of, and after each journal record of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;

use super::world::{Blow, World};

/// So many instances at once.
const WORKERS: usize = 3;
/// Records that only a recovery writes: see the module `recovery`.
const OF_RECOVERY: [&str; 4] = ["taken-over", "undone", "abandoned", "given-up"];
/// Records that only a run with something to freeze writes: see the module `freeze`.
const OF_FREEZE: [&str; 2] = ["freezing", "thawed"];
/// Records that only a restore writes: see the module `restore`.
const OF_RESTORE: [&str; 5] = ["restore", "restoring", "settling", "restored", "cleared"];
/// Records that only copies at other places write: see the modules `offsite` and `conformance::offsite`.
const OF_OFFSITE: [&str; 2] = ["copying-offsite", "copied-offsite"];
/// Children's records are many and alike: so many of each sort are struck.
const SAMPLE: usize = 4;

/// Which of `count` records of one sort are struck.
fn chosen(kind: &str, count: usize) -> Vec<usize> {
    let all = std::env::var("BKHOST_CRASH").is_ok_and(|value| value == "all");
    if all || !kind.starts_with("child-") || count <= SAMPLE {
        return (1..=count).collect();
    }
    // Spread over the run: in check, under the lock, while archiving. Not the last: another run may have one less.
    (0..SAMPLE).map(|i| 1 + i * (count - 3) / (SAMPLE - 1)).collect()
}

/// The points of a run with these records.
fn points(records: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in records {
        *counts.entry(kind).or_default() += 1;
    }
    let mut points = Vec::new();
    for (kind, count) in counts {
        for n in chosen(kind, count) {
            for when in ["before", "torn", "after"] {
                // A torn record is one like another: once for each sort.
                if when != "torn" || n == 1 || (kind, n) == ("application", 2) {
                    points.push(format!("{when}:{kind}:{n}"));
                }
            }
        }
    }
    points
}

#[test]
fn every_point() {
    let start = Instant::now();
    let first = World::new();
    let (_, records) = first.journals().pop().unwrap();
    let points = points(&records);
    let known = first.bk.run(&["fault-points"]).ok().stdout;
    let known: BTreeSet<&str> = known.lines().filter_map(|point| point.split(':').nth(1)).collect();
    let struck: BTreeSet<&str> = points.iter().filter_map(|point| point.split(':').nth(1)).collect();
    for kind in
        known.iter().filter(|kind| ![&OF_RECOVERY[..], &OF_FREEZE, &OF_RESTORE, &OF_OFFSITE].concat().contains(kind))
    {
        assert!(struck.contains(kind), "the journal's record {kind} is not struck: no run writes it");
    }
    let cases = points.iter().flat_map(|point| Blow::ALL.map(|blow| (point.clone(), blow)));
    let cases: Mutex<Vec<_>> = Mutex::new(cases.collect());
    let total = cases.lock().unwrap().len();
    let missed = Mutex::new(Vec::new());
    let work = |mut world: World| {
        loop {
            // The guard must not last longer than this line.
            let case = cases.lock().unwrap().pop();
            let Some((point, blow)) = case else { break };
            if !world.strike(&point, blow) {
                missed.lock().unwrap().push(point);
            }
        }
        world.verifies();
    };
    std::thread::scope(|scope| {
        for _ in 1..WORKERS {
            scope.spawn(|| work(World::new()));
        }
        work(first);
    });
    let missed = missed.into_inner().unwrap();
    // How many children a run has may differ by one or two.
    assert!(missed.iter().all(|point| point.contains(":child-")), "not reached: {missed:?}");
    println!(
        "crash matrix: {} records of {} sorts in a run, {} points x {} blows = {total} cases, {} not reached, {:?}",
        records.len(),
        struck.len(),
        points.len(),
        Blow::ALL.len(),
        missed.len(),
        start.elapsed()
    );
}
