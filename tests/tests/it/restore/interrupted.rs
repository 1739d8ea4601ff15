//! A restore that dies or is cancelled: nothing but whole parts is ever in its place, and the next one goes on.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, application_none, directory_part, listing};
use rustix::process::Signal;

use super::{backed_up, names};

/// What is left of restores beside and in their targets.
fn partial(bk: &Bkhost) -> Vec<String> {
    names(&bk.path("")).into_iter().filter(|name| name.contains(".bkhost-partial-")).collect()
}

#[test]
fn killed_at_every_record_and_restored_again() {
    let start = Instant::now();
    let (bk, id) = backed_up(&["home"]);
    let mut struck = 0;
    for kind in ["begun", "restore", "restoring", "settling", "restored", "ended"] {
        for (when, existing) in [("before", true), ("torn", false), ("after", false), ("after", true)] {
            let point = format!("{when}:{kind}:1");
            let target = bk.path("a/target");
            if existing {
                std::fs::create_dir_all(&target).unwrap();
            }
            let to = target.display().to_string();
            let restore = ["restore", &id, "--to", &to, "--confirm", bk.instance()];
            let died = bk.doomed(&restore, &point).end();
            assert_eq!(died.code, -1, "{point}: {died}");
            // Whole, or as if nothing had been: never a part of it.
            let there = names(&bk.path("")).into_iter().filter(|name| name.ends_with("target/file")).count();
            if there > 0 && target.join("file").exists() {
                assert_eq!(listing(&target), listing(&bk.path("home")), "{point}");
            }
            if (when, existing) == ("torn", false) {
                // An administrator who wants it cleaned up, and not gone on with.
                bk.run(&["recover"]).ok();
                assert_eq!(partial(&bk), [""; 0], "{point}");
                if !target.exists() {
                    assert!(!bk.path("a").exists(), "{point}: also what was made above it");
                }
            } else if when == "after" {
                let status = bk.run(&["status"]).ok().stdout;
                assert!(status.contains("dead") || kind == "ended", "{point}: {status}");
            }
            let again = bk.run(&restore);
            if again.code == 9 && kind == "ended" {
                // It had ended: the target is full.
                assert!(again.stderr.contains("not empty"), "{point}: {again}");
            } else {
                assert_eq!(again.code, 0, "{point}: {again}");
            }
            assert_eq!(listing(&target), listing(&bk.path("home")), "{point}");
            assert_eq!(partial(&bk), [""; 0], "{point}");
            std::fs::remove_dir_all(bk.path("a")).unwrap();
            struck += 1;
        }
    }
    println!("{struck} points of a restore struck in {:?}", start.elapsed());
}

#[test]
fn cancelled() {
    let (bk, id) = backed_up(&["home"]);
    for existing in [false, true] {
        let target = bk.path("target");
        if existing {
            std::fs::create_dir(&target).unwrap();
            std::fs::set_permissions(&target, PermissionsExt::from_mode(0o2710)).unwrap();
        }
        let to = target.display().to_string();
        let restore = bk.doomed(&["restore", &id, "--to", &to, "--confirm", bk.instance()], "after:restoring:1:stop");
        bkhost_tests::until("it stands still", Duration::from_secs(20), || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", restore.pid())).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
        });
        let status = bk.run(&["status"]).ok().stdout;
        assert!(status.contains("restore of") && status.contains("running"), "{status}");
        restore.signal(Signal::TERM);
        restore.signal(Signal::CONT);
        restore.end().fails(11, &["cancel"]);
        assert_eq!(partial(&bk), [""; 0]);
        assert_eq!(target.exists(), existing);
        if existing {
            assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
            assert_eq!(std::fs::metadata(&target).unwrap().mode() & 0o7777, 0o2710);
            // It is filled as it stands, and then like the original.
            bk.run(&["restore", &id, "--to", &to, "--confirm", bk.instance()]).ok();
            let (home, target) = (std::fs::metadata(bk.path("home")).unwrap(), std::fs::metadata(&target).unwrap());
            assert_eq!((home.mode(), home.mtime_nsec()), (target.mode(), target.mtime_nsec()));
        }
    }
}

#[test]
fn parts_that_are_whole_are_not_restored_twice() {
    let (bk, id) = backed_up(&["one", "two"]);
    let to = ["one", "two"].map(|part| format!("{part}={}", bk.path(&format!("r-{part}")).display()));
    let restore = ["restore", &id, "--to", &to[0], "--to", &to[1], "--confirm", bk.instance()];
    let same = format!("two={}", bk.path("r-one").display());
    bk.run(&["restore", &id, "--to", &to[0], "--to", &same, "--confirm", bk.instance()])
        .fails(9, &["would both go to"]);
    assert!(!bk.path("r-one").exists());
    let died = bk.doomed(&restore, "before:restoring:2").end();
    assert_eq!(died.code, -1, "{died}");
    let first = ["one", "two"].into_iter().find(|part| bk.path(&format!("r-{part}")).exists()).unwrap();
    let inode = |part: &str| std::fs::metadata(bk.path(&format!("r-{part}/file"))).unwrap().ino();
    let before = inode(first);
    let planned = bk.run(&[&restore[..], &["--plan"]].concat()).ok();
    assert!(planned.stdout.contains("SKIPPED: restored at"), "{planned}");
    // Elsewhere, it is another matter.
    let elsewhere = format!("{first}={}", bk.path("elsewhere").display());
    let other = bk.run(&["restore", &id, "--part", first, "--to", &elsewhere, "--plan"]).ok();
    assert!(!other.stdout.contains("SKIPPED"), "{other}");
    bk.run(&restore).ok();
    assert_eq!(inode(first), before, "it was left alone");
    for part in ["one", "two"] {
        assert_eq!(listing(&bk.path(part)), listing(&bk.path(&format!("r-{part}"))));
    }
    // Now it has ended well, and a third one finds the targets full.
    bk.run(&restore).fails(9, &["not empty"]);
}

#[test]
fn what_others_put_there_meanwhile_stays() {
    let (bk, id) = backed_up(&["home"]);
    let target = bk.path("target");
    let to = target.display().to_string();
    let restore = ["restore", &id, "--to", &to, "--confirm", bk.instance()];
    for existing in [false, true] {
        if existing {
            std::fs::create_dir(&target).unwrap();
        }
        assert_eq!(bk.doomed(&restore, "before:settling:1").end().code, -1);
        if !existing {
            std::fs::create_dir(&target).unwrap();
        }
        std::fs::write(target.join("theirs"), "theirs").unwrap();
        bk.run(&["recover"]).ok();
        assert_eq!(names(&target), ["theirs"]);
        assert_eq!(partial(&bk), [""; 0]);
        bk.run(&restore).fails(9, &["not empty", "theirs"]);
        std::fs::remove_dir_all(&target).unwrap();
    }
    // It was whole, and about to come into its place, which has been taken. The next restore is not told that it is done.
    assert_eq!(bk.doomed(&restore, "after:settling:1").end().code, -1);
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("theirs"), "theirs").unwrap();
    bk.run(&restore).fails(9, &["not empty", "theirs"]);
    assert_eq!((names(&target), partial(&bk)), (vec!["theirs".to_owned()], Vec::new()));
    std::fs::remove_file(target.join("theirs")).unwrap();
    // Where some of it may be in place already, it is gone on with when that is possible. Meanwhile others are restored.
    assert_eq!(bk.doomed(&restore, "after:settling:1").end().code, -1);
    std::fs::write(target.join("file"), "theirs").unwrap();
    bk.run(&["recover"]).fails(9, &["in the way", "`file`"]);
    bk.run(&restore).fails(9, &["in the way", "`file`"]);
    let other = bk.path("other").display().to_string();
    bk.run(&["restore", &id, "--to", &other, "--confirm", bk.instance()]).ok();
    assert_eq!(listing(&bk.path("other")), listing(&bk.path("home")));
    std::fs::remove_file(target.join("file")).unwrap();
    bk.run(&["recover"]).ok();
    assert_eq!((listing(&target), partial(&bk)), (listing(&bk.path("home")), Vec::new()));
}

#[test]
fn what_comes_into_being_during_a_restore_stays() {
    let (bk, id) = backed_up(&["home"]);
    let home = bk.path("home");
    let intrude = format!("mkdir '{0}' && echo theirs > '{0}/file'", home.display());
    let before = format!("[restore]\nbefore = [[\"{}\"]]\n", bk.program("intrude", &intrude).display());
    bk.config(&[&application_none(), &directory_part("home", &home), &before]);
    std::fs::remove_dir_all(&home).unwrap();
    bk.run(&["restore", &id, "--confirm", bk.instance()]).fails(9, &["in the way", "`file`"]);
    assert_eq!((names(&home), partial(&bk)), (vec!["file".to_owned()], Vec::new()));
    assert!(bk.run(&["recover"]).ok().stdout.contains("nothing"));
}
