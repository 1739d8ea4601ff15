//! What the usual scripts do wrong when they restore.

use std::time::Duration;

use bkhost_tests::aws::{Fault, Rule, States};
use bkhost_tests::until;
use rustix::process::Signal;

use super::{QUICK, World};

/// Keys for a restore that gives up soon.
fn keys(minutes: &str, more: &str) -> String {
    format!("{QUICK}\n[part.config.restore]\ntimeout-minutes = {minutes}\n{more}")
}

/// A world with a live database and a set.
fn backed_up() -> (World, String) {
    let world = World::new();
    world.database("live");
    world.configure("instance = \"live\"", &keys("1", ""));
    let id = world.bk.backup_id();
    (world, id)
}

/// The live database is as it was, and nothing else is there.
fn only_live(world: &World, facts: &[String]) {
    assert_eq!(world.databases(), ["live"]);
    assert_eq!(world.facts("live", &FACTS), facts);
}

const FACTS: [&str; 4] = ["DBInstanceIdentifier", "DBInstanceStatus", "InstanceCreateTime", "DeletionProtection"];

/// "An RDS restore that renames the live database, then fails or reports success on the old one."
#[test]
fn a_restore_never_renames_the_live_database_and_a_failed_one_is_no_success() {
    let (world, id) = backed_up();
    let facts = world.facts("live", &FACTS);
    let changes = world.changes().len();
    let since = |world: &World| world.changes().split_off(changes);

    // Under its own name, while it is there: refused before anything is done.
    world.restore(&id, &[]).fails(9, &["DB instance live exists", "never replaced", "--to <new name>"]);
    world.restore(&id, &["live"]).fails(9, &["DB instance live exists"]);
    world.restore(&id, &["LIVE"]).fails(9, &["DB instance live exists"]);
    assert_eq!(since(&world), [""; 0]);
    only_live(&world, &facts);

    // The new one ends in a state from which it never becomes available.
    for state in ["failed", "incompatible-parameters", "restore-error"] {
        world.aws.states(States::db_instances().only("fresh").then("creating", 2).then(state, 4));
        world.restore(&id, &["fresh"]).fails(6, &["fresh", state, "the original was not touched"]);
        only_live(&world, &facts);
        world.aws.heal();
    }

    // It never becomes available: that is a failure, and the original's state is none of it.
    world.configure("instance = \"live\"", &keys("0.02", ""));
    world.aws.states(States::db_instances().only("fresh").then("creating", 1).forever());
    world.restore(&id, &["fresh"]).fails(12, &["fresh was not available, but creating", "timeout-minutes"]);
    only_live(&world, &facts);
    world.aws.heal();
    world.configure("instance = \"live\"", &keys("1", ""));

    // It is available, but not what was asked for.
    for (element, is, other) in [
        ("DBInstanceClass", "db.m6g.large", "db.t3.micro"),
        ("Engine", "postgres", "mysql"),
        ("EngineVersion", "16.3", "15.2"),
    ] {
        let (from, to) = (format!("<{element}>{is}<"), format!("<{element}>{other}<"));
        let rewrite = Fault::Rewrite(Box::new(move |text| text.replace(&from, &to)));
        world.aws.fault(Rule::on("DescribeDBInstances", rewrite).with("DBInstanceIdentifier", "fresh"));
        world.restore(&id, &["fresh"]).fails(8, &["fresh", other, is, "the original was not touched"]);
        only_live(&world, &facts);
        world.aws.heal();
    }

    // Whatever went wrong: only the new one was ever touched.
    let touched = since(&world);
    assert!(touched.len() >= 7 && touched.iter().all(|change| change.ends_with(" fresh")), "{touched:?}");
    world.restore(&id, &["fresh"]).ok();
    assert_eq!(world.databases(), ["fresh", "live"]);
}

/// A drill makes a database of its own and leaves none: not when it fails, and not when it is killed.
#[test]
fn a_drill_leaves_no_database() {
    let (world, id) = backed_up();
    let facts = world.facts("live", &FACTS);
    world.bk.run(&["drill"]).fails(6, &["drill = true", "[drill] skip"]);
    let drills = keys("1", "").replacen(QUICK, &format!("{QUICK}\ndrill = true"), 1);
    world.configure("instance = \"live\"", &drills);
    let drilled = world.bk.run(&["drill", "--json"]).ok().json();
    assert_eq!((&drilled["ok"], &drilled["id"]), (&true.into(), &id.as_str().into()), "{drilled}");
    only_live(&world, &facts);
    let made = world.aws.calls_of("RestoreDBInstanceFromDBSnapshot");
    let made = made.last().unwrap();
    let of = |key: &str| made.get(key).unwrap_or_default().to_owned();
    let drill = of("DBInstanceIdentifier");
    assert!(drill.starts_with("bkhost-drill-"), "{drill}");
    // What is only looked at is not doubled, out of reach, and not protected.
    assert_eq!([of("MultiAZ"), of("DeletionProtection"), of("DBInstanceClass")], ["false", "false", "db.m6g.large"]);

    world.aws.states(States::db_instances().only(&drill).then("creating", 1).then("incompatible-restore", 4));
    world.bk.run(&["drill"]).fails(6, &["incompatible-restore"]);
    only_live(&world, &facts);
    world.aws.heal();

    world.aws.states(States::db_instances().only(&drill).then("creating", 1).forever());
    let mut running = bkhost_tests::Running::start(world.bk.command(&["drill"]), false);
    until("it is made", Duration::from_secs(30), || world.databases().contains(&drill));
    running.signal(Signal::KILL);
    running.code();
    world.aws.heal();
    assert_eq!(world.databases(), [drill.as_str(), "live"]);
    world.bk.run(&["recover"]).ok();
    only_live(&world, &facts);

    // Somebody else's of that name is neither used nor deleted.
    let theirs =
        [("DBInstanceIdentifier", drill.as_str()), ("DBInstanceClass", "db.t3.medium"), ("Engine", "postgres")];
    let more = [("AllocatedStorage", "20"), ("MasterUsername", "admin"), ("MasterUserPassword", "password1")];
    world.rds("CreateDBInstance", &[&theirs[..], &more].concat());
    world.bk.run(&["drill"]).fails(9, &[&drill, "exists"]);
    assert_eq!(world.databases(), [drill.as_str(), "live"]);
}

/// So does one of a cluster, of which one instance is enough.
#[test]
fn a_drill_leaves_no_cluster() {
    let world = World::new();
    world.aurora("live");
    let drills = keys("1", "").replacen(QUICK, &format!("{QUICK}\ndrill = true"), 1);
    world.configure("cluster = \"live\"", &drills);
    world.bk.backup_id();
    let (clusters, databases) = (world.clusters(), world.databases());
    let since = world.changes().len();
    world.bk.run(&["drill"]).ok();
    assert_eq!((world.clusters(), world.databases()), (clusters, databases));
    let changes = world.changes().split_off(since);
    let made = changes.iter().filter(|change| change.starts_with("CreateDBInstance")).count();
    assert_eq!(made, 1, "{changes:?}");
    assert!(changes.iter().all(|change| change.contains(" bkhost-drill-")), "{changes:?}");
}

#[test]
fn a_restore_whose_reply_was_lost_is_found_again() {
    let (world, id) = backed_up();
    for (n, fault) in [Fault::LoseReply, Fault::CutReply, Fault::Html(502), Fault::throttling(), Fault::LoseRequest]
        .into_iter()
        .enumerate()
    {
        world.aws.fault(Rule::on("RestoreDBInstanceFromDBSnapshot", fault).first(1));
        let name = format!("fresh-{n}");
        world.restore(&id, &[&name]).ok();
        assert!(world.databases().contains(&name));
        world.aws.heal();
    }
}

/// Somebody makes a database of that name at the same moment.
#[test]
fn what_somebody_else_has_made_is_neither_taken_over_nor_removed() {
    let (world, id) = backed_up();
    // The name is free when it is looked at, and taken when it is used.
    world.rds(
        "CreateDBInstance",
        &[
            ("DBInstanceIdentifier", "theirs"),
            ("DBInstanceClass", "db.t3.medium"),
            ("Engine", "postgres"),
            ("AllocatedStorage", "20"),
            ("MasterUsername", "admin"),
            ("MasterUserPassword", "password1"),
        ],
    );
    let missing = Fault::error(404, "DBInstanceNotFound", "DBInstance theirs not found.");
    world.aws.fault(Rule::on("DescribeDBInstances", missing).with("DBInstanceIdentifier", "theirs").first(1));
    world.restore(&id, &["theirs"]).fails(9, &["theirs", "somebody else"]);
    assert_eq!(world.databases(), ["live", "theirs"]);
    assert!(!world.changes().iter().any(|change| change.starts_with("Delete") || change.starts_with("Modify")));
}

#[test]
fn a_cluster_that_fails_half_way_is_removed_with_its_instances() {
    let world = World::new();
    world.aurora("live");
    world.configure("cluster = \"live\"", &keys("0.2", ""));
    let id = world.bk.backup_id();
    let untouched = (vec!["live".to_owned()], vec!["live-a".to_owned(), "live-b".to_owned()]);
    let is = |world: &World| (world.clusters(), world.databases());
    // The second instance cannot be made.
    let full = || Fault::error(400, "InsufficientDBInstanceCapacity", "no capacity");
    world.aws.fault(Rule::on("CreateDBInstance", full()).with("DBInstanceIdentifier", "fresh-2"));
    world.restore(&id, &["fresh"]).fails(6, &["InsufficientDBInstanceCapacity", "another class or zone"]);
    assert_eq!(is(&world), untouched);
    world.aws.heal();
    // The writer fails; the cluster fails.
    for states in [States::db_instances().only("fresh-1"), States::db_clusters().only("fresh")] {
        world.aws.states(states.then("creating", 1).then("failed", 3));
        world.restore(&id, &["fresh"]).fails(6, &["fresh", "is failed"]);
        assert_eq!(is(&world), untouched);
        world.aws.heal();
    }
    // A name that one of its instances needs is in use: refused before the cluster is made.
    let changes = world.changes().len();
    world.restore(&id, &["live"]).fails(9, &["cluster live exists"]);
    world.rds(
        "CreateDBInstance",
        &[
            ("DBInstanceIdentifier", "fresh-2"),
            ("DBClusterIdentifier", "live"),
            ("Engine", "aurora-postgresql"),
            ("DBInstanceClass", "db.r6g.large"),
        ],
    );
    world.restore(&id, &["fresh"]).fails(9, &["fresh-2 exists"]);
    assert_eq!(world.changes().len(), changes);
}

#[test]
fn the_operator_decides_what_the_new_one_is_like() {
    let (world, id) = backed_up();
    let more = "class = \"db.r6g.xlarge\"\nmulti-az = false\nsecurity-groups = [\"sg-99999999\"]\nport = 9999\n\
                storage-type = \"gp2\"\ndeletion-protection = false";
    world.configure("instance = \"live\"", &keys("1", more));
    world.restore(&id, &["fresh"]).ok();
    let asked = world.aws.calls_of("RestoreDBInstanceFromDBSnapshot");
    let asked = asked.last().unwrap();
    for (name, value) in [
        ("DBInstanceClass", "db.r6g.xlarge"),
        ("MultiAZ", "false"),
        ("VpcSecurityGroupIds.VpcSecurityGroupId.1", "sg-99999999"),
        ("Port", "9999"),
        ("StorageType", "gp2"),
        ("DBParameterGroupName", "tuned"),
    ] {
        assert_eq!(asked.get(name), Some(value), "{asked:?}");
    }
    assert_eq!((asked.get("VpcSecurityGroupIds.VpcSecurityGroupId.2"), asked.get("Iops")), (None, None));
    let elements = ["DBInstanceClass", "VpcSecurityGroupId", "Port"];
    assert_eq!(world.facts("fresh", &elements)[..2], ["db.r6g.xlarge", "sg-99999999"]);
}

#[test]
fn a_cancelled_restore_removes_what_it_made() {
    let (world, id) = backed_up();
    world.aws.states(States::db_instances().only("fresh").then("creating", 1).forever());
    let run = world.bk.spawn(&["restore", &id, "--to", "fresh", "--confirm", world.bk.instance(), "--json"]);
    until("it is being made", Duration::from_secs(30), || world.databases().len() == 2);
    run.signal(Signal::INT);
    let _ = run.end().fails(11, &[]);
    assert_eq!(world.databases(), ["live"]);
}

/// A set whose snapshot is gone, or is another one by now.
#[test]
fn a_snapshot_that_is_gone_or_replaced_is_not_restored() {
    let (world, id) = backed_up();
    let snapshot = world.snapshot_of(&id);
    world.rds("DeleteDBSnapshot", &[("DBSnapshotIdentifier", &snapshot)]);
    world.restore(&id, &["fresh"]).fails(13, &[&snapshot, "no longer exists"]);
    world.rds("CreateDBSnapshot", &[("DBSnapshotIdentifier", &snapshot), ("DBInstanceIdentifier", "live")]);
    world.restore(&id, &["fresh"]).fails(9, &[&snapshot, "not the one that was taken"]);
    assert_eq!(world.databases(), ["live"]);
}
