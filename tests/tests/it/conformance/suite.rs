//! What is done to each system.

use std::path::Path;

use bkhost_tests::{Bkhost, Outcome, Running, application_none};
use rustix::process::Signal;
use serde_json::Value;

use super::System;

/// What was at the vendor, in the store, and in the list, before a run that leaves nothing.
type Before = (Vec<String>, Vec<String>, Vec<(String, Option<String>)>);

/// The largest state of a snapshot.
const MAX_STATE: usize = 256 << 10;
/// A run that never was.
const NEVER: &str = "20200101-000000-abcdef";
/// Where a run is cancelled, by the records of its journal: in the capture, in the archive, and around these.
const CANCELLED_AT: [&str; 5] =
    ["before:captured:1", "after:storing:1", "after:capturing:1", "after:captured:1", "after:begun:1"];

pub(super) struct Suite<'a> {
    pub(super) system: &'a dyn System,
    pub(super) bk: &'a Bkhost,
}

/// Put a system through all of it.
pub(super) fn conforms(system: &dyn System) {
    let suite = Suite { system, bk: system.bk() };
    suite.configure(&system.part("part"));
    system.look_alikes(&format!("bkhost-{}-{NEVER}", suite.bk.instance()));
    suite.looking_changes_nothing();
    suite.what_cannot_work_is_told();
    let (first, truth) = suite.a_record_is_small_and_holds_no_secret();
    suite.only_what_the_part_made_is_listed(&first);
    suite.a_cancelled_run_leaves_nothing();
    suite.discarding_is_idempotent();
    suite.a_fresh_process_restores_from_the_record(&first, &truth);
    suite.deleting_is_idempotent(&first);
    suite.copies_at_another_place();
}

impl Suite<'_> {
    /// All of these; only so many where each takes its time.
    fn some<'b>(&self, all: &'b [&'static str], few: usize) -> &'b [&'static str] {
        if self.system.slow() { &all[..few] } else { all }
    }

    pub(super) fn configure(&self, part: &str) {
        self.bk.config(&[&application_none(), part]);
    }

    #[track_caller]
    pub(super) fn run(&self, args: &[&str]) -> Outcome {
        Running::start(self.system.command(self.bk, args), false).end()
    }

    /// A run that stops at this point.
    #[track_caller]
    fn doomed(&self, point: &str) -> Running {
        let mut command = self.system.command(self.bk, &["run", "--json"]);
        command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", point);
        Running::start(command, false)
    }

    #[track_caller]
    pub(super) fn backup(&self) -> Value {
        let manifest = self.run(&["run", "--json"]).ok().json();
        assert!(manifest["id"].is_string(), "{manifest}");
        manifest
    }

    /// What `bkhost snapshots` lists: the snapshots' ids and their sets', oldest first.
    #[track_caller]
    fn listed(&self, bk: &Bkhost) -> Vec<(String, Option<String>)> {
        let command = self.system.command(bk, &["snapshots", "--json"]);
        let json = Running::start(command, false).end().ok().json();
        let snapshots = json["snapshots"].as_array().unwrap();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        snapshots.iter().map(|found| (text(&found["id"]).unwrap(), text(&found["set"]))).collect()
    }

    /// What has to be listed for these sets.
    fn of(&self, sets: &[&Value]) -> Vec<(String, Option<String>)> {
        let sets = sets.iter().filter(|_| self.system.keeps());
        sets.map(|set| (part(set)["snapshot"]["id"].as_str().unwrap().to_owned(), Some(id(set).to_owned()))).collect()
    }

    /// The state directory is gone, as after the loss of the machine: journals, staging, what plugins remembered.
    pub(super) fn forget_everything(&self) {
        std::fs::remove_dir_all(self.bk.state()).unwrap();
    }

    fn looking_changes_nothing(&self) {
        let (vendor, content) = (self.system.vendor(), self.system.content());
        let _ = self.run(&["check"]).ok();
        let plan = self.run(&["plan"]).ok();
        assert_eq!(self.listed(self.bk), [], "look-alikes are not ours");
        assert_eq!(self.system.vendor(), vendor, "{plan}");
        assert_eq!(self.system.content(), content);
        assert!(self.bk.stored().is_empty());
    }

    fn what_cannot_work_is_told(&self) {
        let vendor = self.system.vendor();
        for broken in self.system.broken() {
            self.configure(&broken.part);
            for command in self.some(&["run", "check"], 1) {
                let outcome = self.run(&[command]);
                assert_eq!(outcome.code, broken.code, "{}: {outcome}", broken.what);
                let all = format!("{}{}", outcome.stdout, outcome.stderr);
                assert!(all.contains(broken.says) && all.contains("hint: "), "{}: {outcome}", broken.what);
                for bug in ["panicked", "trap", "unreachable", "backtrace"] {
                    assert!(!all.contains(bug), "{}: {outcome}", broken.what);
                }
            }
            assert_eq!(self.system.vendor(), vendor, "{}", broken.what);
            assert!(self.bk.stored().is_empty(), "{}", broken.what);
        }
        self.configure(&self.system.part("part"));
        let unknown = self.run(&["restore", NEVER, "--confirm", self.bk.instance()]);
        assert_eq!(unknown.code, 13, "{unknown}");
    }

    /// Returns the set and what it has to restore to.
    fn a_record_is_small_and_holds_no_secret(&self) -> (Value, String) {
        let truth = self.system.content();
        let set = self.backup();
        let snapshot = &part(&set)["snapshot"];
        assert!(snapshot["state"].is_object(), "{set}");
        let state = snapshot["state"].to_string();
        assert!(state.len() <= MAX_STATE, "{} bytes of state", state.len());
        let text = std::fs::read_to_string(self.bk.set(id(&set)).join("manifest.json")).unwrap();
        if let Some(secret) = self.system.secret() {
            assert!(secret.len() > 5);
            assert!(!text.contains(&secret), "the set holds a secret: {text}");
            let journals = std::fs::read_dir(self.bk.state().join("runs")).unwrap();
            for journal in journals {
                let text = std::fs::read_to_string(journal.unwrap().path()).unwrap();
                assert!(!text.contains(&secret), "the journal holds a secret: {text}");
            }
        }
        assert_eq!(self.system.holds(part(&set)), self.system.keeps(), "{set}");
        (set, truth)
    }

    fn only_what_the_part_made_is_listed(&self, set: &Value) {
        assert_eq!(self.listed(self.bk), self.of(&[set]));
        // Another part of this instance made nothing, and neither did this part of another instance.
        self.configure(&self.system.part("other"));
        assert_eq!(self.listed(self.bk), []);
        self.configure(&self.system.part("part"));
        let other = self.system.another();
        other.config(&[&application_none(), &self.system.part("part")]);
        let run = |args: &[&str]| Running::start(self.system.command(&other, args), false).end().ok();
        let theirs = run(&["run", "--json"]).json();
        assert_eq!(self.listed(&other), self.of(&[&theirs]));
        assert_eq!(self.listed(self.bk), self.of(&[set]));
        // It deletes its own: a set that no retention keeps.
        let _ = run(&["run", "--json"]);
        let _ = run(&["prune", "--confirm", other.instance(), "--keep-last", "1"]);
        assert_eq!(self.listed(self.bk), self.of(&[set]));
        assert_eq!(self.system.holds(part(set)), self.system.keeps());
    }

    /// Nothing of a run is left.
    #[track_caller]
    fn nothing_is_left(&self, what: &str, before: &Before) {
        assert_eq!(self.system.vendor(), before.0, "{what}: at the vendor");
        assert_eq!(self.bk.stored(), before.1, "{what}: in the store");
        assert_eq!(self.listed(self.bk), before.2, "{what}: in the list");
        assert_eq!(staged(&self.bk.state().join("staging")), [""; 0], "{what}: staged");
        self.bk.no_child_left();
    }

    fn before(&self) -> Before {
        (self.system.vendor(), self.bk.stored(), self.listed(self.bk))
    }

    fn a_cancelled_run_leaves_nothing(&self) {
        let before = self.before();
        for point in self.some(&CANCELLED_AT, 2) {
            let mut run = self.doomed(&format!("{point}:stop"));
            assert!(run.stops(), "{point} is not reached");
            run.signal(Signal::TERM);
            run.signal(Signal::CONT);
            let outcome = run.end();
            assert_eq!(outcome.code, 11, "{point}: {outcome}");
            self.nothing_is_left(point, &before);
        }
        // While it prepares, and with the plugin in the middle of whatever it does then.
        let mut run = Running::start(self.system.command(self.bk, &["run", "--json"]), false);
        run.reaches("prepare");
        run.signal(Signal::STOP);
        run.signal(Signal::TERM);
        run.signal(Signal::CONT);
        let outcome = run.end();
        assert_eq!(outcome.code, 11, "{outcome}");
        self.nothing_is_left("prepare", &before);
    }

    /// A run that dies is undone by `discard` with its label, in a process that knows nothing else.
    fn discarding_is_idempotent(&self) {
        let before = self.before();
        // A label under which nothing was made yet, and one under which all was.
        for point in self.some(&["before:captured:1", "after:capturing:1"], 1) {
            let journals = self.journals();
            let outcome = self.doomed(point).end_with_guard();
            assert_eq!(outcome.code, -1, "{point}: {outcome}");
            let journal = self.journals().into_iter().find(|path| !journals.contains(path)).unwrap();
            let text = std::fs::read(&journal).unwrap();
            let _ = self.run(&["recover"]).ok();
            self.nothing_is_left(point, &before);
            // As if nobody had: what is gone is no error.
            std::fs::write(&journal, text).unwrap();
            let again = self.run(&["recover", "--json"]).ok();
            assert_eq!(again.json()["recovered"].as_array().map(Vec::len), Some(1), "{point}: {again}");
            self.nothing_is_left(point, &before);
        }
    }

    fn journals(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.bk.state().join("runs")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
    }

    fn a_fresh_process_restores_from_the_record(&self, set: &Value, truth: &str) {
        for n in 1..3 {
            self.system.change(n);
        }
        let changed = self.system.content();
        self.forget_everything();
        let target = self.system.target(1);
        let args = ["restore", id(set), "--to", &target, "--confirm", self.bk.instance()];
        let _ = self.run(&args).ok();
        assert_eq!(self.system.restored(&target), truth);
        assert_eq!(self.system.content(), changed, "the original is as it was");
        // It is there now: nothing overwrites it.
        let refused = self.run(&args);
        assert!(
            self.system.restores_beside() || ![0, 1].contains(&refused.code) && refused.stderr.contains("hint: "),
            "{refused}"
        );
        assert_eq!(self.system.restored(&target), truth);
        self.forget_everything();
        let listed = if self.system.marks() { self.of(&[set]) } else { Vec::new() };
        assert_eq!(self.listed(self.bk), listed);
    }

    fn deleting_is_idempotent(&self, first: &Value) {
        let (second, third) = (self.backup(), self.backup());
        self.forget_everything();
        self.backup();
        let copy = |set: &Value, from: &Path, to: &Path| copy(&from.join(id(set)), &to.join(id(set)));
        let (store, aside) = (self.bk.set(""), self.bk.path("aside"));
        copy(first, &store, &aside);
        copy(&second, &store, &aside);

        // By hand first.
        if self.system.keeps() {
            self.system.remove(part(&second));
            assert!(!self.system.holds(part(&second)));
        }
        let _ = self.run(&["prune", "--confirm", self.bk.instance(), "--keep-last", "2"]).ok();
        for set in [first, &second] {
            assert!(!self.system.holds(part(set)), "{set}");
            assert!(!self.bk.set(id(set)).exists());
        }
        assert_eq!(self.system.holds(part(&third)), self.system.keeps());

        // Twice: the record is there again, and its snapshot is not.
        let before = self.system.vendor();
        self.forget_everything();
        copy(first, &aside, &store);
        copy(&second, &aside, &store);
        let outcome = self.run(&["prune", "--confirm", self.bk.instance(), "--keep-last", "2"]).ok();
        assert!(!self.bk.set(id(first)).exists() && !self.bk.set(id(&second)).exists(), "{outcome}");
        assert_eq!(self.system.vendor(), before);
        assert_eq!(self.system.holds(part(&third)), self.system.keeps());
    }
}

pub(super) fn id(set: &Value) -> &str {
    set["id"].as_str().unwrap()
}

pub(super) fn part(set: &Value) -> &Value {
    &set["parts"][0]
}

/// What runs have left in the staging area.
fn staged(dir: &Path) -> Vec<String> {
    let Ok(parts) = std::fs::read_dir(dir) else { return Vec::new() };
    let entries = parts.flat_map(|part| std::fs::read_dir(part.unwrap().path()).into_iter().flatten());
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("bkhost-")).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
