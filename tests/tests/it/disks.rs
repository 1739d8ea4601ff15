//! Disks that are full, read-only or gone, and clocks that are set. Each run ends with a clear message and the right exit
//! code; the application is free, no set is listed that is none, and those that were published before verify.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bkhost_tests::{Bkhost, Outcome, Running, Simulator, directory_part, tool, until};
use rustix::process::{Signal, geteuid};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A small file system of one's own. Unmounted when this is dropped.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: PathBuf, options: &str) -> Self {
        assert!(geteuid().is_root(), "the tests of full disks need root: sudo make test");
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at);
        tool(mount);
        Self(at)
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(&self.0);
        tool(mount);
    }

    /// Leave so many bytes free.
    fn fill(&self, leave: u64) {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let fill = (stat.f_bavail * stat.f_frsize).saturating_sub(leave);
        std::fs::write(self.0.join("filler"), vec![1; usize::try_from(fill).unwrap()]).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// An instance whose home is 4 MiB that no compressor makes smaller, with one proved set where the store is good.
struct World {
    bk: Bkhost,
    simulator: Simulator,
    state: Option<PathBuf>,
    kept: Vec<String>,
}

impl World {
    fn new(store: &Path, state: Option<PathBuf>) -> Self {
        let bk = Bkhost::new();
        std::fs::create_dir(bk.path("home")).unwrap();
        let mut noise = vec![0; 4 << 20];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut noise).unwrap();
        std::fs::write(bk.path("home/f"), noise).unwrap();
        let simulator = Simulator::start(&[]);
        bk.config(&[&bk.application(&simulator, ""), &directory_part("home", &bk.path("home"))]);
        let config = std::fs::read_to_string(bk.path("bkhost.toml")).unwrap();
        let config = config.replace(&format!("to = \"{}\"", bk.path("backups").display()), &format!("to = {store:?}"));
        std::fs::write(bk.path("bkhost.toml"), config).unwrap();
        Self { bk, simulator, state, kept: Vec::new() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bk.command(args);
        if let Some(state) = &self.state {
            command.env("BKHOST_STATE", state);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Outcome {
        Running::start(self.command(args), false).end()
    }

    fn backup(&mut self) {
        let id = self.run(&["run", "--json"]).ok().json()["id"].as_str().unwrap().to_owned();
        self.kept.insert(0, id);
    }

    /// A run that fails like this, and leaves nothing behind but what was there.
    fn fails(&self, code: i32, says: &[&str]) {
        let outcome = self.run(&["run"]).fails(code, says);
        assert!(outcome.stderr.contains("  hint: "), "it says not what to do: {outcome}");
        self.simulator.is_free();
    }

    /// What was published before is there, and nothing else; and the next run works.
    fn is_well(&mut self) {
        let _ = self.run(&["recover"]).ok();
        self.listed();
        self.backup();
        self.listed();
        let _ = self.run(&["verify", "--all"]).ok();
        self.simulator.is_free();
    }

    fn listed(&self) {
        let listed = self.run(&["list", "--json"]).ok().json();
        let sets: Vec<_> = listed["sets"].as_array().unwrap().iter().collect();
        let ids: Vec<_> = sets.iter().map(|set| set["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, self.kept);
        assert!(sets.iter().all(|set| set["state"] == "proved"), "{listed}");
    }
}

/// A directory that goes with the test. Made before what is mounted in it, so that it goes after that.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("bkhost-disk-").tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn the_store_fills_up_in_the_middle_of_an_archive() {
    let scratch = Scratch::new();
    let disk = Mount::tmpfs(scratch.path("store"), "size=32m");
    let mut world = World::new(&disk.0.join("sets"), None);
    world.backup();
    // Enough to begin, and to pass for enough at the check.
    disk.fill(2 << 20);
    world.fails(7, &["part `home`", "home.tar.zst", "No space left", "the store is full"]);
    assert_eq!(world.simulator.count("unlock"), 2, "the lock was given back before anything was archived");
    disk.empty();
    world.is_well();
}

#[test]
fn the_store_is_full_before_anything_is_locked() {
    let scratch = Scratch::new();
    let disk = Mount::tmpfs(scratch.path("store"), "size=32m");
    let mut world = World::new(&disk.0.join("sets"), None);
    world.backup();
    let locks = world.simulator.count("lock");
    disk.fill(0);
    world.fails(7, &["No space left", "the store is full"]);
    assert_eq!(world.simulator.count("lock"), locks);
    disk.empty();
    world.is_well();
}

#[test]
fn the_store_is_read_only() {
    let scratch = Scratch::new();
    let disk = Mount::tmpfs(scratch.path("store"), "size=32m");
    let mut world = World::new(&disk.0.join("sets"), None);
    world.backup();
    let locks = world.simulator.count("lock");
    disk.remount("ro");
    world.fails(7, &["Read-only file system", "mounted read-only"]);
    assert_eq!(world.simulator.count("lock"), locks);
    world.listed();
    let _ = world.run(&["verify", "--all"]).ok();
    disk.remount("rw");
    world.is_well();
}

#[test]
fn the_store_is_gone() {
    let scratch = Scratch::new();
    let disk = Mount::tmpfs(scratch.path("store"), "size=32m");
    let mut world = World::new(&disk.0.join("there/sets"), None);
    std::fs::create_dir(disk.0.join("there")).unwrap();
    world.backup();
    let locks = world.simulator.count("lock");
    std::fs::rename(disk.0.join("there"), disk.0.join("away")).unwrap();
    // Nothing is made where another file system should be mounted.
    world.fails(13, &["does not exist", "is its file system mounted?"]);
    assert!(!disk.0.join("there").exists());
    assert_eq!(world.simulator.count("lock"), locks);
    std::fs::rename(disk.0.join("away"), disk.0.join("there")).unwrap();
    world.is_well();
}

#[test]
fn the_store_goes_while_the_application_is_locked() {
    let scratch = Scratch::new();
    let disk = Mount::tmpfs(scratch.path("store"), "size=32m");
    let mut world = World::new(&disk.0.join("sets"), None);
    world.backup();
    let mut command = world.command(&["run"]);
    command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", "after:captured:1:stop");
    let mut run = Running::start(command, false);
    until("it has captured", Duration::from_secs(20), || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", run.pid())).unwrap_or_default();
        stat.contains(") T ") || !run.runs()
    });
    assert!(world.simulator.locked());
    disk.remount("ro");
    run.signal(Signal::CONT);
    run.end().fails(7, &["Read-only file system", "not undone", "cannot delete"]);
    world.simulator.is_free();
    world.run(&["recover"]).fails(7, &["Read-only file system"]);
    disk.remount("rw");
    world.is_well();
}

#[test]
fn the_state_directory_is_full_or_read_only() {
    let scratch = Scratch::new();
    let disk = Mount::tmpfs(scratch.path("state"), "size=48m");
    let mut world = World::new(&disk.0.with_file_name("sets"), Some(disk.0.clone()));
    world.backup();
    let locks = world.simulator.count("lock");
    disk.fill(0);
    world.fails(1, &["No space left", &disk.0.display().to_string()]);
    assert_eq!(world.simulator.count("lock"), locks, "nothing is locked that cannot be noted");
    disk.empty();
    disk.remount("ro");
    world.fails(1, &["Read-only file system", &disk.0.display().to_string()]);
    assert_eq!(world.simulator.count("lock"), locks);
    disk.remount("rw");
    // Not even a journal of its own.
    let runs = disk.0.join(world.bk.instance()).join("runs");
    let journals = Mount::tmpfs(runs.clone(), "size=1m,ro");
    world.fails(1, &["Read-only file system", &runs.display().to_string()]);
    assert_eq!(world.simulator.count("lock"), locks);
    drop(journals);
    world.is_well();
}

#[test]
fn the_state_fills_up_while_the_application_is_locked() {
    let scratch = Scratch::new();
    let disk = Mount::tmpfs(scratch.path("state"), "size=48m");
    let mut world = World::new(&disk.0.with_file_name("sets"), Some(disk.0.clone()));
    world.backup();
    for point in ["after:application:2", "after:capturing:1", "after:captured:1"] {
        let mut command = world.command(&["run"]);
        command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", format!("{point}:stop"));
        let mut run = Running::start(command, false);
        until("it has locked", Duration::from_secs(20), || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", run.pid())).unwrap_or_default();
            stat.contains(") T ") || !run.runs()
        });
        assert!(world.simulator.locked(), "{point}");
        disk.fill(0);
        run.signal(Signal::CONT);
        let outcome = run.end_with_guard();
        assert!([0, 1, 6].contains(&outcome.code), "{point}: {outcome}");
        // The journal's last page may have had room for the rest of it.
        assert!(outcome.code == 0 || outcome.stderr.contains("No space left"), "{point}: {outcome}");
        world.simulator.is_free();
        disk.empty();
        let _ = world.run(&["recover"]).ok();
        world.simulator.is_free();
        if outcome.code == 0 {
            world.kept = vec![world.run(&["list", "--json"]).ok().json()["sets"][0]["id"].as_str().unwrap().to_owned()]
                .into_iter()
                .chain(world.kept.clone())
                .collect();
        }
        world.listed();
    }
    world.is_well();
}

#[test]
fn a_full_tmp_does_not_matter() {
    let scratch = Scratch::new();
    let mut bk = World::new(&scratch.path("sets"), None);
    assert!(geteuid().is_root());
    // In a namespace of its own: others need theirs. Its own directory stays in sight.
    let dir = bk.bk.path("");
    let script = format!(
        "exec unshare --mount --propagation private bash -c 'mkdir -p /run/bkhost-it && mount --bind {0} /run/bkhost-it \
         && mount -t tmpfs -o size=64k tmpfs /var/tmp && head -c 1M /dev/zero >/var/tmp/filler 2>/dev/null; \
         export TMPDIR=/var/tmp; exec \"$@\"' unshare \"$@\"",
        dir.display()
    );
    bk.bk.wrap(&script);
    bk.backup();
    bk.simulator.is_free();
}

/// The clock that these runs see: `@2030-01-01 00:00:00`, or an offset.
fn clocked(command: &mut Command, time: &str) {
    assert!(Path::new(FAKETIME).exists(), "{FAKETIME} is missing: tests/scripts/install.sh");
    command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", time).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

#[test]
fn a_clock_that_was_set_back_does_not_change_the_order_of_the_sets() {
    let scratch = Scratch::new();
    let mut world = World::new(&scratch.path("sets"), None);
    let config = std::fs::read_to_string(world.bk.path("bkhost.toml")).unwrap();
    std::fs::write(world.bk.path("bkhost.toml"), config + "\n[retention]\nkeep-last = 2\n").unwrap();
    world.backup();
    // The newest set goes by the newest id, and is not the one that retention removes.
    for (n, time) in ["-400d", "@2020-01-01 00:00:00", "-1d"].into_iter().enumerate() {
        let mut command = world.command(&["run", "--json"]);
        clocked(&mut command, time);
        let outcome = Running::start(command, false).end().ok();
        let id = outcome.json()["id"].as_str().unwrap().to_owned();
        assert!(id > world.kept[0], "{time}: {id} is not after {:?}", world.kept);
        assert!(outcome.stdout.contains("was the clock set back?"), "{time}: {outcome}");
        let manifest = outcome.json();
        assert!(manifest["duration-ms"].as_u64().unwrap() < 60_000, "{time}: {manifest}");
        world.kept.insert(0, id);
        // What is of the future, by the clock that a run has, neither goes nor takes another one's place. By the last clock
        // that is the first set alone, and the last two are kept besides.
        if n == 2 {
            world.kept.remove(2);
        }
        world.listed();
    }
    // By a state of its own, as after the loss of the machine: the store alone tells.
    world.state = Some(scratch.path("state"));
    std::fs::create_dir(world.state.as_ref().unwrap()).unwrap();
    let mut command = world.command(&["run", "--json"]);
    clocked(&mut command, "-30d");
    let id = Running::start(command, false).end().ok().json()["id"].as_str().unwrap().to_owned();
    assert!(id > world.kept[0]);
    world.simulator.is_free();
    let _ = world.run(&["verify", "--all"]).ok();
}

#[test]
fn a_clock_that_is_set_during_a_run_changes_no_deadline() {
    for (from, to) in [("+0", "+400d"), ("+0", "-400d")] {
        let scratch = Scratch::new();
        let world = World::new(&scratch.path("sets"), None);
        let clock = world.bk.path("clock");
        std::fs::write(&clock, format!("{from}\n")).unwrap();
        let config = std::fs::read_to_string(world.bk.path("bkhost.toml")).unwrap();
        let config = config.replace("[[part]]", "drain-timeout = \"20s\"\nmax-lock-time = \"30s\"\n[[part]]");
        std::fs::write(world.bk.path("bkhost.toml"), config).unwrap();
        let mut command = world.command(&["run", "--json"]);
        clocked(&mut command, "");
        command.env_remove("FAKETIME").env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1");
        // Locked, by its guard: the run hears of it next.
        command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", "after:application:2:stop");
        let mut run = Running::start(command, false);
        until("it has locked", Duration::from_secs(20), || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", run.pid())).unwrap_or_default();
            stat.contains(") T ") || !run.runs()
        });
        assert!(world.simulator.locked(), "{to}");
        std::fs::write(&clock, format!("{to}\n")).unwrap();
        run.signal(Signal::CONT);
        let outcome = run.end().ok();
        let manifest = outcome.json();
        assert!(manifest["duration-ms"].as_u64().unwrap() < 60_000, "{to}: {manifest}");
        assert!(manifest["application"]["locked-ms"].as_u64().unwrap() < 30_000, "{to}: {manifest}");
        assert!(manifest["skew-ms"].as_u64().unwrap() < 30_000, "{to}: {manifest}");
        world.simulator.is_free();
        let _ = world.run(&["verify", "--all"]).ok();
    }
}
