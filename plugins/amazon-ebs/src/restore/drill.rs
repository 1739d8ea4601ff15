//! Rehearsing a restore: volumes are created from the snapshots, looked at, and deleted again. They are attached to nothing.

use bkhost_sdk::{Error, Finding, Result};

use super::volumes::{self, Made};
use super::{complete, zones};
use crate::config::Config;
use crate::ec2::Ec2;
use crate::state::{Captured, State};

/// Create the volumes, and delete them.
///
/// # Errors
/// The part does not allow it; a volume cannot be created, or not be deleted again.
pub(crate) fn rehearse(config: &Config, ec2: &Ec2, state: &State) -> Result<Vec<Finding>> {
    if !config.drill {
        return Err(Error::unsupported("this part does not say that a drill may create volumes").hint(
            "[part.config] drill = true: they are created from the newest proved set, cost what they cost while they exist, \
             and are deleted again. Or name the part under [drill] skip",
        ));
    }
    complete(ec2, state)?;
    let zones = zones(config, state, None, ec2.place.as_ref())?;
    let mut made = Vec::new();
    let looked = volumes::create(config, ec2, state, &zones, true, &mut made).and_then(|()| {
        state.volumes.iter().zip(&made).map(|(captured, new)| look(ec2, captured, new)).collect::<Result<Vec<_>>>()
    });
    // Each is tried, whatever becomes of the others.
    let removed: Vec<_> = made.iter().map(|new| volumes::remove(config, ec2, &new.volume)).collect();
    let findings = looked?;
    removed.into_iter().collect::<Result<Vec<()>>>()?;
    Ok(findings)
}

/// What EC2 has made of a snapshot.
fn look(ec2: &Ec2, captured: &Captured, new: &Made) -> Result<Finding> {
    let found = ec2.volume(&new.volume)?;
    let subject = format!("snapshot {} of {}", captured.snapshot, captured.volume);
    if found.gib < captured.gib || (captured.encrypted && !found.encrypted) {
        let encrypted = |encrypted| if encrypted { "encrypted" } else { "not encrypted" };
        return Ok(Finding::failure(
            subject,
            format!(
                "became a volume of {} GiB, {}; it was one of {} GiB, {}",
                found.gib,
                encrypted(found.encrypted),
                captured.gib,
                encrypted(captured.encrypted)
            ),
        ));
    }
    Ok(Finding::info(
        subject,
        format!("became a volume of {} GiB, available in {}, and deleted again", found.gib, new.zone),
    ))
}

/// Delete what a drill of this part has left, and nothing else.
///
/// # Errors
/// EC2's.
pub(crate) fn clear(config: &Config, ec2: &Ec2) -> Result<()> {
    ec2.drilled()?.iter().try_for_each(|volume| volumes::remove(config, ec2, volume))
}
