//! Everything that goes wrong between here and Amazon.

use std::time::Duration;

use bkhost_tests::aws::{Fault, Rule, States};
use bkhost_tests::{Simulator, application_none, until};
use rustix::process::Signal;

use super::{QUICK, World, slow_snapshots};

/// Faults that a run survives, each with what it happens to.
fn passing() -> Vec<(&'static str, &'static str, Fault, u32)> {
    let create = "CreateDBSnapshot";
    let look = "DescribeDBSnapshots";
    vec![
        ("throttled", create, Fault::throttling(), 2),
        ("throttled as EC2 says it", look, Fault::request_limit_exceeded(), 2),
        ("lost reply", create, Fault::LoseReply, 1),
        ("cut reply", create, Fault::CutReply, 1),
        ("lost request", create, Fault::LoseRequest, 1),
        ("HTML for an answer", create, Fault::Html(502), 1),
        ("HTML for a look", look, Fault::Html(200), 1),
        ("expired token", create, Fault::expired_token(), 1),
        ("expired while looking", look, Fault::expired_token(), 1),
        ("trouble", create, Fault::internal_failure(), 1),
        ("slow", create, Fault::Slow(Duration::from_millis(700)), 1),
    ]
}

#[test]
fn what_passes_fails_no_run_and_makes_no_second_snapshot() {
    let world = World::new();
    world.database("live");
    world.configure("instance = \"live\"", QUICK);
    for (n, (what, action, fault, times)) in passing().into_iter().enumerate() {
        world.aws.heal();
        world.quota(1, 100);
        world.aws.states(slow_snapshots(States::db_snapshots(), 1, 2));
        world.aws.fault(Rule::on(action, fault).first(times));
        world.bk.backup_id();
        assert_eq!(world.snapshots().len(), n + 1, "{what}");
    }
    // The same on the way out, and with lists in pages.
    for (fault, times) in [
        (Fault::throttling(), 2),
        (Fault::LoseReply, 1),
        (Fault::CutReply, 1),
        (Fault::Html(502), 1),
        (Fault::LoseRequest, 1),
    ] {
        world.aws.heal();
        world.quota(1, 100);
        world.aws.page("DescribeDBSnapshots", 1);
        world.aws.fault(Rule::on("DeleteDBSnapshot", fault).first(times));
        let keep = world.snapshots().len() - 1;
        world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", &keep.to_string()]).ok();
        assert_eq!((world.snapshots().len(), world.bk.list().len()), (keep, keep));
    }
}

/// Fails, gives the application back, and leaves nothing.
#[test]
fn a_run_that_fails_leaves_no_snapshot() {
    type Play = (&'static str, i32, &'static [&'static str], fn(&World));
    let plays: [Play; 6] = [
        ("the right is missing", 4, &["CreateDBSnapshot", "not authorized", "policy"], |world| {
            world.aws.fault(Rule::on("CreateDBSnapshot", Fault::access_denied("rds:CreateDBSnapshot")));
        }),
        ("the credentials run out", 4, &["ExpiredToken", "renew"], |world| {
            world.aws.fault(Rule::on("CreateDBSnapshot", Fault::expired_token()));
        }),
        ("never taken", 12, &["did not say that", "was taken", "point-timeout-seconds"], |world| {
            world.aws.states(slow_snapshots(States::db_snapshots(), 12, 1));
        }),
        ("it fails while it is taken", 6, &["is failed"], |world| {
            world.aws.states(slow_snapshots(States::db_snapshots(), 1, 0).then("failed", 4));
        }),
        ("it fails later", 6, &["is failed"], |world| {
            world.aws.states(slow_snapshots(States::db_snapshots(), 1, 3).then("failed", 3));
        }),
        ("never complete", 12, &["was not complete", "timeout-minutes"], |world| {
            world.aws.states(States::db_snapshots().then("creating", 40));
        }),
    ];
    let keys = "poll-seconds = 0.1\npoint-timeout-seconds = 1.0\ntimeout-minutes = 0.03";
    for (what, code, says, play) in plays {
        let world = World::new();
        world.database("live");
        let simulator = Simulator::start(&[]);
        world.bk.config(&[&world.bk.application(&simulator, ""), &world.part("database", "instance = \"live\"", keys)]);
        play(&world);
        let outcome = world.bk.run(&["run"]);
        println!("{what}: {:?}", outcome.elapsed);
        let outcome = outcome.fails(code, says);
        simulator.is_free();
        // RDS deletes only what is complete: what took too long is discarded by recover, when it can be.
        world.aws.heal();
        world.quota(1, 100);
        world.bk.run(&["recover"]).ok();
        assert_eq!(world.snapshots(), [""; 0], "{what}: {outcome}");
        assert_eq!(world.bk.stored(), [""; 0], "{what}");
        world.bk.backup_id();
    }
}

/// The usual scripts forget the snapshots that were made before another part failed.
#[test]
fn snapshots_are_not_forgotten_when_a_sibling_fails() {
    let world = World::new();
    world.database("one");
    world.database("two");
    world.aurora("three");
    let parts = [("one", "instance"), ("two", "instance"), ("three", "cluster")];
    let parts = parts.map(|(name, kind)| world.part(name, &format!("{kind} = \"{name}\""), QUICK));
    world.bk.config(&[&application_none(), &parts[0], &parts[1], &parts[2]]);
    let refuse = Fault::error(400, "SnapshotQuotaExceeded", "Cannot create more than 100 manual snapshots");
    world.aws.fault(Rule::on("CreateDBSnapshot", refuse).with("DBInstanceIdentifier", "two"));
    world.bk.run(&["run"]).fails(9, &["SnapshotQuotaExceeded", "quota", "part `two`"]);
    assert_eq!((world.snapshots(), world.cluster_snapshots()), (vec![], vec![]));
    // And when it fails after the lock.
    world.aws.heal();
    world.quota(1, 100);
    world.aws.states(States::db_snapshots().only("-two").then("creating", 1).then("failed", 1));
    world.bk.run(&["run"]).fails(6, &["is failed", "part `two`"]);
    assert_eq!((world.snapshots(), world.cluster_snapshots()), (vec![], vec![]));
}

#[test]
fn a_host_that_dies_in_the_capture_leaves_a_snapshot_that_recover_finds() {
    let world = World::new();
    world.database("live");
    world.aws.states(slow_snapshots(States::db_snapshots(), 200, 0));
    world.configure("instance = \"live\"", QUICK);
    let run = world.bk.spawn(&["run", "--json"]);
    until("the snapshot is there", Duration::from_secs(30), || !world.snapshots().is_empty());
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    world.aws.heal();
    world.quota(1, 100);
    world.bk.run(&["recover"]).ok();
    assert_eq!(world.snapshots(), [""; 0]);
}

#[test]
fn a_cancelled_run_leaves_no_snapshot() {
    let world = World::new();
    world.database("live");
    world.aws.states(slow_snapshots(States::db_snapshots(), 1, 12));
    world.configure("instance = \"live\"", "poll-seconds = 0.2");
    let mut run = world.bk.spawn(&["run", "--json"]);
    run.reaches("archive");
    run.signal(Signal::INT);
    let _ = run.end().fails(11, &[]);
    assert_eq!(world.snapshots(), [""; 0]);
}
