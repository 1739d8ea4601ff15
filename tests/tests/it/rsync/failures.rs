//! Whatever happens in a run: the last good copy is as it was, and nothing else is left.

use std::path::Path;
use std::time::Duration;

use bkhost_tests::{Bkhost, LoopFs, Outcome, application_none, listing, noise, tool, until};
use rustix::process::Signal;

use super::{World, part, sh};

/// Inode numbers too: the copy is the very same.
fn account(copy: &Path) -> String {
    listing(copy) + &sh(copy, "find . -printf '%i %P %T@ %m\\n' | sort")
}

#[test]
fn the_previous_copy_destroyed_before_the_new_one_exists() {
    let world = World::new();
    for n in 0..20 {
        std::fs::write(world.home.join(n.to_string()), noise(n, 100_000)).unwrap();
    }
    world.config("");
    let good = world.bk.backup_id();
    let (copy, staged, stored) = (world.copy(&good), world.staged(), world.bk.stored());
    let (before, truth) = (account(&copy), listing(&copy));
    let base = part("home", &world.home, &world.stage, "");
    let run = |script: &str, point: Option<&str>| -> Outcome {
        // All of it is different: a run that wrote over the copy would not come far.
        sh(&world.home, "for f in [0-9]*; do head -c 100000 /dev/urandom >$f; chmod $((600 + RANDOM % 8)) $f; done");
        let rsync = world.bk.program("rsync", script);
        world.bk.config(&[&application_none(), &base, &format!("[part.programs]\nrsync = {rsync:?}\n")]);
        let mut command = world.bk.command(&["run", "--json"]);
        if let Some(point) = point {
            command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", point);
        }
        bkhost_tests::Running::start(command, false).end_with_guard()
    };
    let check = |what: &str| {
        assert_eq!(account(&copy), before, "{what}: the last good copy");
        assert_eq!(world.bk.stored(), stored, "{what}");
    };
    let copying = "case \" $* \" in *' --stats '*) ;; *) exec rsync \"$@\" ;; esac\n";
    let locked = "case \" $* \" in *'.partial '*|*.partial) ;; *) exec rsync \"$@\" ;; esac\n";
    let nth = |locks: bool, script: &str| format!("{copying}{}{script}", if locks { locked } else { "" });
    for under_lock in [false, true] {
        for (what, script) in [
            // In the middle of it.
            ("killed", "rsync --bwlimit=500 \"$@\" & sleep 0.4; kill -KILL $!; wait $!"),
            ("fails", "rsync \"$@\"; exit 12"),
            ("does nothing", "exit 23"),
            (
                "loses its source",
                "mv ../../../home ../../../gone; rsync \"$@\"; s=$?; mv ../../../gone ../../../home; exit $s",
            ),
        ] {
            let outcome = run(&nth(under_lock, script), None);
            let what = format!("{what}, under the lock: {under_lock}");
            assert!(![0, 1].contains(&outcome.code), "{what}: {outcome}");
            check(&what);
            let live: Vec<_> = world.staged().into_iter().filter(|name| !name.starts_with("rsync-live")).collect();
            assert_eq!(live, staged, "{what}");
        }
    }
    // The host dies in every phase, and somebody clears up.
    for point in ["after:begun:1", "after:capturing:1", "before:captured:1", "after:captured:1", "after:storing:1"] {
        let outcome = run("exec rsync \"$@\"", Some(point));
        assert_eq!(outcome.code, -1, "{point}: {outcome}");
        assert_eq!(account(&copy), before, "{point}");
        world.bk.run(&["recover"]).ok();
        check(point);
        let live: Vec<_> = world.staged().into_iter().filter(|name| !name.starts_with("rsync-live")).collect();
        assert_eq!(live, staged, "{point}");
    }
    assert_eq!(world.restored(&good), truth);
    world.config("");
    let next = world.bk.backup_id();
    assert_eq!(world.listing(&next), listing(&world.home));
    assert_eq!(account(&copy), before);
    assert_eq!(world.staged().len(), 4, "{:?}", world.staged());
}

#[test]
fn a_staging_area_without_room() {
    let bk = Bkhost::new();
    let fs = LoopFs::sized(&bk.path(""), "disk", "ext4", 48 << 20);
    let (home, stage) = (bk.path("home"), fs.point().to_owned());
    std::fs::create_dir(&home).unwrap();
    let world = World { bk, home, stage };
    std::fs::write(world.home.join("f"), noise(1, 60 << 20)).unwrap();
    world.config("");
    let outcome = world.bk.run(&["check"]);
    assert_eq!(outcome.code, 6, "{outcome}");
    for text in ["the first copy takes up to", "are free", "`staging` of the [[part]]"] {
        assert!(outcome.stdout.contains(text), "{outcome}");
    }
    std::fs::write(world.home.join("f"), noise(1, 10 << 20)).unwrap();
    let good = world.bk.backup_id();
    let before = account(&world.copy(&good));
    let free = || rustix::fs::statvfs(&world.stage).unwrap().f_bavail;
    let room = free();
    // In the live pass.
    std::fs::write(world.home.join("g"), noise(2, 60 << 20)).unwrap();
    let outcome = world.bk.run(&["run"]);
    assert!(outcome.code != 0 && outcome.stderr.contains("No space left"), "{outcome}");
    assert!(outcome.stderr.contains("make room"), "{outcome}");
    assert_eq!(account(&world.copy(&good)), before);
    assert!(free() + 512 > room, "{} of {room} blocks are free again", free());
    // Under the lock.
    std::fs::remove_file(world.home.join("g")).unwrap();
    world.config_with_quiesce("head -c 60000000 /dev/urandom >g", "");
    let outcome = world.bk.run(&["run"]);
    assert!(outcome.code != 0 && outcome.stderr.contains("No space left"), "{outcome}");
    assert_eq!(account(&world.copy(&good)), before);
    assert!(free() + 512 > room, "{} of {room} blocks are free again", free());
    std::fs::remove_file(world.home.join("g")).unwrap();
    world.config("");
    let _ = world.bk.backup();
}

/// The first copy takes long: what one run has copied before it died, the next need not copy again. And only that.
#[test]
fn a_first_copy_that_was_broken_off_is_gone_on_with() {
    let world = World::new();
    for n in 0..30 {
        std::fs::write(world.home.join(format!("{n:02}")), noise(n, 200_000)).unwrap();
    }
    sh(&world.home, "touch -d '2020-01-01' *");
    let slow = world.bk.program("rsync", "exec rsync --bwlimit=2000 \"$@\"");
    let parts = part("home", &world.home, &world.stage, "");
    world.bk.config(&[&application_none(), &parts, &format!("[part.programs]\nrsync = {slow:?}\n")]);
    let run = world.bk.spawn(&["run", "--json"]);
    let live = world.area().join("rsync-live");
    until("some is copied", Duration::from_secs(30), || live.join("05").exists());
    run.signal(Signal::KILL);
    let outcome = run.end_with_guard();
    assert_eq!(outcome.code, -1, "{outcome}");
    let inode = |name: &str| {
        let mut stat = std::process::Command::new("stat");
        stat.args(["-c", "%i"]).arg(name);
        tool(stat)
    };
    let kept = inode(live.join("03").to_str().unwrap());
    // As a machine that was switched off: a copy with the right size and time, and nothing in it. Of another boot.
    let record = world.area().join("rsync-live.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(world.home.join("02"), noise(99, 200_000)).unwrap();
    world.config("");
    let set = world.bk.backup_id();
    assert_eq!(world.listing(&set), listing(&world.home));
    assert_eq!(inode(world.copy(&set).join("03").to_str().unwrap()), kept, "it was copied again");

    std::fs::remove_dir_all(world.area()).unwrap();
    std::fs::create_dir(world.area()).unwrap();
    sh(
        &world.area(),
        "mkdir rsync-live; cp -p ../../../home/* rsync-live; for f in rsync-live/*; do truncate -s 0 $f; done",
    );
    sh(
        &world.area(),
        "for f in rsync-live/*; do truncate -r ../../../home/${f##*/} $f; touch -r ../../../home/${f##*/} $f; done",
    );
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = text.replace(boot.trim(), "00000000-0000-0000-0000-000000000000");
    assert_ne!(other, text);
    std::fs::write(&record, other).unwrap();
    let set = world.bk.backup_id();
    assert_eq!(world.listing(&set), listing(&world.home));
}
