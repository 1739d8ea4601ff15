//! Amazon EBS and RDS, on the stand-in for AWS. It keeps no data: what counts is which snapshot a thing was made from.

use std::process::Command;

use bkhost_tests::Bkhost;
use bkhost_tests::aws::Aws;
use serde_json::Value;

use super::{Broken, System, suite};
use crate::ebs::Account;
use crate::rds::{QUICK, World};

/// Where copies go.
const THERE: &str = "eu-west-1";

struct Ebs {
    account: Account,
    bk: Bkhost,
}

pub(super) fn ebs() {
    suite::conforms(&Ebs { account: Account::new(2), bk: Bkhost::new() });
}

impl System for Ebs {
    fn bk(&self) -> &Bkhost {
        &self.bk
    }

    fn command(&self, bk: &Bkhost, args: &[&str]) -> Command {
        let mut command = bk.command(args);
        command.envs(self.account.aws.environment());
        command
    }

    fn part(&self, name: &str) -> String {
        self.account.part(name, "[part.config.restore]\nzone = \"us-east-1a\"")
    }

    fn vendor(&self) -> Vec<String> {
        let mut all = self.account.snapshots();
        all.push(format!("{} volumes", self.account.volume_count()));
        all
    }

    fn keeps(&self) -> bool {
        true
    }

    fn holds(&self, part: &Value) -> bool {
        let ids = snapshot_ids(part);
        let found = self.account.snapshots().iter().filter(|id| ids.contains(id)).count();
        assert!(found == 0 || found == ids.len(), "half a snapshot: {part}");
        found > 0
    }

    fn remove(&self, part: &Value) {
        for id in snapshot_ids(part) {
            self.account.aws.call("ec2", "DeleteSnapshot", &[("SnapshotId", &id)]);
        }
    }

    fn look_alikes(&self, label: &str) {
        let instance = self.bk.instance();
        self.account.foreign(&[("Name", label)]);
        self.account.foreign(&[("bkhost:instance", instance), ("bkhost:part", "elsewhere"), ("bkhost:run", label)]);
        self.account.foreign(&[("bkhost:instance", "elsewhere"), ("bkhost:part", "part"), ("bkhost:run", label)]);
        self.account.foreign(&[("bkhost:instance", instance), ("bkhost:part", "part")]);
    }

    fn content(&self) -> String {
        "two volumes".to_owned()
    }

    fn change(&self, _: u32) {}

    fn target(&self, _: u32) -> String {
        "volumes".to_owned()
    }

    fn restored(&self, _: &str) -> String {
        let of_snapshots = self.account.volume_count() - self.account.volumes.len() - 1;
        assert!(of_snapshots >= 2, "{of_snapshots}");
        self.content()
    }

    fn restores_beside(&self) -> bool {
        // New volumes each time.
        true
    }

    fn secret(&self) -> Option<String> {
        let environment = self.account.aws.environment();
        environment.into_iter().find(|(name, _)| *name == "AWS_ACCESS_KEY_ID").map(|(_, value)| value)
    }

    fn place(&self) -> Option<String> {
        Some(place(&self.account.aws, "zone = \"eu-west-1a\""))
    }

    fn elsewhere(&self) -> Vec<String> {
        let there = self.account.aws.region(THERE);
        let mut all = there.texts("ec2", "DescribeSnapshots", &[("Owner.1", "self")], "snapshotId");
        all.extend(there.texts("ec2", "DescribeVolumes", &[], "volumeId"));
        all.sort();
        all
    }

    fn look_alikes_elsewhere(&self, label: &str) {
        let there = self.account.aws.region(THERE);
        let new = [("AvailabilityZone", "eu-west-1a"), ("Size", "1")];
        let volume = there.texts("ec2", "CreateVolume", &new, "volumeId").remove(0);
        let ours = [("bkhost:instance", self.bk.instance()), ("bkhost:part", "part"), ("bkhost:run", label)];
        for tags in [&ours[..2], &ours] {
            let mut call = vec![("VolumeId".to_owned(), volume.clone())];
            call.push(("TagSpecification.1.ResourceType".to_owned(), "snapshot".to_owned()));
            for (n, (key, value)) in tags.iter().enumerate() {
                call.push((format!("TagSpecification.1.Tag.{}.Key", n + 1), (*key).to_owned()));
                call.push((format!("TagSpecification.1.Tag.{}.Value", n + 1), (*value).to_owned()));
            }
            let call: Vec<_> = call.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            there.call("ec2", "CreateSnapshot", &call);
        }
    }

    fn broken(&self) -> Vec<Broken> {
        let part = |keys: &str| self.account.part_of("part", keys);
        vec![
            Broken {
                what: "an instance that is not there",
                part: part("instance-id = \"i-00000000000000000\""),
                code: 6,
                says: "i-00000000000000000",
            },
            Broken {
                what: "a volume that is not there",
                part: part("volumes = [\"vol-00000000000000000\"]"),
                code: 6,
                says: "vol-00000000000000000",
            },
            Broken {
                what: "a name that is none",
                part: part("volumes = [\"-x\"]"),
                code: 3,
                says: "part.config.volumes",
            },
        ]
    }
}

fn place(aws: &Aws, keys: &str) -> String {
    format!(
        "[[part.offsite]]\nname = \"{}\"\nretention = {{}}\n[part.offsite.config]\nregion = \"{THERE}\"\nendpoint = \
         \"{}\"\n{keys}\n",
        super::offsite::PLACE,
        aws.url()
    )
}

/// The ids of the EBS snapshots in a record.
fn snapshot_ids(part: &Value) -> Vec<String> {
    let text = part["snapshot"]["state"].to_string();
    let ids = text.split('"').filter(|word| word.starts_with("snap-")).map(str::to_owned);
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2, "{text}");
    ids
}

struct Rds {
    world: World,
}

pub(super) fn rds() {
    let world = World::new();
    world.database("live");
    suite::conforms(&Rds { world });
}

impl System for Rds {
    fn bk(&self) -> &Bkhost {
        &self.world.bk
    }

    fn part(&self, name: &str) -> String {
        self.world.part(name, "instance = \"live\"", QUICK)
    }

    fn vendor(&self) -> Vec<String> {
        [self.world.snapshots(), self.world.databases()].concat()
    }

    fn keeps(&self) -> bool {
        true
    }

    fn holds(&self, part: &Value) -> bool {
        self.world.snapshots().contains(&part["snapshot"]["id"].as_str().unwrap().to_owned())
    }

    fn remove(&self, part: &Value) {
        let id = part["snapshot"]["id"].as_str().unwrap();
        self.world.rds("DeleteDBSnapshot", &[("DBSnapshotIdentifier", id)]);
    }

    fn look_alikes(&self, label: &str) {
        let make = |id: &str, tags: &[(&str, &str)]| {
            let mut call = vec![
                ("DBSnapshotIdentifier".to_owned(), id.to_owned()),
                ("DBInstanceIdentifier".to_owned(), "live".to_owned()),
            ];
            for (n, (key, value)) in tags.iter().enumerate() {
                call.push((format!("Tags.Tag.{}.Key", n + 1), (*key).to_owned()));
                call.push((format!("Tags.Tag.{}.Value", n + 1), (*value).to_owned()));
            }
            let call: Vec<_> = call.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            self.world.rds("CreateDBSnapshot", &call);
        };
        make(&format!("{label}-part"), &[]);
        make(
            &format!("{label}-elsewhere"),
            &[("bkhost:instance", self.bk().instance()), ("bkhost:part", "elsewhere"), ("bkhost:run", label)],
        );
    }

    fn content(&self) -> String {
        self.world.facts("live", &["AllocatedStorage", "StorageType", "Engine"]).join(" ")
    }

    fn change(&self, _: u32) {}

    fn target(&self, n: u32) -> String {
        format!("restored-{n}")
    }

    fn restored(&self, target: &str) -> String {
        self.world.facts(target, &["AllocatedStorage", "StorageType", "Engine"]).join(" ")
    }

    fn secret(&self) -> Option<String> {
        let environment = self.world.aws.environment();
        environment.into_iter().find(|(name, _)| *name == "AWS_ACCESS_KEY_ID").map(|(_, value)| value)
    }

    fn place(&self) -> Option<String> {
        Some(place(&self.world.aws, ""))
    }

    fn elsewhere(&self) -> Vec<String> {
        let there = self.world.aws.region(THERE);
        let mut all = there.texts("rds", "DescribeDBSnapshots", &[("SnapshotType", "manual")], "DBSnapshotIdentifier");
        all.extend(there.texts("rds", "DescribeDBInstances", &[], "DBInstanceIdentifier"));
        all.sort();
        all
    }

    fn look_alikes_elsewhere(&self, label: &str) {
        let there = self.world.aws.region(THERE);
        there.call(
            "rds",
            "CreateDBInstance",
            &[
                ("DBInstanceIdentifier", "theirs"),
                ("DBInstanceClass", "db.m6g.large"),
                ("Engine", "postgres"),
                ("AllocatedStorage", "20"),
                ("MasterUsername", "admin"),
                ("MasterUserPassword", "password1"),
            ],
        );
        let name = format!("{label}-part-{}", super::offsite::PLACE);
        there.call("rds", "CreateDBSnapshot", &[("DBSnapshotIdentifier", &name), ("DBInstanceIdentifier", "theirs")]);
    }

    fn broken(&self) -> Vec<Broken> {
        let part = |what: &str| self.world.part("part", what, QUICK);
        vec![
            Broken {
                what: "an instance that is not there",
                part: part("instance = \"nothing\""),
                code: 6,
                says: "nothing",
            },
            Broken {
                what: "a cluster that is not there",
                part: part("cluster = \"nothing\""),
                code: 6,
                says: "nothing",
            },
            Broken {
                what: "a name that is none",
                part: part("instance = \"-x\""),
                code: 3,
                says: "part.config.instance",
            },
        ]
    }
}
