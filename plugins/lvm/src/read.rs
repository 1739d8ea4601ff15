//! Mounting snapshots where the host can read them.

use std::time::Duration;

use bkhost_sdk::{Error, Result, exec, path, retry};

use crate::Captured;
use crate::names::{mount_directory, snapshot_name};
use crate::own::{busy, ok};

/// How long to wait for a mount that is still in use.
const BUSY: Duration = Duration::from_secs(30);
/// More mounts than this on one directory are not ours.
const STACKED: usize = 8;

/// Mount the snapshot of the `n`th volume read-only. Its file system was frozen when it was taken, and so needs no replay of its
/// journal; that of XFS is replayed all the same (into the snapshot), because XFS keeps what is deleted and still open there.
pub(crate) fn mount(n: usize, captured: &Captured, label: &str) -> Result<()> {
    unmount("snapshot", n)?;
    let name = snapshot_name(&captured.volume, label);
    if captured.pool.is_some() {
        ok(exec::run("activate", &[("snapshot", &name)])?)?;
    }
    let directory = mount_directory("snapshot", n);
    create(&directory)?;
    // Two file systems of one UUID are refused by XFS.
    let option = if captured.fstype == "xfs" { "nouuid" } else { "noload" };
    let slots =
        [("type", captured.fstype.as_str()), ("option", option), ("snapshot", &name), ("directory", &directory)];
    exec::run("mount", &slots)?.ok().map(drop)
}

/// Make a directory to mount on.
pub(crate) fn create(directory: &str) -> Result<()> {
    std::fs::create_dir_all(path::local(directory)).map_err(|error| Error::io(format!("creating {directory}"), &error))
}

/// Unmount what is mounted for the `n`th volume, until nothing is.
pub(crate) fn unmount(what: &str, n: usize) -> Result<()> {
    let directory = mount_directory(what, n);
    if !path::local(&directory).exists() {
        return Ok(());
    }
    for _ in 0..STACKED {
        let mounted = retry(BUSY, busy, || {
            let output = exec::run("unmount", &[("directory", &directory)])?;
            let nothing =
                ["not mounted", "not found", "no mount point"].iter().any(|words| output.stderr.contains(words));
            if output.status != 0 && nothing { Ok(false) } else { output.ok().map(|output| !output.planned) }
        })?;
        // What something is mounted on cannot be removed.
        if std::fs::remove_dir(path::local(&directory)).is_ok() || !mounted {
            break;
        }
    }
    Ok(())
}
