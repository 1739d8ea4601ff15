//! Several hosts that share a store. Another host is played by another state directory, or by its lease.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, Simulator, application_none, directory_part, until};
use rustix::process::Signal;
use serde_json::json;

fn home(bk: &Bkhost) -> String {
    std::fs::create_dir_all(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    directory_part("home", &bk.path("home"))
}

fn lease(bk: &Bkhost) -> PathBuf {
    bk.path("backups").join(bk.instance()).join("lease.json")
}

/// The lease of a host whose clock says `renewed`.
fn others(bk: &Bkhost, renewed: &str, renewals: u64) {
    std::fs::create_dir_all(lease(bk).parent().unwrap()).unwrap();
    let text = json!({ "what": "backup 20260101-000000-abcdef", "host": "other", "machine": "another machine", "pid": 1,
        "start": 1, "boot-id": "another boot", "since": renewed, "renewed": renewed, "renewals": renewals });
    let draft = bk.path("draft");
    std::fs::write(&draft, text.to_string()).unwrap();
    std::fs::rename(draft, lease(bk)).unwrap();
}

#[test]
fn the_second_host_is_told_at_once() {
    let bk = Bkhost::new();
    let simulator = Simulator::start(&["--drain", "60s"]);
    bk.config(&[&bk.application(&simulator, ""), &home(&bk)]);
    let mut first = bk.spawn(&["run", "--json"]);
    first.reaches("drain");
    let elsewhere = bk.path("another-state").display().to_string();
    let prune = ["--state", &elsewhere, "prune", "--confirm", bk.instance(), "--keep-last", "1"];
    for args in [&["--state", &elsewhere, "run"][..], &prune] {
        let start = Instant::now();
        bk.run(args).fails(10, &["another host works on this instance", "backup", "wait for it"]);
        assert!(start.elapsed() < Duration::from_secs(5), "{args:?}");
    }
    assert_eq!(simulator.count("lock"), 1);
    first.signal(Signal::INT);
    first.end().fails(11, &[]);
    simulator.is_free();
    assert!(!lease(&bk).exists(), "it is given back, also by a run that fails");
    bk.config(&[&application_none(), &home(&bk)]);
    let _ = bk.backup_id();
    assert!(!lease(&bk).exists());
}

#[test]
fn the_lease_of_a_run_that_was_killed_is_taken_over_and_said() {
    let bk = Bkhost::new();
    let simulator = Simulator::start(&["--drain", "60s"]);
    bk.config(&[&bk.application(&simulator, ""), &home(&bk)]);
    let mut run = bk.spawn(&["run", "--json"]);
    run.reaches("drain");
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    assert!(lease(&bk).exists());
    bk.config(&[&application_none(), &home(&bk)]);
    // As another host would see it, but for the machine.
    let start = Instant::now();
    let elsewhere = bk.path("another-state").display().to_string();
    let outcome = bk.run(&["--state", &elsewhere, "run"]).ok();
    assert!(outcome.stderr.contains("died without giving its lease back: taken over"), "{outcome}");
    assert!(start.elapsed() < Duration::from_secs(20));
    bk.run(&["recover"]).ok();
}

#[test]
fn a_lease_that_nobody_renews_is_taken_over_after_a_while() {
    let bk = Bkhost::new();
    bk.config(&[&application_none(), &home(&bk)]);
    others(&bk, "2026-01-01T00:00:00Z", 7);
    let start = Instant::now();
    let outcome = bk.run(&["run"]).ok();
    assert!(outcome.stderr.contains("looks forgotten") && outcome.stderr.contains("taken over"), "{outcome}");
    assert!(start.elapsed() > Duration::from_secs(29));
}

/// Whatever the clocks say: what is renewed is held.
#[test]
fn a_host_whose_clock_is_wrong_keeps_its_lease() {
    let bk = Bkhost::new();
    bk.config(&[&application_none(), &home(&bk)]);
    others(&bk, "2091-01-01T00:00:00Z", 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for renewals in 1.. {
                std::thread::sleep(Duration::from_secs(2));
                if done.load(Ordering::Relaxed) {
                    return;
                }
                others(&bk, "2091-01-01T00:00:00Z", renewals);
            }
        });
        let outcome = bk.run(&["run"]);
        done.store(true, Ordering::Relaxed);
        outcome.fails(10, &["another host works on this instance", "on other"]);
    });
    assert_eq!(bk.stored(), [""; 0]);
}

#[test]
fn a_run_whose_lease_is_taken_gives_up_and_the_application_back() {
    let bk = Bkhost::new();
    let simulator = Simulator::start(&["--drain", "60s"]);
    bk.config(&[&bk.application(&simulator, ""), &home(&bk)]);
    let mut run = bk.spawn(&["run", "--json"]);
    run.reaches("drain");
    others(&bk, "2026-01-01T00:00:00Z", 0);
    until("the application is free", Duration::from_secs(15), || !simulator.locked());
    run.end().fails(10, &["lease", "another host"]);
    assert!(lease(&bk).exists(), "the other's lease stays");
    assert_eq!(bk.stored(), [""; 0]);
}
