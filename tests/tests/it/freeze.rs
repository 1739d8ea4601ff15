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
        let run = self.frozen_or_over();
        assert!(self.ext4.frozen() && self.xfs.frozen(), "they are not frozen");
        run
    }

    /// Start a run, and wait until both were frozen: they may be thawed by now.
    fn frozen_or_over(&self) -> Running {
        let mut run = self.bk.spawn(&["run", "--json"]);
        run.says("\"frozen\"");
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

#[test]
fn a_second_freeze_that_fails_thaws_the_first_and_leaves_what_somebody_else_froze() {
    let all = Freezing::new();
    all.configure("wait", "");
    all.xfs.freeze();
    all.bk.run(&["run"]).fails(9, &["xfs cannot be frozen: it is frozen already", "It stays as it is"]);
    assert!(!all.ext4.frozen(), "the first is still frozen");
    assert!(all.xfs.frozen(), "what somebody else had frozen is thawed");
    assert_eq!(all.journal().1, 2);
    all.bk.run(&["recover"]).ok();
    assert!(all.xfs.frozen(), "what somebody else had frozen is thawed by a recovery");
    all.xfs.thaw();
    all.thawed(SOON);
    all.go();
    all.bk.run(&["run"]).ok();
}

#[test]
fn what_nobody_granted_is_not_frozen() {
    let all = Freezing::new();
    // One of two.
    let part = freezer(&all.bk, "wait", &all.both(), &[all.ext4.point()], "");
    all.bk.config(&[&application_none(), &part]);
    let line = format!("freeze = [{:?}, {:?}]", all.ext4.point(), all.xfs.point());
    all.bk.run(&["run"]).fails(4, &["does not let it freeze the file system of", &line]);
    assert_eq!(all.journal(), (Vec::new(), 0));
    // None. What inspects and what refuses says how to ask for it.
    let part = freezer(&all.bk, "wait", &all.both(), &[], "");
    all.bk.config(&[&application_none(), &part]);
    all.bk.run(&["run"]).fails(4, &["does not let it freeze", "freeze = ["]);
    let without = part.split("[[grant]]").next().unwrap();
    all.bk.config(&[&application_none(), without]);
    all.bk.run(&["run"]).fails(4, &[&line]);
    // Nor what the manifest does not name, or not by itself.
    for (stranger, why) in [
        ("/source/signal", "the plugin's manifest does not ask for it"),
        ("/staging", "the plugin's manifest does not ask for it"),
        ("/source/volumes/0/lost+found", "not by one below it"),
        ("/source/volumes", "is below no directory of the guest"),
        ("/source/volumes/../volumes/0", "`..`"),
        ("/", "empty component"),
    ] {
        let part = freezer(&all.bk, "stranger", &all.both(), &all.both(), "");
        let part = part.replace("[part.limits]", &format!("stranger = {stranger:?}\n[part.limits]"));
        all.bk.config(&[&application_none(), &part]);
        all.bk.run(&["run"]).fails(4, &[why]);
        assert_eq!(all.journal(), (Vec::new(), 0), "{stranger}");
    }
    // Nor at another time.
    all.configure("early", "");
    all.bk.run(&["run"]).fails(4, &["in `capture` only"]);
    all.thawed(SOON);
}

#[test]
fn what_bkhost_writes_to_is_not_frozen() {
    let all = Freezing::new();
    all.go();
    let try_to = |directories: &[&Path], tables: &[&str], more: &[&str]| {
        let part = freezer(&all.bk, "wait", directories, directories, "");
        let mut all_tables = vec![part.as_str()];
        all_tables.extend(tables);
        let application = application_none();
        all_tables.push(&application);
        all.bk.config(&all_tables);
        let mut args = more.to_vec();
        args.push("run");
        all.bk.run(&args)
    };
    // The system's own.
    let root = all.bk.path("on the root");
    std::fs::create_dir(&root).unwrap();
    try_to(&[&root], &[], &[]).fails(4, &["is not frozen, because bkhost writes to it: it holds the system (/)"]);
    // The state.
    let state = all.ext4.point().join("state");
    let state = state.to_str().unwrap();
    try_to(&all.both(), &[], &["--state", state]).fails(4, &["it holds the state directory"]);
    // The store.
    let beside = all.xfs.point().join("beside the store");
    std::fs::create_dir(&beside).unwrap();
    try_to(&[&beside], &[], &[]).ok();
    let text = std::fs::read_to_string(all.bk.path("bkhost.toml")).unwrap();
    let store = all.xfs.point().join("backups");
    std::fs::write(
        all.bk.path("bkhost.toml"),
        text.replace(all.bk.path("backups").to_str().unwrap(), store.to_str().unwrap()),
    )
    .unwrap();
    all.bk.run(&["run"]).fails(4, &["it holds the store"]);
    // A file system that lies in a file on it.
    let inner = LoopFs::new(all.ext4.point(), "in", "ext4");
    let deep = inner.point().join("state");
    try_to(&[all.ext4.point()], &[], &["--state", deep.to_str().unwrap()]).fails(4, &["it holds the state directory"]);
    drop(inner);
    // Temporary files, and what it prints into.
    let part = freezer(&all.bk, "wait", &all.both(), &all.both(), "");
    all.bk.config(&[&application_none(), &part]);
    let mut command = all.bk.command(&["run"]);
    command.env("TMPDIR", all.ext4.point());
    Running::start(command, false).end().fails(4, &["it holds temporary files"]);
    let mut command = std::process::Command::new("bash");
    let plain = all.bk.command(&["run"]);
    command.args(["-c", "exec \"$@\" > \"$OUT\"", "x"]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(plain.get_current_dir().unwrap()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("OUT", all.xfs.point().join("log"));
    Running::start(command, false).end().fails(4, &["it holds its standard output"]);
    assert!(!all.ext4.frozen() && !all.xfs.frozen());
    all.bk.run(&["run"]).ok();
}

#[test]
fn what_cannot_be_frozen() {
    let bk = Bkhost::new();
    let shm = tempfile::tempdir_in("/dev/shm").unwrap();
    let part = freezer(&bk, "wait", &[shm.path()], &[shm.path()], "");
    bk.config(&[&application_none(), &part]);
    let outcome = bk.run(&["run"]).fails(6, &["cannot be frozen: it is tmpfs"]);
    // `check` found it before.
    assert!(outcome.stderr.contains("warning"), "{outcome}");
}

#[test]
fn it_is_not_held_for_ever() {
    let all = Freezing::new();
    let simulator = Simulator::start(&[]);
    for behaviour in ["hang", "spin", "ignore"] {
        let part = freezer(&all.bk, behaviour, &all.both(), &all.both(), "freeze = \"1s\"");
        all.bk.config(&[&all.bk.application(&simulator, ""), &part]);
        let run = all.frozen();
        // It may have stood for half a second by now.
        all.thawed(Duration::from_millis(1500));
        let outcome = run.end().fails(12, &["frozen for 1s and was thawed", "no consistency point", "part.limits"]);
        assert!(outcome.elapsed < SLACK, "{outcome}");
        simulator.is_free();
        assert_eq!(all.bk.stored(), [""; 0], "{behaviour}");
        assert_eq!(all.journal().1, 2, "{behaviour}");
    }
    for limit in ["0s", "6m"] {
        all.configure("wait", &format!("freeze = \"{limit}\""));
        all.bk.run(&["run"]).fails(3, &["freeze"]);
    }
}

#[test]
fn a_guest_that_misbehaves_leaves_nothing_frozen() {
    let all = Freezing::new();
    for (behaviour, code, says) in [
        ("trap", 6, "with something frozen"),
        ("leave", 6, "left file systems frozen at the end of its capture"),
        ("fail", 6, "the snapshot failed"),
    ] {
        all.configure(behaviour, "");
        let run = all.frozen_or_over();
        run.end().fails(code, &[says]);
        all.thawed(SOON);
        assert_eq!(all.journal().1, 2, "{behaviour}");
        assert_eq!(all.bk.stored(), [""; 0], "{behaviour}");
    }
    for behaviour in ["twice", "thaw-twice", "write"] {
        all.configure(behaviour, "");
        let outcome = all.bk.run(&["run"]).ok();
        assert!(behaviour != "twice" || outcome.stderr.contains("Conflict"), "{outcome}");
        all.thawed(SOON);
        let (mounts, thawed) = all.journal();
        assert_eq!(mounts.len(), thawed, "{behaviour}");
    }
}

#[test]
fn a_cancelled_run_thaws() {
    let all = Freezing::new();
    let simulator = Simulator::start(&[]);
    for behaviour in ["hang", "spin"] {
        let part = freezer(&all.bk, behaviour, &all.both(), &all.both(), "");
        all.bk.config(&[&all.bk.application(&simulator, ""), &part]);
        let run = all.frozen();
        run.signal(Signal::TERM);
        all.thawed(SOON);
        run.end().fails(11, &[]);
        simulator.is_free();
        assert_eq!(all.journal().1, 2, "{behaviour}");
    }
}

#[test]
fn a_point_that_somebody_else_disturbed_is_none() {
    let all = Freezing::new();
    all.configure("wait", "");
    let run = all.frozen();
    all.ext4.thaw();
    all.go();
    run.end().fails(9, &["somebody else thawed", "no consistency point"]);
    all.thawed(SOON);
    assert_eq!(all.bk.stored(), [""; 0]);
}

#[test]
fn a_dry_run_freezes_nothing_and_says_what_a_run_would() {
    let all = Freezing::new();
    all.configure("wait", "");
    all.go();
    let plan = all.bk.run(&["plan"]).ok();
    for point in all.both() {
        assert!(
            plan.stderr.contains("would run: fsfreeze --freeze ") && plan.stderr.contains(point.to_str().unwrap()),
            "{plan}"
        );
    }
    assert!(!all.bk.state().join("runs").read_dir().unwrap().any(|_| true), "it has a journal");
    assert!(!all.ext4.frozen() && !all.xfs.frozen());
}

/// A stand-in for `fsfreeze` that does this: `real` is the real one, `$1` the option.
fn stand_in(all: &mut Freezing, script: &str) {
    let find = std::process::Command::new("bash").args(["-c", "readlink -f $(command -v fsfreeze)"]).output().unwrap();
    let real = String::from_utf8(find.stdout).unwrap().trim().to_owned();
    let copy = all.bk.path("real");
    std::fs::copy(&real, &copy).unwrap();
    let dir = all.bk.path("");
    let stand_in = all.bk.program("stand-in", &format!("cd {dir:?}\nreal() {{ {copy:?} \"$@\"; }}\n{script}"));
    let script = format!("mount --bind {stand_in:?} {real} && exec \"$@\"");
    all.bk.wrap(&format!("exec unshare --mount bash -c '{script}' namespace \"$@\""));
}

#[test]
fn a_freeze_that_does_not_end_is_ended_and_undone() {
    // It hangs, or it freezes and hangs then.
    for script in ["", "real \"$@\""] {
        let mut all = Freezing::new();
        stand_in(&mut all, &format!("[ $1 = --freeze ] || {{ real \"$@\"; exit; }}\n{script}\nexec sleep 60"));
        all.configure("wait", "freeze = \"1s\"");
        let outcome = all.bk.run(&["run"]).fails(12, &["cannot be frozen: fsfreeze did not end within 1s"]);
        assert!(outcome.elapsed < SLACK, "{outcome}");
        all.thawed(SOON);
        assert_eq!(all.journal(), (vec![all.ext4.point().to_owned()], 1));
        // A cancel does not wait for it either.
        all.configure("wait", "");
        let mut run = all.bk.spawn(&["run", "--json"]);
        run.says("\"--freeze\"");
        std::thread::sleep(Duration::from_millis(300));
        run.signal(Signal::TERM);
        let begun = std::time::Instant::now();
        run.end().fails(11, &[]);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        all.thawed(SOON);
    }
}

#[test]
fn a_thaw_that_fails_is_tried_again_by_the_guard() {
    let mut all = Freezing::new();
    // As long as there is a file `stuck`.
    stand_in(&mut all, "[ $1 = --freeze ] || [ ! -e stuck ] || { echo it is stuck >&2; exit 1; }\nreal \"$@\"");
    all.go();
    all.configure("wait", "");
    let stuck = all.bk.path("stuck");
    std::fs::write(&stuck, "").unwrap();
    let mut run = all.bk.spawn(&["run"]);
    assert_eq!(run.code(), 6);
    assert!(all.ext4.frozen() && all.xfs.frozen());
    let status = all.bk.run(&["status"]).ok().stdout;
    assert!(status.contains("FROZEN") && status.contains("ext 4"), "{status}");
    all.bk.run(&["recover"]).fails(1, &["may still be frozen: it is stuck", "fsfreeze --unfreeze"]);
    std::fs::remove_file(&stuck).unwrap();
    all.thawed(Duration::from_secs(5));
    run.end_with_guard().fails(6, &["may still be frozen: it is stuck", "the run's guard goes on trying"]);
    all.bk.run(&["recover"]).ok();
    assert_eq!(all.journal().1, 2);
}

#[test]
fn without_fsfreeze_a_check_says_what_to_install() {
    let mut all = Freezing::new();
    all.bk.wrap("exec unshare --mount bash -c 'mount -t tmpfs none /usr/sbin && exec \"$@\"' namespace \"$@\"");
    all.configure("wait", "");
    all.bk.run(&["run"]).fails(13, &["cannot be frozen: fsfreeze (of util-linux) is in none of", "install util-linux"]);
    assert!(!all.ext4.frozen() && !all.xfs.frozen());
}
