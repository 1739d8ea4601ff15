//! Retention, and whose snapshots it touches.

use std::path::Path;

use bkhost_tests::{Bkhost, application_none, directory_part, zfs};

fn ids(bk: &Bkhost) -> Vec<String> {
    bk.list().into_iter().map(|(id, _)| id).collect()
}

#[test]
fn prune_deletes_old_sets_and_their_own_snapshots_only() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    bk.config(&[&application_none(), &zfs.part("home", &[&dataset])]);
    // Those of others, some of which look like ours.
    let instance = bk.instance();
    let foreign = [
        "manual".to_owned(),
        "bkhost-other-20200101-000000-abcdef".to_owned(),
        format!("bkhost-{instance}-20200101-000000-abcdef"),
        format!("bkhost-{instance}"),
        "daily".to_owned(),
    ];
    for name in &foreign {
        zfs.zfs(&["snapshot", &format!("{dataset}@{name}")]);
    }
    // Even one with our properties, but for another part.
    let stranger = format!("bkhost-{instance}-20200102-000000-abcdef");
    let own_like = ["-o", &format!("bkhost:instance={instance}"), "-o", "bkhost:part=other", "-o", "bkhost:run=x"];
    zfs.zfs(&[&["snapshot"], &own_like[..], &[&format!("{dataset}@{stranger}")]].concat());
    let sets: Vec<String> = (0..4).map(|_| bk.backup_id()).collect();
    assert_eq!(zfs.snapshots(&dataset).len(), 10);

    // 0 keeps all.
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "0"]).ok();
    assert_eq!(ids(&bk).len(), 4);
    // A dry run says what would go, and nothing goes.
    let would = bk.run(&["prune", "--keep-last", "2", "--dry-run"]).ok();
    assert!(would.stdout.contains(&format!("goes   {}", sets[0])), "{would}");
    assert!(would.stdout.contains("Nothing was deleted"), "{would}");
    assert_eq!(ids(&bk).len(), 4);

    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "2"]).ok();
    assert_eq!(ids(&bk), [sets[3].clone(), sets[2].clone()]);
    assert_eq!(bk.stored(), [sets[2].clone(), sets[3].clone()], "no directory is left of a set that went");
    let label = |id: &String| format!("bkhost-{instance}-{id}");
    let mut expected: Vec<String> = foreign.to_vec();
    expected.extend([stranger, label(&sets[2]), label(&sets[3])]);
    assert_eq!(zfs.snapshots(&dataset), expected);

    // A damaged set does not count, so the one before it is the last proved one.
    let object = bk.set(&sets[3]).join("home.tar.zst");
    let bytes = std::fs::read(&object).unwrap();
    std::fs::write(&object, &bytes[..bytes.len() - 1]).unwrap();
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(ids(&bk), [sets[3].clone(), sets[2].clone()], "the last proved one stays, and the damaged one too");
    assert_eq!(zfs.snapshots(&dataset), expected);
}

#[test]
fn a_run_prunes_by_the_configuration() {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    let part = directory_part("home", &bk.path("home"));
    bk.config(&[&application_none(), &part, "[retention]\nkeep-last = 2\n"]);
    let sets: Vec<String> = (0..3).map(|_| bk.backup_id()).collect();
    assert_eq!(ids(&bk), [sets[2].clone(), sets[1].clone()]);
    // A file of somebody else in the store is left alone.
    let other = bk.path("backups").join(bk.instance()).join("notes.txt");
    std::fs::write(&other, "mine").unwrap();
    let _ = bk.backup_id();
    assert!(Path::new(&other).exists());
    assert_eq!(ids(&bk).len(), 2);
}

#[test]
fn prune_will_not_forget_a_snapshot() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    bk.config(&[&application_none(), &zfs.part("home", &[&dataset])]);
    let sets = [bk.backup_id(), bk.backup_id()];
    // Without the part, nobody could delete its snapshot.
    std::fs::create_dir(bk.path("d")).unwrap();
    bk.config(&[&application_none(), &directory_part("other", &bk.path("d"))]);
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"])
        .fails(7, &[&sets[0], "not configured", "would stay for ever"]);
    assert_eq!((ids(&bk).len(), zfs.snapshots(&dataset).len()), (2, 2));
    // A held snapshot is said, and stays with its set.
    bk.config(&[&application_none(), &zfs.part("home", &[&dataset])]);
    let held = format!("{dataset}@bkhost-{}-{}", bk.instance(), sets[0]);
    zfs.zfs(&["hold", "keep", &held]);
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).fails(7, &["is held"]);
    assert_eq!((ids(&bk).len(), zfs.snapshots(&dataset).len()), (2, 2));
    zfs.zfs(&["release", "keep", &held]);
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!((ids(&bk), zfs.snapshots(&dataset).len()), (vec![sets[1].clone()], 1));
}

/// The vendor's snapshot belongs to the set as long as any store has it.
#[test]
fn a_snapshot_goes_with_the_last_copy_of_its_set() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    let [one, two] = ["one", "two"].map(|name| format!("[[store]]\nto = \"{}\"\n", bk.path(name).display()));
    bk.config_for(&[&application_none(), &zfs.part("home", &[&dataset])], &[&one, &two]);
    let (first, second) = (bk.backup_id(), bk.backup_id());
    let label = |id: &String| format!("bkhost-{}-{id}", bk.instance());
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1", "--store", "one"]).ok();
    assert!(!bk.path("one").join(bk.instance()).join(&first).exists());
    assert_eq!(zfs.snapshots(&dataset), [label(&first), label(&second)]);
    // Whether a store has it that is not there is not known: nothing is lost.
    std::fs::rename(bk.path("one"), bk.path("away")).unwrap();
    std::fs::write(bk.path("one"), "").unwrap();
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1", "--store", "two"]).fails(7, &["store `one`"]);
    assert_eq!(zfs.snapshots(&dataset), [label(&first), label(&second)]);
    std::fs::remove_file(bk.path("one")).unwrap();
    std::fs::rename(bk.path("away"), bk.path("one")).unwrap();
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(zfs.snapshots(&dataset), [label(&second)]);
}
