//! Recovery that is killed itself, a guard that is killed, a run that hangs, a journal that is damaged.

use std::time::{Duration, Instant};

use bkhost_tests::{Running, until};
use rustix::process::Signal;

use super::world::{World, guard_of, kill};

/// Runs that died, run and guard, at these points: locked with snapshots; archiving, with a clone; about to publish.
const DEAD: [&str; 3] = ["after:captured:2", "before:publishing:1", "after:publishing:1"];

impl World {
    /// Leave a run behind that died at this point, with its guard.
    fn leave_dead(&self, point: &str) {
        let mut run = self.doomed(&["run"], &format!("{point}:stop"));
        assert!(run.stops(), "{point} is not reached");
        guard_of(run.pid()).into_iter().for_each(kill);
        run.signal(Signal::KILL);
        assert_eq!(run.end().code, -1);
    }

    /// Stop a run at a point.
    fn stopped_at(&self, point: &str) -> Running {
        let mut run = self.doomed(&["run"], &format!("{point}:stop"));
        assert!(run.stops(), "{point} is not reached");
        run
    }
}

#[test]
fn recovery_is_killed_at_each_of_its_records() {
    let start = Instant::now();
    let struck = std::sync::Mutex::new((std::collections::BTreeSet::new(), 0));
    let work = |dead: &str| {
        let world = World::new();
        world.leave_dead(dead);
        let before = world.journals().pop().unwrap().1.len();
        let _ = world.recover(dead);
        let records = world.journals().pop().unwrap().1.split_off(before);
        let mut seen = std::collections::BTreeMap::new();
        for kind in &records {
            let n = seen.entry(kind).or_insert(0);
            *n += 1;
            if kind.starts_with("child-") && *n > 2 {
                continue;
            }
            for when in ["before", "torn", "after"] {
                let point = format!("{when}:{kind}:{n}");
                let what = format!("dead at {dead}, recovery at {point}");
                world.leave_dead(dead);
                let outcome = world.doomed(&["recover"], &point).end();
                assert_eq!(outcome.code, -1, "{what}: {outcome}");
                let _ = world.recover(&what);
                let mut struck = struck.lock().unwrap();
                struck.0.insert(point);
                struck.1 += 1;
            }
        }
        world.verifies();
    };
    std::thread::scope(|scope| {
        for dead in DEAD {
            let work = &work;
            scope.spawn(move || work(dead));
        }
    });
    let (points, cases) = struck.into_inner().unwrap();
    for kind in ["taken-over", "undone", "abandoned", "ended"] {
        assert!(points.iter().any(|point| point.contains(kind)), "{kind} was not struck: {points:?}");
    }
    println!("recovery killed: {} points, {cases} cases, {:?}", points.len(), start.elapsed());
}

#[test]
fn a_run_that_hangs_is_ended_when_the_maximum_lock_time_is_over() {
    let world = World::new();
    let text = std::fs::read_to_string(world.bk.path("bkhost.toml")).unwrap();
    let text = text.replace(
        "[[part]]\nname = \"home\"",
        "drain-timeout = \"1s\"\nmax-lock-time = \"2s\"\n[[part]]\nname = \"home\"",
    );
    std::fs::write(world.bk.path("bkhost.toml"), text).unwrap();
    let run = world.stopped_at("after:captured:1");
    assert!(world.simulator().locked());
    until("the guard acts", Duration::from_secs(6), || !world.simulator().locked());
    run.end_with_guard().fails(-1, &["hangs, and the maximum lock time is over", "is free again"]);
    let _ = world.recover("a run that hangs");
}

#[test]
fn the_death_of_the_guard_cancels_the_run_before_the_unlock_and_only_then() {
    let world = World::new();
    let run = world.stopped_at("after:capturing:1");
    kill(guard_of(run.pid()).unwrap());
    run.signal(Signal::CONT);
    until("the application is free", Duration::from_secs(2), || !world.simulator().locked());
    run.end().fails(1, &["the run's guard has died"]);
    world.is_well("the guard died under the lock");
    let run = world.stopped_at("before:publishing:1");
    kill(guard_of(run.pid()).unwrap());
    run.signal(Signal::CONT);
    let _ = run.end().ok();
    world.is_well("the guard died after the unlock");
}

#[test]
fn a_guard_goes_on_until_the_application_answers() {
    let world = World::new();
    let run = world.stopped_at("after:application:3");
    world.simulator().signal(Signal::STOP);
    run.signal(Signal::KILL);
    std::thread::sleep(Duration::from_secs(13));
    let status = world.bk.run(&["status"]).ok().stdout;
    assert!(status.contains("guarded") && status.contains("LOCKED since"), "{status}");
    assert_ne!(world.bk.run(&["cancel"]).code, 0, "a guard is not cancelled");
    world.simulator().signal(Signal::CONT);
    until("the application is free", Duration::from_secs(30), || !world.simulator().locked());
    // Whoever waits for the run's output does not have to wait for the guard: it has let go of that, and says so.
    run.end().fails(-1, &["STILL LOCKED", "guard.log"]);
    until("the guard says so", Duration::from_secs(5), || world.bk.guard_log().contains("is free again"));
    let _ = world.recover("a guard that had to wait");
}

#[test]
fn a_damaged_journal_is_put_aside_and_said_and_does_not_stop_the_next_run() {
    let world = World::new();
    world.leave_dead("after:captured:2");
    let (id, _) = world.journals().pop().unwrap();
    let path = world.bk.state().join("runs").join(format!("{id}.jsonl"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[2] = b'?';
    std::fs::write(&path, &bytes).unwrap();
    // What can be read of it has the token.
    world.bk.run(&["recover"]).fails(8, &["is damaged", ".jsonl.damaged"]);
    assert_eq!(std::fs::read(path.with_extension("jsonl.damaged")).unwrap(), bytes);
    world.is_well("after a damaged journal");
    let _ = world.bk.backup_id();
}

#[test]
fn cancel_from_another_terminal() {
    let world = World::new();
    world.bk.run(&["cancel"]).fails(13, &["nothing is under way"]);
    let run = world.stopped_at("after:captured:1");
    let status = world.bk.run(&["status"]).ok().stdout;
    assert!(status.contains("running") && status.contains("LOCKED since"), "{status}");
    world.bk.run(&["run"]).fails(10, &["another bkhost works on this instance"]);
    let cancel = world.bk.spawn(&["cancel"]);
    std::thread::sleep(Duration::from_millis(200));
    run.signal(Signal::CONT);
    until("the application is free", Duration::from_secs(2), || !world.simulator().locked());
    run.end().fails(11, &["error: "]);
    let _ = cancel.end().ok();
    world.is_well("cancelled from another terminal");
}
