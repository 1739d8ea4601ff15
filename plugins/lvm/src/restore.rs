//! Back in place by merging, or into a new volume from the archive.

use bkhost_sdk::{Archived, Error, ErrorCode, Result, archive, exec, info, path, retry, warn};

use crate::check::explain_missing;
use crate::names::{group, mount_directory, snapshot_name, split, valid};
use crate::own::{self, busy};
use crate::report::{self, Kind};
use crate::{Captured, State, read};

/// How long to wait for what is busy just after an unmount.
const BUSY: std::time::Duration = std::time::Duration::from_secs(30);

/// Merge every snapshot into its origin, after all of them were seen to allow it.
pub(crate) fn in_place(state: &State) -> Result<()> {
    for captured in &state.volumes {
        may_merge(captured, state)?;
    }
    for (n, captured) in state.volumes.iter().enumerate() {
        let name = snapshot_name(&captured.volume, &state.label);
        let merged = retry(BUSY, busy, || own::ok(exec::run("merge", &[("snapshot", &name)])?).map(drop))
            .and_then(|()| finished(captured, &name));
        merged.map_err(|error| match n {
            0 => error,
            // Each merge is final: what was done has to be said.
            _ => error.context(format!("{n} of {} volumes were merged, then", state.volumes.len())),
        })?;
        info!("{} is as it was in {name}, which is used up by that", captured.volume);
    }
    Ok(())
}

/// A merge takes the snapshot away. While it is still there, it has only been planned or broke off.
fn finished(captured: &Captured, name: &str) -> Result<()> {
    let left = report::volume(name)?;
    let origin = report::volume(&captured.volume)?;
    if left.is_none() && origin.as_ref().is_some_and(|origin| !origin.is_merging()) {
        return Ok(());
    }
    Err(Error::conflict(format!("{name} is not merged yet: LVM goes on when {} is next activated", captured.volume))
        .hint(format!("is something using it? See `lvs -a {}`", group(&captured.volume))))
}

fn may_merge(captured: &Captured, state: &State) -> Result<()> {
    let Captured { volume, .. } = captured;
    let name = snapshot_name(volume, &state.label);
    let elsewhere = "restore from the archive into a new volume: --to <group>/<new name>";
    if own::find(volume, &state.label, captured.uuid.as_deref())?.is_none() {
        let why = if state.kept { "" } else { " (it is removed when it is archived, unless keep-snapshots = true)" };
        return Err(Error::not_found(format!("snapshot {name} no longer exists{why}")).hint(elsewhere));
    }
    let found = own::usable(captured, &state.label).map_err(|error| error.hint(elsewhere))?;
    let all = report::volumes(group(volume))?.unwrap_or_default();
    let origin = all.iter().find(|one| one.name == split(volume).1);
    let Some(origin) = origin.filter(|_| !found.origin.is_empty()) else {
        return Err(
            Error::not_found(format!("the volume {volume} that {name} was taken of no longer exists")).hint(elsewhere)
        );
    };
    if origin.is_merging() {
        return Err(Error::conflict(format!("another snapshot is being merged into {volume}"))
            .hint("wait until that has ended"));
    }
    if let Some(mount) = report::mounts(volume)?.first() {
        return Err(Error::conflict(format!(
            "{volume} is mounted at {}: it would be merged only when it is next activated",
            mount.target
        ))
        .hint(format!("stop the application and unmount it: umount {}", mount.target)));
    }
    if [origin, &found].iter().any(|one| one.kind() == Kind::Thin && one.is_open()) {
        return Err(Error::conflict(format!("{volume} or its snapshot is in use")).hint(own::in_use(volume)));
    }
    let others: Vec<_> = all
        .iter()
        .filter(|one| one.kind() == Kind::Snapshot && one.origin == origin.name && one.name != found.name)
        .collect();
    if !others.is_empty() {
        let names: Vec<_> = others.iter().map(|one| one.name.as_str()).collect();
        warn!("merging writes to {volume}, which may overflow its other snapshots: {}", names.join(", "));
    }
    Ok(())
}

/// One volume to restore.
#[derive(Debug)]
struct Step<'a> {
    captured: &'a Captured,
    target: String,
}

/// Create `to` (several volumes: `to-<name>` for each), make a file system on it and fill it from the archive.
pub(crate) fn into(state: &State, archived: &[Archived], to: &str) -> Result<()> {
    let steps = plan(state, archived, to)?;
    let all = report::volumes(group(to))?.ok_or_else(|| explain_missing(group(to)))?;
    for step in &steps {
        if all.iter().any(|volume| volume.name == split(&step.target).1) {
            return Err(Error::already_exists(format!("volume {} exists", step.target))
                .hint("restore into a new name: an existing volume is never written to"));
        }
    }
    let mut made = Vec::new();
    let filled = fill(&steps, &mut made);
    let unmounted = own::each(0..steps.len(), |n| read::unmount("restore", n));
    let outcome = filled.and(unmounted);
    if outcome.is_err() {
        for target in made.iter().rev() {
            let removed = retry(BUSY, busy, || own::ok(exec::run("remove-target", &[("volume", target)])?).map(drop));
            if let Err(error) = removed {
                warn!("{target} is left of the failed restore: {}", error.message);
            }
        }
    }
    outcome
}

fn plan<'a>(state: &'a State, archived: &[Archived], to: &str) -> Result<Vec<Step<'a>>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for captured in &state.volumes {
        if !archived.iter().any(|archived| archived.name == captured.source) {
            return Err(Error::not_found(format!("the set holds no archive of volume {}", captured.volume)));
        }
        let target = match state.volumes.len() {
            1 => to.to_owned(),
            _ => format!("{to}-{}", split(&captured.volume).1),
        };
        valid(&target)?;
        if steps.iter().any(|step| step.target == target) {
            return Err(Error::conflict(format!("two volumes of this set would both become {target}"))
                .hint("give them different parts, so that each can be restored by itself"));
        }
        steps.push(Step { captured, target });
    }
    Ok(steps)
}

fn fill(steps: &[Step<'_>], made: &mut Vec<String>) -> Result<()> {
    for (n, step) in steps.iter().enumerate() {
        let Step { captured, target } = step;
        read::unmount("restore", n)?;
        let size = format!("{}b", captured.size);
        let pool = captured.pool.as_ref().map(|pool| format!("{}/{pool}", group(&captured.volume)));
        // In its old pool, if that is where the operator wants it.
        let pool = pool.filter(|pool| group(pool) == group(target));
        let thin = match &pool {
            Some(pool) => report::volume(pool)?.is_some_and(|found| found.kind() == Kind::Pool),
            None => false,
        };
        let created = match pool.filter(|_| thin) {
            Some(pool) => exec::run("create-thin", &[("volume", target), ("size", &size), ("pool", &pool)])?,
            None => exec::run("create", &[("volume", target), ("size", &size)])?,
        };
        own::ok(created).map_err(explain)?;
        made.push(target.clone());
        match captured.fstype.as_str() {
            "xfs" => exec::run("make-xfs", &[("volume", target)])?,
            fstype => exec::run("make-ext", &[("type", fstype), ("volume", target)])?,
        }
        .ok()?;
        let directory = mount_directory("restore", n);
        read::create(&directory)?;
        let slots = [("type", captured.fstype.as_str()), ("volume", target), ("directory", &directory)];
        exec::run("mount-target", &slots)?.ok()?;
        // A new ext4 has one. That of the old one comes from the archive.
        let _ = std::fs::remove_dir(path::local(&format!("{directory}/lost+found")));
        let entries = archive::extract(&captured.source, &directory)?;
        info!("{target}: {entries} entries");
    }
    Ok(())
}

fn explain(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    if stderr.contains("already exists") {
        error.code(ErrorCode::AlreadyExists)
    } else if stderr.contains("nsufficient free") {
        error.code(ErrorCode::Conflict).hint("make room in the volume group, or name another one with --to")
    } else {
        error
    }
}
