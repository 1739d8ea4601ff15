//! Whose a snapshot is: its tags say so, and they are set by the call that makes it.

use std::collections::BTreeMap;
use std::time::Duration;

use bkhost_sdk::{Consistency, Error, ErrorCode, Result, Snapshot, config, info};
use bkhost_sdk_aws::Parameters;

use crate::ec2::{Ec2, Shot, filter};
use crate::state::{Captured, State};

pub(crate) const INSTANCE: &str = "bkhost:instance";
pub(crate) const PART: &str = "bkhost:part";
pub(crate) const RUN: &str = "bkhost:run";
/// What a drill has made: the only volumes that are ever deleted by their tags.
pub(crate) const DRILL: &str = "bkhost:drill";
/// At which place a copy is: what has none is no copy.
pub(crate) const PLACE: &str = "bkhost:offsite";
/// What a copy is one of.
pub(crate) const SOURCE: &str = "bkhost:source";
/// How many copies there are of the run.
pub(crate) const COUNT: &str = "bkhost:count";
pub(crate) const VOLUME: &str = "bkhost:volume";
pub(crate) const DEVICE: &str = "bkhost:device";
pub(crate) const KIND: &str = "bkhost:type";

/// A call whose answer was lost may show what it has done a little late.
pub(crate) const LATE: [Duration; 3] = [Duration::from_millis(300), Duration::from_millis(700), Duration::from_secs(2)];

/// The tags of what a run makes.
pub(crate) fn tags(label: &str) -> Vec<(String, String)> {
    [("Name", label), (INSTANCE, &config::instance()), (PART, &config::part()), (RUN, label)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
}

/// The tags of a copy: they alone are enough to restore from it.
pub(crate) fn tags_of_copy(label: &str, place: &str, captured: &Captured, count: usize) -> Vec<(String, String)> {
    let more = [
        (PLACE, Some(place.to_owned())),
        (SOURCE, Some(captured.snapshot.clone())),
        (COUNT, Some(count.to_string())),
        (VOLUME, Some(captured.volume.clone())),
        (DEVICE, captured.device.clone()),
        (KIND, Some(captured.kind.clone()).filter(|kind| !kind.is_empty())),
    ];
    let more = more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    tags(label).into_iter().chain(more).collect()
}

/// `TagSpecification` for a resource of this type.
pub(crate) fn specification(kind: &str, tags: &[(String, String)]) -> Parameters {
    Parameters::new().structures("TagSpecification", [Parameters::new().set("ResourceType", kind).tags("Tag", tags)])
}

/// This part's snapshots of one run. The tags are compared here too: a filter takes `*` for anything, and a server may
/// ignore one that it does not know.
pub(crate) fn of_run(ec2: &Ec2, label: &str) -> Result<Vec<Shot>> {
    let mut found = of_part(ec2, [filter(&format!("tag:{RUN}"), [label])])?;
    found.retain(|shot| shot.run.as_deref() == Some(label));
    Ok(found)
}

fn of_part(ec2: &Ec2, more: impl IntoIterator<Item = Parameters>) -> Result<Vec<Shot>> {
    let (instance, part) = (config::instance(), config::part());
    let filters = [filter(&format!("tag:{INSTANCE}"), [&instance]), filter(&format!("tag:{PART}"), [&part])];
    let mut found = ec2.shots(filters.into_iter().chain(more))?;
    found.retain(|shot| is_ours(shot, &instance, &part) && shot.place == ec2.place);
    Ok(found)
}

fn is_ours(shot: &Shot, instance: &str, part: &str) -> bool {
    shot.instance.as_deref() == Some(instance)
        && shot.part.as_deref() == Some(part)
        && shot.run.as_deref().is_some_and(|run| run.starts_with("bkhost-"))
}

/// The snapshots of this part at Amazon, by their runs. What failed there is listed too, so that it can be cleaned up; it
/// says so, and is none to restore from.
pub(crate) fn list(ec2: &Ec2) -> Result<Vec<Snapshot>> {
    let mut runs: BTreeMap<String, Vec<Shot>> = BTreeMap::new();
    for shot in of_part(ec2, [])? {
        if let Some(run) = shot.run.clone() {
            runs.entry(run).or_default().push(shot);
        }
    }
    runs.into_iter().map(|(run, shots)| record(&run, &shots)).collect()
}

pub(crate) fn record(run: &str, shots: &[Shot]) -> Result<Snapshot> {
    let captured = |shot: &Shot| Captured {
        snapshot: shot.id.clone(),
        volume: shot.of_volume.clone().unwrap_or_else(|| shot.volume.clone()),
        source: shot.source.clone(),
        device: shot.device.clone(),
        kind: shot.kind.clone().unwrap_or_default(),
        gib: shot.gib,
        encrypted: shot.encrypted,
        ..Captured::default()
    };
    let state = State { label: run.to_owned(), volumes: shots.iter().map(captured).collect(), ..State::default() };
    let mut snapshot = Snapshot::new(state.snapshots().join(" "), Consistency::Atomic, &state)?;
    snapshot.created = shots.iter().filter_map(|shot| shot.started).min().unwrap_or(snapshot.created);
    snapshot.bytes = size(shots);
    let mut unfinished: Vec<&str> =
        shots.iter().map(|shot| shot.status.as_str()).filter(|status| *status != "completed").collect();
    unfinished.dedup();
    Ok(unfinished.into_iter().fold(snapshot, |snapshot, status| snapshot.version("status", status)))
}

/// What they take up, as far as EC2 tells; else what was captured.
pub(crate) fn size(shots: &[Shot]) -> Option<u64> {
    if shots.is_empty() {
        return None;
    }
    Some(shots.iter().map(|shot| shot.bytes.unwrap_or(shot.gib << 30)).sum())
}

/// Deletes the snapshots of a record, if they are ours and of its run.
pub(crate) fn delete(ec2: &Ec2, state: &State) -> Result<()> {
    let ids = state.snapshots();
    let of_run = of_run(ec2, &state.label)?;
    remove(ec2, of_run.iter().filter(|shot| ids.contains(&shot.id)))
}

/// Deletes all that a run made here, also by a call that was on its way when the run ended.
pub(crate) fn discard(ec2: &Ec2, label: &str) -> Result<()> {
    for pause in LATE.into_iter().map(Some).chain([None]) {
        let found = of_run(ec2, label)?;
        if !found.is_empty() {
            return remove(ec2, found.iter());
        }
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
    }
    Ok(())
}

/// Those that a run made, once there are as many as there have to be; else all that came in time.
pub(crate) fn made(ec2: &Ec2, label: &str, volumes: &[&str]) -> Result<Vec<Shot>> {
    let mut found = of_run(ec2, label)?;
    for pause in LATE {
        if volumes.iter().all(|volume| found.iter().any(|shot| shot.volume == *volume)) {
            break;
        }
        std::thread::sleep(pause);
        found = of_run(ec2, label)?;
    }
    Ok(found)
}

/// Tries each, and fails if one is left.
pub(crate) fn remove<'a>(ec2: &Ec2, shots: impl Iterator<Item = &'a Shot>) -> Result<()> {
    let mut failed: Option<Error> = None;
    for shot in shots {
        match ec2.client.change_again("DeleteSnapshot", &Parameters::new().set("SnapshotId", &shot.id)) {
            Ok(_) => info!("{} of {} deleted", shot.id, shot.volume),
            Err(failure) if failure.is_missing() => {}
            Err(failure) => {
                let used = failure.code() == "InvalidSnapshot.InUse";
                let error = Error::from(failure).context(format!("{} is still there", shot.id));
                let error = if used {
                    error
                        .code(ErrorCode::Conflict)
                        .hint("an image uses it: deregister that first (aws ec2 describe-images)")
                } else {
                    error
                };
                failed = Some(failed.unwrap_or(error));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
