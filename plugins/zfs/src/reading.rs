//! Reading a snapshot's files: where ZFS shows them, or else from a clone.

use bkhost_sdk::{Error, Result, config, exec, path, warn};

use crate::names::{clone_name, mount_directory, snapshot_name};
use crate::own::{destroy, mine, own};
use crate::properties::Properties;
use crate::{Captured, Config, State};

/// EILSEQ, as WASI numbers it.
const NOT_UTF8: i32 = 25;

/// The snapshot's directory below the dataset's, where ZFS has one. Only the configured datasets' directories are
/// granted.
pub(crate) fn snapshot_directory(config: &Config, captured: &Captured, state: &State) -> Option<String> {
    let n = config.datasets.iter().position(|dataset| *dataset == captured.dataset)?;
    let snapshots = format!("/source/dataset/{n}/.zfs/snapshot");
    let directory = format!("{snapshots}/{}", state.label);
    // Reading it mounts it; merely asking whether it is there does not.
    let readable = |guest: &str| match std::fs::read_dir(path::local(guest)) {
        Ok(_) => true,
        // A name in it is not UTF-8: only the host can list it.
        Err(error) => error.raw_os_error() == Some(NOT_UTF8),
    };
    (readable(&directory) || (state.planned && readable(&snapshots))).then_some(directory)
}

/// A read-only clone of the snapshot, mounted in the staging area.
pub(crate) fn make_clone(n: usize, captured: &Captured, state: &State) -> Result<String> {
    destroy_clone(n, &captured.dataset, &state.label)?;
    let directory = mount_directory("clone", n);
    let local = path::local(&directory);
    std::fs::create_dir_all(&local).map_err(|error| Error::io(format!("creating {directory}"), &error))?;
    exec::command("clone")
        .slot("mountpoint", &directory)
        .slot("instance", config::instance())
        .slot("part", config::part())
        .slot("label", &state.label)
        .slot("snapshot", snapshot_name(&captured.dataset, &state.label))
        .slot("clone", clone_name(&captured.dataset, &state.label))
        .run()?
        .ok()?;
    Ok(directory)
}

pub(crate) fn destroy_clone(n: usize, dataset: &str, label: &str) -> Result<()> {
    let name = clone_name(dataset, label);
    if let Some(found) = own(&name)? {
        if !mine(&found, label) && !half_made(&found, dataset, label)? {
            warn!("{name} was not made by this part: left alone");
            return Ok(());
        }
        destroy("destroy-clone", "clone", &name)?;
    }
    // Only when it is empty, which is to say: only when nothing is mounted there any more.
    let _ = std::fs::remove_dir(path::local(&mount_directory("clone", n)));
    Ok(())
}

/// Whether it is a clone that a `zfs` was making when it was killed: not all marked yet, and of this part's own snapshot. (An
/// OpenZFS in the kernel makes and marks it in one step; zfs-fuse asks the client for the marks in between.)
fn half_made(found: &Properties, dataset: &str, label: &str) -> Result<bool> {
    let snapshot = snapshot_name(dataset, label);
    let others = found.has_other("bkhost:instance", &config::instance())
        || found.has_other("bkhost:part", &config::part())
        || found.has_other("bkhost:run", label);
    if others || found.value("origin") != Some(snapshot.as_str()) {
        return Ok(false);
    }
    Ok(own(&snapshot)?.is_some_and(|found| mine(&found, label)))
}
