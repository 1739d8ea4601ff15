//! An instance with real systems behind it, and what has to hold whenever something of it died.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bkhost_tests::{Bkhost, Outcome, Running, Simulator, Zfs, postgres, until};
use rustix::process::{Pid, Signal, kill_process};

/// The application has to be free so soon after the run's death, by its guard.
const GUARD: Duration = Duration::from_secs(1);
/// And so soon after a cancel.
const CANCEL: Duration = Duration::from_secs(2);

/// What is done to a run that has stopped at a fault point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// SIGKILL for the run: its guard is there.
    Host,
    /// SIGKILL for the guard and the run: `recover` has to do.
    Both,
    /// SIGTERM.
    Term,
}

impl Blow {
    pub(super) const ALL: [Self; 3] = [Self::Host, Self::Both, Self::Term];
}

/// An instance with a dataset, a database, and a set that was published before anything went wrong.
pub(super) struct World {
    pub(super) bk: Bkhost,
    application: Option<Simulator>,
    zfs: Zfs,
    dataset: String,
    kept: String,
}

impl World {
    pub(super) fn new() -> Self {
        // Of its own: zfs-fuse has been seen to hang when many clients of one daemon are killed.
        let (zfs, postgres) = (Zfs::start(), postgres());
        let bk = Bkhost::inside(&zfs);
        let dataset = zfs.create(bk.instance());
        std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
        postgres.create(bk.instance(), 10);
        let simulator = Simulator::start(&["--drain", "30ms"]);
        let mut world = Self { bk, application: Some(simulator), zfs, dataset, kept: String::new() };
        world.configure();
        world.kept = world.bk.backup_id();
        world
    }

    /// The application.
    pub(super) fn simulator(&self) -> &Simulator {
        self.application.as_ref().unwrap()
    }

    fn configure(&self) {
        self.bk.config(&[
            &self.bk.application(self.simulator(), ""),
            &self.zfs.part("home", &[&self.dataset]),
            &postgres().part("database", self.bk.instance(), ""),
        ]);
    }

    /// Start a command that meets its fate at this point.
    pub(super) fn doomed(&self, args: &[&str], point: &str) -> Running {
        let mut command = self.bk.command(args);
        command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", point);
        Running::start(command, false)
    }

    /// Run up to a fault point, strike, and see to it that all is well again. Whether the point was reached.
    pub(super) fn strike(&mut self, point: &str, blow: Blow) -> bool {
        let mut run = self.doomed(&["run"], &format!("{point}:stop"));
        if !run.stops() {
            let _ = run.end().ok();
            return false;
        }
        let lost = blow == Blow::Both && token_is_lost(point);
        match blow {
            Blow::Host => {
                run.signal(Signal::KILL);
                self.free_within(GUARD, point);
            }
            Blow::Both => {
                let guard = guard_of(run.pid());
                guard.into_iter().for_each(kill);
                run.signal(Signal::KILL);
            }
            Blow::Term => {
                run.signal(Signal::TERM);
                run.signal(Signal::CONT);
                self.free_within(CANCEL, point);
            }
        }
        let outcome = run.end();
        match blow {
            // What is published is not taken back by a cancel.
            Blow::Term => assert!([0, 11].contains(&outcome.code), "{point}: {outcome}"),
            Blow::Host | Blow::Both => assert_eq!(outcome.code, -1, "{point}: {outcome}"),
        }
        if lost {
            self.bk.run(&["recover"]).fails(5, &["the token is not known"]);
            self.restart_application();
        }
        self.recover(point);
        true
    }

    /// As an administrator does it: a lock does not outlast it.
    pub(super) fn restart_application(&mut self) {
        self.application = self.application.take().map(Simulator::restart);
    }

    fn free_within(&self, limit: Duration, point: &str) {
        until(&format!("{point}: the application is free"), limit, || !self.simulator().locked());
    }

    /// Recover, and find everything as it should be.
    pub(super) fn recover(&self, point: &str) -> Outcome {
        let outcome = self.bk.run(&["recover"]);
        assert_eq!(outcome.code, 0, "{point}: {outcome}");
        self.is_well(point);
        outcome
    }

    /// Nothing is locked, runs, or is left.
    pub(super) fn is_well(&self, point: &str) {
        assert!(!self.simulator().locked(), "{point}: the application is locked");
        self.simulator().is_free();
        let children = self.children();
        assert!(children.is_empty(), "{point}: children are left: {children:?}");
        let sets = self.bk.list();
        assert!(sets.iter().all(|(_, state)| state == "proved"), "{point}: {sets:?}");
        assert!(sets.iter().any(|(id, _)| *id == self.kept), "{point}: {sets:?}");
        let mut listed: Vec<String> = sets.iter().map(|(id, _)| id.clone()).collect();
        listed.sort();
        assert_eq!(self.bk.stored(), listed, "{point}: in the store");
        let mut snapshots = self.zfs.snapshots(&self.dataset);
        snapshots.sort();
        let wanted: Vec<_> = listed.iter().map(|id| format!("bkhost-{}-{id}", self.bk.instance())).collect();
        assert_eq!(snapshots, wanted, "{point}: snapshots");
        assert_eq!(self.zfs.datasets(&self.dataset), std::slice::from_ref(&self.dataset), "{point}: clones");
        let status = self.bk.run(&["status", "--json"]).ok().json();
        let dead =
            status["runs"].as_array().unwrap().iter().any(|run| run["state"] != "proved" && run["state"] != "undone");
        assert!(!dead, "{point}: {status}");
    }

    /// Every set that was ever published can be read back.
    pub(super) fn verifies(&self) {
        let _ = self.bk.run(&["verify", "--all"]).ok();
        postgres_is_quiet(self.bk.instance());
    }

    /// The processes of this instance's runs, by the mark in their environment, and their guards.
    fn children(&self) -> Vec<u32> {
        let ours: Vec<String> = self.journals().iter().map(|(id, _)| id.clone()).collect();
        processes()
            .into_iter()
            .filter(|pid| {
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let mark = environment.split(|b| *b == 0).find_map(|v| v.strip_prefix(b"BKHOST_COMMAND="));
                let mark = mark.map(|mark| String::from_utf8_lossy(mark).into_owned()).unwrap_or_default();
                let line = command_line(*pid);
                ours.iter()
                    .any(|id| mark.starts_with(id.as_str()) || (line.contains("guard") && line.contains(id.as_str())))
            })
            .collect()
    }

    /// The journals, oldest first: each with the names of its records.
    pub(super) fn journals(&self) -> Vec<(String, Vec<String>)> {
        let mut journals: Vec<_> = journal_files(&self.bk.state().join("runs"))
            .into_iter()
            .map(|path| {
                let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
                (id, kinds(&std::fs::read_to_string(path).unwrap()))
            })
            .collect();
        journals.sort();
        journals
    }
}

/// The names of a journal's whole records.
fn kinds(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .map(|record| record["record"].as_str().unwrap().to_owned())
        .collect()
}

fn journal_files(runs: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
}

/// Guard and run are killed after the lock and before its token is on disk: nobody knows it then.
fn token_is_lost(point: &str) -> bool {
    ["before:application:2", "torn:application:2"].contains(&point)
}

/// The guard of the run in this process.
pub(crate) fn guard_of(host: u32) -> Option<u32> {
    let children = std::fs::read_dir(format!("/proc/{host}/task")).ok()?.flatten().flat_map(|task| {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    });
    children.into_iter().find(|pid| command_line(*pid).starts_with("bkhost\0guard\0"))
}

fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

/// All processes.
fn processes() -> Vec<u32> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// SIGKILL for a process that a run of ours has started.
pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, Signal::KILL);
}

fn postgres_is_quiet(database: &str) {
    until("no session is left", Duration::from_secs(5), || postgres().sessions(database) == 0);
}
