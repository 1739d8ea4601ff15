//! btrfs: snapshots, send streams and their chains, the swap of a restore in place, what is inside of a subvolume.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, Btrfs, Running, Simulator, application_none, listing, noise, tool, until};
use rustix::process::Signal;
use serde_json::Value;

/// Appends numbers to a file, all the time.
struct Busy(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Busy {
    fn start(file: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
            for n in 1.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                file.write_all(format!("{n}\n").as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let _ = self.1.take().map(JoinHandle::join);
    }
}

fn fill(dir: &Path, seed: u64) {
    for n in 0..20 {
        std::fs::write(dir.join(format!("noise {n}")), noise(seed * 100 + n, 40_000)).unwrap();
    }
}

fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

fn id(manifest: &Value) -> &str {
    manifest["id"].as_str().unwrap()
}

fn base(manifest: &Value) -> Option<&str> {
    manifest["parts"][0]["snapshot"]["base"].as_str()
}

fn bytes(manifest: &Value) -> u64 {
    manifest["parts"][0]["sources"][0]["bytes"].as_u64().unwrap()
}

/// The n-th snapshot of a set.
fn snapshot(btrfs: &Btrfs, bk: &Bkhost, id: &str, n: usize) -> PathBuf {
    btrfs.path(&format!("snaps/bkhost-{}-{id}.home.{n}", bk.instance()))
}

fn restore(bk: &Bkhost, id: &str, to: &str) {
    bk.run(&["restore", id, "--to", to, "--confirm", bk.instance()]).ok();
}

fn in_place(bk: &Bkhost, id: &str) -> bkhost_tests::Outcome {
    bk.run(&["restore", id, "--confirm", bk.instance()])
}

/// What bears this mark at the top of the file system.
fn named(btrfs: &Btrfs, mark: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(btrfs.point()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.to_string_lossy().contains(mark)).collect();
    found.sort();
    found
}

fn is_a_prefix(sequence: &Path) {
    let text = std::fs::read_to_string(sequence).unwrap();
    assert!(text.lines().enumerate().all(|(n, line)| line == (n + 1).to_string()), "a prefix of what was written");
}

/// A stand-in for btrfs that does something else in one case.
fn stand_in(bk: &Bkhost, name: &str, when: &str, instead: &str) -> String {
    let script = format!("if {when}; then\n{instead}\nfi\nexec /usr/bin/btrfs \"$@\"");
    format!("[part.programs]\nbtrfs = \"{}\"\n", bk.program(name, &script).display())
}

#[test]
fn files_while_it_is_written_to() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let data = btrfs.create("data");
    fill(&data, 1);
    std::os::unix::fs::symlink("noise 1", data.join("link")).unwrap();
    bk.config(&[&application_none(), &btrfs.part("home", &["data"], "")]);
    let busy = Busy::start(data.join("sequence"));
    let set = bk.backup();
    // While somebody works in it, it is not swapped.
    let live = btrfs.uuid(&data);
    in_place(&bk, id(&set)).fails(9, &["processes work in", "[restore] before"]);
    assert_eq!(btrfs.uuid(&data), live);
    drop(busy);
    let truth = listing(&snapshot(&btrfs, &bk, id(&set), 0));
    is_a_prefix(&snapshot(&btrfs, &bk, id(&set), 0).join("sequence"));
    // Change everything.
    std::fs::remove_file(data.join("link")).unwrap();
    empty(&data);
    fill(&data, 9);
    let changed = listing(&data);

    // From the archive, into a new subvolume.
    let to = btrfs.text("new one");
    restore(&bk, id(&set), &to);
    assert_eq!(listing(to.as_ref()), truth);
    assert_eq!(listing(&data), changed);
    bk.run(&["restore", id(&set), "--to", &to, "--confirm", bk.instance()]).fails(9, &[&to, "exists"]);
    let odd = format!("{to}/../x");
    bk.run(&["restore", id(&set), "--to", &odd, "--confirm", bk.instance()]).fails(3, &["no plain path"]);
    let nowhere = bk.path("elsewhere");
    let nowhere = nowhere.to_str().unwrap();
    bk.run(&["restore", id(&set), "--to", nowhere, "--confirm", bk.instance()]).fails(9, &["btrfs"]);

    // In place: swapped, and what was there is kept.
    let outcome = in_place(&bk, id(&set)).ok();
    assert_eq!(listing(&data), truth);
    std::fs::write(data.join("writable"), "yes").unwrap();
    let aside = named(&btrfs, "bkhost-aside");
    assert_eq!(aside.len(), 1);
    assert_eq!((listing(&aside[0]), btrfs.uuid(&aside[0])), (changed, live));
    assert!(outcome.stderr.contains(aside[0].to_str().unwrap()), "{outcome}");
    // It has to be there no more.
    btrfs.delete("data");
    in_place(&bk, id(&set)).ok();
    assert_eq!(listing(&data), truth);
    assert_eq!(named(&btrfs, "bkhost-aside"), aside);
    assert!(named(&btrfs, "partial").is_empty());
    // The snapshot went by another hand: the archive is still there.
    btrfs.delete(&format!("snaps/bkhost-{}-{}.home.0", bk.instance(), id(&set)));
    in_place(&bk, id(&set)).fails(13, &["no longer exists", "--to"]);
    restore(&bk, id(&set), &btrfs.text("another"));
    assert_eq!(listing(&btrfs.path("another")), truth);
    bk.no_child_left();
}

#[test]
fn full_and_incremental_streams_while_it_is_written_to() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let data = btrfs.create("data");
    std::fs::create_dir(btrfs.path("drill")).unwrap();
    fill(&data, 1);
    let keys = format!("archive = \"stream\"\nfull-every = 3\ndrill-directory = {:?}", btrfs.text("drill"));
    bk.config(&[&application_none(), &btrfs.part("home", &["data"], &keys)]);
    let busy = Busy::start(data.join("sequence"));
    let (mut sets, mut truths) = (Vec::new(), Vec::new());
    for n in 0..4 {
        std::fs::write(data.join(format!("new-{n}")), noise(n, 30_000)).unwrap();
        std::fs::remove_file(data.join(format!("noise {n}"))).unwrap();
        let set = bk.backup();
        truths.push(listing(&snapshot(&btrfs, &bk, id(&set), 0)));
        sets.push(set);
    }
    drop(busy);
    assert_eq!(sets.iter().map(base).collect::<Vec<_>>(), [None, Some(id(&sets[0])), Some(id(&sets[1])), None]);
    assert!(bytes(&sets[1]) * 4 < bytes(&sets[0]), "{} of {}", bytes(&sets[1]), bytes(&sets[0]));
    assert_ne!(truths[0], truths[2]);
    // btrfs's own tool reads every stream.
    let verified = bk.run(&["verify", "--all", "--depth", "full"]).ok();
    assert!(format!("{verified}").contains("reads it to its end"), "{verified}");
    let drilled = bk.run(&["drill", id(&sets[2])]).ok();
    assert!(format!("{drilled}").contains("1 subvolumes received"), "{drilled}");
    assert_eq!(std::fs::read_dir(btrfs.path("drill")).unwrap().count(), 0);

    empty(&data);
    fill(&data, 9);
    let changed = listing(&data);
    for n in [2, 0, 1] {
        let to = btrfs.text(&format!("restored {n}"));
        restore(&bk, id(&sets[n]), &to);
        assert_eq!(listing(to.as_ref()), truths[n], "set {n}");
        is_a_prefix(&Path::new(&to).join("sequence"));
        std::fs::write(Path::new(&to).join("writable"), "yes").unwrap();
    }
    assert_eq!(listing(&data), changed);
    assert!(named(&btrfs, "partial").is_empty());
    in_place(&bk, id(&sets[3])).ok();
    assert_eq!(listing(&data), truths[3]);
    // It is another subvolume now: nothing builds on the old one.
    let after = bk.backup();
    assert_eq!(base(&after), None);
    let next = bk.backup();
    assert_eq!(base(&next), Some(id(&after)));
    // The snapshot that the next would start from is gone: a full one, and it is said.
    btrfs.delete(&format!("snaps/bkhost-{}-{}.home.0", bk.instance(), id(&next)));
    let outcome = bk.run(&["run", "--json"]).ok();
    assert_eq!(base(&outcome.json()), None);
    assert!(outcome.stdout.contains("is gone"), "{outcome}");
    // A plan changes nothing.
    let before = btrfs.inventory();
    let plan = bk.run(&["plan"]).ok();
    assert!(format!("{plan}").contains("send -q -p"), "{plan}");
    assert_eq!(btrfs.inventory(), before);
}

#[test]
fn several_subvolumes_are_swapped_together_or_not_at_all() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let dirs = [btrfs.create("one"), btrfs.create("two")];
    for (n, dir) in dirs.iter().enumerate() {
        fill(dir, n as u64);
    }
    for archive in ["files", "stream"] {
        let part = btrfs.part("home", &["one", "two"], &format!("archive = \"{archive}\""));
        bk.config(&[&application_none(), &part]);
        let set = bk.backup();
        assert!(set["parts"][0]["snapshot"]["state"]["skew_ms"].is_u64(), "the skew is recorded: {set}");
        let truth: Vec<_> = dirs.iter().map(|dir| listing(dir)).collect();
        for dir in &dirs {
            std::fs::write(dir.join("later"), archive).unwrap();
        }
        let changed: Vec<_> = dirs.iter().map(|dir| (listing(dir), btrfs.uuid(dir))).collect();
        let aside = named(&btrfs, "bkhost-aside");
        // The second fails.
        let broken =
            stand_in(&bk, "fails", "[ \"$2\" = snapshot ] && [[ \"$4\" == */two ]]", "echo ERROR: broken >&2; exit 1");
        bk.config(&[&application_none(), &part, &broken]);
        in_place(&bk, id(&set)).fails(6, &["broken", "were swapped back"]);
        assert_eq!(dirs.iter().map(|dir| (listing(dir), btrfs.uuid(dir))).collect::<Vec<_>>(), changed);
        assert_eq!(named(&btrfs, "bkhost-aside"), aside, "nothing is left aside");
        bk.config(&[&application_none(), &part]);
        let to = btrfs.path(&format!("both of {archive}"));
        restore(&bk, id(&set), to.to_str().unwrap());
        in_place(&bk, id(&set)).ok();
        for (n, dir) in dirs.iter().enumerate() {
            assert_eq!(listing(dir), truth[n]);
            assert_eq!(listing(&to.join(dir.file_name().unwrap())), truth[n]);
            std::fs::remove_file(dir.join("later")).unwrap_err();
        }
        assert_eq!(named(&btrfs, "bkhost-aside").len(), aside.len() + 2);
        assert!(named(&btrfs, "partial").is_empty());
        // Killed at any of its commands, and the same again.
        let to = btrfs.text(&format!("again of {archive}"));
        let args = ["restore", id(&set), "--to", &to, "--confirm", bk.instance()];
        let mut halves = 0;
        for n in (4..).step_by(5) {
            let died = bk.doomed(&args, &format!("after:child-ended:{n}")).end();
            halves += named(&btrfs, "partial").len();
            if died.code != 0 {
                let again = bk.run(&args);
                assert_eq!(again.code, 0, "{archive} {n}: {again}");
            }
            assert!(named(&btrfs, "partial").is_empty());
            for (n, name) in ["one", "two"].iter().enumerate() {
                assert_eq!(listing(&Path::new(&to).join(name)), truth[n]);
                btrfs.delete(&format!("again of {archive}/{name}"));
            }
            btrfs.delete(&format!("again of {archive}"));
            if died.code == 0 {
                break;
            }
        }
        assert!(halves > 0, "no half was left");
        let mut died = 0;
        for n in (9..).step_by(5) {
            let outcome =
                bk.doomed(&["restore", id(&set), "--confirm", bk.instance()], &format!("after:child-ended:{n}")).end();
            if outcome.code == 0 {
                break;
            }
            died += 1;
            in_place(&bk, id(&set)).ok();
            for (n, dir) in dirs.iter().enumerate() {
                assert_eq!(listing(dir), truth[n]);
            }
        }
        assert!(died > 0);
        assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(bk.state().to_str().unwrap()));
    }
}

#[test]
fn subvolumes_inside_are_refused_skipped_or_named() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let data = btrfs.create("data");
    btrfs.create("data/in side");
    std::fs::write(data.join("f"), "1").unwrap();
    std::fs::write(data.join("in side/g"), "1").unwrap();
    let configure = |subvolumes: &[&str], keys: &str| {
        bk.config(&[&application_none(), &btrfs.part("home", subvolumes, keys)]);
    };
    configure(&["data"], "");
    bk.run(&["run"]).fails(6, &["data/in side", "nested = \"skip\""]);
    assert!(btrfs.snaps().is_empty());
    configure(&["data"], "nested = \"skip\"");
    let outcome = bk.run(&["run", "--json"]).ok();
    assert!(outcome.stdout.contains("are not in this backup: data/in side"), "{outcome}");
    let skipped = outcome.json();
    configure(&["data", "data/in side"], "");
    let both = bk.backup();
    let to = btrfs.path("restored");
    restore(&bk, id(&both), to.to_str().unwrap());
    assert_eq!(std::fs::read_to_string(to.join("in side/g")).unwrap(), "1");
    assert_eq!(std::fs::read_to_string(to.join("data/f")).unwrap(), "1");
    // A swap would take it along.
    configure(&["data"], "nested = \"skip\"");
    in_place(&bk, id(&skipped)).fails(9, &["data/in side", "--to"]);
    assert!(named(&btrfs, "aside").is_empty());
    // One that comes between the check and the end of the run.
    btrfs.delete("data/in side");
    let late = stand_in(
        &bk,
        "late",
        "[ \"$2\" = snapshot ]",
        &format!("/usr/bin/btrfs subvolume create '{}' >&2", btrfs.text("data/late")),
    );
    bk.config(&[&application_none(), &btrfs.part("home", &["data"], ""), &late]);
    let before = btrfs.snaps();
    bk.run(&["run"]).fails(9, &["data/late"]);
    assert_eq!(btrfs.snaps(), before);
}

#[test]
fn what_would_fail_later_is_found() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    btrfs.create("data");
    let part = btrfs.part("home", &["data"], "");
    let refused = |part: &str, says: &[&str]| {
        bk.config(&[&application_none(), part]);
        let outcome = bk.run(&["check"]);
        assert_eq!(outcome.code, 6, "{outcome}");
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        for text in says {
            assert!(all.contains(text), "{text}: {outcome}");
        }
    };
    let snaps = format!("snapshots = {:?}", btrfs.text("snaps"));
    refused(&part.replace(&snaps, &format!("snapshots = {:?}", btrfs.text("nothing"))), &["mkdir -m 700"]);
    std::fs::create_dir(btrfs.beside("elsewhere")).unwrap();
    let elsewhere = format!("snapshots = {:?}", btrfs.beside("elsewhere"));
    refused(&part.replace(&snaps, &elsewhere), &["not on the same file system"]);
    let subvolume = format!("{:?}", btrfs.text("data"));
    refused(&part.replace(&subvolume, &format!("{:?}", btrfs.beside("elsewhere"))), &["is not on a btrfs"]);
    // The directory for the snapshots among what is backed up.
    bk.config(&[&application_none(), &part.replace(&subvolume, &format!("{:?}", btrfs.text("snaps")))]);
    bk.run(&["check"]).fails(3, &["which is backed up"]);
    let old = stand_in(&bk, "old", "[ \"$1\" = --version ]", "echo btrfs-progs v4.4; exit");
    refused(&format!("{part}{old}"), &["v4.4 is too old", "4.8 or newer"]);
    // Its answer on a file system whose metadata had no room left.
    let full = stand_in(
        &bk,
        "full",
        "[ \"$2\" = usage ]",
        "echo '    Device size: 268435456'; echo '    Device unallocated: 1048576'; echo '    Free (estimated): 99999999 (min: 1)'\n\
         echo '    Global reserve: 5767168 (used: 0)'; echo 'Metadata,DUP: Size:33554432, Used:27000000 (80%)'; exit",
    );
    refused(&format!("{part}{full}"), &["MiB of metadata", "balance"]);
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,ro"]).arg(btrfs.point());
    tool(remount);
    refused(&part, &["is mounted read-only"]);
}

#[test]
fn foreign_btrfs_snapshots_survive_every_prune() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let data = btrfs.create("data");
    fill(&data, 1);
    bk.config(&[&application_none(), &btrfs.part("home", &["data"], "")]);
    let never = format!("bkhost-{}-20200101-000000-abcdef.home.0", bk.instance());
    for name in ["manual", &never, "bkhost-other-20200101-000000-abcdef.home.0"] {
        btrfs.snapshot("data", &format!("snaps/{name}"));
    }
    // What another tool keeps here may have any name.
    std::fs::create_dir(btrfs.path("snaps").join(OsStr::from_bytes(b"not \xff UTF-8"))).unwrap();
    let foreign = btrfs.inventory();
    let sets: Vec<String> = (0..3).map(|_| bk.backup_id()).collect();
    // One of ours was replaced, one was made writable and moved about: by name they are ours.
    let name = |set: &str| format!("snaps/bkhost-{}-{set}.home.0", bk.instance());
    btrfs.delete(&name(&sets[0]));
    btrfs.snapshot("data", &name(&sets[0]));
    let replaced = btrfs.uuid(&btrfs.path(&name(&sets[0])));
    // And this one's mark is gone: the set's record is as good.
    std::fs::remove_file(btrfs.path(&name(&sets[1]).replace(".home.0", ".home.json"))).unwrap();
    let pruned = bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert!(format!("{pruned}").contains("was not made by this part"), "{pruned}");
    assert_eq!(bk.list().len(), 1);
    assert_eq!(btrfs.uuid(&btrfs.path(&name(&sets[0]))), replaced);
    assert!(!btrfs.path(&name(&sets[1])).exists());
    btrfs.delete(&name(&sets[0]));
    let mut left = btrfs.inventory();
    left.retain(|line| !line.contains(&sets[2]));
    assert_eq!(left, foreign);
    // Its snapshots are in the directory that they were made in, wherever new ones go.
    std::fs::create_dir(btrfs.path("snaps2")).unwrap();
    let moved = btrfs
        .part("home", &["data"], "")
        .replace(&format!("{:?}", btrfs.text("snaps")), &format!("{:?}", btrfs.text("snaps2")));
    bk.config(&[&application_none(), &moved]);
    bk.backup_id();
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).fails(7, &["snaps2", "until its sets are gone"]);
    assert!(btrfs.path(&name(&sets[2])).exists());
}

#[test]
fn a_failure_in_any_phase_leaves_nothing() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let dirs = [btrfs.create("one"), btrfs.create("two")];
    dirs.iter().for_each(|dir| fill(dir, 1));
    let part = btrfs.part("home", &["one", "two"], "archive = \"stream\"");
    bk.config(&[&application_none(), &part]);
    let good = bk.backup_id();
    let before = btrfs.inventory();
    let to = btrfs.text("restored");
    let with = |name: &str, when: &str, instead: &str| {
        bk.config(&[&application_none(), &part, &stand_in(&bk, name, when, instead)]);
    };
    for (n, (when, instead)) in [
        // The second snapshot of two; the first answer about one; streams that are cut off, and killed.
        ("[ \"$2\" = snapshot ] && [[ \"$4\" == */two ]]", "echo ERROR: broken >&2; exit 1"),
        ("[ \"$2\" = snapshot ] && [[ \"$4\" == */two ]]", "/usr/bin/btrfs \"$@\"; echo ERROR: broken >&2; exit 1"),
        ("[ \"$1\" = send ]", "/usr/bin/btrfs \"$@\" > >(head -c 3000); exit $?"),
        ("[ \"$1\" = send ]", "/usr/bin/btrfs \"$@\"; echo ERROR: broken >&2; exit 1"),
        ("[ \"$1\" = send ]", "kill -9 $$"),
    ]
    .into_iter()
    .enumerate()
    {
        with(&format!("b{n}"), when, instead);
        dirs.iter().for_each(|dir| fill(dir, 2 + n as u64));
        let outcome = bk.run(&["run"]);
        assert_ne!(outcome.code, 0, "{when}: {instead}: {outcome}");
        assert_eq!(btrfs.inventory(), before, "{when}: {instead}");
        assert_eq!(bk.stored(), std::slice::from_ref(&good));
    }
    // The second stream of a restore is cut off.
    let mark = bk.path("mark");
    let cut =
        format!("if [ -e {0} ]; then head -c 5000 | /usr/bin/btrfs \"$@\"; exit $?; fi; touch {0}", mark.display());
    with("cut", "[ \"$1\" = receive ]", &cut);
    bk.run(&["restore", &good, "--to", &to, "--confirm", bk.instance()]).fails(6, &["full-1"]);
    assert_eq!(btrfs.inventory(), before);
    // The operator cancels while it receives.
    let _ = std::fs::remove_file(&mark);
    let slow = format!("touch {}; {{ head -c 20000; sleep 60; }} | /usr/bin/btrfs \"$@\"; exit $?", mark.display());
    with("slow", "[ \"$1\" = receive ]", &slow);
    let running = bk.spawn(&["restore", &good, "--to", &to, "--confirm", bk.instance()]);
    until("it receives", Duration::from_secs(30), || mark.exists());
    running.signal(Signal::TERM);
    running.end().fails(11, &[]);
    assert_eq!(btrfs.inventory(), before);
    assert!(named(&btrfs, "restored").is_empty());
    bk.no_child_left();
    bk.config(&[&application_none(), &part]);
    restore(&bk, &good, &to);
}

#[test]
fn names_that_attack() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let names = ["-rf", "it's \"quoted\" $(x)", "ünï çödé ☃", "a;b|c&d", "%2F", "bkhost-x.json"];
    for name in names {
        let data = btrfs.create(name);
        std::fs::write(data.join(OsStr::from_bytes(b"-n \xff\n odd")), name).unwrap();
    }
    for archive in ["files", "stream"] {
        bk.config(&[&application_none(), &btrfs.part("home", &names, &format!("archive = \"{archive}\""))]);
        let set = bk.backup();
        let to = btrfs.path(&format!("to 'it' {archive}"));
        restore(&bk, id(&set), to.to_str().unwrap());
        for name in names {
            assert_eq!(listing(&to.join(name)), listing(&btrfs.path(name)), "{name}");
            std::fs::write(btrfs.path(name).join("later"), "x").unwrap();
        }
        in_place(&bk, id(&set)).ok();
        for name in names {
            assert_eq!(listing(&to.join(name)), listing(&btrfs.path(name)), "{name}");
        }
    }
}

#[test]
fn what_is_mounted_elsewhere_is_not_swapped() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let data = btrfs.create("data");
    fill(&data, 1);
    let point = btrfs.beside("mounted");
    std::fs::create_dir(&point).unwrap();
    let mount = |args: &[&OsStr]| {
        let mut command = Command::new("mount");
        command.args(args);
        tool(command);
    };
    let mut source = Command::new("findmnt");
    source.args(["-n", "-v", "-o", "SOURCE"]).arg(btrfs.point());
    let source = tool(source);
    mount(&["-o".as_ref(), "subvol=data".as_ref(), source.trim().as_ref(), point.as_os_str()]);
    let unmount = || {
        Running::start(
            {
                let mut c = Command::new("umount");
                c.arg(&point);
                c
            },
            false,
        )
        .end()
    };
    let part = btrfs.part("home", &["data"], "");
    bk.config(&[&application_none(), &part]);
    let set = bk.backup();
    let truth = listing(&data);
    std::fs::write(data.join("later"), "x").unwrap();
    let refused = in_place(&bk, id(&set));
    let again = [part.as_str(), &format!(
        "[restore]\nbefore = [[\"/usr/bin/umount\", {point:?}]]\nafter = [[\"/usr/bin/mount\", \"-o\", \"subvol=data\", \"{}\", {point:?}]]\nalways = true\n",
        source.trim()
    )]
    .concat();
    bk.config(&[&application_none(), &again]);
    let done = in_place(&bk, id(&set));
    let seen = listing(&point);
    let unmounted = unmount();
    refused.fails(9, &["is mounted at", point.to_str().unwrap()]);
    done.ok();
    unmounted.ok();
    assert_eq!((seen, listing(&data)), (truth.clone(), truth));
}

#[test]
fn two_instances_side_by_side_on_one_subvolume() {
    let btrfs = Btrfs::default();
    let (one, two) = (Bkhost::new(), Bkhost::new());
    let data = btrfs.create("data");
    fill(&data, 1);
    for bk in [&one, &two] {
        bk.config(&[&application_none(), &btrfs.part("home", &["data"], "archive = \"stream\"\nfull-every = 2")]);
    }
    for n in 0..3 {
        fill(&data, 2 + n);
        let running = [one.spawn(&["run"]), two.spawn(&["run"])];
        for run in running {
            run.end().ok();
        }
    }
    let of = |bk: &Bkhost| {
        let own = format!("bkhost-{}-", bk.instance());
        btrfs.snaps().into_iter().filter(|name| name.starts_with(&own)).count()
    };
    // Each with its mark.
    assert_eq!((of(&one), of(&two)), (6, 6));
    one.run(&["prune", "--confirm", one.instance(), "--keep-last", "1"]).ok();
    assert_eq!((of(&one), of(&two), one.list().len(), two.list().len()), (2, 6, 1, 3));
    two.run(&["verify", "--all"]).ok();
    restore(&two, &two.list()[1].0, &btrfs.text("restored"));
}

/// The lock lasts as long as a snapshot takes, whatever is archived after it.
#[test]
fn downtime_does_not_grow_with_the_subvolume() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let data = btrfs.create("data");
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &btrfs.part("home", &["data"], "")]);
    let mut figures = Vec::new();
    for n in 0..2_u64 {
        for file in 0..8 {
            std::fs::write(data.join(format!("{n}-{file}")), noise(n * 8 + file, 3 << 20)).unwrap();
        }
        let start = Instant::now();
        let set = bk.backup();
        let application = &set["application"];
        let (locked, drain) = (application["locked-ms"].as_u64().unwrap(), application["drain-ms"].as_u64().unwrap());
        figures.push((bytes(&set) >> 20, locked - drain, start.elapsed().as_millis()));
    }
    eprintln!("btrfs: MiB archived, ms locked without the drain, ms in all: {figures:?}");
    assert!(figures[1].0 >= figures[0].0 * 2 - 1, "{figures:?}");
    // Far from what the archive takes; the machine is shared, so this is no measurement.
    assert!(figures.iter().all(|(_, locked, all)| *locked < 2_000 && u128::from(*locked) < *all), "{figures:?}");
}

#[test]
fn the_example_runs_as_it_stands() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let data = btrfs.create("@bitbucket-home");
    fill(&data, 1);
    std::fs::create_dir(btrfs.path("scratch")).unwrap();
    let simulator = Simulator::start(&[]);
    let example = include_str!("../../../host/examples/btrfs.toml")
        .replace("/mnt/pool/snapshots", &btrfs.text("snaps"))
        .replace("/mnt/pool", btrfs.point().to_str().unwrap())
        .replace("/backups", bk.path("backups").to_str().unwrap())
        .replace("http://127.0.0.1:7990", &simulator.url())
        .replace("{ env = \"BITBUCKET_BACKUP_PASS\" }", &format!("{{ file = {:?} }}", bk.path("password")))
        .replace("name = \"bitbucket\"", &format!("name = \"{}\"", bk.instance()));
    std::fs::write(bk.path("bkhost.toml"), example).unwrap();
    let set = bk.backup();
    bk.run(&["drill"]).ok();
    let truth = listing(&data);
    std::fs::write(data.join("later"), "x").unwrap();
    restore(&bk, id(&set), &btrfs.text("restored"));
    assert_eq!(listing(&btrfs.path("restored")), truth);
}
