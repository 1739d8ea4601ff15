//! Several that share an account, and what is not ours.

use bkhost_tests::{Bkhost, application_none};

use super::{QUICK, World};

/// Snapshots that look like ours.
fn foreign(world: &World, of: &str, set: &str) -> Vec<String> {
    let instance = world.bk.instance().to_owned();
    let run = format!("bkhost-{instance}-{set}");
    let tag = |n: u8, key: &str, value: &str| {
        vec![(format!("Tags.Tag.{n}.Key"), key.to_owned()), (format!("Tags.Tag.{n}.Value"), value.to_owned())]
    };
    let ours = |part: &str| {
        [tag(1, "bkhost:instance", &instance), tag(2, "bkhost:part", part), tag(3, "bkhost:run", &run)].concat()
    };
    let plain = Vec::new;
    let all = [
        ("manual".to_owned(), plain()),
        (format!("bkhost-{instance}-20200101-000000-abcdef-database"), plain()),
        (format!("bkhost-{instance}-20200102-000000-abcdef-other"), ours("other")),
        ("bkhost-other-20200101-000000-abcdef-database".to_owned(), tag(1, "bkhost:instance", "other")),
        // As a copy of one of ours, which takes its tags along.
        (format!("{run}-database-copy"), ours("database")),
    ];
    for (id, tags) in &all {
        let mut parameters = vec![("DBSnapshotIdentifier", id.as_str()), ("DBInstanceIdentifier", of)];
        parameters.extend(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        world.rds("CreateDBSnapshot", &parameters);
    }
    all.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn foreign_snapshots_survive() {
    let world = World::new();
    world.database("live");
    world.configure("instance = \"live\"", QUICK);
    let first = world.bk.backup_id();
    let foreign = foreign(&world, "live", &first);
    let last = world.bk.backup_id();
    world.aws.page("DescribeDBSnapshots", 2);
    world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", "1"]).ok();
    let mut expected = foreign.clone();
    expected.push(world.snapshot_of(&last));
    expected.sort();
    assert_eq!(world.snapshots(), expected);
    // Automated ones too: moto makes one with the database.
    let all = world.aws.texts("rds", "DescribeDBSnapshots", &[("SnapshotType", "automated")], "DBSnapshotIdentifier");
    assert!(!all.is_empty());

    // One of ours whose tags somebody has taken away is no longer ours.
    let arn = world.aws.texts(
        "rds",
        "DescribeDBSnapshots",
        &[("DBSnapshotIdentifier", &world.snapshot_of(&last))],
        "DBSnapshotArn",
    );
    let newest = world.bk.backup_id();
    world.rds("RemoveTagsFromResource", &[("ResourceName", &arn[0]), ("TagKeys.member.1", "bkhost:run")]);
    let outcome = world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", "1"]);
    assert_ne!(outcome.code, 0, "{outcome}");
    assert!(format!("{outcome}").contains("does not carry the tags"), "{outcome}");
    expected.push(world.snapshot_of(&newest));
    expected.sort();
    assert_eq!(world.snapshots(), expected);
}

#[test]
fn two_instances_do_not_touch_each_others_snapshots() {
    let world = World::new();
    world.database("one");
    world.database("two");
    let other = Bkhost::new();
    world.configure("instance = \"one\"", QUICK);
    other.config(&[&application_none(), &world.part("database", "instance = \"two\"", QUICK)]);
    // At the same time.
    let runs = [world.bk.spawn(&["run", "--json"]), other.spawn(&["run", "--json"])];
    let [mine, theirs] = runs.map(|run| run.end().ok().json()["id"].as_str().unwrap().to_owned());
    let theirs = format!("bkhost-{}-{theirs}-database", other.instance());
    let mut both = vec![world.snapshot_of(&mine), theirs.clone()];
    both.sort();
    assert_eq!(world.snapshots(), both);
    let newer = world.bk.backup_id();
    world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", "1"]).ok();
    let mut expected = vec![world.snapshot_of(&newer), theirs];
    expected.sort();
    assert_eq!(world.snapshots(), expected);
}

/// Two parts of one run have the same label, and the same database may be in both.
#[test]
fn two_parts_of_a_run_have_snapshots_of_their_own() {
    let world = World::new();
    world.database("live");
    // Names of parts that are no part of an identifier, and would become the same.
    let parts = ["a-b", "a--b", "a-b-"].map(|name| world.part(name, "instance = \"live\"", QUICK));
    world.bk.config(&[&application_none(), &parts[0], &parts[1], &parts[2]]);
    world.bk.backup_id();
    assert_eq!(world.snapshots().len(), 3);
    let last = world.bk.backup_id();
    world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", "1"]).ok();
    let left = world.snapshots();
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|id| id.contains(&last) && !id.contains("--") && !id.ends_with('-')), "{left:?}");
}
