//! A file system that is left frozen is impossible: a run with frozen file systems dies at each of their records.

use std::path::Path;
use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, LoopFs, Running, Simulator, freezer, signal, until};
use rustix::process::Signal;

use super::world::{Blow, guard_of, kill};

/// They have to be thawed so soon after the run's death, by its guard, or after a signal, by itself.
const THAWED: Duration = Duration::from_secs(1);

/// An instance that freezes two file systems, with an application.
struct Cold {
    // Dropped first.
    file_systems: [LoopFs; 2],
    bk: Bkhost,
    simulator: Simulator,
}

impl Cold {
    fn new(behaviour: &str, limits: &str) -> Self {
        let bk = Bkhost::new();
        let file_systems = [LoopFs::new(&bk.path(""), "a", "ext4"), LoopFs::new(&bk.path(""), "b", "ext4")];
        let simulator = Simulator::start(&[]);
        std::fs::write(signal(&bk).join("go"), "").unwrap();
        let points: Vec<&Path> = file_systems.iter().map(LoopFs::point).collect();
        let part = freezer(&bk, behaviour, &points, &points, limits);
        bk.config(&[&bk.application(&simulator, ""), &part]);
        Self { file_systems, bk, simulator }
    }

    fn frozen(&self) -> usize {
        self.file_systems.iter().filter(|file_system| file_system.frozen()).count()
    }

    /// Start a run that stops itself at this point.
    fn stopped_at(&self, point: &str) -> Running {
        let mut command = self.bk.command(&["run"]);
        command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", format!("{point}:stop"));
        let mut run = Running::start(command, false);
        assert!(run.stops(), "{point} is not reached");
        run
    }

    #[track_caller]
    fn thawed(&self, what: &str, limit: Duration) -> Duration {
        let start = Instant::now();
        until(&format!("{what}: all is thawed"), limit + Duration::from_secs(5), || {
            self.file_systems.iter().all(|file_system| file_system.written_since(start))
        });
        let took = start.elapsed();
        assert!(took < limit, "{what}: thawed after {took:?}");
        took
    }

    #[track_caller]
    fn is_well(&self, what: &str) {
        let outcome = self.bk.run(&["recover"]);
        assert_eq!(outcome.code, 0, "{what}: {outcome}");
        assert_eq!(self.frozen(), 0, "{what}: a file system is frozen");
        assert!(!self.simulator.locked(), "{what}: the application is locked");
        let again = self.bk.run(&["recover"]).ok();
        assert!(!again.stderr.contains("did not end"), "{what}: {again}");
    }
}

/// The records of a run with two file systems, and how many of these are frozen when it stops there.
const POINTS: [(&str, usize); 10] = [
    ("before:freezing:1", 0),
    ("torn:freezing:1", 0),
    ("after:freezing:1", 0),
    ("before:freezing:2", 1),
    ("torn:freezing:2", 1),
    ("after:freezing:2", 1),
    ("before:thawed:1", 0),
    ("torn:thawed:1", 0),
    ("after:thawed:1", 0),
    ("after:thawed:2", 0),
];

#[test]
fn every_record() {
    let start = Instant::now();
    let cold = Cold::new("wait", "");
    let mut took = Vec::new();
    for (point, frozen) in POINTS {
        for blow in Blow::ALL {
            let what = format!("{point}, {blow:?}");
            let run = cold.stopped_at(point);
            assert_eq!(cold.frozen(), frozen, "{what}");
            match blow {
                Blow::Host => {
                    run.signal(Signal::KILL);
                    took.push(cold.thawed(&what, THAWED));
                }
                Blow::Both => {
                    guard_of(run.pid()).into_iter().for_each(kill);
                    run.signal(Signal::KILL);
                    assert_eq!(cold.frozen(), frozen, "{what}");
                }
                Blow::Term => {
                    run.signal(Signal::TERM);
                    run.signal(Signal::CONT);
                    took.push(cold.thawed(&what, THAWED));
                }
            }
            let outcome = run.end_with_guard();
            // What is published is not taken back by a cancel.
            let codes = if blow == Blow::Term { [11, 0] } else { [-1; 2] };
            assert!(codes.contains(&outcome.code), "{what}: {outcome}");
            cold.is_well(&what);
        }
    }
    let cases = POINTS.len() * Blow::ALL.len();
    let slowest = took.into_iter().max().unwrap_or_default();
    println!(
        "freezing: {} points, {cases} cases, thawed after {slowest:?} at most, {:?}",
        POINTS.len(),
        start.elapsed()
    );
}

#[test]
fn killed_while_they_stand_frozen() {
    let cold = Cold::new("hang", "");
    for blow in [Blow::Host, Blow::Both] {
        let mut run = cold.bk.spawn(&["run"]);
        until("both are frozen", Duration::from_secs(30), || cold.frozen() == 2);
        assert!(run.runs());
        if blow == Blow::Both {
            guard_of(run.pid()).into_iter().for_each(kill);
        }
        run.signal(Signal::KILL);
        if blow == Blow::Host {
            let _ = cold.thawed("killed", THAWED);
        } else {
            assert_eq!(cold.frozen(), 2);
            let status = cold.bk.run(&["status"]).ok();
            assert!(status.stdout.contains("FROZEN"), "{status}");
        }
        let outcome = run.end_with_guard();
        assert_eq!(outcome.code, -1, "{outcome}");
        cold.is_well("killed while they stand frozen");
    }
}

#[test]
fn a_run_that_hangs_with_something_frozen_is_ended_by_its_guard() {
    let cold = Cold::new("hang", "freeze = \"1s\"");
    // In the very moment in which it is about to freeze the second.
    let run = cold.stopped_at("after:freezing:2");
    assert_eq!(cold.frozen(), 1);
    let _ = cold.thawed("stopped", Duration::from_secs(5));
    run.end_with_guard().fails(-1, &["file systems have stood frozen for too long"]);
    cold.is_well("a run that hangs");
}

#[test]
fn recovery_is_killed_while_it_thaws() {
    let cold = Cold::new("wait", "");
    for point in ["before:thawed:1", "torn:thawed:1", "after:thawed:1", "after:thawed:2"] {
        let run = cold.stopped_at("after:freezing:2");
        guard_of(run.pid()).into_iter().for_each(kill);
        run.signal(Signal::KILL);
        assert_eq!(run.end().code, -1);
        let mut command = cold.bk.command(&["recover"]);
        command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", point);
        assert_eq!(Running::start(command, false).end().code, -1, "{point}");
        cold.is_well(point);
    }
}
