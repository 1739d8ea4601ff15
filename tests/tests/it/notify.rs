//! Who does not sit at the terminal is told.

use std::time::Duration;

use bkhost_tests::{Bkhost, Simulator, directory_part, until};
use rustix::process::Signal;
use serde_json::Value;

/// A pager that appends what it is told to a file, one notification per line.
fn pager(bk: &Bkhost, on: &str) -> String {
    let program = bk.program("pager", &format!("cat >> '{0}'; echo >> '{0}'", bk.path("told").display()));
    format!("[[notify]]\ntype = \"command\"\non = [{on}]\ncommand = [\"{}\"]\n", program.display())
}

fn told(bk: &Bkhost) -> Vec<Value> {
    let text = std::fs::read_to_string(bk.path("told")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn occasions(bk: &Bkhost) -> Vec<String> {
    told(bk).iter().map(|told| told["occasion"].as_str().unwrap().to_owned()).collect()
}

fn configured(bk: &Bkhost, simulator: &Simulator, on: &str) {
    let home = bk.path("home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("f"), "1").unwrap();
    bk.config(&[&bk.application(simulator, ""), &directory_part("home", &home), &pager(bk, on)]);
}

#[test]
fn a_success_and_a_failure_are_told() {
    let (bk, simulator) = (Bkhost::new(), Simulator::start(&[]));
    configured(&bk, &simulator, r#""start", "success", "failure""#);
    let id = bk.backup_id();
    assert_eq!(occasions(&bk), ["start", "success"]);
    assert_eq!(told(&bk)[1]["set"], id.as_str());
    std::fs::remove_dir_all(bk.path("home")).unwrap();
    bk.run(&["run"]).fails(6, &["home"]);
    assert_eq!(occasions(&bk), ["start", "success", "start", "failure"]);
    assert!(told(&bk)[3]["text"].as_str().unwrap().contains("home"), "{:?}", told(&bk)[3]);
    // A trial goes to everybody, whatever they are configured for.
    bk.run(&["notify"]).ok();
    assert_eq!(told(&bk).len(), 5);
}

/// The run is dead and Bitbucket does not answer: the guard tells, again when it is over, and never the token.
#[test]
fn the_guard_tells_that_the_application_is_still_locked() {
    let (bk, simulator) = (Bkhost::new(), Simulator::start(&["--drain", "60s"]));
    configured(&bk, &simulator, r#""success""#);
    let mut run = bk.spawn(&["run", "--json"]);
    run.reaches("drain");
    let journal = std::fs::read_dir(bk.state().join("runs")).unwrap().next().unwrap().unwrap();
    let journal = std::fs::read_to_string(journal.path()).unwrap();
    let token = journal.split("\"unlock-token\":\"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    let token = token.unwrap_or_else(|| panic!("no token in {journal}"));
    simulator.signal(Signal::STOP);
    run.signal(Signal::KILL);
    until("it is told that the application is locked", Duration::from_secs(60), || !told(&bk).is_empty());
    simulator.signal(Signal::CONT);
    let _ = run.end();
    until("it is told that it is free again", Duration::from_secs(60), || {
        told(&bk).last().is_some_and(|told| told["subject"].as_str().unwrap().contains("no longer locked"))
    });
    simulator.is_free();
    let told = told(&bk);
    assert!(told[0]["subject"].as_str().unwrap().contains("STILL LOCKED"), "{told:?}");
    assert!(told.last().unwrap()["subject"].as_str().unwrap().contains("no longer locked"), "{told:?}");
    assert!(!std::fs::read_to_string(bk.path("told")).unwrap().contains(&token), "{told:?}");
    bk.run(&["recover"]).ok();
}

#[test]
fn a_pager_that_fails_is_a_warning_and_not_a_failed_backup() {
    let (bk, simulator) = (Bkhost::new(), Simulator::start(&[]));
    configured(&bk, &simulator, r#""success""#);
    let _ = bk.program("pager", "exit 3");
    let outcome = bk.run(&["run"]).ok();
    assert!(outcome.stderr.contains("channel `command` failed"), "{outcome}");
    bk.run(&["notify"]).fails(1, &["1 of 1 notification channels failed"]);
}
