//! A new instance from a snapshot.

use bkhost_sdk::{Error, Result, warn};
use bkhost_sdk_aws::Parameters;

use super::{Job, proof};
use crate::kind::Kind;
use crate::settings::Instance;

/// What may have been made, and how it went.
pub(super) fn restore(job: &Job<'_>, mut settings: Instance) -> (Vec<(Kind, String)>, Result<()>) {
    job.overrides.instance(&mut settings);
    (vec![(Kind::Instance, job.target.clone())], make(job, &settings))
}

fn make(job: &Job<'_>, settings: &Instance) -> Result<()> {
    if !settings.not_restored.is_empty() {
        warn!("not restored, set it up by hand: {}", settings.not_restored.join(", "));
    }
    job.make(Kind::Instance, &job.target, "RestoreDBInstanceFromDBSnapshot", &parameters(job, settings))?;
    let found = job.available(Kind::Instance, &job.target)?;
    let restored = Instance::of(&found);
    let wrong = proof::instance(settings, &restored, &job.found);
    if !wrong.is_empty() {
        return Err(Error::corrupt(format!(
            "the restored instance {} is not what it must be: {}",
            job.target,
            wrong.join("; ")
        ))
        .hint("the original was not touched"));
    }
    for difference in proof::differences(settings, &restored) {
        warn!("{}: {difference}", job.target);
    }
    job.settle(Kind::Instance, &job.target, &settled(settings, &restored))
}

/// What is not a default of the engine; that one comes by itself, and fits the engine's version.
pub(super) fn own_group(name: Option<&String>) -> Option<&String> {
    name.filter(|name| !name.starts_with("default.") && !name.starts_with("default:") && *name != "default")
}

fn parameters(job: &Job<'_>, settings: &Instance) -> Parameters {
    let (iops, throughput) = provisioned(settings);
    Parameters::new()
        .set("DBInstanceIdentifier", &job.target)
        .set("DBSnapshotIdentifier", &job.snapshot)
        .maybe("DBInstanceClass", Some(&settings.class).filter(|class| !class.is_empty()))
        .set("MultiAZ", settings.multi_az)
        .maybe("AvailabilityZone", job.overrides.zone.as_ref())
        .maybe("DBSubnetGroupName", own_group(settings.subnet_group.as_ref()))
        .list("VpcSecurityGroupIds.VpcSecurityGroupId", &settings.security_groups)
        .maybe("DBParameterGroupName", own_group(settings.parameter_group.as_ref()))
        .maybe("OptionGroupName", own_group(settings.option_group.as_ref()))
        .maybe("StorageType", settings.storage_type.as_ref())
        .maybe("Iops", iops)
        .maybe("StorageThroughput", throughput)
        .maybe("Port", settings.port)
        .maybe("PubliclyAccessible", settings.public)
        .maybe("AutoMinorVersionUpgrade", settings.minor_upgrades)
        .set("CopyTagsToSnapshot", settings.copy_tags)
        .set("EnableIAMDatabaseAuthentication", settings.iam_authentication)
        .maybe("NetworkType", settings.network_type.as_ref())
        .list("EnableCloudwatchLogsExports.member", &settings.logs)
        // Until it is proved, it must be possible to remove it.
        .set("DeletionProtection", false)
        .tags("Tags.Tag", &job.tags(&settings.tags))
}

/// What was provisioned. A small gp3 volume shows figures that may not be asked for: its defaults.
fn provisioned(settings: &Instance) -> (Option<u64>, Option<u64>) {
    match settings.storage_type.as_deref() {
        Some("io1" | "io2") => (settings.iops, None),
        Some("gp3") => {
            let default = settings.iops.is_none_or(|n| n <= 3000) && settings.throughput.is_none_or(|n| n <= 125);
            if default { (None, None) } else { (settings.iops, settings.throughput) }
        }
        _ => (None, None),
    }
}

/// What a restore does not set.
fn settled(settings: &Instance, restored: &Instance) -> Parameters {
    let different = |wanted: Option<u64>, is: Option<u64>| wanted.filter(|wanted| Some(*wanted) != is);
    let days = |settings: &Instance| settings.backup_days.map(u64::from);
    let monitoring = settings.monitoring_seconds.zip(settings.monitoring_role.as_ref());
    let mut parameters = Parameters::new()
        .maybe(
            "DeletionProtection",
            Some(true).filter(|_| settings.deletion_protection && !restored.deletion_protection),
        )
        .maybe("BackupRetentionPeriod", different(days(settings), days(restored)))
        .maybe("MaxAllocatedStorage", different(settings.max_allocated_gib, restored.max_allocated_gib));
    if let Some((seconds, role)) = monitoring.filter(|(seconds, _)| restored.monitoring_seconds != Some(*seconds)) {
        parameters = parameters.set("MonitoringInterval", seconds).set("MonitoringRoleArn", role);
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_small_volumes_are_not_asked_for() {
        let of = |kind: &str, iops, throughput| {
            provisioned(&Instance { storage_type: Some(kind.to_owned()), iops, throughput, ..Instance::default() })
        };
        assert_eq!(of("gp3", Some(3000), Some(125)), (None, None));
        assert_eq!(of("gp3", Some(12000), Some(500)), (Some(12000), Some(500)));
        assert_eq!(of("io2", Some(1000), None), (Some(1000), None));
        assert_eq!(of("gp2", Some(300), None), (None, None));
    }

    #[test]
    fn groups_of_the_engine_come_by_themselves() {
        let own = |name: &str| own_group(Some(&name.to_owned())).cloned();
        assert_eq!((own("default.postgres16"), own("default:mysql-8-0"), own("default")), (None, None, None));
        assert_eq!(own("defaults-of-mine").as_deref(), Some("defaults-of-mine"));
    }
}
