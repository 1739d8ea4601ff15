//! The example, as it stands but for names and addresses.

use bkhost_tests::Simulator;
use bkhost_tests::aws::OF_ROLE;

use super::super::rds::World as Database;
use super::*;

#[test]
fn the_example_copies_volumes_and_a_database() {
    let world = Database::new();
    world.database("bitbucket");
    let volumes = Account::on(&world.aws, 1);
    let (bk, simulator) = (&world.bk, Simulator::start(&[]));
    let other = world.aws.other_account("us-east-1");
    let url = world.aws.url();
    let example = include_str!("../../../../host/examples/amazon-offsite.toml");
    let text = example
        .replacen("name = \"bitbucket\"", &format!("name = {:?}", bk.instance()), 1)
        .replace("http://127.0.0.1:7990", &simulator.url())
        .replace("i-0123456789abcdef0", &volumes)
        .replace("arn:aws:iam::222222222222:role/bkhost-offsite", &other.role())
        .replace("\"/backups\"", &format!("{:?}", bk.path("backups")))
        // Nothing but where Amazon is.
        .replace("[part.config]\n", &format!("[part.config]\nendpoint = {url:?}\n"))
        .replace(
            "[part.offsite.config]\n",
            &format!("[part.offsite.config]\nendpoint = {url:?}\nsts-endpoint = {url:?}\n"),
        );
    std::fs::write(bk.path("bkhost.toml"), text).unwrap();
    let run = |args: &[&str]| {
        let mut command = bk.command(args);
        command.envs(world.aws.environment()).env("BITBUCKET_BACKUP_PASS", "admin").env("BKHOST_EXTERNAL_ID", "id");
        Running::start(command, false).end()
    };
    run(&["check"]).ok().says(&["offsite `dr`", "offsite `vault`"]);
    let id = run(&["run", "--json"]).ok().json()["id"].as_str().unwrap().to_owned();
    simulator.is_free();
    let there = world.aws.region(THERE);
    let databases = there.texts("rds", "DescribeDBSnapshots", &[("SnapshotType", "manual")], "DBSnapshotIdentifier");
    let label = format!("bkhost-{}-{id}", bk.instance());
    assert_eq!(databases, [format!("{label}-database-dr")]);
    assert_eq!((snapshots(&there, Some(&label)).len(), snapshots(&other, Some(&label)).len()), (1, 1));
    let mut copies: Vec<_> =
        world.aws.calls_of("CopySnapshot").into_iter().filter(|c| c.get("DryRun").is_none()).collect();
    copies.retain(|call| call.key.starts_with(OF_ROLE));
    assert_eq!((copies.len(), copies[0].get("KmsKeyId")), (1, Some("alias/backup-vault")));
    let list = run(&["list"]).ok();
    list.says(&["offsite at dr (part home)", "offsite at vault (part home)", "offsite at dr (part database)"]);
    for (args, part) in [(["dr", "volumes"], "home"), (["vault", "volumes"], "home"), (["dr", "again"], "database")] {
        let [place, to] = args;
        run(&["restore", &id, "--from-offsite", place, "--part", part, "--to", to, "--confirm", bk.instance()]).ok();
    }
}
