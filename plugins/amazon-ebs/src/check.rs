//! What would fail later.

use bkhost_sdk::{Finding, Result, can_freeze};
use bkhost_sdk_aws::Parameters;

use crate::config::Config;
use crate::ec2::{Ec2, filter};
use crate::owned;
use crate::state::Target;

/// So many snapshots of one volume may be on their way; of some types only one.
const PENDING: usize = 5;

pub(crate) fn check(config: &Config, ec2: &Ec2) -> Result<Vec<Finding>> {
    // What does not work here: no credentials, no right, no such region, no answer, no such volume.
    let target = match Target::find(config, ec2) {
        Ok(target) => target,
        Err(error) => return Ok(vec![Finding::from_error("volumes", error)]),
    };
    let mut findings = volumes(config, &target);
    if !config.freeze.is_empty()
        && let Err(error) = can_freeze(&config.mounts())
    {
        findings.push(Finding::from_error("freeze", error));
    }
    findings.extend(pending(ec2, &target)?);
    findings.extend(rights(ec2, &target)?);
    Ok(findings)
}

fn volumes(config: &Config, target: &Target) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(instance) = &target.instance {
        let subject = format!("instance {}", instance.id);
        findings.push(match instance.state.as_str() {
            "running" | "stopped" | "stopping" | "pending" => {
                let message = format!("{}, in {}: {} volumes", instance.state, instance.zone, target.volumes.len());
                Finding::info(subject, message)
            }
            other => Finding::failure(subject, format!("it is {other}")),
        });
    }
    for volume in &target.volumes {
        let subject = format!("volume {}", volume.id);
        let place = volume
            .attachments
            .first()
            .map_or_else(|| "attached nowhere".to_owned(), |a| format!("{} {}", a.instance, a.device));
        let encrypted = if volume.encrypted { ", encrypted" } else { "" };
        findings.push(match volume.status.as_str() {
            "in-use" | "available" => {
                Finding::info(subject.as_str(), format!("{} GiB {}{encrypted}, {place}", volume.gib, volume.kind))
            }
            other => Finding::failure(subject.as_str(), format!("it is {other}")),
        });
        if volume.multi_attach && volume.attachments.len() > 1 {
            findings.push(Finding::warning(
                subject,
                "several instances write to it: a lock of one does not hold the others",
            ));
        }
    }
    if config.instance_id.is_some() && config.volumes.iter().any(|name| name.starts_with("vol-")) {
        findings.push(Finding::info(
            "volumes",
            "they are named by ids: after a restore in place the new ones have others, and device names stay",
        ));
    }
    findings
}

fn pending(ec2: &Ec2, target: &Target) -> Result<Vec<Finding>> {
    let ids = target.volumes.iter().map(|volume| volume.id.as_str());
    let shots = ec2.shots([filter("volume-id", ids), filter("status", ["pending"])])?;
    let of = |id: &str| shots.iter().filter(|shot| shot.volume == id && shot.status == "pending").count();
    let full = target.volumes.iter().filter(|volume| of(&volume.id) >= PENDING);
    Ok(full
        .map(|volume| {
            let message = format!("{} snapshots of it are still pending: EC2 may refuse one more", of(&volume.id));
            Finding::warning(format!("volume {}", volume.id), message).hint("wait until they are complete")
        })
        .collect())
}

/// Asks EC2 itself: a dry run of a call says whether it would be allowed.
fn rights(ec2: &Ec2, target: &Target) -> Result<Vec<Finding>> {
    let tagged = owned::specification("snapshot", &owned::tags("bkhost-check"));
    let Some(volume) = target.volumes.first() else { return Ok(Vec::new()) };
    let (take, call) = match &target.instance {
        Some(instance) if target.volumes.len() > 1 => {
            ("CreateSnapshots", tagged.set("InstanceSpecification.InstanceId", &instance.id))
        }
        _ => ("CreateSnapshot", tagged.set("VolumeId", &volume.id)),
    };
    let mut findings = Vec::new();
    findings.extend(allowed(ec2, take, &call).map(|why| {
        Finding::failure(take, why).hint("allow it, and ec2:CreateTags, in the policy: see the plugin's README")
    }));
    if let Some(attachment) = volume.attachments.first() {
        let call = Parameters::new().set("VolumeId", &volume.id).set("InstanceId", &attachment.instance);
        findings.extend(allowed(ec2, "DetachVolume", &call).map(|why| {
            Finding::warning("DetachVolume", why).hint("a restore in place needs it: use other credentials for that")
        }));
    }
    let create = Parameters::new().set("AvailabilityZone", &volume.zone).set("Size", 1);
    findings.extend(
        allowed(ec2, "CreateVolume", &create).map(|why| {
            Finding::warning("CreateVolume", why).hint("a restore needs it: use other credentials for that")
        }),
    );
    Ok(findings)
}

/// Why not, if not.
pub(crate) fn allowed(ec2: &Ec2, action: &str, call: &Parameters) -> Option<String> {
    match ec2.client.read(action, &call.clone().set("DryRun", true)) {
        Err(failure) if failure.is_denied() => Some(bkhost_sdk::Error::from(failure).message),
        // `DryRunOperation` is EC2's yes; any other failure is about the values and not about the right.
        _ => None,
    }
}
