//! Two at once.

use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, Simulator, directory_part};
use rustix::process::Signal;

#[test]
fn the_second_is_told_at_once() {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    let simulator = Simulator::start(&["--drain", "60s"]);
    bk.config(&[&bk.application(&simulator, ""), &directory_part("home", &bk.path("home"))]);
    let mut first = bk.spawn(&["run", "--json"]);
    first.reaches("drain");
    for args in [&["run"][..], &["prune", "--confirm", bk.instance(), "--keep-last", "1"], &["recover"]] {
        let start = Instant::now();
        bk.run(args).fails(10, &["another bkhost works on this instance: backup", "process", "wait for it"]);
        assert!(start.elapsed() < Duration::from_secs(2), "{args:?}");
    }
    assert_eq!(simulator.count("lock"), 1);
    assert!(first.runs() && simulator.locked(), "the first goes on");
    // Looking is always allowed.
    bk.run(&["list"]).ok();
    // Another instance is not concerned.
    let other = Bkhost::new();
    std::fs::create_dir(other.path("home")).unwrap();
    std::fs::write(other.path("home/f"), "1").unwrap();
    other.config(&[&bkhost_tests::application_none(), &directory_part("home", &other.path("home"))]);
    let _ = other.backup_id();
    first.signal(Signal::INT);
    first.end().fails(11, &[]);
    simulator.is_free();
}
