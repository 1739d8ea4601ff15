//! The snapshot: taken under the lock, completed after it.

use std::time::Duration;

use bkhost_sdk::{Error, ErrorCode, Result, Snapshot, info, now, progress, warn};
use bkhost_sdk_aws::{Deadline, Element, Parameters, milliseconds};

use crate::kind::Kind;
use crate::rds::{Rds, timed_out};
use crate::{AmazonRds, State, settings};

/// How long to wait, before the lock, for a database that is about to be available.
const READY: Duration = Duration::from_secs(1800);
/// How long RDS may not know yet what it has just made.
const APPEARS: Duration = Duration::from_secs(15);
/// How long the call that takes the snapshot may be repeated, while the application waits.
const CREATE: Duration = Duration::from_secs(60);

/// Of a database whose snapshot can be taken.
pub(crate) const READY_STATES: [&str; 2] = ["available", "storage-optimization"];
/// Of a database that will be available by itself.
pub(crate) const PASSING_STATES: [&str; 17] = [
    "backing-up",
    "backtracking",
    "configuring-activity-stream",
    "configuring-associated-roles",
    "configuring-enhanced-monitoring",
    "configuring-iam-database-auth",
    "configuring-log-exports",
    "converting-to-vpc",
    "creating",
    "maintenance",
    "modifying",
    "promoting",
    "rebooting",
    "renaming",
    "resetting-master-credentials",
    "starting",
    "upgrading",
];

/// Wait until the database is in a state in which RDS takes a snapshot of it: here nobody is locked out meanwhile.
pub(crate) fn ready(plugin: &AmazonRds) -> Result<()> {
    let names = plugin.kind.names();
    let deadline = Deadline::after(READY);
    let mut told = false;
    let ready = plugin.rds.watch(&deadline, |rds| {
        let found = rds.find(plugin.kind, &plugin.source)?.ok_or_else(|| missing(plugin))?;
        let status = found.text(names.status);
        if READY_STATES.contains(&status) {
            return Ok(Some(()));
        }
        if !PASSING_STATES.contains(&status) {
            let message = format!("{} {} is {status}", names.word, plugin.source);
            return Err(Error::conflict(message).hint("RDS takes snapshots of what is available only"));
        }
        if !std::mem::replace(&mut told, true) {
            info!("{} {} is {status}: waiting until it is available", names.word, plugin.source);
        }
        Ok(None)
    })?;
    ready.ok_or_else(|| timed_out(format!("{} {} did not become available", names.word, plugin.source), &deadline))
}

/// How the database is set up.
pub(crate) fn look(plugin: &AmazonRds) -> Result<State> {
    let names = plugin.kind.names();
    let found = plugin.rds.find(plugin.kind, &plugin.source)?.ok_or_else(|| missing(plugin))?;
    let mut state = State {
        kind: plugin.kind,
        label: String::new(),
        source: found.text(names.id).to_owned(),
        resource: found.get(names.resource).map(str::to_owned),
        instance: None,
        cluster: None,
        planned: false,
    };
    match plugin.kind {
        Kind::Instance => state.instance = Some(settings::Instance::of(&found)),
        Kind::Cluster => {
            let mut members = Vec::new();
            for member in found.list("DBClusterMembers") {
                // One that goes away just now is none of the cluster's any more.
                members.extend(plugin.rds.find(Kind::Instance, member.text("DBInstanceIdentifier"))?);
            }
            state.cluster = Some(settings::Cluster::of(&found, &members));
        }
    }
    Ok(state)
}

pub(crate) fn missing(plugin: &AmazonRds) -> Error {
    let names = plugin.kind.names();
    Error::not_found(format!("there is no DB {} {} at {}", names.word, plugin.source, plugin.rds.client.endpoint()))
        .hint(format!("look at `{}` and `region` in [part.config], and at whose credentials these are", names.word))
}

/// Take the snapshot, and wait until RDS says that it was taken.
///
/// The answer to the call tells only that it will be: RDS has no call that returns when the point is fixed. It reports
/// `SnapshotCreateTime`, "when the snapshot was taken", no sooner than that; so the application waits for it.
pub(crate) fn capture(plugin: &mut AmazonRds, label: &str) -> Result<Snapshot> {
    let names = plugin.kind.names();
    let mut state = match plugin.known.take() {
        Some(state) => state,
        None => look(plugin)?,
    };
    label.clone_into(&mut state.label);
    let id = plugin.rds.id(label);
    let before = now();
    let deadline = Deadline::after(plugin.point);
    let Some(first) = create(plugin, &id, label, &deadline)? else {
        state.planned = true;
        return Snapshot::atomic(id, &state);
    };
    let mut first = Some(first);
    let taken = plugin.rds.watch(&deadline, |rds| {
        let found = match first.take() {
            Some(first) => Some(first),
            None => rds.snapshot(plugin.kind, &id)?,
        };
        match found {
            Some(found) => {
                alive(plugin.kind, &id, &found)?;
                Ok(Some(found).filter(was_taken))
            }
            None if deadline.limit() - deadline.left() < APPEARS => Ok(None),
            None => Err(Error::not_found(format!("snapshot {id} vanished while it was taken"))),
        }
    })?;
    let taken = taken.ok_or_else(|| {
        timed_out(format!("RDS did not say that snapshot {id} was taken"), &deadline)
            .hint("raise point-timeout-seconds in [part.config], and max-lock-time of the application with it")
    })?;
    // By this machine's clock, as the other parts' points are: between the call and the moment it was seen.
    let point = taken.get("SnapshotCreateTime").and_then(milliseconds);
    let versions = [
        state.instance.as_ref().map(|i| (&i.engine, &i.engine_version)),
        state.cluster.as_ref().map(|c| (&c.engine, &c.engine_version)),
    ];
    let mut snapshot = Snapshot::atomic(id, &state)?;
    snapshot.created = point.map_or(before, |point| point.clamp(before, snapshot.created));
    snapshot.bytes = size(&taken);
    for (engine, version) in versions.into_iter().flatten() {
        snapshot = snapshot.version(engine, version);
    }
    info!("{} {} was captured as {}", names.word, plugin.source, snapshot.id);
    Ok(snapshot)
}

/// The call itself, with the tags in it. None in a dry run.
fn create(plugin: &AmazonRds, id: &str, label: &str, deadline: &Deadline) -> Result<Option<Element>> {
    let names = plugin.kind.names();
    let parameters = Parameters::new()
        .set(names.id, &plugin.source)
        .set(names.snapshot_id, id)
        .tags("Tags.Tag", &plugin.rds.tags(label));
    let client = plugin.rds.within(CREATE, deadline);
    let failure = match client.change_again(names.create_snapshot, &parameters) {
        Ok(answer) => return Ok(answer.map(|answer| answer.at(names.snapshot).cloned().unwrap_or_default())),
        Err(failure) if failure.is_interrupted() => return Err(failure.into()),
        Err(failure) => failure,
    };
    // Its answer was lost, and an attempt before the last may have done it: the tags tell.
    if failure.exists() || failure.is_uncertain() {
        let found = plugin.rds.with(client, Duration::from_secs(1)).snapshot(plugin.kind, id)?;
        match found {
            Some(found) if plugin.rds.label(plugin.kind, &found) == Some(label) => {
                warn!("the answer to {} was lost; the snapshot {id} is there", names.create_snapshot);
                return Ok(Some(found));
            }
            Some(_) => {
                return Err(Error::already_exists(format!("a snapshot {id} exists, and it is not of this run")));
            }
            None => {}
        }
    }
    let conflict = failure.code().starts_with("InvalidDB");
    let error = Error::from(failure);
    Err(if conflict {
        error
            .code(ErrorCode::Conflict)
            .hint("something else changes or backs up the database just now: run again when it is available")
    } else {
        error
    })
}

/// Whether RDS says that the point is fixed.
fn was_taken(snapshot: &Element) -> bool {
    snapshot.text("Status") == "available"
        || snapshot.get("SnapshotCreateTime").is_some()
        || snapshot.number::<u32>("PercentProgress").is_some_and(|percent| percent > 0)
}

/// Refuse a snapshot that will never be available.
pub(crate) fn alive(kind: Kind, id: &str, snapshot: &Element) -> Result<()> {
    match snapshot.text("Status") {
        // Lists and answers without it are as good as one that is being created.
        "" | "available" | "creating" | "copying" | "pending" => Ok(()),
        status => Err(Error::other(format!("snapshot {id} of the {} is {status}", kind.names().word))
            .hint("the events of the database in the RDS console say why")),
    }
}

pub(crate) fn size(snapshot: &Element) -> Option<u64> {
    // Of Aurora, RDS tells 1 or 0: that is no size.
    snapshot.number::<u64>("AllocatedStorage").filter(|gib| *gib > 1).and_then(|gib| gib.checked_mul(1 << 30))
}

/// Wait until the snapshot is complete, and look at what it is.
pub(crate) fn finish(plugin: &AmazonRds, mut snapshot: Snapshot) -> Result<Snapshot> {
    let state: State = snapshot.state()?;
    if state.planned {
        return Ok(snapshot);
    }
    let id = &snapshot.id;
    let deadline = Deadline::after(plugin.complete);
    let done = plugin.rds.watch(&deadline, |rds| {
        let found = rds
            .snapshot(state.kind, id)?
            .ok_or_else(|| Error::not_found(format!("snapshot {id} was deleted before it was complete")))?;
        alive(state.kind, id, &found)?;
        let available = found.text("Status") == "available";
        let percent = found.number("PercentProgress").unwrap_or(0);
        progress::report("percent of the snapshot", if available { 100 } else { percent }, Some(100));
        Ok(Some(found).filter(|_| available))
    })?;
    let done = done.ok_or_else(|| {
        timed_out(format!("snapshot {id} was not complete"), &deadline).hint("raise timeout-minutes in [part.config]")
    })?;
    prove(&plugin.rds, &state, id, &done)?;
    snapshot.bytes = size(&done).or(snapshot.bytes);
    Ok(snapshot)
}

/// It is the one that was taken, of the database that was meant.
pub(crate) fn prove(rds: &Rds, state: &State, id: &str, snapshot: &Element) -> Result<()> {
    let names = state.kind.names();
    if rds.label(state.kind, snapshot) != Some(&state.label) {
        return Err(Error::corrupt(format!("snapshot {id} does not carry the tags of this run")));
    }
    let (engine, encrypted) = match (&state.instance, &state.cluster) {
        (Some(instance), _) => (&instance.engine, instance.encrypted),
        (_, Some(cluster)) => (&cluster.engine, cluster.encrypted),
        _ => return Ok(()),
    };
    let source = snapshot.text(names.id);
    if !source.eq_ignore_ascii_case(&state.source) || snapshot.text("Engine") != engine {
        let message =
            format!("snapshot {id} is of {source} ({}), not of {} ({engine})", snapshot.text("Engine"), state.source);
        return Err(Error::corrupt(message));
    }
    if encrypted && !snapshot.flag(names.encrypted) {
        return Err(Error::corrupt(format!("snapshot {id} of an encrypted database is not encrypted")));
    }
    Ok(())
}
