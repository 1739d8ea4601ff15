//! Strategies that misbehave while the application is locked: a typed error within a second of the limit, and the
//! application is free.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bkhost_tests::{Bkhost, Outcome, Simulator, guests, tool};

/// Run the tests' own hostile guest behind a simulator, granted what it asks for, with these limits.
#[track_caller]
fn under_lock(behaviour: &str, limits: &str, within: Duration, code: i32, says: &[&str]) -> Outcome {
    let bk = Bkhost::new();
    let simulator = Simulator::start(&[]);
    let tree = bk.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let plugin: PathBuf = guests().join("hostile.wasm");
    let mut sha256 = Command::new("sha256sum");
    sha256.arg(&plugin);
    let digest = tool(sha256).split(' ').next().unwrap().to_owned();
    let part = format!(
        "[[part]]\nname = \"guest\"\nplugin = \"{plugin}\"\n[part.config]\nbehaviour = \"{behaviour}\"\n\
         phase = \"capture\"\ntarget = \"9\"\ntree = \"{tree}\"\n[part.limits]\n{limits}\n\
         [[grant]]\nplugin = \"{plugin}\"\nsha256 = \"{digest}\"\nread = [\"{tree}\"]\nwrite = []\nexec = {{}}\n",
        plugin = plugin.display(),
        tree = tree.display(),
    );
    bk.config(&[&bk.application(&simulator, ""), &part]);
    let outcome = bk.run(&["run"]).fails(code, says);
    assert!(outcome.elapsed < within, "too late: {outcome}");
    assert_eq!(simulator.count("lock"), 1, "it failed before the lock: {outcome}");
    simulator.is_free();
    assert_eq!(bk.stored(), [""; 0], "{outcome}");
    outcome
}

/// Compiling, starting, locking and draining come on top of the limit.
const SLACK: Duration = Duration::from_secs(15);

#[test]
fn an_endless_loop() {
    under_lock("endless-loop", "cpu = \"500ms\"", SLACK, 12, &["CPU", "part.limits"]);
    under_lock("endless-loop", "call = \"500ms\"", SLACK, 12, &["part.limits"]);
}

#[test]
fn four_gigabytes() {
    under_lock("memory-bomb", "memory = \"64MiB\"", SLACK, 6, &["memory", "part.limits"]);
}

#[test]
fn a_panic() {
    under_lock("panic", "", SLACK, 6, &["panicked"]);
}

#[test]
fn a_command_that_is_not_in_the_manifest() {
    under_lock("exec-undeclared", "", SLACK, 4, &[]);
}

#[test]
fn a_command_that_is_not_granted() {
    under_lock("spawn-and-hang", "", SLACK, 4, &["exec = {"]);
}
