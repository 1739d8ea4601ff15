//! A new cluster from a snapshot, and its instances.

use bkhost_sdk::{Error, Result, warn};
use bkhost_sdk_aws::{Element, Parameters};

use super::instance::own_group;
use super::{Job, proof};
use crate::kind::Kind;
use crate::names;
use crate::settings::{Cluster, Instance};

/// What may have been made, and how it went.
pub(super) fn restore(job: &Job<'_>, mut settings: Cluster) -> (Vec<(Kind, String)>, Result<()>) {
    if settings.engine.is_empty() {
        job.found.text("Engine").clone_into(&mut settings.engine);
    }
    job.overrides.cluster(&mut settings);
    let members = match members(job, &settings) {
        Ok(members) => members,
        Err(error) => return (Vec::new(), Err(error)),
    };
    // In the order in which they are removed: a cluster goes after its instances.
    let mut candidates: Vec<_> = members.iter().map(|(id, _)| (Kind::Instance, id.clone())).collect();
    candidates.push((Kind::Cluster, job.target.clone()));
    let outcome = make(job, &settings, &members);
    (candidates, outcome)
}

/// The instances to make, by their new names, the writer first. Refuses names that are in use.
fn members<'a>(job: &Job<'_>, settings: &'a Cluster) -> Result<Vec<(String, &'a Instance)>> {
    // RDS itself makes those of a Multi-AZ DB cluster, and Serverless v1 has none.
    if settings.class.is_some() || settings.engine_mode.as_deref() == Some("serverless") {
        return Ok(Vec::new());
    }
    if settings.members.is_empty() {
        return Err(Error::invalid_config(format!("it is not known which instances {} had", job.snapshot))
            .hint("write [part.config.restore] class = \"db.…\", and one of that class is made"));
    }
    let mut all = Vec::new();
    for (member, n) in settings.members.iter().zip(1..) {
        let id = if job.original && !member.id.is_empty() {
            names::target(&member.id)?
        } else {
            names::member(&job.target, n)?
        };
        job.free(Kind::Instance, &id)?;
        all.push((id, member));
    }
    Ok(all)
}

fn make(job: &Job<'_>, settings: &Cluster, members: &[(String, &Instance)]) -> Result<()> {
    let lost: Vec<_> =
        settings.members.iter().flat_map(|member| &member.not_restored).chain(&settings.not_restored).collect();
    if !lost.is_empty() {
        let lost: Vec<_> = lost.into_iter().map(String::as_str).collect();
        warn!("not restored, set it up by hand: {}", lost.join(", "));
    }
    job.make(Kind::Cluster, &job.target, "RestoreDBClusterFromSnapshot", &parameters(job, settings))?;
    job.available(Kind::Cluster, &job.target)?;
    let mut wrong = Vec::new();
    // The first to be made becomes the writer: the others wait for it. Those are made together.
    let (writer, readers) = members.split_at(members.len().min(1));
    for group in [writer, readers] {
        for (id, member) in group {
            job.make(Kind::Instance, id, "CreateDBInstance", &member_parameters(job, settings, id, member))?;
        }
        for (id, member) in group {
            let restored = Instance::of(&job.available(Kind::Instance, id)?);
            wrong.extend(proof::member(settings, member, &restored).into_iter().map(|what| format!("{id}: {what}")));
        }
    }
    let found = job.available(Kind::Cluster, &job.target)?;
    let restored = Cluster::of(&found, &[]);
    wrong.extend(proof::cluster(settings, &restored, &job.found));
    wrong.extend(absent(members, &found));
    if !wrong.is_empty() {
        return Err(Error::corrupt(format!(
            "the restored cluster {} is not what it must be: {}",
            job.target,
            wrong.join("; ")
        ))
        .hint("the original was not touched"));
    }
    for difference in proof::cluster_differences(settings, &restored) {
        warn!("{}: {difference}", job.target);
    }
    job.settle(Kind::Cluster, &job.target, &settled(settings, &restored))
}

/// What the cluster does not have of the instances that were made for it.
fn absent(members: &[(String, &Instance)], found: &Element) -> Vec<String> {
    let has = found.list("DBClusterMembers");
    let mut wrong: Vec<_> = members
        .iter()
        .filter(|(id, _)| !has.iter().any(|member| member.text("DBInstanceIdentifier").eq_ignore_ascii_case(id)))
        .map(|(id, _)| format!("{id} is not one of its instances"))
        .collect();
    if !members.is_empty() && !has.iter().any(|member| member.flag("IsClusterWriter")) {
        wrong.push("none of its instances is the writer".to_owned());
    }
    wrong
}

fn parameters(job: &Job<'_>, settings: &Cluster) -> Parameters {
    let own_instances = settings.class.is_some();
    let storage = settings.storage_type.as_ref().filter(|kind| own_instances || kind.starts_with("aurora-"));
    let mode = settings.engine_mode.as_ref().filter(|mode| *mode != "provisioned");
    let version = Some(&settings.engine_version).filter(|version| !version.is_empty());
    let mut parameters = Parameters::new()
        .set("DBClusterIdentifier", &job.target)
        .set("SnapshotIdentifier", &job.snapshot)
        .set("Engine", &settings.engine)
        .maybe("EngineVersion", version)
        .maybe("EngineMode", mode)
        .maybe("DBClusterInstanceClass", settings.class.as_ref())
        .maybe("StorageType", storage)
        .maybe("Iops", settings.iops.filter(|_| own_instances))
        .maybe("PubliclyAccessible", settings.public.filter(|_| own_instances))
        .maybe("DBSubnetGroupName", own_group(settings.subnet_group.as_ref()))
        .list("VpcSecurityGroupIds.VpcSecurityGroupId", &settings.security_groups)
        .maybe("DBClusterParameterGroupName", own_group(settings.parameter_group.as_ref()))
        .maybe("Port", settings.port)
        .maybe("BacktrackWindow", settings.backtrack_seconds)
        .maybe("NetworkType", settings.network_type.as_ref())
        .set("CopyTagsToSnapshot", settings.copy_tags)
        .set("EnableIAMDatabaseAuthentication", settings.iam_authentication)
        .list("EnableCloudwatchLogsExports.member", &settings.logs)
        // Until it is proved, it must be possible to remove it.
        .set("DeletionProtection", false)
        .tags("Tags.Tag", &job.tags(&settings.tags));
    if let Some((least, most)) = &settings.capacity {
        parameters = parameters
            .set("ServerlessV2ScalingConfiguration.MinCapacity", least)
            .set("ServerlessV2ScalingConfiguration.MaxCapacity", most);
    }
    parameters
}

fn member_parameters(job: &Job<'_>, settings: &Cluster, id: &str, member: &Instance) -> Parameters {
    let monitoring = member.monitoring_seconds.zip(member.monitoring_role.as_ref());
    Parameters::new()
        .set("DBInstanceIdentifier", id)
        .set("DBClusterIdentifier", &job.target)
        .set("Engine", &settings.engine)
        .set("DBInstanceClass", &member.class)
        .maybe("DBParameterGroupName", own_group(member.parameter_group.as_ref()))
        .maybe("PromotionTier", member.promotion_tier)
        .maybe("PubliclyAccessible", member.public)
        .maybe("AutoMinorVersionUpgrade", member.minor_upgrades)
        .maybe("MonitoringInterval", monitoring.map(|(seconds, _)| seconds))
        .maybe("MonitoringRoleArn", monitoring.map(|(_, role)| role))
        .set("CopyTagsToSnapshot", member.copy_tags)
        .tags("Tags.Tag", &job.tags(&member.tags))
}

/// What a restore does not set.
fn settled(settings: &Cluster, restored: &Cluster) -> Parameters {
    Parameters::new()
        .maybe(
            "DeletionProtection",
            Some(true).filter(|_| settings.deletion_protection && !restored.deletion_protection),
        )
        .maybe("BackupRetentionPeriod", settings.backup_days.filter(|days| Some(*days) != restored.backup_days))
}
