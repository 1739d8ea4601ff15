//! What would fail later.

use std::collections::BTreeMap;

use bkhost_sdk::{Error, ErrorCode, Finding, Result, Severity, config, exec, warn};

use crate::names::{group, snapshot_name, split, too_long};
use crate::plan::{Plan, space};
use crate::report::{self, Kind, Mount, Volume};
use crate::{Config, NEARLY_FULL, take};

/// Directories that LVM writes to while it takes a snapshot: frozen, it would wait for itself.
const NEEDED_BY_LVM: [&str; 7] = ["/", "/etc", "/etc/lvm", "/run", "/var", "/usr", "/dev"];

pub(crate) fn check(config: &Config, version: Option<&str>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    match version {
        Some(version) => findings.push(Finding::info("lvm", version)),
        None => findings.push(Finding::failure("lvm", "does not run").hint("install lvm2; is the part run as root?")),
    }
    if let Ok(output) = exec::run("user", &[]).and_then(exec::Output::ok)
        && output.first_line() != "0"
    {
        findings.push(Finding::failure("user", "is not root, as LVM and mounting demand").hint("run bkhost as root"));
        return Ok(findings);
    }
    if config.volumes.len() > 1
        && let Err(error) = exec::run("dm-version", &[]).and_then(exec::Output::ok)
    {
        findings.push(Finding::from_error("dmsetup", error));
    }
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for volume in &config.volumes {
        groups.entry(group(volume)).or_default().push(volume);
    }
    for (group, volumes) in groups {
        findings.extend(group_of(group, &volumes, config)?);
    }
    // What is wrong with a volume is said in other words already.
    let sound = !findings.iter().any(|finding| finding.severity == Severity::Failure);
    if sound && config.volumes.len() > 1 {
        findings.extend(together(config)?);
    }
    Ok(findings)
}

/// Whether several volumes can be captured at one instant.
fn together(config: &Config) -> Result<Option<Finding>> {
    let plan = Plan::make(config)?;
    let classic = plan.volumes.iter().enumerate().filter(|(_, volume)| volume.pool.is_none());
    let directories: Vec<_> = classic.map(|(n, _)| take::directory(n)).collect();
    let error = if plan.volumes.len() - directories.len() > 1 {
        Some(take::several_thin())
    } else {
        bkhost_sdk::can_freeze(&directories).err()
    };
    Ok(error.map(|error| Finding::from_error("volumes", error)))
}

/// LVM's version; none if it does not run.
pub(crate) fn version() -> Result<Option<String>> {
    match exec::run("version", &[]).and_then(exec::Output::ok) {
        Ok(output) => Ok(Some(version_of(&output.stdout))),
        Err(error) if matches!(error.code, ErrorCode::Interrupted | ErrorCode::TimedOut) => Err(error),
        Err(error) => {
            warn!("{}", error.message);
            Ok(None)
        }
    }
}

/// `2.03.16(2) (2022-05-18)` of `  LVM version:     2.03.16(2) (2022-05-18)`.
fn version_of(text: &str) -> String {
    let named = text.lines().find_map(|line| line.trim().strip_prefix("LVM version:"));
    named.or_else(|| text.lines().next()).unwrap_or_default().trim().to_owned()
}

fn group_of(group: &str, volumes: &[&str], config: &Config) -> Result<Vec<Finding>> {
    let all = match report::volumes(group) {
        Ok(Some(all)) => all,
        Ok(None) => {
            return Ok(vec![Finding::failure(format!("group {group}"), "does not exist").hint("see `vgs`")]);
        }
        Err(error) if error.code == ErrorCode::Interrupted => return Err(error),
        Err(error) => return Ok(vec![Finding::from_error(format!("group {group}"), error)]),
    };
    let mut findings = Vec::new();
    let mut needed = 0_u64;
    for &name in volumes {
        let subject = format!("volume {name}");
        let Some(found) = all.iter().find(|volume| volume.name == split(name).1) else {
            findings.push(Finding::failure(subject, "does not exist").hint(format!("see `lvs {group}`")));
            continue;
        };
        match volume(name, found, &all, config) {
            Ok(more) => findings.extend(more),
            Err(error) if error.code == ErrorCode::Interrupted => return Err(error),
            Err(error) => findings.push(Finding::from_error(subject, error)),
        }
        if found.kind() == Kind::Classic {
            needed = needed.saturating_add(space(&config.snapshot_size, found.size(), found.extent())?);
        }
        findings.extend(all.iter().filter_map(|snapshot| kept(name, snapshot)));
    }
    let free = all.first().map_or(0, Volume::free);
    if needed > free {
        findings.push(
            Finding::failure(
                format!("group {group}"),
                format!("has {} MiB free, and the snapshots take {} MiB", free >> 20, needed >> 20),
            )
            .hint("make room in it (vgextend), lower [part.config] snapshot-size, or prune sets that keep snapshots"),
        );
    }
    Ok(findings)
}

fn volume(name: &str, found: &Volume, all: &[Volume], config: &Config) -> Result<Vec<Finding>> {
    let subject = format!("volume {name}");
    let failure = |message: String| Finding::failure(subject.as_str(), message);
    if found.is_merging() {
        return Ok(vec![failure("a snapshot is being merged into it".into()).hint("wait until that has ended")]);
    }
    match found.kind() {
        Kind::Classic | Kind::Thin => {}
        Kind::Snapshot => {
            return Ok(vec![
                failure(format!("is itself a snapshot, of {}", found.origin))
                    .hint("LVM takes no snapshot of a classic snapshot: name the volume it was taken of"),
            ]);
        }
        Kind::Pool => {
            return Ok(vec![failure("is a thin pool".into()).hint("name the thin volumes in it")]);
        }
        Kind::Other => {
            return Ok(vec![
                failure("is of a sort that this plugin does not know".into()).hint("see `lvs -o +segtype`"),
            ]);
        }
    }
    if !found.is_active() {
        return Ok(vec![failure("is not active".into()).hint(format!("lvchange -ay {name}"))]);
    }
    // As long as the host makes labels.
    let label = format!("bkhost-{}-20261121-014200-4f2a9c", config::instance());
    if too_long(&snapshot_name(name, &label)) {
        return Ok(vec![
            failure("its name is too long: that of its snapshot would not fit into a device's name".into())
                .hint("rename it (lvrename), or give the instance a shorter name"),
        ]);
    }
    let mut findings = Vec::new();
    let mounts = report::mounts(name)?;
    findings.extend(mounted(&subject, &mounts, config.volumes.len() > 1));
    if found.kind() == Kind::Thin {
        let name = format!("{}/{}", group(name), found.pool);
        match all.iter().find(|volume| volume.name == found.pool) {
            Some(found) => findings.extend(pool(&name, found, f64::from(config.max_pool_use))),
            None => findings.push(failure(format!("its pool {name} is not shown"))),
        }
    }
    Ok(findings)
}

fn mounted(subject: &str, mounts: &[Mount], together: bool) -> Vec<Finding> {
    let Some(Mount { target, fstype }) = mounts.first() else {
        return vec![Finding::failure(subject, "is not mounted").hint(
            "mount it; a volume that is used otherwise (encrypted, as swap, by a database) cannot be read as files",
        )];
    };
    if !["ext3", "ext4", "xfs"].contains(&fstype.as_str()) {
        return vec![
            Finding::failure(subject, format!("holds {fstype}, and snapshots of ext3, ext4 and XFS are read"))
                .hint("btrfs has snapshots of its own; for others the strategy `directory` copies files"),
        ];
    }
    let needed = mounts.iter().find(|mount| NEEDED_BY_LVM.contains(&mount.target.as_str()));
    if let Some(mount) = needed.filter(|_| together) {
        return vec![
            Finding::failure(
                subject,
                format!("is mounted at {}, which LVM needs while others are frozen", mount.target),
            )
            .hint("give it a part of its own"),
        ];
    }
    vec![Finding::info(subject, format!("{fstype}, mounted at {target}"))]
}

fn pool(name: &str, pool: &Volume, limit: f64) -> Vec<Finding> {
    let subject = format!("thin pool {name}");
    let fills = [("data", pool.used()), ("metadata", pool.metadata_used())];
    let finding = |(what, used): (&str, Option<f64>)| {
        let used = used?;
        let message = format!("{used:.1} % of its {what} is used");
        if used >= limit {
            let hint = format!("a full pool fails what lives in it: extend it (lvextend {name}), or free space in it");
            Some(Finding::failure(subject.as_str(), format!("{message}; max-pool-use is {limit:.0}")).hint(hint))
        } else if used >= NEARLY_FULL {
            Some(Finding::warning(subject.as_str(), message))
        } else {
            None
        }
    };
    fills.into_iter().filter_map(finding).collect()
}

/// Snapshots of earlier runs that stayed, and are in trouble.
fn kept(volume: &str, snapshot: &Volume) -> Option<Finding> {
    snapshot.label_of(volume)?;
    let subject = format!("snapshot {}/{}", group(volume), snapshot.name);
    if snapshot.is_invalid() {
        return Some(
            Finding::warning(subject, "has overflowed and holds nothing any more")
                .hint("its set restores from the archive (--to); it goes when the set is pruned"),
        );
    }
    let used = snapshot.used().filter(|used| snapshot.kind() == Kind::Snapshot && *used >= NEARLY_FULL)?;
    Some(Finding::warning(subject, format!("is {used:.0} % full")).hint("prune its set, or lvextend it"))
}

/// What is wrong with a failure of LVM, in general.
pub(crate) fn explain_missing(name: &str) -> Error {
    Error::not_found(format!("volume group {name} does not exist")).hint("see `vgs`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version() {
        assert_eq!(
            version_of("  LVM version:     2.03.16(2) (2022-05-18)\n  Library version: 1\n"),
            "2.03.16(2) (2022-05-18)"
        );
        assert_eq!(version_of("odd\nmore"), "odd");
        assert_eq!(version_of(""), "");
    }

    #[test]
    fn where_a_volume_is_mounted() {
        let mount = |target: &str, fstype: &str| Mount { target: target.into(), fstype: fstype.into() };
        let failed = |mounts: &[Mount], together| {
            mounted("v", mounts, together).iter().any(|finding| finding.severity == bkhost_sdk::Severity::Failure)
        };
        assert!(failed(&[], false));
        assert!(failed(&[mount("/srv", "btrfs")], false));
        assert!(!failed(&[mount("/srv", "ext4")], true));
        assert!(!failed(&[mount("/", "xfs")], false));
        assert!(failed(&[mount("/srv/root", "xfs"), mount("/", "xfs")], true));
    }
}
