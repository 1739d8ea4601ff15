//! What this part made, told from what others made; and its end.

use std::time::Duration;

use bkhost_sdk::{Error, Result, config, exec, retry, warn};

use crate::names::snapshot_name;
use crate::properties::{self, Properties, absent, busy};
use crate::{holds, stream};

/// How long to wait for a dataset that is busy just after an unmount.
pub(crate) const BUSY: Duration = Duration::from_secs(30);

/// How long a snapshot may take to appear whose command was killed: zfs-fuse completes it all the same.
pub(crate) const LATE: Duration = Duration::from_millis(500);

/// Destroy a snapshot that this part made. Whether there was one of this name.
pub(crate) fn destroy_snapshot(dataset: &str, label: &str, guid: Option<&str>) -> Result<bool> {
    let name = snapshot_name(dataset, label);
    let Some(found) = own(&name)? else { return Ok(false) };
    if !mine(&found, label) || guid.is_some_and(|guid| found.value("guid") != Some(guid)) {
        warn!("{name} was not made by this part: left alone");
        return Ok(true);
    }
    // A held snapshot is as busy as one that is still mounted: ask first, rather than wait for what will not pass.
    let held = |found: &Properties| found.number("userrefs").unwrap_or(0) > 0;
    if held(&found) {
        holds::release(dataset, label)?;
    }
    if held(&found) && own(&name)?.is_some_and(|found| held(&found)) {
        return Err(Error::conflict(format!("snapshot {name} is held"))
            .hint(format!("see `zfs holds '{name}'`; release it, then prune again")));
    }
    destroy("destroy-snapshot", "snapshot", &name).map_err(|error| {
        match error.detail_of("stderr").and_then(clones) {
            Some(clones) => Error::conflict(format!("snapshot {name} has dependent clones: {clones}"))
                .hint("somebody cloned it: destroy or promote the clone first"),
            None => error,
        }
    })?;
    Ok(true)
}

/// The clones that keep a snapshot from being destroyed, as ZFS names them below its complaint.
pub(crate) fn clones(stderr: &str) -> Option<String> {
    let (_, names) = stderr.split_once("dependent clones")?;
    let names: Vec<&str> =
        names.lines().map(str::trim).filter(|line| line.contains('/') && !line.contains('\'')).collect();
    Some(names.join(", "))
}

/// Destroy the bookmark of a snapshot. Whose it is, the guid tells that was recorded, or else the snapshot beside it, which
/// is still there: nothing of a set that was not finished has gone yet.
pub(crate) fn destroy_bookmark(dataset: &str, label: &str, guid: Option<&str>) -> Result<()> {
    let snapshot = if guid.is_none() { own(&snapshot_name(dataset, label))? } else { None };
    let guid = guid.or_else(|| snapshot.as_ref().filter(|found| mine(found, label))?.value("guid"));
    guid.map_or(Ok(()), |guid| stream::destroy_bookmark(dataset, label, guid))
}

/// Run a command that destroys something, again while it is busy; done if it is gone.
pub(crate) fn destroy(command: &str, slot: &str, name: &str) -> Result<()> {
    retry(BUSY, busy, || {
        let output = exec::run(command, &[(slot, name)])?;
        if absent(&output) { Ok(()) } else { output.ok().map(drop) }
    })
}

/// The properties of a snapshot or clone; none if there is no such thing.
pub(crate) fn own(name: &str) -> Result<Option<Properties>> {
    let output = exec::run("own", &[("name", name)])?;
    if absent(&output) {
        return Ok(None);
    }
    Ok(properties::parse(&output.ok()?.stdout).into_iter().next())
}

/// Whether this part of this instance made it, in the run of this label.
pub(crate) fn mine(found: &Properties, label: &str) -> bool {
    found.is_local("bkhost:instance", &config::instance())
        && found.is_local("bkhost:part", &config::part())
        && found.is_local("bkhost:run", label)
}
