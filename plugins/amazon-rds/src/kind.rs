//! What instances and clusters are called in the API.

use serde::{Deserialize, Serialize};

/// What is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A DB instance.
    Instance,
    /// An Aurora cluster, or a Multi-AZ DB cluster.
    Cluster,
}

/// The names of one kind.
#[derive(Debug)]
pub(crate) struct Names {
    /// For the operator.
    pub(crate) word: &'static str,
    pub(crate) describe: &'static str,
    pub(crate) list: &'static str,
    pub(crate) id: &'static str,
    pub(crate) status: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) create_snapshot: &'static str,
    pub(crate) delete_snapshot: &'static str,
    pub(crate) describe_snapshots: &'static str,
    pub(crate) snapshots: &'static str,
    pub(crate) snapshot: &'static str,
    pub(crate) snapshot_id: &'static str,
    pub(crate) encrypted: &'static str,
    pub(crate) snapshot_arn: &'static str,
    pub(crate) copy_snapshot: &'static str,
    pub(crate) copy_source: &'static str,
    pub(crate) copy_target: &'static str,
    pub(crate) share: &'static str,
    pub(crate) quota: &'static str,
}

const INSTANCE: Names = Names {
    word: "instance",
    describe: "DescribeDBInstances",
    list: "DBInstances",
    id: "DBInstanceIdentifier",
    status: "DBInstanceStatus",
    resource: "DbiResourceId",
    create_snapshot: "CreateDBSnapshot",
    delete_snapshot: "DeleteDBSnapshot",
    describe_snapshots: "DescribeDBSnapshots",
    snapshots: "DBSnapshots",
    snapshot: "DBSnapshot",
    snapshot_id: "DBSnapshotIdentifier",
    encrypted: "Encrypted",
    snapshot_arn: "DBSnapshotArn",
    copy_snapshot: "CopyDBSnapshot",
    copy_source: "SourceDBSnapshotIdentifier",
    copy_target: "TargetDBSnapshotIdentifier",
    share: "ModifyDBSnapshotAttribute",
    quota: "ManualSnapshots",
};

const CLUSTER: Names = Names {
    word: "cluster",
    describe: "DescribeDBClusters",
    list: "DBClusters",
    id: "DBClusterIdentifier",
    status: "Status",
    resource: "DbClusterResourceId",
    create_snapshot: "CreateDBClusterSnapshot",
    delete_snapshot: "DeleteDBClusterSnapshot",
    describe_snapshots: "DescribeDBClusterSnapshots",
    snapshots: "DBClusterSnapshots",
    snapshot: "DBClusterSnapshot",
    snapshot_id: "DBClusterSnapshotIdentifier",
    encrypted: "StorageEncrypted",
    snapshot_arn: "DBClusterSnapshotArn",
    copy_snapshot: "CopyDBClusterSnapshot",
    copy_source: "SourceDBClusterSnapshotIdentifier",
    copy_target: "TargetDBClusterSnapshotIdentifier",
    share: "ModifyDBClusterSnapshotAttribute",
    quota: "ManualClusterSnapshots",
};

impl Kind {
    pub(crate) fn names(self) -> &'static Names {
        match self {
            Self::Instance => &INSTANCE,
            Self::Cluster => &CLUSTER,
        }
    }
}
