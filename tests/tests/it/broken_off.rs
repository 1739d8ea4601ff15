//! Restores that end in their middle, of strategies that make their target themselves: what they made is gone, or said; and
//! two instances that have one volume.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bkhost_tests::{Bkhost, P4, application_none, listing, until};
use rustix::process::Signal;

use crate::lvm::{bkhost, classic, group, inside, mount, nothing_left, part, sh};
use crate::p4d;

/// A program that does its work, and before (or after) it, for these arguments, something else.
fn stand_in(bk: &Bkhost, program: &str, pattern: &str, what: &str) -> String {
    let real = sh(&format!("realpath $(PATH=$PATH:/sbin:/usr/sbin command -v {program})"));
    let script =
        format!("real={real:?}\ncase \" $* \" in {pattern}) {what};; esac\nexec -a {program} \"$real\" \"$@\"");
    format!("[part.programs]\n{program} = {:?}\n", bk.program(program, &script))
}

/// Wait until the stand-in says that it is where it is to be.
fn reached(bk: &Bkhost) {
    until("it is there", Duration::from_secs(60), || bk.path("there").exists());
    std::fs::remove_file(bk.path("there")).unwrap();
}

fn waits(bk: &Bkhost) -> String {
    format!("touch {:?}; sleep 60", bk.path("there"))
}

#[test]
fn of_volumes_and_two_instances_with_one_volume() {
    inside("broken_off::of_volumes_and_two_instances_with_one_volume", || {
        group();
        let files = classic("home", "ext4", "96M");
        std::fs::write(files.join("f"), "0").unwrap();
        sh("head -c 3000000 /dev/urandom >/mnt/home/noise; sync");
        two_at_once(&files);
        restores();
    });
}

fn configure(bk: &Bkhost, programs: &str) {
    let part = part("home", &["vg0/home"], "snapshot-size = \"16MiB\"\nkeep-snapshots = true");
    bk.config(&[&application_none(), &format!("{part}{programs}"), "[retention]\nkeep-last = 1\n"]);
}

/// The snapshots that the vendor has of an instance.
fn snapshots(bk: &Bkhost) -> Vec<String> {
    let listed = sh("lvs --noheadings -o lv_name,lv_tags vg0 2>/dev/null");
    let tag = format!("bkhost:instance={}", bk.instance());
    let ours = listed.lines().filter(|line| line.split([' ', ',']).any(|word| word == tag));
    ours.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

fn two_at_once(files: &Path) {
    let (one, two) = (bkhost(), bkhost());
    let both = [&one, &two];
    both.iter().for_each(|bk| configure(bk, ""));
    let mut last = Vec::new();
    // The second round prunes what the first one made, while the other does so too.
    for n in 0..2 {
        std::fs::write(files.join("f"), n.to_string()).unwrap();
        let truth = listing(files);
        let runs = both.map(|bk| bk.spawn(&["run", "--json"]));
        let sets: Vec<_> =
            runs.into_iter().map(|run| run.end().ok().json()["id"].as_str().unwrap().to_owned()).collect();
        for (bk, set) in both.iter().zip(&sets) {
            assert_eq!(snapshots(bk), [format!("home-bkhost-{}-{set}", bk.instance())], "round {n}");
            let listed = bk.run(&["snapshots", "--json"]).ok().json();
            assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1, "{listed}");
            assert_eq!(listed["snapshots"][0]["set"], set.as_str());
        }
        last = sets.into_iter().map(|set| (set, truth.clone())).collect();
    }
    for (n, (bk, (set, truth))) in both.iter().zip(&last).enumerate() {
        let to = format!("vg0/of-{n}");
        bk.run(&["restore", set, "--to", &to, "--confirm", bk.instance()]).ok();
        let restored = mount(&format!("of-{n}"));
        assert_eq!(&listing(&restored), truth);
        sh(&format!("umount {}; lvremove -q -y {to} 2>/dev/null", restored.display()));
        sh(&format!("lvremove -q -y vg0/{} 2>/dev/null", snapshots(bk)[0]));
    }
    both.iter().for_each(|bk| nothing_left(bk));
}

fn restores() {
    let bk = bkhost();
    configure(&bk, "");
    let truth = listing(Path::new("/mnt/home"));
    let id = bk.backup_id();
    let before = sh("lvs --noheadings -o lv_full_name,lv_tags 2>/dev/null");
    let restore = ["restore", &id, "--to", "vg0/again", "--confirm", bk.instance()];
    let untouched = |what: &str| {
        assert_eq!(sh("lvs --noheadings -o lv_full_name,lv_tags 2>/dev/null"), before, "{what}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("/staging/"), "{what}: {mounts}");
        bk.no_child_left();
    };
    // It fails: before there is a file system, before it is mounted.
    for (program, pattern) in [("mke2fs", "*"), ("mount", "*again*")] {
        configure(&bk, &stand_in(&bk, program, pattern, "echo it broke >&2; exit 1"));
        let outcome = bk.run(&restore);
        assert!(![0, 1].contains(&outcome.code) && outcome.stderr.contains("it broke"), "{program}: {outcome}");
        untouched(program);
    }
    // What it reads is damaged, which is seen when half of it is there.
    configure(&bk, "");
    let archive = bk.set(&id).join("home.tar.zst");
    let whole = std::fs::read(&archive).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    std::fs::write(&archive, damaged).unwrap();
    let outcome = bk.run(&restore);
    assert_eq!(outcome.code, 8, "{outcome}");
    untouched("a damaged archive");
    std::fs::write(&archive, whole).unwrap();
    // It is cancelled.
    configure(&bk, &stand_in(&bk, "mke2fs", "*", &waits(&bk)));
    let run = bk.spawn(&restore);
    reached(&bk);
    run.signal(Signal::TERM);
    run.end().fails(11, &["cancelled"]);
    untouched("a cancel");
    // It is killed: nobody is there to remove what it made, and so recovery does.
    let run = bk.spawn(&restore);
    reached(&bk);
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    configure(&bk, "");
    bk.run(&["recover"]).ok();
    untouched("a kill");
    bk.run(&restore).ok();
    assert_eq!(listing(&mount("again")), truth);
}

#[test]
fn of_perforce_metadata() {
    let bk = Bkhost::new();
    let p4 = p4d::server(&bk.path("root"));
    let part = |p4d: &Path| {
        let root = p4.root();
        format!(
            "[[part]]\nname = \"metadata\"\nplugin = \"p4d.wasm\"\n[part.config]\nroot = {root:?}\n[part.programs]\n\
             p4d = {p4d:?}\np4 = {:?}\n",
            p4.program("p4")
        )
    };
    let real = p4.program("p4d");
    let configure = |p4d: &Path| bk.config(&[&application_none(), &part(p4d)]);
    configure(&real);
    let truth = p4.records();
    let id = bk.backup_id();
    let before = listing(p4.root());
    let to = bk.path("restored");
    let restore = ["restore", &id, "--to", to.to_str().unwrap(), "--confirm", bk.instance()];
    let slow = |pattern: &str| -> PathBuf {
        let script = format!("case \" $* \" in {pattern}) {};; esac\nexec {real:?} \"$@\"", waits(&bk));
        bk.program("slow-p4d", &script)
    };
    let names = || -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&to) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    // Cancelled while it replays, and while it looks at what it has.
    for pattern in ["*' -jr '*", "*' -xv '*"] {
        configure(&slow(pattern));
        let run = bk.spawn(&restore);
        reached(&bk);
        run.signal(Signal::INT);
        run.end().fails(11, &["cancelled"]);
        assert_eq!(names(), [""; 0], "{pattern}");
        bk.no_child_left();
    }
    // Killed while it replays: what is there is not taken for a whole server, and is not written to.
    configure(&slow("*' -jr '*"));
    let run = bk.spawn(&restore);
    reached(&bk);
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    configure(&real);
    let _ = bk.run(&["recover"]);
    let again = bk.run(&restore);
    if again.code != 0 {
        assert_eq!(again.code, 9, "{again}");
        assert!(again.stderr.contains("is not empty") && names().contains(&"bkhost-restore".to_owned()), "{again}");
        std::fs::remove_dir_all(&to).unwrap();
        bk.run(&restore).ok();
    }
    assert_eq!(restored(&p4, &to), truth);
    assert_eq!(listing(p4.root()), before, "the original is as it was");
}

fn restored(p4: &P4, to: &Path) -> String {
    assert!(!to.join("bkhost-restore").exists());
    p4.at(to).records()
}
