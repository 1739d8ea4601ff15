//! LVM, in a kernel of its own: classic volumes with ext4 and XFS, thin volumes.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, Outcome, PgFiles, application_none, is_inside, listing, run_inside, tool};

/// Compiling a plugin takes its time in there: have it done out here.
fn compiled() {
    let bk = Bkhost::new();
    bk.config(&[&application_none(), &part("lvm", &["no-such-group/volume"], "")]);
    refused(&bk.run(&["check"]), &[]);
}

/// The test of this path is run again in a kernel of its own, where it does its work.
pub(super) fn inside(test: &str, work: fn()) {
    if is_inside() {
        return work();
    }
    compiled();
    run_inside(test);
}

#[test]
fn volumes_are_backed_up_while_they_are_written_to_and_restored_both_ways() {
    inside("lvm::volumes_are_backed_up_while_they_are_written_to_and_restored_both_ways", life);
}

#[test]
fn several_volumes_are_captured_at_one_instant() {
    inside("lvm::several_volumes_are_captured_at_one_instant", together);
}

#[test]
fn what_would_fail_is_found_and_what_fails_leaves_nothing() {
    inside("lvm::what_would_fail_is_found_and_what_fails_leaves_nothing", failures);
}

#[test]
fn names_that_attack_are_refused() {
    let bk = Bkhost::new();
    for bad in [
        "vg0/a b",
        "vg0/a'b",
        "--help/x",
        "vg0/-x",
        "../vg0",
        "vg0/ü",
        "vg0/x;reboot",
        "vg0/$(id)",
        "vg0/a\nb",
        "/dev/vg0/x",
        "vg0/..",
        "vg0/snapshot1",
        "",
    ] {
        bk.config(&[&application_none(), &part("home", &[bad], "")]);
        let outcome = bk.run(&["run"]);
        assert_eq!(outcome.code, 3, "{bad}: {outcome}");
    }
}

pub(super) fn part(name: &str, volumes: &[&str], keys: &str) -> String {
    format!("[[part]]\nname = \"{name}\"\nplugin = \"lvm.wasm\"\n[part.config]\nvolumes = {volumes:?}\n{keys}\n")
}

/// A shell's work, which has to succeed.
#[track_caller]
pub(super) fn sh(script: &str) -> String {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]);
    tool(command).trim_end().to_owned()
}

/// It has to fail, and to say this.
#[track_caller]
fn refused(outcome: &Outcome, says: &[&str]) {
    assert!(outcome.code > 0, "{outcome}");
    for text in says {
        assert!(outcome.stderr.contains(text), "it does not say `{text}`: {outcome}");
    }
}

/// The volumes whose names or tags show that bkhost made them, with their tags.
#[track_caller]
fn ours() -> Vec<String> {
    let listed = sh("lvs --noheadings -o lv_full_name,lv_tags 2>/dev/null");
    listed.lines().map(str::trim).filter(|line| line.contains("bkhost")).map(str::to_owned).collect()
}

/// Nothing of a run is left: no snapshot, no mount, nothing suspended or frozen.
#[track_caller]
pub(super) fn nothing_left(bk: &Bkhost) {
    assert_eq!(ours(), [""; 0]);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("/staging/"), "{mounts}");
    let suspended = sh("dmsetup info -c --noheadings -o name,suspended | grep -i suspended || true");
    assert_eq!(suspended, "");
    bk.no_child_left();
}

/// A group of both disks.
pub(super) fn group() {
    sh("vgcreate -q vg0 /dev/ubda /dev/ubdb 2>/dev/null");
}

/// A classic volume with a file system, mounted; where.
#[track_caller]
pub(super) fn classic(name: &str, fstype: &str, size: &str) -> PathBuf {
    sh(&format!("lvcreate -q -y -Wn -n {name} -L {size} vg0 2>/dev/null; mkfs.{fstype} -q /dev/vg0/{name}"));
    mount(name)
}

/// A thin volume with ext4, mounted; where.
#[track_caller]
fn thin(name: &str, pool: &str, size: &str) -> PathBuf {
    sh(&format!("lvcreate -q -y -n {name} -V {size} --thinpool vg0/{pool} 2>/dev/null; mkfs.ext4 -q /dev/vg0/{name}"));
    mount(name)
}

#[track_caller]
pub(super) fn mount(name: &str) -> PathBuf {
    sh(&format!("mkdir -p /mnt/{name}; mount /dev/vg0/{name} /mnt/{name}"));
    Path::new("/mnt").join(name)
}

/// Some of everything that a file system holds.
#[track_caller]
fn fill(directory: &Path) {
    sh(&format!(
        "cd {}; mkdir -p a/b 'odd name'; for n in $(seq 30); do echo \"$n\" >a/b/$n; done; ln -s b/7 a/link; ln a/b/1 a/hard
         head -c 3000000 /dev/urandom >big; echo x >'odd name/-rf \"q\" ü'; mkfifo fifo; setfattr -n user.k -v v big; setfacl -m u:7:r big",
        directory.display()
    ));
}

/// Change all of it.
#[track_caller]
fn spoil(directory: &Path) {
    sh(&format!(
        "cd {}; rm -rf a/b 'odd name'; echo changed >big; touch new; chmod 600 a; sync -f .",
        directory.display()
    ));
}

/// Appends 1, 2, 3, … to each of these files in turn, each synchronised before the next.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(usize, Duration)>>,
}

impl Writer {
    fn start(files: &[PathBuf]) -> Self {
        let open = |path: &PathBuf| OpenOptions::new().create(true).append(true).open(path).unwrap();
        let mut files: Vec<_> = files.iter().map(open).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut n, mut longest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Acquire) {
                n += 1;
                for file in &mut files {
                    let start = Instant::now();
                    // One write: a snapshot may well fall between two.
                    file.write_all(format!("{n}\n").as_bytes()).unwrap();
                    file.sync_all().unwrap();
                    longest = longest.max(start.elapsed());
                }
            }
            (n, longest)
        });
        Self { stop, thread: Some(thread) }
    }

    /// Stop; how many numbers it wrote, and how long it once had to wait for one.
    fn stop(mut self) -> (usize, Duration) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The last number of a file that has to hold 1, 2, 3, … and nothing else.
#[track_caller]
fn last_number(file: &Path) -> usize {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.ends_with('\n'), "{} is cut off", file.display());
    let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "{}: {numbers:?}", file.display());
    numbers.len()
}

/// An instance in there. Its binary must not use registers that this kernel's signals lose.
pub(super) fn bkhost() -> Bkhost {
    let mut bk = Bkhost::new();
    bk.wrap(&format!("export GLIBC_TUNABLES='{}'; exec \"$@\"", std::env::var("GLIBC_TUNABLES").unwrap_or_default()));
    bk
}

/// The snapshot of a volume in a set, mounted by somebody else.
#[track_caller]
fn look(bk: &Bkhost, volume: &str, fstype: &str, id: &str) -> PathBuf {
    let snapshot = format!("{volume}-bkhost-{}-{id}", bk.instance());
    let option = if fstype == "xfs" { "nouuid" } else { "noload" };
    sh(&format!(
        "lvchange -y -K -ay vg0/{snapshot} 2>/dev/null; mkdir -p /mnt/look-{volume}; mount -o ro,{option} /dev/vg0/{snapshot} /mnt/look-{volume}"
    ));
    Path::new("/mnt").join(format!("look-{volume}"))
}

fn life() {
    group();
    sh("lvcreate -q -y --type thin-pool -n pool -L 160M --poolmetadatasize 4M vg0 2>/dev/null");
    let volumes = [("ext", "ext4"), ("xfs", "xfs"), ("th-in", "ext4")];
    let mounts = [classic("ext", "ext4", "120M"), classic("xfs", "xfs", "304M"), thin("th-in", "pool", "120M")];
    mounts.iter().for_each(|directory| fill(directory));
    // Look-alikes: of our form and without our tags; with the tags of another instance, and of another part.
    let bk = bkhost();
    let foreign = [
        format!("ext-bkhost-{}-20200101-000000-abcdef", bk.instance()),
        "ext-bkhost-other-20200101-000000-abcdef".to_owned(),
        "xfs-bkhost-mine".to_owned(),
    ];
    sh(&format!("lvcreate -q -y -s -L 8M -n {} vg0/ext 2>/dev/null", foreign[0]));
    sh(&format!(
        "lvcreate -q -y -s -L 8M -n {} --addtag bkhost:instance=other --addtag bkhost:part=ext --addtag bkhost:run=bkhost-other-20200101-000000-abcdef vg0/ext 2>/dev/null",
        foreign[1]
    ));
    // Even all of our tags on something of another name mean nothing.
    sh(&format!(
        "lvcreate -q -y -L 8M -n {} --addtag bkhost:instance={2} --addtag bkhost:part=xfs --addtag bkhost:run=bkhost-{2}-{1} vg0 2>/dev/null",
        foreign[2],
        "20200101-000000-abcdef",
        bk.instance()
    ));
    let foreign_only = ours();
    assert_eq!(foreign_only.len(), 3, "{foreign_only:?}");
    let config = |keep: bool| {
        let keys = format!("snapshot-size = \"30%\"\nkeep-snapshots = {keep}");
        let parts = volumes.map(|(name, _)| part(name, &[&format!("vg0/{name}")], &keys));
        bk.config(&[&application_none(), &parts.concat(), "[retention]\nkeep-last = 1\n"]);
    };

    // A snapshot that is not to be kept goes when it is archived.
    config(false);
    let writers: Vec<_> = mounts.iter().map(|directory| Writer::start(&[directory.join("sequence")])).collect();
    let manifest = bk.backup();
    let first = manifest["id"].as_str().unwrap().to_owned();
    assert_eq!(ours(), foreign_only);
    assert!(manifest["parts"][0]["snapshot"]["versions"][0][1].as_str().unwrap().starts_with("2."), "{manifest}");
    let longest: Vec<_> = writers.into_iter().map(Writer::stop).collect();
    println!("figure: three volumes with a part each, the longest wait of their writers: {longest:?}");
    let missing = bk.run(&["restore", &first, "--part", "ext", "--confirm", bk.instance()]);
    refused(&missing, &["no longer exists", "--to"]);

    // One that is kept: what was archived is what is in it.
    config(true);
    for directory in &mounts {
        std::fs::remove_file(directory.join("sequence")).unwrap();
    }
    let writers: Vec<_> = mounts.iter().map(|directory| Writer::start(&[directory.join("sequence")])).collect();
    std::thread::sleep(Duration::from_millis(300));
    let id = bk.backup_id();
    let written: Vec<_> = writers.into_iter().map(|writer| writer.stop().0).collect();
    assert_eq!(ours().len(), foreign_only.len() + 3, "{:?}", ours());
    let active = sh(
        "lvs --noheadings -o lv_active vg0/$(lvs --noheadings -o lv_name vg0 2>/dev/null | grep th-in-bkhost | tr -d ' ') 2>/dev/null",
    );
    assert!(!active.contains("active") || active.contains("inactive"), "a kept thin snapshot rests: {active}");
    let looks: Vec<_> = volumes.iter().map(|(name, fstype)| look(&bk, name, fstype, &id)).collect();
    let expected: Vec<_> = looks.iter().map(|directory| listing(directory)).collect();
    for (n, directory) in looks.iter().enumerate() {
        let last = last_number(&directory.join("sequence"));
        assert!(last > 0 && last < written[n], "{last} of {}", written[n]);
    }
    sh(
        "umount /mnt/look-*; lvchange -y -an $(lvs --noheadings -o lv_full_name vg0 2>/dev/null | grep th-in-bkhost) 2>/dev/null",
    );
    mounts.iter().for_each(|directory| spoil(directory));

    // By files, into new volumes; never into one that is there.
    let to = |suffix: &str| {
        let mut args = vec!["restore".to_owned(), id.clone(), "--confirm".into(), bk.instance().into()];
        for (name, _) in volumes {
            args.extend(["--to".to_owned(), format!("{name}=vg0/{name}{suffix}")]);
        }
        args
    };
    refused(&bk.run(&to("")), &["exists"]);
    for bad in ["vg0/a b", "vg0/-x", "nowhere/x"] {
        let to = format!("ext={bad}");
        refused(&bk.run(&["restore", &id, "--part", "ext", "--to", &to, "--confirm", bk.instance()]), &[]);
    }
    bk.run(&to(".new")).ok();
    for (n, (name, fstype)) in volumes.iter().enumerate() {
        let directory = mount(&format!("{name}.new"));
        assert_eq!(listing(&directory), expected[n], "{name}");
        let found = sh(&format!("findmnt -n -o FSTYPE {}", directory.display()));
        assert_eq!(found, *fstype);
    }
    assert_eq!(sh("lvs --noheadings -o pool_lv vg0/th-in.new 2>/dev/null").trim(), "pool");
    sh("umount /mnt/*.new; lvremove -q -y vg0/ext.new vg0/xfs.new vg0/th-in.new 2>/dev/null");

    // In place: not while it is mounted, and then once.
    let in_place = ["restore", &id, "--confirm", bk.instance()];
    refused(&bk.run(&in_place), &["is mounted at /mnt/", "umount"]);
    sh("umount /mnt/ext /mnt/xfs /mnt/th-in");
    bk.run(&in_place).ok();
    for (n, (name, _)) in volumes.iter().enumerate() {
        assert_eq!(listing(&mount(name)), expected[n], "{name}");
    }
    assert_eq!(ours(), foreign_only);
    refused(&bk.run(&in_place), &["no longer exists"]);

    // The next run prunes the set whose snapshots are used up, and a run after it those that are kept.
    let next = bk.backup_id();
    assert_eq!(bk.list().len(), 1);
    let last = bk.backup_id();
    assert_eq!(bk.list().iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), [last.as_str()]);
    let left = ours();
    assert!(left.len() == 6 && !left.iter().any(|line| line.contains(&next)), "{left:?}");
    assert!(foreign.iter().all(|name| left.iter().any(|line| line.contains(name.as_str()))), "{left:?}");
}

fn failures() {
    group();
    sh("lvcreate -q -y --type thin-pool -n pool -L 32M --poolmetadatasize 4M vg0 2>/dev/null");
    let ext = classic("ext", "ext4", "200M");
    let bare = "bare";
    sh("lvcreate -q -y -Wn -n bare -L 20M vg0 2>/dev/null; lvcreate -q -y -s -n shot -L 8M vg0/ext 2>/dev/null");
    let thin = thin("thin", "pool", "64M");
    let bk = bkhost();
    let check = |volume: &str, keys: &str, says: &[&str]| {
        bk.config(&[&application_none(), &part("home", &[volume], keys)]);
        refused(&bk.run(&["run"]), says);
        assert!(bk.stored().is_empty(), "{volume}");
    };
    fill(&ext);

    // What would fail later.
    check("nowhere/x", "", &["group nowhere", "does not exist"]);
    check("vg0/nothing", "", &["volume vg0/nothing", "does not exist"]);
    check(&format!("vg0/{bare}"), "", &["is not mounted"]);
    check("vg0/shot", "", &["is itself a snapshot, of ext"]);
    check("vg0/pool", "", &["is a thin pool"]);
    check("vg0/ext", "snapshot-size = \"3GiB\"", &["MiB free", "snapshot-size"]);
    sh(&format!("head -c 24000000 /dev/urandom >{}/f; sync -f {0}", thin.display()));
    check("vg0/thin", "max-pool-use = 60", &["thin pool vg0/pool", "max-pool-use is 60"]);
    let long = "n".repeat(100);
    sh(&format!(
        "lvrename -q vg0 bare {long} 2>/dev/null; mkfs.ext4 -q /dev/vg0/{long}; mkdir /mnt/long; mount /dev/vg0/{long} /mnt/long"
    ));
    check(&format!("vg0/{long}"), "", &["too long"]);
    sh("umount /mnt/long");
    assert_eq!(ours(), [""; 0]);

    // A snapshot that overflows while it is archived fails the run.
    bk.config(&[&application_none(), &part("home", &["vg0/ext"], "snapshot-size = \"4MiB\"")]);
    let mut run = bk.spawn(&["run", "--json"]);
    // Stopped, so that it does not end before the flood has come.
    run.says("bin/mount\"");
    run.signal(rustix::process::Signal::STOP);
    sh(&format!("head -c 30000000 /dev/urandom >{}/flood; sync -f {0}", ext.display()));
    run.signal(rustix::process::Signal::CONT);
    let outcome = run.end();
    refused(&outcome, &["overflowed", "snapshot-size"]);
    assert!(bk.stored().is_empty(), "{outcome}");
    nothing_left(&bk);

    // The host dies at any phase; what it made goes with the recovery.
    bk.config(&[&application_none(), &part("home", &["vg0/ext"], "")]);
    for point in ["after:capturing:1", "before:captured:1", "before:publishing:1"] {
        let mut command = bk.command(&["run"]);
        command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", point);
        let outcome = bkhost_tests::Running::start(command, false).end_with_guard();
        assert!(outcome.code != 0, "{point}: {outcome}");
        bk.run(&["recover"]).ok();
        nothing_left(&bk);
    }
    // In the middle of the archive, with the snapshot mounted.
    let mut run = bk.spawn(&["run", "--json"]);
    run.says("bin/mount\"");
    run.signal(rustix::process::Signal::KILL);
    let _ = run.end_with_guard();
    bk.run(&["recover"]).ok();
    nothing_left(&bk);
    // A failure in the store, after the capture.
    bk.config(&[&application_none(), &part("home", &["vg0/ext"], "")]);
    let mut cancelled = bk.spawn(&["run", "--json"]);
    cancelled.reaches("archive");
    cancelled.signal(rustix::process::Signal::TERM);
    let outcome = cancelled.end();
    assert!(outcome.code != 0, "{outcome}");
    nothing_left(&bk);

    // Somebody has its name: refused before anything is taken from them.
    let id = bk.backup_id();
    nothing_left(&bk);
    interrupted(&bk, &id, &ext);
    // A restore that fails takes its volume with it: there is no room for it.
    sh("lvcreate -q -y -Wn -n filler -l 100%FREE vg0 2>/dev/null");
    refused(&bk.run(&["restore", &id, "--to", "vg0/again", "--confirm", bk.instance()]), &["free"]);
    assert_eq!(sh("lvs --noheadings -o lv_name vg0 2>/dev/null | grep -c again || true"), "0");
}

/// Restores into a new volume that die, are cancelled, or fail in the middle, and the same ones again.
fn interrupted(bk: &Bkhost, id: &str, original: &Path) {
    let expected = listing(original);
    let restore = ["restore", id, "--to", "vg0/again", "--confirm", bk.instance()];
    let there = || sh("lvs --noheadings -o lv_name vg0 2>/dev/null | grep again || true");
    let whole = || {
        assert_eq!(listing(&mount("again")), expected);
        sh("umount /mnt/again; lvremove -q -y vg0/again 2>/dev/null");
    };
    // Children: where the volume is mounted, lvs, lvcreate, mke2fs, mount. While lvcreate runs, with the volume
    // mounted, and when it is complete.
    let mut left = 0;
    for point in ["after:child-started:3", "after:child-ended:5", "before:restored:1"] {
        let died = bk.doomed(&restore, point).end();
        assert_eq!(died.code, -1, "{point}: {died}");
        let complete = point == "before:restored:1";
        left += usize::from(!there().is_empty());
        if point == "after:child-ended:5" {
            assert!(std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains("/staging/"));
        } else {
            bk.run(&["recover"]).ok();
            assert_eq!(there().is_empty(), !complete, "{point}");
        }
        let again = bk.run(&restore);
        assert_eq!(again.code, 0, "{point}: {again}");
        nothing_of_a_restore(bk);
        whole();
    }
    assert!(left >= 2, "a half was left {left} times");
    // Cancelled.
    let restoring = bk.doomed(&restore, "after:child-ended:5:stop");
    bkhost_tests::until("it stands still", Duration::from_secs(60), || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", restoring.pid())).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    });
    restoring.signal(rustix::process::Signal::TERM);
    restoring.signal(rustix::process::Signal::CONT);
    restoring.end().fails(11, &["cancel"]);
    assert_eq!(there(), "");
    // What is not of that restore stays, whatever its name: of another restore, and without tags.
    assert_eq!(bk.doomed(&restore, "after:child-ended:5").end().code, -1);
    let tags = sh("lvs --noheadings -o lv_tags vg0/again 2>/dev/null");
    let label = tags.split(',').find_map(|tag| tag.trim().strip_prefix("bkhost:restore=")).unwrap();
    let others = [("again-1", format!("{}x", label)), ("again-2", String::new())];
    for (name, label) in &others {
        let tag = if label.is_empty() { String::new() } else { format!("--addtag bkhost:restore={label}") };
        sh(&format!(
            "lvcreate -q -y -Wn -n {name} -L 4M vg0 --addtag bkhost:instance={} --addtag bkhost:part=home {tag} 2>/dev/null",
            bk.instance()
        ));
    }
    // It is in use: told, tried again, and in nobody's way.
    sh("mkdir -p /mnt/held; mount /dev/vg0/again /mnt/held");
    refused(&bk.run(&["recover"]), &["vg0/again", "not complete", "somebody uses it"]);
    refused(&bk.run(&restore), &["volume vg0/again exists"]);
    sh("umount /mnt/held");
    bk.run(&["recover"]).ok();
    assert_eq!(there().split_whitespace().collect::<Vec<_>>(), ["again-1", "again-2"]);
    sh("lvremove -q -y vg0/again-1 vg0/again-2 2>/dev/null");
    // A command that fails in the middle.
    let fails = bk.program("mount-fails", "exit 32");
    let keys = format!("[part.programs]\nmount = {fails:?}\n");
    bk.config(&[&application_none(), &part("home", &["vg0/ext"], ""), &keys]);
    refused(&bk.run(&restore), &["mount"]);
    assert_eq!(there(), "");
    bk.config(&[&application_none(), &part("home", &["vg0/ext"], "")]);
}

/// No mount, and no volume that is marked as not complete.
#[track_caller]
fn nothing_of_a_restore(bk: &Bkhost) {
    let marked = sh("lvs --noheadings -o lv_full_name,lv_tags 2>/dev/null | grep bkhost:restore= || true");
    assert_eq!(marked, "");
    assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains("/staging/"));
    bk.no_child_left();
}

fn together() {
    group();
    sh("lvcreate -q -y --type thin-pool -n pool -L 200M --poolmetadatasize 4M vg0 2>/dev/null");
    let (a, b) = (classic("a", "ext4", "160M"), classic("b", "xfs", "304M"));
    let t = thin("t", "pool", "128M");
    let numbers = |directory: &Path| directory.join("sequence");
    let bk = bkhost();
    let config = |volumes: &[&str]| {
        let keys = "snapshot-size = \"32MiB\"\nkeep-snapshots = true";
        bk.config(&[&application_none(), &part("pair", volumes, keys), "[retention]\nkeep-last = 1\n"]);
    };
    // How far the second of two snapshots is ahead of the first, in numbers: 0 or -1 at one instant.
    let ahead = |first: &Path, second: &Path| {
        let count = |directory: &Path| i64::try_from(last_number(&numbers(directory))).unwrap();
        count(second) - count(first)
    };

    // The test sees what it is there for: snapshots that are taken one after the other lie apart.
    let writer = Writer::start(&[numbers(&a), numbers(&b)]);
    std::thread::sleep(Duration::from_millis(300));
    sh("lvcreate -q -y -s -n ca -L 32M vg0/a 2>/dev/null; lvcreate -q -y -s -n cb -L 32M vg0/b 2>/dev/null");
    let _ = writer.stop();
    sh("mkdir /mnt/ca /mnt/cb; mount -o ro,noload /dev/vg0/ca /mnt/ca; mount -o ro,nouuid /dev/vg0/cb /mnt/cb");
    let apart = ahead(Path::new("/mnt/ca"), Path::new("/mnt/cb"));
    assert!(apart > 1, "two snapshots without a freeze lie {apart} apart");
    sh("umount /mnt/ca /mnt/cb; lvremove -q -y vg0/ca vg0/cb 2>/dev/null");
    println!("figure: without a freeze, the second snapshot is {apart} numbers ahead of the first");

    // In either order, of classic and of thin volumes.
    let pairs = [
        [("a", "ext4", &a), ("b", "xfs", &b)],
        [("b", "xfs", &b), ("a", "ext4", &a)],
        [("t", "ext4", &t), ("b", "xfs", &b)],
    ];
    let mut last = None;
    for pair in &pairs {
        let [first, second] = pair;
        config(&[&format!("vg0/{}", first.0), &format!("vg0/{}", second.0)]);
        for (_, _, directory) in pair {
            let _ = std::fs::remove_file(numbers(directory));
        }
        let writer = Writer::start(&[numbers(first.2), numbers(second.2)]);
        std::thread::sleep(Duration::from_millis(200));
        let id = bk.backup_id();
        let (written, longest) = writer.stop();
        let [one, two] = pair.each_ref().map(|(name, fstype, _)| look(&bk, name, fstype, &id));
        let apart = ahead(&one, &two);
        println!("figure: frozen together, {apart} (of {written} numbers); the writer once waited for {longest:?}");
        assert!((-1..=0).contains(&apart), "{} and {}: {apart}", first.0, second.0);
        let listings = [listing(&one), listing(&two)];
        sh(&format!("umount /mnt/look-{} /mnt/look-{}", first.0, second.0));
        last = Some((id, listings));
    }

    // Both are restored together, into new volumes and in place.
    let (id, expected) = last.unwrap();
    bk.run(&["restore", &id, "--to", "vg0/new", "--confirm", bk.instance()]).ok();
    for (name, expected) in ["new-t", "new-b"].iter().zip(&expected) {
        assert_eq!(&listing(&mount(name)), expected);
    }
    sh("umount /mnt/new-t /mnt/new-b; lvremove -q -y vg0/new-t vg0/new-b 2>/dev/null; umount /mnt/t /mnt/b");
    // Killed when the first is merged, and the second is or is not: the same again goes on.
    let in_place = ["restore", &id, "--confirm", bk.instance()];
    let mut restoring = bk.spawn(&[&in_place[..], &["--json"]].concat());
    restoring.says("lvconvert\"");
    restoring.says("lvconvert\"");
    restoring.signal(rustix::process::Signal::KILL);
    assert_eq!(restoring.end().code, -1);
    let again = bk.run(&in_place).ok();
    assert!(again.stderr.contains("vg0/t was merged by the restore that was interrupted"), "{again}");
    for (name, expected) in ["t", "b"].iter().zip(&expected) {
        assert_eq!(&listing(&mount(name)), expected);
    }
    // What was kept of a volume that this configuration does not name goes by one that does.
    config(&["vg0/a", "vg0/b"]);
    bk.run(&["prune", "--confirm", bk.instance()]).ok();
    assert_eq!(ours(), [""; 0]);

    // The application is down for as long, however much there is.
    bk.config(&[&application_none(), &part("pair", &["vg0/a", "vg0/b"], "snapshot-size = \"32MiB\"")]);
    let mut captures = Vec::new();
    for megabytes in [10, 20, 40, 80] {
        sh(&format!("head -c {megabytes}000000 /dev/urandom >{}/data; sync -f {0}", a.display()));
        let outcome = bk.run(&["run", "--json"]).ok();
        let ended = outcome.events().into_iter().find(|e| e["event"] == "phase-ended" && e["phase"] == "capture");
        captures.push((megabytes, ended.unwrap()["millis"].as_u64().unwrap()));
    }
    println!("figure: capture of two volumes, by the megabytes in one of them: {captures:?} (ms)");
    assert!(captures[3].1 < captures[0].1 * 3 + 500, "{captures:?}");

    // The host dies while they are frozen, and while one is suspended: who writes goes on, and nothing is left.
    for moment in ["fsfreeze", "dmsetup", "lvcreate"] {
        let writer = Writer::start(&[numbers(&a), numbers(&b)]);
        let mut run = bk.spawn(&["run", "--json"]);
        run.says(&format!("{moment}\""));
        run.signal(rustix::process::Signal::KILL);
        let _ = run.end_with_guard();
        bk.run(&["recover"]).ok();
        let before = last_line(&numbers(&b));
        std::thread::sleep(Duration::from_millis(500));
        assert!(last_line(&numbers(&b)) > before, "after {moment}, writing has not gone on");
        let _ = writer.stop();
        nothing_left(&bk);
    }
    // Both can be backed up again.
    let _ = bk.backup_id();
    nothing_left(&bk);
    holds_a_database(&a, &b);
}

/// The part of a database server asks whether the volumes hold its files.
fn holds_a_database(a: &Path, b: &Path) {
    let bk = bkhost();
    std::fs::remove_file(a.join("data")).unwrap();
    let server = PgFiles::start(&a.join("pg"), &[]);
    let config = |volumes: &[&str], keys: &str| {
        let database = format!(
            "[[part]]\nname = \"database\"\nplugin = \"postgresql-fslevel.wasm\"\n[part.config]\ndisk-part = \"files\"\n\
             data-directory = {:?}\nhost = {:?}\n{keys}\n",
            server.data(),
            server.socket()
        );
        let files = part("files", volumes, "snapshot-size = \"32MiB\"");
        let files = files.replace("[part.config]", "after = [\"database\"]\n[part.config]");
        bk.config(&[&application_none(), &database, &files]);
    };
    let refuses = |says: &[&str]| {
        let outcome = bk.run(&["check"]);
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.code > 1 && says.iter().all(|text| all.contains(text)), "{says:?}: {outcome}");
    };
    config(&["vg0/b"], "");
    refuses(&["is on no volume that the part files captures"]);
    // Another volume is mounted in it: the host sees that, and which of them holds what.
    config(&["vg0/a"], "");
    let inside = server.data().join("pg_stat_tmp");
    sh(&format!("mount /dev/vg0/b {}", inside.display()));
    refuses(&["on other volumes", "pg_stat_tmp"]);
    sh(&format!("umount {}", inside.display()));
    // Two volumes are not sure of one instant.
    let space = b.join("space");
    sh(&format!(
        "install -d -o postgres -g postgres {0}; chown postgres {1} {2}",
        space.display(),
        a.display(),
        b.display()
    ));
    server.sql(&format!("CREATE TABLESPACE s LOCATION '{}'", space.display()));
    config(&["vg0/a", "vg0/b"], &format!("tablespaces = [{space:?}]"));
    refuses(&["the tablespace s", "vg0/b", "at one instant with vg0/a"]);
    server.sql("DROP TABLESPACE s");

    config(&["vg0/a"], "");
    let checked = bk.run(&["check"]).ok();
    assert!(format!("{checked}").contains("all on vg0/a"), "{checked}");
    server.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n");
    let id = bk.backup_id();
    server.sql("DROP TABLE t");
    server.stop();
    bk.run(&["restore", &id, "--to", "files=vg0/pg", "--to", "database=elsewhere", "--confirm", bk.instance()]).ok();
    sh("umount /mnt/a; mount /dev/vg0/pg /mnt/a");
    server.again();
    assert_eq!(server.sql("SELECT count(*) FROM t"), "1000");
    server.stop();
    nothing_left_but_restored(&bk);
}

/// No snapshot and no mount; what is restored has a tag that says so.
#[track_caller]
fn nothing_left_but_restored(bk: &Bkhost) {
    assert!(
        ours().iter().all(|line| line.contains("bkhost:restored=") && !line.contains("bkhost:run=")),
        "{:?}",
        ours()
    );
    bk.no_child_left();
}

/// The last number in a file that may be written to.
fn last_line(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().rev().nth(1).map_or(0, |line| line.parse().unwrap())
}
