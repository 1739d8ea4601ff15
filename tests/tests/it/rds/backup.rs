//! Backups: the whole way, for an instance and for a cluster.

use std::time::Duration;

use bkhost_tests::Simulator;
use bkhost_tests::aws::{Aws, Fault, Rule, States};

use super::{QUICK, World, slow_snapshots};

#[test]
fn an_instance_is_backed_up_restored_beside_itself_and_pruned() {
    let world = World::new();
    world.database("live");
    world.aws.states(slow_snapshots(States::db_snapshots(), 3, 4));
    world.configure("instance = \"live\"", QUICK);
    let manifest = world.bk.backup();
    let id = manifest["id"].as_str().unwrap();
    let snapshot = world.snapshot_of(id);
    assert_eq!(world.snapshots(), [snapshot.as_str()]);
    let told = world.rds("DescribeDBSnapshots", &[("DBSnapshotIdentifier", &snapshot)]);
    for (key, value) in [
        ("bkhost:instance", world.bk.instance()),
        ("bkhost:part", "database"),
        ("bkhost:run", &format!("bkhost-{}-{id}", world.bk.instance())),
    ] {
        assert!(told.contains(&format!("<Key>{key}</Key><Value>{value}</Value>")), "{key}: {told}");
    }
    // The tags came with the call: a snapshot is never there without them.
    assert!(world.aws.calls_of("AddTagsToResource").is_empty());
    let part = &manifest["parts"][0];
    assert_eq!(
        (&part["snapshot"]["id"], &part["snapshot"]["versions"][0]),
        (&snapshot.into(), &serde_json::json!(["postgres", "16.3"])),
        "{manifest}"
    );
    world.bk.run(&["verify", id]).ok();

    // Beside the original, with all that the original had.
    let before = world.changes().len();
    // moto gives what is restored the original's protection, whatever it is asked for; RDS does not.
    let bare = Fault::Rewrite(Box::new(|text| text.replace("<DeletionProtection>true", "<DeletionProtection>false")));
    world.aws.fault(Rule::on("DescribeDBInstances", bare).with("DBInstanceIdentifier", "fresh"));
    world.restore(id, &["fresh"]).ok();
    assert_eq!(world.databases(), ["fresh", "live"]);
    let elements = [
        "DBInstanceClass",
        "Engine",
        "EngineVersion",
        "AllocatedStorage",
        "StorageType",
        "Iops",
        "MultiAZ",
        "Port",
        "VpcSecurityGroupId",
        "DBSubnetGroupName",
        "DBParameterGroupName",
        "DeletionProtection",
        "CopyTagsToSnapshot",
    ];
    assert_eq!(world.facts("fresh", &elements), world.facts("live", &elements));
    let told = world.rds("DescribeDBInstances", &[("DBInstanceIdentifier", "fresh")]);
    assert!(told.contains("<Key>team</Key><Value>data &amp; co</Value>"), "{told}");
    assert!(!told.contains("bkhost:run"), "a snapshot of it would take the tag along: {told}");
    let asked = world.aws.calls_of("RestoreDBInstanceFromDBSnapshot");
    assert_eq!(asked[0].get("DeletionProtection"), Some("false"), "until it is proved: {asked:?}");
    assert_eq!(world.aws.calls_of("ModifyDBInstance")[0].get("DeletionProtection"), Some("true"));
    let changes: Vec<_> = world.changes().split_off(before);
    assert!(changes.iter().all(|change| change.ends_with(" fresh")), "only the new one is touched: {changes:?}");

    let newer = world.bk.backup_id();
    world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(world.snapshots(), [world.snapshot_of(&newer)]);
    assert_eq!(world.databases(), ["fresh", "live"]);
}

#[test]
fn a_cluster_is_backed_up_restored_beside_itself_and_pruned() {
    let world = World::new();
    world.aurora("live");
    world.aws.states(slow_snapshots(States::cluster_snapshots(), 2, 3));
    world.aws.states(States::db_clusters().only("fresh").then("creating", 3));
    world.aws.states(States::db_instances().only("fresh").then("creating", 2));
    world.configure("cluster = \"live\"", QUICK);
    let id = world.bk.backup_id();
    let snapshot = world.snapshot_of(&id);
    assert_eq!(world.cluster_snapshots(), [snapshot]);
    // moto gives what is restored the original's protection, whatever it is asked for; RDS does not.
    let bare = Fault::Rewrite(Box::new(|text| text.replace("<DeletionProtection>true", "<DeletionProtection>false")));
    world.aws.fault(Rule::on("DescribeDBClusters", bare).with("DBClusterIdentifier", "fresh"));

    let before = world.changes().len();
    world.restore(&id, &["fresh"]).ok();
    assert_eq!(world.clusters(), ["fresh", "live"]);
    assert_eq!(world.databases(), ["fresh-1", "fresh-2", "live-a", "live-b"]);
    // The writer comes first, with its class.
    let members: Vec<_> = world.changes().split_off(before);
    let expected = [
        "RestoreDBClusterFromSnapshot fresh",
        "CreateDBInstance fresh-1",
        "CreateDBInstance fresh-2",
        "ModifyDBCluster fresh",
    ];
    assert_eq!(members, expected);
    let asked = world.aws.calls_of("RestoreDBClusterFromSnapshot");
    assert_eq!(asked[0].get("DeletionProtection"), Some("false"), "until it is proved: {asked:?}");
    assert_eq!(world.aws.calls_of("ModifyDBCluster")[0].get("DeletionProtection"), Some("true"));
    assert_eq!(world.facts("fresh-1", &["DBInstanceClass", "PromotionTier"]), ["db.r6g.large", "0"]);
    assert_eq!(world.facts("fresh-2", &["DBInstanceClass", "PromotionTier"]), ["db.r6g.xlarge", "1"]);
    let told = world.rds("DescribeDBClusters", &[("DBClusterIdentifier", "fresh")]);
    for part in [
        "<Port>7432</Port>",
        "sg-11111111",
        "<DeletionProtection>true<",
        "<Engine>aurora-postgresql<",
        "<Key>team</Key>",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }

    let newer = world.bk.backup_id();
    world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(world.cluster_snapshots(), [world.snapshot_of(&newer)]);
    assert_eq!(world.clusters(), ["fresh", "live"]);
}

#[test]
fn what_is_gone_comes_back_under_its_own_name() {
    let world = World::new();
    world.database("live");
    world.aurora("shop");
    let parts =
        [world.part("database", "instance = \"live\"", QUICK), world.part("cluster", "cluster = \"shop\"", QUICK)];
    world.bk.config(&[&bkhost_tests::application_none(), &parts[0], &parts[1]]);
    let elements = ["DBInstanceClass", "MultiAZ", "Port", "VpcSecurityGroupId", "DeletionProtection"];
    let facts = world.facts("live", &elements);
    let id = world.bk.backup_id();
    world.rds("ModifyDBInstance", &[("DBInstanceIdentifier", "live"), ("DeletionProtection", "false")]);
    world.rds("ModifyDBCluster", &[("DBClusterIdentifier", "shop"), ("DeletionProtection", "false")]);
    for id in ["live", "shop-a", "shop-b"] {
        world.rds("DeleteDBInstance", &[("DBInstanceIdentifier", id), ("SkipFinalSnapshot", "true")]);
    }
    world.rds("DeleteDBCluster", &[("DBClusterIdentifier", "shop"), ("SkipFinalSnapshot", "true")]);
    assert!(world.databases().is_empty() && world.clusters().is_empty());
    world.restore(&id, &[]).ok();
    assert_eq!(
        (world.databases(), world.clusters()),
        (vec!["live".into(), "shop-a".into(), "shop-b".into()], vec!["shop".to_owned()])
    );
    assert_eq!(world.facts("live", &elements), facts);
}

/// RDS takes a moment to take the snapshot, and long to complete it: the application waits for the first only.
#[test]
fn the_application_waits_for_the_point_and_not_for_the_data() {
    let mut locked = Vec::new();
    for transferring in [10, 20] {
        let world = World::new();
        world.database("live");
        world.aws.states(slow_snapshots(States::db_snapshots(), 4, transferring));
        let simulator = Simulator::start(&[]);
        let part = world.part("database", "instance = \"live\"", "poll-seconds = 0.2");
        world.bk.config(&[&world.bk.application(&simulator, ""), &part]);
        let manifest = world.bk.backup();
        simulator.is_free();
        let total = manifest["duration-ms"].as_u64().unwrap_or_default();
        let this = manifest["application"]["locked-ms"].as_u64().unwrap();
        println!("{transferring} looks until the snapshot is complete: locked {this} ms, the run {total} ms");
        // Not unlocked before RDS said that the snapshot was taken: three looks with pauses of at least 100 ms.
        assert!(this >= 300, "{manifest}");
        locked.push(this);
    }
    let (least, most) = (locked.iter().min().unwrap(), locked.iter().max().unwrap());
    assert!(Duration::from_millis(most - least) < Duration::from_millis(1500), "{locked:?}");
}

#[test]
fn requests_are_signed_and_the_server_says_so() {
    let mut aws = Aws::verifying();
    aws.verify();
    aws.trust();
    let mut world = World::with(aws);
    world.database("live");
    world.configure("instance = \"live\"", QUICK);
    let key = world.bk.path("secret-access-key");
    let right = std::fs::read_to_string(&key).unwrap();
    world.aws.verify();
    std::fs::write(&key, "wrong").unwrap();
    let outcome = world.bk.run(&["check"]);
    assert_ne!(outcome.code, 0, "{outcome}");
    assert!(format!("{outcome}").contains("SignatureDoesNotMatch"), "{outcome}");
    std::fs::write(&key, right).unwrap();
    let id = world.bk.backup_id();
    world.restore(&id, &["fresh"]).ok();
    world.bk.backup_id();
    world.bk.run(&["prune", "--confirm", world.bk.instance(), "--keep-last", "1"]).ok();
    world.aws.trust();
    assert_eq!(world.snapshots().len(), 1);
    // The key is nowhere but in the signature.
    let calls = world.aws.calls();
    assert!(calls.iter().all(|call| call.authorization.as_deref().is_some_and(|a| a.starts_with("AWS4-HMAC-SHA256"))));
}
