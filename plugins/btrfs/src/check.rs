//! What would fail later.

use bkhost_sdk::{Error, ErrorCode, Finding, Result, exec, path};
use serde::Deserialize;

use crate::config::{Archive, Config, Nested};
use crate::names::within;
use crate::show::{Found, show};
use crate::{inside, mark, space};

/// The oldest btrfs-progs whose answers are understood: `subvolume show` tells what it does here.
const OLDEST: (u32, u32) = (4, 8);

pub(crate) fn check(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = vec![version()?];
    if findings.iter().any(|finding| finding.severity == bkhost_sdk::Severity::Failure) {
        return Ok(findings);
    }
    findings.extend(rights());
    let mut all_there = true;
    for subvolume in &config.subvolumes {
        let found = self::subvolume(config, subvolume)?;
        all_there &= found.is_none();
        findings.extend(found);
    }
    findings.extend(directory(config)?);
    if all_there {
        findings.extend(nested(config)?);
        if let Some(first) = config.subvolumes.first() {
            findings.extend(space::check(first)?);
        }
    }
    if config.subvolumes.len() > 1 {
        let message = format!(
            "{} subvolumes: btrfs takes their snapshots one after the other, not at one instant",
            config.subvolumes.len()
        );
        findings.push(Finding::info("subvolumes", message));
    }
    if config.archive == Archive::Stream {
        findings.push(Finding::info("btrfs send", format!("a full stream every {} sets", config.full_every)));
    }
    Ok(findings)
}

fn version() -> Result<Finding> {
    let output = match exec::run("version", &[]) {
        Ok(output) => output,
        Err(error) if error.code == ErrorCode::NotFound => {
            return Ok(Finding::from_error("btrfs", error.hint("install btrfs-progs")));
        }
        Err(error) => return Err(error),
    };
    let told = output.first_line().to_owned();
    Ok(match parse_version(&told) {
        Some(version) if version < OLDEST => Finding::failure("btrfs", format!("{told} is too old"))
            .hint(format!("install btrfs-progs {}.{} or newer", OLDEST.0, OLDEST.1)),
        Some(_) => Finding::info("btrfs", told),
        None => {
            Finding::warning("btrfs", format!("it does not tell its version, but `{told}`")).hint("is it btrfs-progs?")
        }
    })
}

/// `btrfs-progs v6.2`.
fn parse_version(told: &str) -> Option<(u32, u32)> {
    let (_, version) = told.split_once(" v")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

fn rights() -> Option<Finding> {
    // `id` is a courtesy: without it there is nothing to say.
    let user = exec::run("user", &[]).and_then(exec::Output::ok).ok()?;
    (user.first_line() != "0").then(|| {
        Finding::warning(
            "user",
            format!("commands run as the user {}, and btrfs wants root for most of them", user.first_line()),
        )
        .hint("run bkhost as root")
    })
}

/// What keeps a subvolume from being captured.
fn subvolume(config: &Config, path: &str) -> Result<Option<Finding>> {
    let subject = format!("subvolume {path}");
    let failure = match show("show", "subvolume", path) {
        Ok(Found::Subvolume(_)) => return same_file_system(config, path),
        Ok(Found::Absent) => Finding::failure(subject, "does not exist").hint("see `btrfs subvolume list`"),
        Ok(Found::Other(why)) if why.contains("ilesystem") => Finding::failure(subject, "is not on a btrfs")
            .hint("name a subvolume of a btrfs, or use another plugin for it"),
        Ok(Found::Other(_)) => Finding::failure(subject, "is no subvolume, but a directory in one").hint(
            "name the subvolume that holds it, or make it one: btrfs subvolume create, and move the data into it",
        ),
        Err(error) => Finding::from_error(subject, error),
    };
    Ok(Some(failure))
}

/// A mounted file system, as `findmnt -J` tells it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Mount {
    pub(crate) target: String,
    #[serde(rename = "maj:min")]
    pub(crate) device: String,
    #[serde(default)]
    pub(crate) options: String,
}

impl Mount {
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }
}

#[derive(Deserialize)]
struct Mounts {
    filesystems: Vec<Mount>,
}

/// Parse `findmnt -J`.
pub(crate) fn mounts(json: &str) -> Vec<Mount> {
    serde_json::from_str::<Mounts>(json).map(|mounts| mounts.filesystems).unwrap_or_default()
}

/// The mount that holds a path; none if it is not told.
pub(crate) fn mount_of(command: &str, slot: &str, path: &str) -> Result<Option<Mount>> {
    let output = exec::run(command, &[(slot, path)])?;
    Ok(if output.status == 0 { mounts(&output.stdout).pop() } else { None })
}

fn same_file_system(config: &Config, path: &str) -> Result<Option<Finding>> {
    let ours = mount_of("mount-of", "subvolume", path)?;
    let theirs = mount_of("mount-of-snapshots", "directory", &config.snapshots)?;
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(None) };
    Ok((ours.device != theirs.device).then(|| {
        Finding::failure(format!("subvolume {path}"), format!("is not on the same file system as {}, which is on that of {}", config.snapshots, theirs.target))
            .hint("name a directory of its own file system in [part.config] snapshots; subvolumes of several file systems need a part for each")
    }))
}

fn directory(config: &Config) -> Result<Vec<Finding>> {
    let subject = format!("directory {}", config.snapshots);
    if let Err(error) = std::fs::metadata(path::local(mark::SNAPSHOTS)) {
        return Ok(vec![
            Finding::failure(subject, path::unreadable(&error))
                .hint(format!("create it: mkdir -m 700 '{}'", config.snapshots)),
        ]);
    }
    let mount = mount_of("mount-of-snapshots", "directory", &config.snapshots)?;
    if mount.is_some_and(|mount| mount.has("ro")) {
        return Ok(vec![
            Finding::failure(subject, "is mounted read-only: no snapshot can be put there").hint("mount -o remount,rw"),
        ]);
    }
    let inside: Vec<&String> = config.subvolumes.iter().filter(|outer| within(&config.snapshots, outer)).collect();
    Ok(inside
        .into_iter()
        .map(|outer| {
            Finding::info(
                subject.as_str(),
                format!("is in {outer}: a restore in place cannot swap it; --to can restore it"),
            )
        })
        .collect())
}

fn nested(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, inside) in inside::forgotten(config)? {
        let subject = format!("subvolume {path}");
        if inside.is_empty() {
            findings.push(Finding::info(subject, "is there"));
            continue;
        }
        let message = format!("has subvolumes inside, which its snapshot does not hold: {}", inside::told(&inside));
        findings.push(match config.nested {
            Nested::Refuse => Finding::failure(subject, message).hint(inside::HINT),
            Nested::Skip => {
                Finding::warning(subject, message).hint("nested = \"skip\" in [part.config] leaves them out")
            }
        });
    }
    Ok(findings)
}

/// Whether a mount is of this subvolume.
pub(crate) fn is_mount_of(mount: &Mount, device: &str, id: u64) -> bool {
    mount.device == device && mount.has(&format!("subvolid={id}"))
}

/// For what has no findings of its own.
pub(crate) fn all_mounts() -> Result<Vec<Mount>> {
    let output = exec::run("mounts", &[])?;
    // It ends with 1 when there is none.
    if output.status == 1 && output.stdout.trim().is_empty() {
        return Ok(Vec::new());
    }
    let output = output.ok().map_err(|error: Error| error.hint("findmnt is in util-linux"))?;
    Ok(mounts(&output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse_version("btrfs-progs v6.2"), Some((6, 2)));
        assert_eq!(parse_version("btrfs-progs v4.20.1"), Some((4, 20)));
        assert_eq!(parse_version("btrfs-progs v7"), Some((7, 0)));
        assert_eq!(parse_version("Btrfs Btrfs v0.19"), Some((0, 19)));
        assert_eq!(parse_version("hello"), None);
        assert!(parse_version("btrfs-progs v4.4") < Some(OLDEST));
    }

    #[test]
    fn what_is_mounted() {
        let json = r#"{"filesystems":[{"target":"/m a","maj:min":"0:39","options":"rw,relatime,subvolid=5,subvol=/"},
            {"target":"/m2","maj:min":"0:39","options":"ro,subvolid=256,subvol=/da ta"}]}"#;
        let all = mounts(json);
        assert_eq!(all.len(), 2);
        assert!(is_mount_of(&all[1], "0:39", 256) && all[1].has("ro"));
        assert!(!is_mount_of(&all[1], "0:40", 256) && !is_mount_of(&all[1], "0:39", 25) && !all[0].has("ro"));
        assert!(mounts("").is_empty());
    }
}
