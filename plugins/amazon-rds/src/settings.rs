//! What a database was like when its snapshot was taken: RDS keeps only its data, and would restore it with defaults.

use bkhost_sdk_aws::Element;
use serde::{Deserialize, Serialize};

/// Settings of an instance, alone or in a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) class: String,
    pub(crate) engine: String,
    pub(crate) engine_version: String,
    pub(crate) allocated_gib: u64,
    pub(crate) max_allocated_gib: Option<u64>,
    pub(crate) encrypted: bool,
    pub(crate) storage_type: Option<String>,
    pub(crate) iops: Option<u64>,
    pub(crate) throughput: Option<u64>,
    pub(crate) multi_az: bool,
    pub(crate) zone: Option<String>,
    pub(crate) subnet_group: Option<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) parameter_group: Option<String>,
    pub(crate) option_group: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) public: Option<bool>,
    pub(crate) deletion_protection: bool,
    pub(crate) copy_tags: bool,
    pub(crate) iam_authentication: bool,
    pub(crate) minor_upgrades: Option<bool>,
    pub(crate) backup_days: Option<u32>,
    pub(crate) network_type: Option<String>,
    pub(crate) logs: Vec<String>,
    pub(crate) promotion_tier: Option<u32>,
    pub(crate) monitoring_seconds: Option<u32>,
    pub(crate) monitoring_role: Option<String>,
    pub(crate) writer: bool,
    pub(crate) tags: Vec<(String, String)>,
    /// What was there and is not restored, by its name for the operator.
    pub(crate) not_restored: Vec<String>,
}

/// Settings of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Cluster {
    pub(crate) id: String,
    pub(crate) engine: String,
    pub(crate) engine_version: String,
    pub(crate) engine_mode: Option<String>,
    /// Only of a Multi-AZ DB cluster, whose instances RDS makes itself.
    pub(crate) class: Option<String>,
    pub(crate) encrypted: bool,
    pub(crate) storage_type: Option<String>,
    pub(crate) iops: Option<u64>,
    pub(crate) subnet_group: Option<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) parameter_group: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) public: Option<bool>,
    pub(crate) deletion_protection: bool,
    pub(crate) copy_tags: bool,
    pub(crate) iam_authentication: bool,
    pub(crate) backup_days: Option<u32>,
    pub(crate) network_type: Option<String>,
    pub(crate) logs: Vec<String>,
    /// Smallest and largest capacity of Serverless v2, as RDS writes them.
    pub(crate) capacity: Option<(String, String)>,
    pub(crate) backtrack_seconds: Option<u64>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) members: Vec<Instance>,
    pub(crate) not_restored: Vec<String>,
}

impl Instance {
    /// What is only in the region and account where the database is.
    pub(crate) fn is_elsewhere(&mut self) {
        let lost = [
            ("the subnet group", self.subnet_group.take().is_some()),
            ("the security groups", !std::mem::take(&mut self.security_groups).is_empty()),
            ("the parameter group", self.parameter_group.take().is_some_and(|name| !name.starts_with("default"))),
            ("the option group", self.option_group.take().is_some_and(|name| !name.starts_with("default"))),
            ("enhanced monitoring", self.monitoring_seconds.take().is_some()),
        ];
        self.monitoring_role = None;
        self.zone = None;
        self.not_restored.extend(lost.into_iter().filter(|(_, had)| *had).map(|(what, _)| what.to_owned()));
    }

    /// From an element `DBInstance`.
    pub(crate) fn of(instance: &Element) -> Self {
        Self {
            id: instance.text("DBInstanceIdentifier").to_owned(),
            class: instance.text("DBInstanceClass").to_owned(),
            engine: instance.text("Engine").to_owned(),
            engine_version: instance.text("EngineVersion").to_owned(),
            allocated_gib: instance.number("AllocatedStorage").unwrap_or(0),
            max_allocated_gib: instance.number("MaxAllocatedStorage"),
            encrypted: instance.flag("StorageEncrypted"),
            storage_type: text(instance, "StorageType"),
            iops: instance.number("Iops").filter(|n| *n > 0),
            throughput: instance.number("StorageThroughput").filter(|n| *n > 0),
            multi_az: instance.flag("MultiAZ"),
            zone: text(instance, "AvailabilityZone"),
            subnet_group: text(instance, "DBSubnetGroup/DBSubnetGroupName"),
            security_groups: security_groups(instance),
            parameter_group: instance
                .list("DBParameterGroups")
                .first()
                .and_then(|group| text(group, "DBParameterGroupName")),
            option_group: instance
                .list("OptionGroupMemberships")
                .first()
                .and_then(|group| text(group, "OptionGroupName")),
            port: instance.number("Endpoint/Port").or_else(|| instance.number("DbInstancePort")).filter(|n| *n > 0),
            public: instance.get("PubliclyAccessible").map(|_| instance.flag("PubliclyAccessible")),
            deletion_protection: instance.flag("DeletionProtection"),
            copy_tags: instance.flag("CopyTagsToSnapshot"),
            iam_authentication: instance.flag("IAMDatabaseAuthenticationEnabled"),
            minor_upgrades: instance.get("AutoMinorVersionUpgrade").map(|_| instance.flag("AutoMinorVersionUpgrade")),
            backup_days: instance.number("BackupRetentionPeriod"),
            network_type: text(instance, "NetworkType"),
            logs: logs(instance),
            promotion_tier: instance.number("PromotionTier"),
            monitoring_seconds: instance.number("MonitoringInterval").filter(|n| *n > 0),
            monitoring_role: text(instance, "MonitoringRoleArn"),
            writer: false,
            tags: tags(instance),
            not_restored: not_restored(instance),
        }
    }
}

impl Cluster {
    /// What is only in the region and account where the database is.
    pub(crate) fn is_elsewhere(&mut self) {
        let lost = [
            ("the subnet group", self.subnet_group.take().is_some()),
            ("the security groups", !std::mem::take(&mut self.security_groups).is_empty()),
            ("the parameter group", self.parameter_group.take().is_some_and(|name| !name.starts_with("default"))),
        ];
        self.not_restored.extend(lost.into_iter().filter(|(_, had)| *had).map(|(what, _)| what.to_owned()));
        self.members.iter_mut().for_each(Instance::is_elsewhere);
    }

    /// From an element `DBCluster` and those of its instances.
    pub(crate) fn of(cluster: &Element, members: &[Element]) -> Self {
        let class = text(cluster, "DBClusterInstanceClass");
        let writer = |id: &str| {
            let of = |member: &&Element| member.text("DBInstanceIdentifier") == id;
            cluster.list("DBClusterMembers").iter().find(of).is_some_and(|member| member.flag("IsClusterWriter"))
        };
        let mut members: Vec<_> = members.iter().map(Instance::of).collect();
        for member in &mut members {
            member.writer = writer(&member.id);
        }
        // The first instance of a cluster becomes its writer.
        members.sort_by_key(|member| (!member.writer, member.promotion_tier, member.id.clone()));
        let capacity = cluster.at("ServerlessV2ScalingConfiguration");
        Self {
            id: cluster.text("DBClusterIdentifier").to_owned(),
            engine: cluster.text("Engine").to_owned(),
            engine_version: cluster.text("EngineVersion").to_owned(),
            engine_mode: text(cluster, "EngineMode"),
            encrypted: cluster.flag("StorageEncrypted"),
            storage_type: text(cluster, "StorageType"),
            iops: cluster.number("Iops").filter(|n| *n > 0),
            subnet_group: text(cluster, "DBSubnetGroup"),
            security_groups: security_groups(cluster),
            parameter_group: text(cluster, "DBClusterParameterGroup"),
            port: cluster.number("Port").filter(|n| *n > 0),
            // Of instances in a cluster, each has its own.
            public: class.is_some().then(|| cluster.flag("PubliclyAccessible")),
            class,
            deletion_protection: cluster.flag("DeletionProtection"),
            copy_tags: cluster.flag("CopyTagsToSnapshot"),
            iam_authentication: cluster.flag("IAMDatabaseAuthenticationEnabled"),
            backup_days: cluster.number("BackupRetentionPeriod"),
            network_type: text(cluster, "NetworkType"),
            logs: logs(cluster),
            capacity: capacity.and_then(|c| Some((text(c, "MinCapacity")?, text(c, "MaxCapacity")?))),
            backtrack_seconds: cluster.number("BacktrackWindow").filter(|n| *n > 0),
            tags: tags(cluster),
            members,
            not_restored: not_restored(cluster),
        }
    }
}

fn text(element: &Element, path: &str) -> Option<String> {
    element.get(path).map(str::to_owned)
}

fn security_groups(element: &Element) -> Vec<String> {
    element.list("VpcSecurityGroups").iter().filter_map(|group| text(group, "VpcSecurityGroupId")).collect()
}

fn logs(element: &Element) -> Vec<String> {
    element.list("EnabledCloudwatchLogsExports").iter().map(|log| log.content().to_owned()).collect()
}

/// The operator's own tags: Amazon's cannot be set, and ours mean something else.
fn tags(element: &Element) -> Vec<(String, String)> {
    element
        .list("TagList")
        .iter()
        .map(|tag| (tag.text("Key").to_owned(), tag.text("Value").to_owned()))
        .filter(|(key, _)| !key.is_empty() && !key.starts_with("aws:") && !key.starts_with("bkhost:"))
        .collect()
}

fn not_restored(element: &Element) -> Vec<String> {
    let lists = [
        ("DomainMemberships", "the membership of a domain"),
        ("AssociatedRoles", "the associated IAM roles"),
        ("ReadReplicaDBInstanceIdentifiers", "the read replicas"),
        ("ReadReplicaIdentifiers", "the read replicas"),
        ("CustomEndpoints", "the custom endpoints"),
    ];
    let mut all: Vec<_> =
        lists.iter().filter(|(list, _)| !element.list(list).is_empty()).map(|(_, what)| (*what).to_owned()).collect();
    if element.flag("PerformanceInsightsEnabled") {
        all.push("Performance Insights".to_owned());
    }
    if element.at("MasterUserSecret/SecretArn").is_some() {
        all.push("the master password in Secrets Manager".to_owned());
    }
    all
}
