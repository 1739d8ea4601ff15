//! Freezing file systems: several at once, for a moment, and never for longer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bkhost_tests::{Bkhost, LoopFs, Running, Simulator, application_none, freezer, signal, until};
use rustix::process::Signal;

/// A run has to thaw so soon after whatever makes it.
const SOON: Duration = Duration::from_secs(1);
/// Compiling, starting and checking come on top.
const SLACK: Duration = Duration::from_secs(15);

/// An instance with an ext4 and an XFS.
struct Freezing {
    // Dropped first.
    ext4: LoopFs,
    xfs: LoopFs,
    bk: Bkhost,
}

impl Freezing {
    fn new() -> Self {
        let bk = Bkhost::new();
        let ext4 = LoopFs::new(&bk.path(""), "ext 4", "ext4");
        let xfs = LoopFs::new(&bk.path(""), "xfs", "xfs");
        Self { ext4, xfs, bk }
    }

    fn both(&self) -> [&Path; 2] {
        [self.ext4.point(), self.xfs.point()]
    }

    fn configure(&self, behaviour: &str, limits: &str) {
        let part = freezer(&self.bk, behaviour, &self.both(), &self.both(), limits);
        self.bk.config(&[&application_none(), &part]);
    }

    /// Start a run, and wait until both are frozen.
    fn frozen(&self) -> Running {
        let mut run = self.bk.spawn(&["run", "--json"]);
        run.says("\"frozen\"");
        assert!(self.ext4.frozen() && self.xfs.frozen(), "they are not frozen");
        run
    }

    fn go(&self) {
        std::fs::write(signal(&self.bk).join("go"), "").unwrap();
    }

    #[track_caller]
    fn thawed(&self, limit: Duration) {
        until("both are thawed", limit, || !self.ext4.frozen() && !self.xfs.frozen());
    }

    /// What the last run has in its journal of freezes: the mount points, and the number of thaws.
    fn journal(&self) -> (Vec<PathBuf>, usize) {
        let runs = std::fs::read_dir(self.bk.state().join("runs")).unwrap();
        let last = runs.map(|entry| entry.unwrap().path()).max().unwrap();
        let text = std::fs::read_to_string(last).unwrap();
        let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |kind: &str| records.iter().filter(|r| r["record"] == kind).cloned().collect::<Vec<_>>();
        let mounts = of("freezing").iter().map(|r| PathBuf::from(r["mount"].as_str().unwrap())).collect();
        (mounts, of("thawed").len())
    }
}

#[test]
fn two_file_systems_stand_still_together_and_go_on() {
    let all = Freezing::new();
    // One of them twice: it is frozen once.
    let inner = all.xfs.point().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let directories = [all.ext4.point(), all.xfs.point(), &inner];
    let part = freezer(&all.bk, "wait", &directories, &all.both(), "");
    all.bk.config(&[&application_none(), &part]);
    let run = all.frozen();
    all.go();
    let outcome = run.end().ok();
    all.thawed(SOON);
    assert!(outcome.stdout.contains("stood frozen for"), "{outcome}");
    assert_eq!(all.journal(), (all.both().map(Path::to_owned).to_vec(), 2));
}
