//! Preflight: what would fail later.

use std::time::Duration;

use bkhost_sdk::{Error, Finding, Result};
use bkhost_sdk_aws::{Element, Failure, Parameters};

use crate::AmazonRds;
use crate::capture::{PASSING_STATES, READY_STATES, missing};
use crate::kind::Kind;

/// Quotas are told on a best effort: not all that speaks this protocol knows them.
const QUOTAS: Duration = Duration::from_secs(3);

pub(crate) fn all(plugin: &AmazonRds) -> Result<Vec<Finding>> {
    let names = plugin.kind.names();
    let subject = format!("{} {}", names.word, plugin.source);
    let found = match plugin.rds.find(plugin.kind, &plugin.source) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(vec![Finding::from_error(subject, missing(plugin))]),
        Err(failure) => return stopped(subject, failure),
    };
    let mut findings = vec![described(&subject, plugin.kind, &found), status(&subject, names.status, &found)];
    findings.extend(fits(&subject, plugin.kind, &found));
    let snapshots = match plugin.rds.snapshots(plugin.kind) {
        Ok(snapshots) => snapshots,
        Err(failure) => {
            findings.extend(stopped("snapshots".to_owned(), failure)?);
            return Ok(findings);
        }
    };
    let ours = snapshots.iter().filter(|snapshot| plugin.rds.label(plugin.kind, snapshot).is_some()).count();
    findings.push(Finding::info("snapshots", format!("{ours} of this part, {} in the account", snapshots.len())));
    findings.extend(quota(plugin, ours));
    Ok(findings)
}

/// What keeps the check from going on: a finding, unless the run was cancelled.
pub(crate) fn stopped(subject: String, failure: Failure) -> Result<Vec<Finding>> {
    if failure.is_interrupted() {
        return Err(failure.into());
    }
    Ok(vec![Finding::from_error(subject, Error::from(failure))])
}

fn described(subject: &str, kind: Kind, found: &Element) -> Finding {
    let class = match kind {
        Kind::Instance => found.text("DBInstanceClass").to_owned(),
        Kind::Cluster => format!("{} instances", found.list("DBClusterMembers").len()),
    };
    let (engine, version) = (found.text("Engine"), found.text("EngineVersion"));
    Finding::info(subject, format!("{engine} {version}, {class}, {} GiB", found.text("AllocatedStorage")))
}

fn status(subject: &str, key: &str, found: &Element) -> Finding {
    let status = found.text(key);
    if READY_STATES.contains(&status) {
        Finding::info(subject, format!("it is {status}"))
    } else if PASSING_STATES.contains(&status) {
        Finding::warning(subject, format!("it is {status}: the run waits, before its lock, until it is available"))
    } else {
        Finding::failure(subject, format!("it is {status}")).hint("RDS takes snapshots of what is available only")
    }
}

fn fits(subject: &str, kind: Kind, found: &Element) -> Vec<Finding> {
    let mut findings = Vec::new();
    let engine = found.text("Engine");
    if ["docdb", "neptune"].contains(&engine) {
        findings.push(Finding::failure(subject, format!("{engine} is not supported: it is not restored by RDS")));
    }
    if engine.starts_with("custom-") {
        findings.push(Finding::failure(subject, format!("RDS Custom ({engine}) is not supported")));
    }
    if kind == Kind::Instance {
        if let Some(cluster) = found.get("DBClusterIdentifier") {
            findings.push(
                Finding::failure(
                    subject,
                    format!("is an instance of the cluster {cluster}, and captured with it only"),
                )
                .hint(format!("write cluster = \"{cluster}\" instead of instance")),
            );
        } else if !found.flag("MultiAZ") {
            let message = "has no standby: RDS suspends its I/O for a moment while it takes a snapshot";
            findings.push(Finding::info(subject, message));
        }
    }
    findings
}

/// Room for one more snapshot.
fn quota(plugin: &AmazonRds, ours: usize) -> Option<Finding> {
    let name = plugin.kind.names().quota;
    let client = plugin.rds.client.patience(QUOTAS);
    let answer = match client.read("DescribeAccountAttributes", &Parameters::new()) {
        Ok(answer) => answer,
        Err(failure) => {
            let message = format!("not known: {}", Error::from(failure).message);
            return Some(Finding::info("quota of manual snapshots", message));
        }
    };
    let of = |quota: &&Element| quota.text("AccountQuotaName") == name;
    let quota = answer.list("AccountQuotas").iter().find(of)?;
    let (used, most) = (quota.number::<u64>("Used")?, quota.number::<u64>("Max")?);
    let message = format!("{used} of {most} in use");
    let hint =
        format!("raise the quota {name}, delete snapshots, or keep fewer sets ({ours} of these are this part's)");
    Some(match most.saturating_sub(used) {
        0 => Finding::failure("quota of manual snapshots", message).hint(hint),
        1..=3 => Finding::warning("quota of manual snapshots", message).hint(hint),
        _ => Finding::info("quota of manual snapshots", message),
    })
}
