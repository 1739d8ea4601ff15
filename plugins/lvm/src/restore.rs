//! Into a new volume from the archive.

use std::time::Duration;

use bkhost_sdk::{Archived, Error, ErrorCode, Result, archive, config, exec, info, path, retry, warn};

use crate::check::explain_missing;
use crate::names::{group, mount_directory, split, valid};
use crate::own::{self, BUSY, busy};
use crate::report::{self, Kind, Volume};
use crate::{Captured, State, read};

/// How long to wait for what a dead restore had mounted. What is busy for longer, somebody else uses.
const SOON: Duration = Duration::from_secs(3);

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
    let label = archive::label()?;
    let filled = fill(&steps, &label);
    let unmounted = own::each(0..steps.len(), |n| read::unmount("restore", n));
    let outcome = filled.and(unmounted).and_then(|()| complete(&label, steps.iter().map(|step| step.target.as_str())));
    if outcome.is_err()
        && let Err(error) = remove(&label, to, BUSY)
    {
        warn!("of the failed restore there is left: {}", error.message);
    }
    outcome
}

/// From here on nobody removes them.
fn complete<'a>(label: &str, targets: impl IntoIterator<Item = &'a str>) -> Result<()> {
    own::ok(exec::command("restored").slot("label", label).slots("volume", targets).run()?).map(drop)
}

/// Remove what the restore of this label has made, unless all of it is complete. Whether it is.
pub(crate) fn abandon(label: &str, to: &str) -> Result<bool> {
    let made = made(label, to)?;
    if !made.iter().any(|volume| volume.is_of("restored", label)) {
        return remove(label, to, SOON).map(|()| false);
    }
    // It was about to note that they all are.
    let names: Vec<_> = made.iter().map(|volume| format!("{}/{}", group(to), volume.name)).collect();
    complete(label, names.iter().map(String::as_str)).map(|()| true)
}

/// What the restore of this label has made, by the tags that were set in the call that made it.
fn made(label: &str, to: &str) -> Result<Vec<Volume>> {
    let mut all = report::volumes(group(to))?.unwrap_or_default();
    all.retain(|volume| volume.is_of("restore", label) || volume.is_of("restored", label));
    Ok(all)
}

/// Unmount and remove what it has made and not completed.
fn remove(label: &str, to: &str, patience: Duration) -> Result<()> {
    for n in mounted() {
        read::unmount("restore", n)?;
    }
    own::each(made(label, to)?.iter().filter(|volume| volume.is_of("restore", label)), |volume| {
        let name = format!("{}/{}", group(to), volume.name);
        retry(patience, busy, || own::ok(exec::run("remove-target", &[("volume", &name)])?).map(drop))
            .map_err(|error| error.context(format!("volume {name}, which is not complete")).hint(own::in_use(&name)))
    })
}

/// The numbers of the directories in which a restore may have mounted something.
fn mounted() -> Vec<usize> {
    let entries = std::fs::read_dir(path::local(path::STAGING)).into_iter().flatten().flatten();
    let number = |name: std::ffi::OsString| name.to_str()?.strip_prefix("restore-")?.parse().ok();
    entries.filter_map(|entry| number(entry.file_name())).collect()
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

fn fill(steps: &[Step<'_>], label: &str) -> Result<()> {
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
        let pool = pool.filter(|_| thin);
        exec::command(if pool.is_some() { "create-thin" } else { "create" })
            .slot("volume", target)
            .slot("size", &size)
            .slot_if("pool", pool)
            .slot("instance", config::instance())
            .slot("part", config::part())
            .slot("label", label)
            .run()
            .and_then(own::ok)
            .map_err(explain)?;
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
