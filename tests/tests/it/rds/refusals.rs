//! What is refused, and what `check` finds before anything is locked.

use bkhost_tests::aws::{Fault, Rule, States};

use super::{QUICK, World};

#[test]
fn names_that_attack_are_refused() {
    let world = World::new();
    world.database("live");
    world.configure("instance = \"live\"", QUICK);
    let id = world.bk.backup_id();
    let calls = world.changes().len();
    let long = "a".repeat(64);
    for name in [
        "a b",
        "it's",
        "\"q\"",
        "dü",
        "a--b",
        "a-",
        "1a",
        "../live",
        "x&DBInstanceIdentifier=live",
        "x%26y",
        "a;b",
        "a\nb",
        &long,
        "arn:aws:rds:us-east-1:1:db:live",
    ] {
        let to = format!("--to={name}");
        let outcome = world.bk.run(&["restore", &id, &to, "--confirm", world.bk.instance()]);
        outcome.fails(3, &["cannot be the identifier", "letters, digits and hyphens"]);
    }
    world.restore(&id, &["-rf"]).fails(2, &["unexpected argument"]);
    assert_eq!(world.changes().len(), calls);
    for name in ["a b", "-x", "a--b", "ü", "x&y=z", ""] {
        world.configure(&format!("instance = \"{name}\""), QUICK);
        world.bk.run(&["check"]).fails(3, &["instance"]);
    }
    for (endpoint, region) in
        [("http://127.0.0.1:1/path?x=", "us-east-1"), ("ftp://x", "us-east-1"), ("", "us-east-1.evil.example/")]
    {
        let part = world.part("database", "instance = \"live\"", QUICK);
        let part = part
            .replace(&world.aws.url(), endpoint)
            .replace("region = \"us-east-1\"", &format!("region = \"{region}\""));
        world.bk.config(&[&bkhost_tests::application_none(), &part]);
        world.bk.run(&["check"]).fails(3, &["part.config"]);
    }
}

#[test]
fn a_config_that_cannot_work() {
    let world = World::new();
    for (what, keys, says) in [
        ("", "", "names no database"),
        ("instance = \"a\"\ncluster = \"b\"", "", "an instance and a cluster"),
        ("cluster = \"b\"", "[part.config.restore]\nmulti-az = true", "restore.multi-az cannot be used"),
        ("instance = \"a\"", "[part.config.restore]\ncluster-parameter-group = \"x\"", "cluster-parameter-group"),
        ("instance = \"a\"", "[part.config.restore]\nclass = \"large\"", "class"),
        ("instance = \"a\"", "unknown = 1", "unknown"),
    ] {
        world.configure(what, keys);
        world.bk.run(&["check"]).fails(3, &[says]);
    }
}

#[test]
fn check_finds_what_would_fail_later() {
    let world = World::new();
    world.database("live");
    world.aurora("shop");
    let check = |what: &str, says: &[&str]| {
        world.configure(what, QUICK);
        let outcome = world.bk.run(&["check"]);
        assert_ne!(outcome.code, 0, "{outcome}");
        let text = format!("{outcome}");
        assert!(says.iter().all(|says| text.contains(says)), "{says:?}: {outcome}");
        world.aws.heal();
        world.quota(1, 100);
    };
    check("instance = \"gone\"", &["there is no DB instance gone"]);
    check("cluster = \"live\"", &["there is no DB cluster live"]);
    check("instance = \"shop-a\"", &["an instance of the cluster shop", "cluster = \"shop\""]);
    world.aws.states(States::db_instances().then("stopped", 9));
    check("instance = \"live\"", &["it is stopped", "available only"]);
    world.aws.fault(Rule::on("*", Fault::access_denied("rds:DescribeDBInstances")));
    check("instance = \"live\"", &["AccessDenied", "policy"]);
    world.aws.fault(Rule::on("DescribeDBSnapshots", Fault::access_denied("rds:DescribeDBSnapshots")));
    check("instance = \"live\"", &["rds:DescribeDBSnapshots"]);
    world.aws.heal();
    world.quota(100, 100);
    check("instance = \"live\"", &["100 of 100 in use", "ManualSnapshots"]);
    // Nothing was changed by looking.
    assert_eq!(world.changes(), [""; 0]);
    world.configure("instance = \"live\"", QUICK);
    let found = world.bk.run(&["check"]).ok();
    assert!(format!("{found}").contains("postgres 16.3, db.m6g.large, 40 GiB"), "{found}");
}

/// What passes by itself is waited for before the lock, not under it.
#[test]
fn a_database_that_is_busy_is_waited_for() {
    let world = World::new();
    world.database("live");
    world.configure("instance = \"live\"", QUICK);
    world.aws.states(States::db_instances().then("modifying", 4));
    let found = world.bk.run(&["check"]).ok();
    assert!(format!("{found}").contains("it is modifying: the run waits"), "{found}");
    let outcome = world.bk.run(&["run"]).ok();
    assert!(
        outcome.stderr.contains("waiting until it is available")
            || outcome.stdout.contains("waiting until it is available"),
        "{outcome}"
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = World::new();
    world.database("live");
    world.configure("instance = \"live\"", QUICK);
    let plan = world.bk.run(&["plan"]).ok();
    assert_eq!((world.changes(), world.snapshots()), (vec![], vec![]), "{plan}");
    assert!(plan.stderr.contains("leave `bkhost-"), "{plan}");
    assert_eq!(plan.stderr.matches("would do: POST").count(), 1, "{plan}");
    assert!(
        plan.stderr.contains("CreateDBSnapshot would be called with") && plan.stderr.contains("bkhost%3Arun"),
        "{plan}"
    );
}
