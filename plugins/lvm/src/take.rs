//! Taking the snapshots.

use bkhost_sdk::{Error, ErrorCode, Result, config, exec, now, path};

use crate::names::snapshot_name;
use crate::plan::{Plan, Planned};
use crate::{own, report};

/// Names the volume that is being captured, and so suspended for a moment.
const SUSPENDED: &str = "/state/suspended";

/// When the snapshots were taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// Milliseconds since the epoch.
    pub(crate) at: u64,
    /// It is a dry run: nothing was taken.
    pub(crate) planned: bool,
}

/// The directory of the `n`th volume's file system.
pub(crate) fn directory(n: usize) -> String {
    format!("/source/volume/{n}")
}

/// Take all snapshots. LVM freezes the file system of a volume for its own snapshot. Those of several volumes are frozen
/// together before the first snapshot, and stay so until after the last: what is in one snapshot and was written before
/// something that is in another, is then in both, and nothing was written in between.
///
/// A thin volume is not frozen by the host, and captured last: whatever it holds by then that followed something on one of the
/// others, followed what was there before the freeze. There can be one such volume.
pub(crate) fn take(plan: &Plan, label: &str) -> Result<Taken> {
    if let [only] = &plan.volumes[..] {
        let at = now();
        let planned = marked(only, || snapshot(only, label))?;
        return Ok(Taken { at, planned });
    }
    let all = || plan.volumes.iter().enumerate();
    let last: Vec<_> = all().filter(|(_, volume)| volume.pool.is_some()).map(|(_, volume)| volume).collect();
    if last.len() > 1 {
        return Err(several_thin());
    }
    let frozen = all().filter(|(_, volume)| volume.pool.is_none());
    let (directories, together): (Vec<_>, Vec<_>) = frozen.map(|(n, volume)| (directory(n), volume)).unzip();
    let frozen = bkhost_sdk::freeze(&directories)?;
    let at = now();
    let mut planned = false;
    let outcome = together
        .into_iter()
        .try_for_each(|volume| {
            planned = marked(volume, || frozen_snapshot(volume, label))?;
            Ok(())
        })
        .and_then(|()| last.into_iter().try_for_each(|volume| marked(volume, || snapshot(volume, label)).map(drop)));
    let thawed = frozen.thaw();
    outcome.and(thawed)?;
    Ok(Taken { at, planned })
}

/// LVM sends the pool its orders in the step that it leaves out for a volume that is suspended already, and so cannot take
/// a snapshot of a thin volume that is frozen.
pub(crate) fn several_thin() -> Error {
    Error::unsupported("several thin volumes cannot be captured at one instant: LVM takes no snapshot of a frozen one")
        .hint("one thin volume may go with any number of classic ones: give the others parts of their own")
}

fn snapshot(volume: &Planned, label: &str) -> Result<bool> {
    let kind = if volume.pool.is_some() { "snapshot-thin" } else { "snapshot-classic" };
    let size = volume.pool.is_none().then(|| format!("{}b", volume.space));
    let output = exec::command(kind)
        .slot("snapshot", snapshot_name(&volume.name, label))
        .slot_if("size", size)
        .slot("instance", config::instance())
        .slot("part", config::part())
        .slot("label", label)
        .slot("volume", &volume.name)
        .run()?;
    let planned = output.planned;
    own::ok(output).map_err(explain)?;
    Ok(planned)
}

/// LVM suspends a volume for its snapshot, and has the kernel freeze its file system for that. Kernels before 6.8 refuse to
/// freeze one that is frozen already, and LVM does not recover from that. So the volume is suspended here first, without
/// freezing it again: LVM then leaves that step out, and lets the volume go on at its end as always.
fn frozen_snapshot(volume: &Planned, label: &str) -> Result<bool> {
    let outcome = exec::run("suspend", &[("volume", &volume.name)])
        .and_then(exec::Output::ok)
        .and_then(|_| snapshot(volume, label));
    if outcome.is_err() {
        resume(&volume.name)?;
    }
    outcome
}

/// Do what suspends a volume, by LVM or by us, so that whoever comes after a crash knows of it.
fn marked(volume: &Planned, work: impl FnOnce() -> Result<bool>) -> Result<bool> {
    let marker = path::local(SUSPENDED);
    std::fs::write(&marker, &volume.name).map_err(|error| Error::io(format!("writing {SUSPENDED}"), &error))?;
    let planned = work()?;
    // One that stays has the volume looked at once more, to no harm.
    let _ = std::fs::remove_file(&marker);
    Ok(planned)
}

fn resume(volume: &str) -> Result<()> {
    exec::run("resume", &[("volume", volume)])?.ok().map(drop).map_err(|error| {
        error
            .context(format!("{volume} IS SUSPENDED: nothing can be read from it or written to it"))
            .hint(format!("as root: dmsetup resume /dev/{volume}"))
    })
}

/// A run that died in the middle of a capture may have left a volume suspended.
pub(crate) fn resume_what_was_left() -> Result<()> {
    let marker = path::local(SUSPENDED);
    let name = match std::fs::read_to_string(&marker) {
        Ok(name) => name,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(format!("reading {SUSPENDED}"), &error)),
    };
    // Cut off while it was written, it is empty: then nothing was suspended yet.
    if !name.is_empty() && report::volume(&name)?.is_some_and(|volume| volume.is_suspended()) {
        resume(&name)?;
    }
    let _ = std::fs::remove_file(&marker);
    Ok(())
}

/// Say what a refusal of `lvcreate` means.
fn explain(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    if stderr.contains("insufficient free space") || stderr.contains("Insufficient free") {
        error.code(ErrorCode::Conflict).hint("make room in the volume group, or lower [part.config] snapshot-size")
    } else if stderr.contains("already exists") {
        error.code(ErrorCode::AlreadyExists).hint("do two parts name the same volume?")
    } else if stderr.contains("not found") || stderr.contains("Failed to find") {
        error.code(ErrorCode::NotFound).hint("check [part.config] volumes against `lvs`")
    } else if stderr.contains("ermission denied") {
        error.code(ErrorCode::Denied).hint("run bkhost as root")
    } else {
        error
    }
}
