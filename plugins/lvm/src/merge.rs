//! Back in place by merging.
//!
//! A merge is final, and the kernel goes on with it whatever becomes of the command. So what was begun is noted first, and a
//! restore that is interrupted is gone on with by the next one of the same set.

use std::time::Duration;

use bkhost_sdk::{Error, ErrorCode, Result, exec, info, now, path, retry, warn};
use serde::{Deserialize, Serialize};

use crate::names::{group, snapshot_name, split};
use crate::own::{self, BUSY, busy};
use crate::report::{self, Kind};
use crate::{Captured, State};

/// Which merges were begun.
const MERGES: &str = "/state/merges.json";
/// An interrupted restore is gone on with for so long: later, the volumes may have been worked with.
const RESUMED_WITHIN: u64 = 24 * 3600 * 1000;
/// How long a merge may take that goes on by itself: as long as the command that begins one.
const MERGED_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// What a restore has begun to merge.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Merges {
    /// The label of the snapshots.
    label: String,
    /// When it was last gone on with, in milliseconds since the epoch.
    at: u64,
    /// The volumes that they are merged into.
    volumes: Vec<String>,
}

/// Merge every snapshot into its origin, after all of them were seen to allow it.
pub(crate) fn in_place(state: &State) -> Result<()> {
    let mut merges = Merges::of(&state.label)?;
    let begun = merges.volumes.clone();
    let (before, ahead): (Vec<_>, Vec<_>) = state.volumes.iter().partition(|captured| begun.contains(&captured.volume));
    let mut to_do = Vec::new();
    for captured in before {
        match is_merged(captured, state)? {
            true => info!("{} was merged by the restore that was interrupted", captured.volume),
            false => to_do.push(captured),
        }
    }
    to_do.extend(ahead);
    for captured in &to_do {
        may_merge(captured, state)?;
    }
    for (n, captured) in to_do.into_iter().enumerate() {
        let name = snapshot_name(&captured.volume, &state.label);
        merges.note(&captured.volume)?;
        let merged = retry(BUSY, busy, || own::ok(exec::run("merge", &[("snapshot", &name)])?).map(drop))
            .and_then(|()| finished(captured, &name));
        merged.map_err(|error| match n {
            0 => error,
            // Each merge is final: what was done has to be said.
            _ => error.context(format!("{n} of {} volumes were merged, then", state.volumes.len())),
        })?;
        info!("{} is as it was in {name}, which is used up by that", captured.volume);
    }
    // One that stays belongs to a label that no restore asks for again.
    let _ = std::fs::remove_file(path::local(MERGES));
    Ok(())
}

impl Merges {
    /// What an interrupted restore of this label has begun.
    fn of(label: &str) -> Result<Self> {
        let found = match std::fs::read(path::local(MERGES)) {
            Ok(text) => serde_json::from_slice::<Self>(&text).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(Error::io(format!("reading {MERGES}"), &error)),
        };
        let recent = now().abs_diff(found.at) <= RESUMED_WITHIN;
        let volumes = if found.label == label && recent { found.volumes } else { Vec::new() };
        Ok(Self { label: label.to_owned(), at: now(), volumes })
    }

    /// This one is begun.
    fn note(&mut self, volume: &str) -> Result<()> {
        if !self.volumes.iter().any(|noted| noted == volume) {
            self.volumes.push(volume.to_owned());
        }
        let failed = |error: &std::io::Error| Error::io(format!("writing {MERGES}"), error);
        let text = serde_json::to_vec(self).map_err(|error| Error::other(error.to_string()))?;
        let (draft, place) = (path::local(&format!("{MERGES}.new")), path::local(MERGES));
        std::fs::write(&draft, text).map_err(|error| failed(&error))?;
        std::fs::File::open(&draft).and_then(|file| file.sync_all()).map_err(|error| failed(&error))?;
        std::fs::rename(&draft, &place).map_err(|error| failed(&error))
    }
}

/// Whether a merge that was begun is complete. One that is under way is waited for: the kernel goes on with it, and it is for
/// LVM to take the snapshot away when there is nothing left to merge.
fn is_merged(captured: &Captured, state: &State) -> Result<bool> {
    let name = snapshot_name(&captured.volume, &state.label);
    let going = |error: &Error| error.code == ErrorCode::Unavailable;
    retry(MERGED_WITHIN, going, || {
        let Some(origin) = report::volume(&captured.volume)? else { return Ok(false) };
        if !origin.is_merging() {
            return Ok(report::volume(&name)?.is_none());
        }
        if captured.pool.is_some() {
            let hint = "deactivate and activate the volume (lvchange -an, -ay), and restore again";
            return Err(
                Error::conflict(format!("{name} is merged when {} is next activated", captured.volume)).hint(hint)
            );
        }
        if origin.used().is_none_or(|left| left <= 0.0) {
            own::ok(exec::run("poll", &[("volume", &captured.volume)])?)?;
        }
        Err(Error::new(ErrorCode::Unavailable, format!("{name} is being merged into {}", captured.volume)))
    })
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
