//! Subvolumes as `btrfs subvolume show` and `btrfs subvolume list` tell them.

use bkhost_sdk::exec::Output;
use bkhost_sdk::{Error, ErrorCode, Result, exec};

/// A subvolume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subvolume {
    /// Its own identity: no other subvolume ever has it.
    pub(crate) uuid: String,
    /// That of the subvolume of which it is a snapshot.
    pub(crate) parent: Option<String>,
    /// That of the snapshot from whose stream it was received.
    pub(crate) received: Option<String>,
    /// Its number in the file system, which a mount of it tells as `subvolid`.
    pub(crate) id: u64,
    /// It cannot be written to.
    pub(crate) readonly: bool,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Absent,
    /// Something that is no subvolume; what btrfs says to it.
    Other(String),
    /// A subvolume.
    Subvolume(Subvolume),
}

impl Found {
    pub(crate) fn subvolume(self) -> Option<Subvolume> {
        match self {
            Self::Subvolume(found) => Some(found),
            Self::Absent | Self::Other(_) => None,
        }
    }
}

/// What is at the path: one of the commands of the manifest that show a subvolume, with the path in this slot.
///
/// # Errors
/// btrfs cannot be asked, or not by this user.
pub(crate) fn show(command: &str, slot: &str, path: &str) -> Result<Found> {
    let output = exec::run(command, &[(slot, path)])?;
    if absent(&output) {
        return Ok(Found::Absent);
    }
    if output.status != 0 && output.stderr.to_ascii_lowercase().contains("not a btrfs ") {
        return Ok(Found::Other(output.failure().message));
    }
    let output = output.ok().map_err(explain)?;
    parse(&output.stdout)
        .map(Found::Subvolume)
        .ok_or_else(|| Error::unsupported(format!("`btrfs subvolume show {path}` says nothing that is understood")))
}

/// Whether a command failed because what it was to work on is not there.
pub(crate) fn absent(output: &Output) -> bool {
    output.status != 0 && output.stderr.contains("No such file or directory")
}

/// Say what a refusal means.
pub(crate) fn explain(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    if stderr.contains("ermission denied") || stderr.contains("Operation not permitted") {
        error.code(ErrorCode::Denied).hint("btrfs wants root for this: run bkhost as root")
    } else if stderr.contains("No space left") {
        error.code(ErrorCode::Conflict).hint("make room: see `btrfs filesystem usage`; a balance can free metadata")
    } else if stderr.contains("Read-only file system") {
        error.code(ErrorCode::Conflict).hint("the file system is mounted read-only: mount -o remount,rw")
    } else if stderr.contains("already exists") {
        error.code(ErrorCode::AlreadyExists)
    } else {
        error
    }
}

fn parse(output: &str) -> Option<Subvolume> {
    let value = |key: &str| {
        let line = output.lines().find_map(|line| line.trim_start().strip_prefix(key));
        line.map(str::trim).filter(|value| !value.is_empty() && *value != "-").map(str::to_owned)
    };
    Some(Subvolume {
        // The top of the file system has none in the oldest ones.
        uuid: value("UUID:").unwrap_or_default(),
        parent: value("Parent UUID:"),
        received: value("Received UUID:"),
        id: value("Subvolume ID:")?.parse().ok()?,
        readonly: value("Flags:").is_some_and(|flags| flags.split([',', ' ']).any(|flag| flag == "readonly")),
    })
}

/// A subvolume in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its own identity.
    pub(crate) uuid: String,
    /// That of the subvolume of which it is a snapshot.
    pub(crate) parent: Option<String>,
    /// Its path from the top of the file system, wherever that is mounted.
    pub(crate) path: String,
}

/// The subvolumes directly inside of one.
///
/// # Errors
/// btrfs cannot be asked.
pub(crate) fn nested(command: &str, slot: &str, path: &str) -> Result<Vec<Listed>> {
    let output = exec::run(command, &[(slot, path)])?;
    if absent(&output) {
        return Ok(Vec::new());
    }
    Ok(output.ok().map_err(explain)?.stdout.lines().filter_map(listed).collect())
}

/// `ID 257 gen 7 top level 256 parent_uuid - uuid b448… path data/nested`.
fn listed(line: &str) -> Option<Listed> {
    let (facts, path) = line.starts_with("ID ").then_some(line)?.split_once(" path ")?;
    let value =
        |key: &str| facts.split_whitespace().skip_while(|word| *word != key).nth(1).filter(|value| *value != "-");
    Some(Listed {
        uuid: value("uuid").unwrap_or_default().to_owned(),
        parent: value("parent_uuid").map(str::to_owned),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// btrfs-progs 6.2, recorded.
    const SHOWN: &str = "snaps/x.0\n\tName: \t\t\tx.0\n\tUUID: \t\t\t6f87dfa5-f5a9-e94b-8bcd-a0abf6d8eb48\n\
        \tParent UUID: \t\t09b4f45d-4bf1-ee4d-8200-54f13a80359f\n\tReceived UUID: \t\t-\n\
        \tCreation time: \t\t2026-11-21 12:44:24 +0000\n\tSubvolume ID: \t\t258\n\tGeneration: \t\t7\n\
        \tGen at creation: \t7\n\tParent ID: \t\t5\n\tTop level ID: \t\t5\n\tFlags: \t\t\treadonly\n\
        \tSend transid: \t\t0\n\tSend time: \t\t2026-11-21 12:44:24 +0000\n\tSnapshot(s):\n";

    #[test]
    fn a_snapshot_and_its_parent() {
        let found = parse(SHOWN).unwrap();
        assert_eq!((found.uuid.as_str(), found.id), ("6f87dfa5-f5a9-e94b-8bcd-a0abf6d8eb48", 258));
        assert_eq!(found.parent.as_deref(), Some("09b4f45d-4bf1-ee4d-8200-54f13a80359f"));
        assert!(found.readonly && found.received.is_none());
        let live = SHOWN.replace("readonly", "-").replace("09b4f45d-4bf1-ee4d-8200-54f13a80359f", "-");
        let found = parse(&live).unwrap();
        assert!(!found.readonly && found.parent.is_none());
        // A subvolume's own name is shown first, and proves nothing.
        let lying = SHOWN.replace("snaps/x.0\n", "UUID: forged\n\tx.0\n");
        assert_eq!(parse(&lying.replace("UUID: forged", "a UUID: forged")).unwrap().uuid, found.uuid);
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn what_is_inside() {
        // btrfs-progs 6.2, recorded.
        let line = "ID 257 gen 7 top level 256 parent_uuid -                                    uuid b448ec25-6ced-6a4e-b7e7-8357de68176e path da ta/nest path ed";
        let found = listed(line).unwrap();
        assert_eq!((found.path.as_str(), found.parent), ("da ta/nest path ed", None));
        assert_eq!(found.uuid, "b448ec25-6ced-6a4e-b7e7-8357de68176e");
        assert_eq!(listed("something else"), None);
    }

    #[test]
    fn what_is_not_there() {
        for stderr in [
            "ERROR: cannot find real path for '/m/x': No such file or directory\n",
            "ERROR: Could not statfs: No such file or directory\n",
        ] {
            let output = Output { status: 1, stderr: stderr.into(), ..Output::default() };
            assert!(absent(&output));
        }
    }
}
