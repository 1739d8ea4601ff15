//! Copies beside each other: how many stay, whose they are, and what they share.

use bkhost_tests::{Bkhost, LoopFs, application_none, listing, noise};

use super::{World, part, sh};
use crate::directory::hard_to_keep;

#[test]
fn a_large_file_that_changed_a_little_costs_little() {
    for (kind, sharing) in [("xfs", "auto"), ("btrfs", "reflink")] {
        let bk = Bkhost::new();
        let fs = LoopFs::sized(&bk.path(""), "disk", kind, 512 << 20);
        let world = World::on(bk, fs.point());
        std::fs::write(world.home.join("large"), noise(1, 64 << 20)).unwrap();
        // Between the passes, too.
        world.config_with_quiesce(
            "printf %s $RANDOM | dd of=large bs=1 seek=33554432 conv=notrunc status=none",
            &format!("keep-copies = 9\nsharing = {sharing:?}"),
        );
        let _ = world.bk.backup();
        let used = || {
            sh(fs.point(), "sync -f .");
            let fs = rustix::fs::statvfs(fs.point()).unwrap();
            (fs.f_blocks - fs.f_bfree) * fs.f_frsize
        };
        let before = used();
        for _ in 0..2 {
            let change = "printf %s $RANDOM | dd of=large bs=1 seek=1048576 conv=notrunc status=none";
            sh(&world.home, change);
            let set = world.bk.backup_id();
            assert_eq!(world.listing(&set), listing(&world.home));
        }
        let cost = used().saturating_sub(before);
        println!("{kind}: two more copies of 64 MiB took {} KiB", cost >> 10);
        assert!(cost < 16 << 20, "{kind}: two more copies of 64 MiB took {cost} bytes");
    }
}

#[test]
fn a_file_system_that_cannot_reflink_is_told() {
    let world = World::new();
    std::fs::write(world.home.join("f"), "1").unwrap();
    let bk = Bkhost::new();
    let fs = LoopFs::new(&bk.path(""), "disk", "ext4");
    let world = World { stage: fs.point().to_owned(), ..world };
    world.config("sharing = \"reflink\"");
    let outcome = world.bk.run(&["run"]);
    assert!(outcome.code != 0 && outcome.stderr.contains("sharing = \"auto\""), "{outcome}");
    assert!(world.staged().is_empty(), "{:?}", world.staged());
}

#[test]
fn unchanged_files_take_no_room_and_old_copies_go() {
    let world = World::new();
    for n in 0..20 {
        std::fs::write(world.home.join(n.to_string()), noise(n, 50_000)).unwrap();
    }
    world.config("keep-copies = 2\nsharing = \"hard-links\"");
    sh(&world.home, "touch -d '2020-01-01' *");
    let mut sets = Vec::new();
    for n in 0..4 {
        std::fs::write(world.home.join("changed"), n.to_string()).unwrap();
        sets.push(world.bk.backup_id());
    }
    let names = |sets: &[String]| {
        let copies = sets.iter().map(|set| world.copy(set).file_name().unwrap().to_str().unwrap().to_owned());
        copies.flat_map(|name| [name.clone(), format!("{name}.json")]).collect::<Vec<_>>()
    };
    assert_eq!(world.staged(), names(&sets[1..]), "two that the last run found, and its own");
    let inodes = |set: &str| sh(&world.copy(set), "stat -c %i 1 2 3");
    assert_eq!(inodes(&sets[3]), inodes(&sets[1]));
    // Retention takes the copies with the sets, from whatever process.
    world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", "2"]).ok();
    assert_eq!(world.staged(), names(&sets[2..]));
    let listed = world.bk.run(&["snapshots", "--json"]).ok().json();
    let of: Vec<_> =
        listed["snapshots"].as_array().unwrap().iter().map(|found| found["set"].as_str().unwrap()).collect();
    assert_eq!(of, [sets[2].as_str(), sets[3].as_str()]);
    // One that somebody removed is not missed.
    std::fs::remove_dir_all(world.copy(&sets[3])).unwrap();
    let set = world.bk.backup_id();
    assert_eq!(world.listing(&set), listing(&world.home));
    assert_eq!(world.restored(&sets[3]), world.restored(&set));
}

#[test]
fn two_instances_and_two_parts_in_one_staging_area() {
    let (one, other) = (World::new(), World::new());
    std::fs::write(one.home.join("f"), "one").unwrap();
    hard_to_keep(&other.home);
    let parts = part("home", &one.home, &one.stage, "") + &part("other", &other.home, &one.stage, "");
    one.bk.config(&[&application_none(), &parts]);
    other.bk.config(&[&application_none(), &part("home", &other.home, &one.stage, "")]);
    let other = World { stage: one.stage.clone(), ..other };
    let sets: Vec<_> = (0..3).map(|_| (one.bk.backup_id(), other.bk.backup_id())).collect();
    one.bk.run(&["prune", "--confirm", one.bk.instance(), "--keep-last", "1"]).ok();
    let (_, theirs) = &sets[2];
    assert_eq!(other.listing(theirs), listing(&other.home));
    assert_eq!(other.staged().len(), 4, "{:?}", other.staged());
    assert_eq!(one.staged().len(), 2, "{:?}", one.staged());
    assert_eq!(other.restored(theirs), listing(&other.home));
}

#[test]
fn what_looks_like_a_copy_and_is_not_ours_survives() {
    let world = World::new();
    std::fs::write(world.home.join("f"), "1").unwrap();
    world.config("");
    let first = world.bk.backup_id();
    let instance = world.bk.instance();
    let foreign = [
        format!("rsync-bkhost-{instance}-20200101-000000-abcdef"),
        format!("rsync-bkhost-{instance}-20200101-000000-abcdef.partial"),
        format!("rsync-bkhost-{instance}x-20200101-000000-abcdef"),
        format!("bkhost-{instance}-20200101-000000-abcdef"),
        "mine".to_owned(),
    ];
    for name in &foreign {
        std::fs::create_dir(world.area().join(name)).unwrap();
        std::fs::write(world.area().join(name).join("f"), "mine").unwrap();
    }
    // Another's record beside a directory with a name as ours.
    let ours = std::fs::read_to_string(world.area().join(format!("rsync-bkhost-{instance}-{first}.json"))).unwrap();
    let theirs = ours
        .replace(&format!("\"instance\":\"{instance}\""), "\"instance\":\"another\"")
        .replace(&first, "20200101-000000-abcdef");
    assert!(theirs.contains("another"), "{theirs}");
    std::fs::write(world.area().join(format!("{}.json", foreign[0])), theirs).unwrap();
    for _ in 0..3 {
        let _ = world.bk.backup();
        world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", "1"]).ok();
    }
    for name in &foreign {
        assert_eq!(std::fs::read_to_string(world.area().join(name).join("f")).unwrap(), "mine", "{name}");
    }
    assert!(!world.copy(&first).exists());
    // One that is in the way is not written over.
    std::fs::create_dir(world.area().join("rsync-live")).unwrap();
    std::fs::write(world.area().join("rsync-live/f"), "mine").unwrap();
    let outcome = world.bk.run(&["run"]);
    assert!(outcome.code != 0 && outcome.stderr.contains("rsync-live"), "{outcome}");
    assert_eq!(std::fs::read_to_string(world.area().join("rsync-live/f")).unwrap(), "mine");
}
