//! What goes wrong on the way: the set here is never in danger, and what is left there is a good copy or nothing.

use std::time::{Duration, Instant};

use bkhost_tests::aws::{Fault, Rule, States};
use rustix::process::Signal;

use super::*;

/// A set that is only here so far; its id, and its snapshots.
fn only_here(world: &World) -> (String, Vec<String>) {
    world.config("");
    let id = world.backup();
    (id, snapshots(&world.aws().region("us-east-1"), None))
}

#[test]
fn a_copy_that_fails_is_deleted_and_made_by_the_next_run() {
    let world = World::new(1);
    let (aws, there) = (world.aws(), world.there());
    let (before, sources) = only_here(&world);
    for required in [true, false] {
        world.config(&world.place("dr", &format!("required = {required}"), ""));
        // Complete here, and an error there.
        aws.fault(
            Rule::on(
                "DescribeSnapshots",
                Fault::Rewrite(Box::new(|text: &str| {
                    text.replace(
                        "<status>completed</status>",
                        "<status>error</status><statusMessage>no key</statusMessage>",
                    )
                })),
            )
            .signed_for(THERE),
        );
        let count = world.told().len();
        let outcome = world.run(&["run"]);
        assert_eq!(outcome.code == 0, !required, "{outcome}");
        outcome.says(&["is published, but part `home` is not offsite at `dr`", "no key", "bkhost offsite"]);
        aws.heal();
        assert_eq!(snapshots(&there, None), [""; 0], "what failed there is gone");
        let told = world.told();
        assert_eq!((told.len(), told[0].2), (count + 1, false), "{told:?}");
        world.run(&["list"]).ok().says(&["is NOT OFFSITE at dr"]);
    }
    assert_eq!(world.bk.list().len(), 3, "the sets are here");
    // The next run copies its own and what is missing; what nobody ever asked to be there is not.
    let third = world.backup();
    let told = world.told();
    assert_eq!((told.len(), told.iter().filter(|told| told.2).count(), &told[0].0), (3, 3, &third), "{told:?}");
    assert_eq!(snapshots(&there, None).len(), 3);
    assert_eq!(snapshots(&there, Some(&world.label(&before))), [""; 0]);
    assert_eq!(sources.len(), 1);
    world.run(&["offsite", &before]).ok();
    assert_eq!(snapshots(&there, Some(&world.label(&before))).len(), 1);
}

#[test]
fn throttling_limits_expired_tokens_and_lost_answers_are_overcome() {
    let world = World::new(2);
    let (aws, there) = (world.aws(), world.there());
    let (id, sources) = only_here(&world);
    world.config(&world.place("dr", "", ""));
    let limit = "You have exceeded the number of in-progress snapshot copies";
    aws.fault(Rule::on("CopySnapshot", Fault::error(400, "ResourceLimitExceeded", limit)).first(2));
    aws.fault(Rule::on("CopySnapshot", Fault::request_limit_exceeded()).calls(3..=3));
    aws.fault(Rule::on("CopySnapshot", Fault::LoseReply).calls(4..=4));
    aws.fault(Rule::on("DescribeSnapshots", Fault::request_expired()).signed_for(THERE).first(1));
    aws.fault(Rule::on("DescribeSnapshots", Fault::Html(502)).signed_for(THERE).calls(5..=6));
    aws.states(States::ebs_snapshots().then("pending", 2).except(&sources));
    world.run(&["offsite", &id]).ok().says(&["too many copies", "the answer was lost"]);
    assert_eq!(snapshots(&there, None).len(), 2, "nothing was made twice");
    assert_eq!(world.told(), [(id.clone(), "dr".to_owned(), true)]);
    // The record is lost: what is there is found by its tags, and not made again.
    for record in std::fs::read_dir(world.bk.set("records")).unwrap() {
        std::fs::remove_file(record.unwrap().path()).unwrap();
    }
    aws.heal();
    let before = aws.calls_of("CopySnapshot").len();
    world.run(&["offsite", "latest"]).ok();
    assert_eq!((aws.calls_of("CopySnapshot").len(), world.told().len()), (before, 1));
    // One of two is gone there, and the record says that both are: the other is made again.
    there.call("ec2", "DeleteSnapshot", &[("SnapshotId", &snapshots(&there, None)[0])]);
    world.run(&["offsite", &id]).ok();
    assert_eq!((snapshots(&there, None).len(), world.told().len()), (2, 1));
}

#[test]
fn a_region_that_is_out_of_reach_does_not_hurt_the_set_here() {
    let world = World::new(1);
    let nowhere = world.place("dr", "required = true", "").replace(&world.aws().url(), "http://127.0.0.1:1");
    world.config(&nowhere);
    let outcome = world.run(&["run"]);
    assert_ne!(outcome.code, 0, "{outcome}");
    outcome.says(&["is published, but", "not offsite at `dr`"]);
    let sets = world.bk.list();
    assert_eq!(sets.len(), 1);
    world.config(&world.place("dr", "required = true", ""));
    world.run(&["recover"]).ok();
    world.run(&["offsite", "latest"]).ok();
    assert_eq!(snapshots(&world.there(), None).len(), 1);
}

#[test]
fn a_copy_that_does_not_come_to_an_end_is_given_up() {
    let world = World::new(1);
    let (id, sources) = only_here(&world);
    world.config(&world.place("dr", "timeout = \"2s\"", ""));
    world.aws().states(States::ebs_snapshots().then("pending", 1).forever().except(&sources));
    let outcome = world.run(&["offsite", &id]);
    outcome.fails(12, &["not complete after 2s", "raise `timeout`"]);
    assert_eq!(snapshots(&world.there(), None), [""; 0]);
    assert_eq!(world.told(), [(id, "dr".to_owned(), false)]);
}

/// Wait until a copy is on its way there.
fn on_its_way(world: &World) {
    let limit = Instant::now() + Duration::from_secs(60);
    while snapshots(&world.there(), None).is_empty() {
        assert!(Instant::now() < limit, "no copy was begun");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cancelled_copy_leaves_nothing_there_and_the_set_here() {
    let world = World::new(2);
    let (id, sources) = only_here(&world);
    world.config(&world.place("dr", "", ""));
    world.aws().states(States::ebs_snapshots().then("pending", 1).forever().except(&sources));
    let running = world.start(&["offsite", &id]);
    on_its_way(&world);
    running.signal(Signal::TERM);
    running.end().fails(11, &["cancelled"]);
    assert_eq!(snapshots(&world.there(), None), [""; 0]);
    assert_eq!(snapshots(&world.aws().region("us-east-1"), None), sources);
    assert_eq!(world.bk.list().len(), 1);
    world.aws().heal();
    world.run(&["offsite", &id]).ok();
}

#[test]
fn a_copy_that_is_killed_is_undone_by_recover() {
    let world = World::new(2);
    let (id, sources) = only_here(&world);
    world.config(&world.place("dr", "", ""));
    for point in ["before:copying-offsite:1", "after:copying-offsite:1", "before:copied-offsite:1", "waiting"] {
        let states = || States::ebs_snapshots().then("pending", 1).forever().except(&sources);
        let outcome = if point == "waiting" {
            world.aws().states(states());
            let running = world.start(&["offsite", &id]);
            on_its_way(&world);
            running.signal(Signal::KILL);
            running.end()
        } else {
            let mut command = world.bk.command(&["offsite", &id]);
            command.envs(world.aws().environment()).env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", point);
            Running::start(command, false).end()
        };
        assert_ne!(outcome.code, 0, "{point}: {outcome}");
        world.aws().heal();
        world.run(&["recover"]).ok();
        // A good recorded copy, or nothing.
        let there = snapshots(&world.there(), None).len();
        let recorded = world.told().iter().filter(|told| told.2).count();
        let expected = if point == "before:copied-offsite:1" { (2, 1) } else { (0, 0) };
        assert_eq!((there, recorded), expected, "{point}: {outcome}");
        if recorded > 0 {
            world.run(&["offsite", &id]).ok();
            for copy in snapshots(&world.there(), None) {
                world.there().call("ec2", "DeleteSnapshot", &[("SnapshotId", &copy)]);
            }
            for record in std::fs::read_dir(world.bk.set("records")).unwrap() {
                std::fs::remove_file(record.unwrap().path()).unwrap();
            }
        }
    }
    world.run(&["offsite", &id]).ok();
    assert_eq!(snapshots(&world.there(), None).len(), 2);
}
