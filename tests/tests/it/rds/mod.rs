//! The strategy `amazon-rds`, against the stand-in for AWS (moto behind a proxy that plays faults; see `bkhost_tests::aws`).
//! The stand-in keeps no data: what is compared is which snapshots and databases there are, what they are like, and what was
//! done to them.

mod backup;
mod faults;
mod refusals;
mod restore;
mod side_by_side;

use std::os::unix::fs::PermissionsExt;

use bkhost_tests::aws::{Aws, Fault, REGION, Rule, States, Step};
use bkhost_tests::{Bkhost, Outcome, application_none};

/// An account with a database, and an instance of bkhost that backs it up.
pub(super) struct World {
    pub(super) aws: Aws,
    pub(super) bk: Bkhost,
}

/// Keys of `[part.config]` with which nothing takes long.
pub(super) const QUICK: &str = "poll-seconds = 0.05";

impl World {
    pub(super) fn new() -> Self {
        Self::with(Aws::new())
    }

    fn with(aws: Aws) -> Self {
        let world = Self { aws, bk: Bkhost::new() };
        world.quota(1, 100);
        world
    }

    /// moto does not know the call.
    fn quota(&self, used: u32, most: u32) {
        let quota = |name: &str| {
            format!(
                "<AccountQuota><AccountQuotaName>{name}</AccountQuotaName><Used>{used}</Used><Max>{most}</Max></AccountQuota>"
            )
        };
        let quotas = ["DBInstances", "ManualSnapshots", "ManualClusterSnapshots"].map(quota).concat();
        let answer = format!(
            "<DescribeAccountAttributesResponse xmlns=\"http://rds.amazonaws.com/doc/2014-10-31/\">\
             <DescribeAccountAttributesResult><AccountQuotas>{quotas}</AccountQuotas>\
             </DescribeAccountAttributesResult></DescribeAccountAttributesResponse>"
        );
        self.aws.fault(Rule::on("DescribeAccountAttributes", Fault::Answer(answer)));
    }

    pub(super) fn rds(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        self.aws.call("rds", action, parameters)
    }

    /// A database with much that a restore has to bring back.
    pub(super) fn database(&self, id: &str) {
        let _ = self.aws.try_call(
            "rds",
            "CreateDBParameterGroup",
            &[("DBParameterGroupName", "tuned"), ("DBParameterGroupFamily", "postgres16"), ("Description", "tuned")],
        );
        let subnets = self.aws.texts("ec2", "DescribeSubnets", &[], "subnetId");
        let _ = self.aws.try_call(
            "rds",
            "CreateDBSubnetGroup",
            &[
                ("DBSubnetGroupName", "inner"),
                ("DBSubnetGroupDescription", "inner"),
                ("SubnetIds.SubnetIdentifier.1", &subnets[0]),
                ("SubnetIds.SubnetIdentifier.2", &subnets[1]),
            ],
        );
        self.rds(
            "CreateDBInstance",
            &[
                ("DBInstanceIdentifier", id),
                ("DBSubnetGroupName", "inner"),
                ("DBInstanceClass", "db.m6g.large"),
                ("Engine", "postgres"),
                ("EngineVersion", "16.3"),
                ("AllocatedStorage", "40"),
                ("StorageType", "io1"),
                ("Iops", "1000"),
                ("MasterUsername", "admin"),
                ("MasterUserPassword", "password1"),
                ("MultiAZ", "true"),
                ("Port", "6432"),
                ("VpcSecurityGroupIds.VpcSecurityGroupId.1", "sg-11111111"),
                ("VpcSecurityGroupIds.VpcSecurityGroupId.2", "sg-22222222"),
                ("DBParameterGroupName", "tuned"),
                ("DeletionProtection", "true"),
                ("CopyTagsToSnapshot", "true"),
                ("Tags.Tag.1.Key", "team"),
                ("Tags.Tag.1.Value", "data & co"),
            ],
        );
    }

    /// An Aurora cluster with a writer and a reader.
    pub(super) fn aurora(&self, id: &str) {
        self.rds(
            "CreateDBCluster",
            &[
                ("DBClusterIdentifier", id),
                ("Engine", "aurora-postgresql"),
                ("EngineVersion", "16.3"),
                ("MasterUsername", "admin"),
                ("MasterUserPassword", "password1"),
                ("Port", "7432"),
                ("VpcSecurityGroupIds.VpcSecurityGroupId.1", "sg-11111111"),
                ("DeletionProtection", "true"),
                ("Tags.Tag.1.Key", "team"),
                ("Tags.Tag.1.Value", "data"),
            ],
        );
        for (member, class, tier) in [("b", "db.r6g.large", "0"), ("a", "db.r6g.xlarge", "1")] {
            self.rds(
                "CreateDBInstance",
                &[
                    ("DBInstanceIdentifier", &format!("{id}-{member}")),
                    ("DBClusterIdentifier", id),
                    ("Engine", "aurora-postgresql"),
                    ("DBInstanceClass", class),
                    ("PromotionTier", tier),
                ],
            );
        }
    }

    /// A `[[part]]`; `what` is `instance = "…"` or `cluster = "…"`.
    pub(super) fn part(&self, name: &str, what: &str, keys: &str) -> String {
        let secret = |secret: &str, variable: &str| {
            let environment = self.aws.environment();
            let value = &environment.iter().find(|(name, _)| *name == variable).unwrap().1;
            let path = self.bk.path(secret);
            std::fs::write(&path, value).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            format!("{secret} = {{ file = \"{}\" }}", path.display())
        };
        format!(
            "[[part]]\nname = \"{name}\"\nplugin = \"amazon-rds.wasm\"\n[part.secrets]\n{}\n{}\n[part.config]\n\
             region = \"{REGION}\"\nendpoint = \"{}\"\n{what}\n{keys}\n",
            secret("access-key-id", "AWS_ACCESS_KEY_ID"),
            secret("secret-access-key", "AWS_SECRET_ACCESS_KEY"),
            self.aws.url()
        )
    }

    /// One part, nothing to lock.
    fn configure(&self, what: &str, keys: &str) {
        self.bk.config(&[&application_none(), &self.part("database", what, keys)]);
    }

    /// The manual snapshots of instances.
    pub(super) fn snapshots(&self) -> Vec<String> {
        let manual = [("SnapshotType", "manual")];
        let mut all = self.aws.texts("rds", "DescribeDBSnapshots", &manual, "DBSnapshotIdentifier");
        all.sort();
        all
    }

    /// The manual snapshots of clusters.
    fn cluster_snapshots(&self) -> Vec<String> {
        let manual = [("SnapshotType", "manual")];
        let mut all = self.aws.texts("rds", "DescribeDBClusterSnapshots", &manual, "DBClusterSnapshotIdentifier");
        all.sort();
        all
    }

    pub(super) fn databases(&self) -> Vec<String> {
        let mut all = self.aws.texts("rds", "DescribeDBInstances", &[], "DBInstanceIdentifier");
        all.sort();
        all
    }

    fn clusters(&self) -> Vec<String> {
        let mut all = self.aws.texts("rds", "DescribeDBClusters", &[], "DBClusterIdentifier");
        all.sort();
        all.dedup();
        all
    }

    /// What is told of an instance, in these elements.
    pub(super) fn facts(&self, id: &str, elements: &[&str]) -> Vec<String> {
        let answer = self.rds("DescribeDBInstances", &[("DBInstanceIdentifier", id)]);
        let of = |element: &&str| {
            let parts: Vec<_> = answer.split(&format!("<{element}>")).skip(1).collect();
            let texts: Vec<_> = parts.iter().map(|part| part.split("</").next().unwrap().to_owned()).collect();
            texts.join(",")
        };
        elements.iter().map(of).collect()
    }

    /// The name of a set's snapshot.
    fn snapshot_of(&self, set: &str) -> String {
        format!("bkhost-{}-{set}-database", self.bk.instance())
    }

    fn restore(&self, set: &str, to: &[&str]) -> Outcome {
        let to: Vec<_> = to.iter().flat_map(|to| ["--to", *to]).collect();
        self.bk.run(&[&["restore", set, "--confirm", self.bk.instance()][..], &to].concat())
    }

    /// The calls that changed something, as `action id`.
    fn changes(&self) -> Vec<String> {
        let calls = self.aws.calls();
        let changing = calls.iter().filter(|call| !call.action.starts_with("Describe"));
        changing
            .map(|call| {
                let keys = ["DBSnapshotIdentifier", "DBClusterSnapshotIdentifier"];
                let keys = if call.action.contains("Snapshot") && !call.action.starts_with("Restore") {
                    &keys[..]
                } else {
                    &["DBInstanceIdentifier", "DBClusterIdentifier"]
                };
                let id = keys.iter().find_map(|key| call.get(key)).unwrap_or_default();
                format!("{} {id}", call.action)
            })
            .collect()
    }
}

/// A snapshot of an instance that RDS has not taken for so many looks, and then transfers for so many.
fn slow_snapshots(states: States, taking: usize, transferring: u32) -> States {
    let taking = (0..taking).fold(states, |states, _| {
        states.step(Step {
            status: "creating".to_owned(),
            progress: 0,
            hidden: vec!["SnapshotCreateTime", "OriginalSnapshotCreateTime"],
        })
    });
    taking.then("creating", transferring)
}
