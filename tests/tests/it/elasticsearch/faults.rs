//! What goes wrong in the middle.

use bkhost_tests::elasticsearch::{Fault, Rule};

use super::*;

/// Every phase, and nothing is left of it.
#[test]
fn nothing_is_left_of_a_snapshot_that_is_no_success() {
    let world = World::new(Flavor::Elastic8);
    let (search, bk) = (&world.search, &world.bk);
    let simulator = Simulator::start(&[]);
    let configure = |keys: &str| bk.config(&[&bk.application(&simulator, ""), &world.part("search", keys)]);
    configure("");
    search.register("bkhost", "bkhost", &[]);
    search.snapshot("bkhost", "nightly", &json!({ "taken_by": "somebody" }));
    let text = |text: &str| text.to_owned();
    for (outcome, keys, says) in [
        (Outcome::Failed(text("disk is full")), "", vec!["is FAILED", "disk is full", "[0]"]),
        (Outcome::FailsAtStart(text("primary shard is not allocated")), "", vec!["primary shard is not allocated"]),
        (Outcome::Waits, "start-timeout = 1", vec!["have not begun after 1 s", "start-timeout"]),
        (Outcome::Hangs, "timeout = 1", vec!["is not complete after 1 s", "raise timeout"]),
        (Outcome::State(text("MISSING")), "", vec!["is MISSING"]),
        (Outcome::State(text("INCOMPATIBLE")), "", vec!["is INCOMPATIBLE"]),
    ] {
        configure(keys);
        search.next(outcome.clone());
        let ended = bk.run(&["run"]);
        assert_eq!(ended.code, if keys.is_empty() { 6 } else { 12 }, "{outcome:?}: {ended}");
        for says in says.iter().chain(&["hint: "]) {
            assert!(ended.stderr.contains(says), "{outcome:?}: `{says}`: {ended}");
        }
        assert_eq!(world.snapshots(), ["nightly SUCCESS"], "{outcome:?}");
        assert!(bk.stored().is_empty(), "{outcome:?}");
        simulator.is_free();
    }
}

/// What passes is waited for, and what was done twice is there once.
#[test]
fn what_fails_for_now_is_tried_again() {
    let world = World::new(Flavor::Elastic8);
    let (search, bk) = (&world.search, &world.bk);
    let status = |status, kind: &str| Fault::status(status, kind, "not now");
    let snapshot = format!("/bkhost-{}", bk.instance());
    let _ = bk.backup();
    let put = |fault| ("PUT", snapshot.as_str(), fault);
    let status_of = |fault| ("GET", "_status", fault);
    // Each call meets the next of them.
    for faults in [
        vec![
            put(status(429, "es_rejected_execution_exception")),
            put(status(503, "concurrent_snapshot_execution_exception")),
            put(Fault::LoseRequest),
            put(Fault::LoseReply),
        ],
        vec![
            put(status(400, "snapshot_in_progress_exception")),
            put(status(503, "master_not_discovered_exception")),
            put(Fault::Html(502)),
            put(Fault::CutReply),
        ],
        vec![
            status_of(status(503, "cluster_manager_not_discovered_exception")),
            status_of(Fault::CutReply),
            status_of(Fault::LoseReply),
            status_of(Fault::Html(503)),
            ("GET", "_cat/indices", status(429, "circuit_breaking_exception")),
        ],
        vec![
            ("DELETE", &snapshot, status(503, "concurrent_snapshot_execution_exception")),
            ("DELETE", &snapshot, Fault::LoseRequest),
            ("DELETE", &snapshot, Fault::LoseReply),
        ],
    ] {
        for (method, path, fault) in &faults {
            search.fault(Rule::on(method, path, fault.clone()).first(1));
        }
        let before = search.calls().len();
        search.timing(Duration::from_millis(20), 100_000);
        let set = bk.backup_id();
        bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
        let left = world.snapshots();
        assert_eq!(left, [format!("bkhost-{}-{set}-search SUCCESS", bk.instance())], "{faults:?}");
        let (method, path, _) = faults[0];
        let calls = search.calls().into_iter().skip(before);
        let met = calls.filter(|call| call.starts_with(method) && call.contains(path)).count();
        assert!(met >= faults.iter().filter(|(verb, _, _)| *verb == method).count().min(4), "{met} of {faults:?}");
        search.heal();
    }
}

/// Not tried again for ever, and told as what it is.
#[test]
fn an_answer_that_is_none_is_told() {
    let world = World::new(Flavor::Elastic8);
    let (search, bk) = (&world.search, &world.bk);
    let _ = bk.backup();
    let kept = world.snapshots();
    let snapshot = format!("/bkhost-{}", bk.instance());
    for (method, path, fault, says) in [
        ("GET", "_cat/indices", Fault::Html(200), "the answer is HTML: <html><body>Please log in"),
        ("GET", "_cat/indices", Fault::Text(200, "[{\"index\": \"a".to_owned()), "cut off"),
        ("PUT", &snapshot, Fault::Html(404), "the answer is HTML"),
        (
            "PUT",
            &snapshot,
            Fault::status(400, "illegal_argument_exception", "unknown setting"),
            "illegal_argument_exception: unknown setting",
        ),
        ("GET", "_status", Fault::Html(200), "the answer is HTML"),
        ("GET", "/", Fault::Text(200, "{\"hello\": \"world\"}".to_owned()), "no Elasticsearch or OpenSearch"),
    ] {
        search.fault(Rule::on(method, path, fault.clone()).first(40));
        let start = Instant::now();
        let outcome = bk.run(&["run"]);
        assert_ne!(outcome.code, 0, "{outcome}");
        assert!(outcome.stderr.contains(says), "{method} {path} {fault:?}: {outcome}");
        assert!(start.elapsed() < Duration::from_secs(80), "{outcome}");
        search.heal();
        bk.run(&["recover"]).ok();
        assert_eq!(world.snapshots(), kept, "{method} {path} {fault:?}");
    }
}

/// Somebody deletes the snapshot while it is being taken.
#[test]
fn a_snapshot_that_vanishes_fails_the_run() {
    let world = World::new(Flavor::OpenSearch1);
    world.search.next(Outcome::Hangs);
    let run = world.bk.spawn(&["run"]);
    let mut name = String::new();
    until("it is being taken", Duration::from_secs(60), || {
        name = world.snapshots().first().cloned().unwrap_or_default();
        !name.is_empty()
    });
    // Its own retention, say.
    world.search.delete_snapshot("bkhost", name.split(' ').next().unwrap());
    let outcome = run.end();
    assert_eq!(outcome.code, 13, "{outcome}");
    assert!(outcome.stderr.contains("is gone: somebody has deleted it"), "{outcome}");
    assert!(world.bk.stored().is_empty());
}
