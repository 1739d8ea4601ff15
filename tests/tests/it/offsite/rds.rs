//! RDS snapshots in another region and in another account.

use bkhost_tests::aws::{Fault, OF_ROLE, Rule, States};

use super::super::rds::{QUICK, World as Database};
use super::*;

/// The instance's `[[part]]` with these places.
fn configure(world: &Database, what: &str, places: &str) {
    let part = world.part("database", what, QUICK);
    world.bk.config(&[&application_none(), &part, places, "[retention]\nkeep-last = 9\n"]);
}

fn place(world: &Database, name: &str, keys: &str, config: &str) -> String {
    format!(
        "[[part.offsite]]\nname = \"{name}\"\n{keys}\n[part.offsite.config]\nregion = \"{THERE}\"\nendpoint = \"{0}\"\n\
         sts-endpoint = \"{0}\"\n{config}\n",
        world.aws.url()
    )
}

fn run(world: &Database, args: &[&str]) -> Outcome {
    let mut command = world.bk.command(args);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("EXTERNAL_ID", "the-external-id");
    Running::start(command, false).end()
}

fn backup(world: &Database) -> String {
    run(world, &["run", "--json"]).ok().json()["id"].as_str().unwrap().to_owned()
}

fn copies(site: &Site<'_>, cluster: bool) -> Vec<String> {
    let (action, id) = if cluster {
        ("DescribeDBClusterSnapshots", "DBClusterSnapshotIdentifier")
    } else {
        ("DescribeDBSnapshots", "DBSnapshotIdentifier")
    };
    let mut found = site.texts("rds", action, &[("SnapshotType", "manual")], id);
    found.sort();
    found
}

fn label(world: &Database, id: &str) -> String {
    format!("bkhost-{}-{id}", world.bk.instance())
}

fn restore(world: &Database, id: &str, at: &str, to: &str) -> Outcome {
    run(world, &["restore", id, "--from-offsite", at, "--to", to, "--confirm", world.bk.instance()])
}

#[test]
fn copies_of_a_database_in_another_region_a_whole_story() {
    let world = Database::new();
    world.database("live");
    let there = world.aws.region(THERE);
    let restored = "restore = { class = \"db.m6g.xlarge\" }";
    configure(
        &world,
        "instance = \"live\"",
        &place(&world, "dr", "required = true\nretention = { keep-last = 1 }", restored),
    );
    run(&world, &["check"]).ok().says(&["offsite `dr`"]);
    world.aws.states(States::db_snapshots().then("copying", 2).only("-dr"));
    let first = backup(&world);
    world.aws.heal();
    let name = format!("{}-database-dr", label(&world, &first));
    assert_eq!(copies(&there, false), [name.as_str()]);
    let calls = world.aws.calls_of("CopyDBSnapshot");
    let call = calls.last().unwrap();
    assert_eq!((calls.len(), call.region.as_str()), (1, THERE));
    assert!(call.get("SourceDBSnapshotIdentifier").unwrap().starts_with("arn:aws:rds:us-east-1:"));
    assert!(call.parameters.iter().any(|(_, value)| value == "bkhost:offsite"), "{call:?}");
    let url = call.get("PreSignedUrl").unwrap();
    for part in [
        "https://rds.us-east-1.amazonaws.com/?Action=CopyDBSnapshot&",
        "DestinationRegion=eu-west-1&",
        "%2Fus-east-1%2Frds%2Faws4_request",
        "&X-Amz-Signature=",
    ] {
        assert!(url.contains(part), "{part}: {url}");
    }
    run(&world, &["list"]).ok().says(&["is offsite at dr"]);

    // Retention there, and foreign ones with such names and tags.
    let foreign = |id: &str, tags: &[(&str, &str)]| {
        let from = world.snapshots().remove(0);
        let arn = world
            .aws
            .texts("rds", "DescribeDBSnapshots", &[("DBSnapshotIdentifier", &from)], "DBSnapshotArn")
            .remove(0);
        let mut call = vec![
            ("SourceDBSnapshotIdentifier".to_owned(), arn),
            ("TargetDBSnapshotIdentifier".to_owned(), id.to_owned()),
        ];
        for (n, (key, value)) in tags.iter().enumerate() {
            call.push((format!("Tags.Tag.{}.Key", n + 1), (*key).to_owned()));
            call.push((format!("Tags.Tag.{}.Value", n + 1), (*value).to_owned()));
        }
        let call: Vec<_> = call.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        there.call("rds", "CopyDBSnapshot", &call);
        id.to_owned()
    };
    let ours = label(&world, &first);
    let instance = world.bk.instance();
    let strangers = [
        foreign(
            &format!("{name}-2"),
            &[
                ("bkhost:instance", instance),
                ("bkhost:part", "database"),
                ("bkhost:run", &ours),
                ("bkhost:offsite", "dr"),
            ],
        ),
        foreign("mine", &[("bkhost:run", &ours)]),
    ];
    let second = backup(&world);
    let mut expected = vec![format!("{}-database-dr", label(&world, &second))];
    expected.extend(strangers);
    expected.sort();
    assert_eq!(copies(&there, false), expected);
    assert_eq!(world.snapshots().len(), 2, "both are here");

    // The stores are lost; what is there is enough.
    std::fs::remove_dir_all(world.bk.path("backups")).unwrap();
    restore(&world, &second, "dr", "again").ok().says(&["found by its name", "again"]);
    let made = there.texts("rds", "DescribeDBInstances", &[("DBInstanceIdentifier", "again")], "DBInstanceClass");
    assert_eq!(made, ["db.m6g.xlarge"]);
    assert_eq!(
        world.aws.texts("rds", "DescribeDBInstances", &[], "DBInstanceIdentifier"),
        ["live"],
        "nothing happens here"
    );
    restore(&world, &second, "dr", "again").fails(9, &["exists"]);
    restore(&world, &first, "dr", "other").fails(13, &["no complete copy"]);
}

#[test]
fn copies_of_a_cluster_in_another_account() {
    let world = Database::new();
    world.aurora("aurora");
    let other = world.aws.other_account("us-east-1");
    let secret = "[part.offsite.secrets]\nexternal-id = { env = \"EXTERNAL_ID\" }\n";
    let role = format!("role = \"{}\"", other.role());
    let vault =
        place(&world, "vault", "required = true\nretention = { keep-last = 1 }", &role).replace(THERE, "us-east-1");
    configure(&world, "cluster = \"aurora\"", &format!("{vault}{secret}"));
    run(&world, &["check"]).ok().says(&[other.account()]);
    backup(&world);
    let second = backup(&world);
    assert_eq!(copies(&other, true), [format!("{}-database-vault", label(&world, &second))]);
    // By the role, who saw it for just that time.
    let calls = world.aws.calls_of("CopyDBClusterSnapshot");
    assert!(calls.iter().all(|call| call.key.starts_with(OF_ROLE) && call.get("PreSignedUrl").is_none()));
    let shares = world.aws.calls_of("ModifyDBClusterSnapshotAttribute");
    let kind = |n: usize| shares[n].parameters.iter().any(|(name, _)| name.starts_with("ValuesToAdd"));
    assert_eq!((shares.len(), kind(0), kind(1), shares[0].key.starts_with(OF_ROLE)), (4, true, false, false));
    for id in world.aws.texts(
        "rds",
        "DescribeDBClusterSnapshots",
        &[("SnapshotType", "manual")],
        "DBClusterSnapshotIdentifier",
    ) {
        let of = [("DBClusterSnapshotIdentifier", id.as_str())];
        let left = world.aws.call("rds", "DescribeDBClusterSnapshotAttributes", &of);
        assert!(!left.contains(other.account()), "{left}");
    }
    restore(&world, "latest", "vault", "again").ok();
    assert_eq!(
        other.texts("rds", "DescribeDBClusters", &[], "DBClusterIdentifier").iter().filter(|id| *id == "again").count(),
        1
    );
}

#[test]
fn what_goes_wrong_with_copies_of_databases() {
    let world = Database::new();
    world.database("live");
    let there = world.aws.region(THERE);
    let dr = place(&world, "dr", "required = true", "");
    configure(&world, "instance = \"live\"", &dr);
    // It fails there: deleted, told, and made by the next run.
    world.aws.states(States::db_snapshots().then("copying", 1).then("failed", 1).forever().only("-dr"));
    let outcome = run(&world, &["run"]);
    assert_ne!(outcome.code, 0, "{outcome}");
    outcome.says(&["is published, but part `database` is not offsite at `dr`", "failed"]);
    world.aws.heal();
    run(&world, &["recover"]).ok();
    assert_eq!((copies(&there, false).len(), world.snapshots().len()), (0, 1));
    world.aws.fault(Rule::on("CopyDBSnapshot", Fault::throttling()).first(1));
    world.aws.fault(
        Rule::on("CopyDBSnapshot", Fault::error(400, "SnapshotQuotaExceeded", "20 copies in progress")).calls(2..=2),
    );
    world.aws.fault(Rule::on("CopyDBSnapshot", Fault::LoseReply).calls(3..=3));
    world.aws.fault(Rule::on("DescribeDBSnapshots", Fault::expired_token()).signed_for(THERE).first(1));
    backup(&world);
    assert_eq!(copies(&there, false).len(), 2, "its own, and the one that was missed");
    // Killed on its way.
    world.aws.heal();
    let other = world.aws.other_account("us-east-1");
    let role = format!("role = \"{}\"", other.role());
    configure(&world, "instance = \"live\"", &place(&world, "vault", "", &role).replace(THERE, "us-east-1"));
    let mut command = world.bk.command(&["offsite", "latest"]);
    command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", "before:copied-offsite:1");
    world.aws.fault(Rule::on("ModifyDBSnapshotAttribute", Fault::error(400, "InvalidParameterValue", "no")).nth(2));
    let outcome = Running::start(command, false).end();
    assert_ne!(outcome.code, 0, "{outcome}");
    world.aws.heal();
    run(&world, &["recover"]).ok();
    for id in world.snapshots() {
        let left = world.aws.call("rds", "DescribeDBSnapshotAttributes", &[("DBSnapshotIdentifier", &id)]);
        assert!(!left.contains(other.account()), "{left}");
    }
    assert_eq!(copies(&other, false), [""; 0]);
    run(&world, &["offsite", "latest"]).ok();
    assert_eq!(copies(&other, false).len(), 1);
}

#[test]
fn what_rds_does_not_copy_is_known_before() {
    let world = Database::new();
    world.aurora("aurora");
    let key = "arn:aws:kms:us-east-1:111111111111:key/11111111-1111-4111-8111-111111111111";
    world.rds(
        "CreateDBInstance",
        &[
            ("DBInstanceIdentifier", "secret"),
            ("DBInstanceClass", "db.m6g.large"),
            ("Engine", "postgres"),
            ("AllocatedStorage", "20"),
            ("MasterUsername", "admin"),
            ("MasterUserPassword", "password1"),
            ("StorageEncrypted", "true"),
            ("KmsKeyId", key),
        ],
    );
    let other = world.aws.other_account(THERE);
    let role = format!("role = \"{}\"\nkms-key = \"alias/x\"", other.role());
    for (what, config, says) in [
        ("instance = \"secret\"", "", "kms-key"),
        ("instance = \"secret\"", role.as_str(), "in one step"),
        ("cluster = \"aurora\"", role.as_str(), "in one step"),
    ] {
        configure(&world, what, &place(&world, "dr", "required = true", config));
        let outcome = run(&world, &["check"]);
        assert_ne!(outcome.code, 0, "{outcome}");
        outcome.says(&[says]);
        let outcome = run(&world, &["run"]);
        assert_ne!(outcome.code, 0, "{outcome}");
        outcome.says(&[says, "is published"]);
        run(&world, &["recover"]).ok();
    }
    assert!(world.aws.calls_of("CopyDBSnapshot").is_empty() && world.aws.calls_of("CopyDBClusterSnapshot").is_empty());
    // With a key of the place, what is encrypted is copied and stays so.
    configure(&world, "instance = \"secret\"", &place(&world, "dr", "", "kms-key = \"alias/dr\""));
    backup(&world);
    let call = world.aws.calls_of("CopyDBSnapshot").remove(0);
    assert_eq!(call.get("KmsKeyId"), Some("alias/dr"));
    let url = call.get("PreSignedUrl").unwrap();
    assert!(url.contains("KmsKeyId=alias%2Fdr"), "{url}");
}
