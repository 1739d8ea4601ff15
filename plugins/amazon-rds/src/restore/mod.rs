//! A restore makes something new, proves it, and touches nothing else: no database is renamed, changed or deleted but the one
//! that this very call has made, which a tag with a number of its own tells.

mod cluster;
mod instance;
mod overrides;
mod proof;
mod removal;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bkhost_sdk::{Error, Finding, Result, Snapshot, config, info, now, progress, warn};
use bkhost_sdk_aws::{Deadline, Element, Parameters};

use crate::kind::Kind;
use crate::rds::{Rds, timed_out};
use crate::{AmazonRds, State, names, seconds};

pub(crate) use overrides::Overrides;

/// The tag that tells what a call has made.
const MADE_BY: &str = "bkhost:restore";
/// The tag that tells the operator where a database comes from.
const MADE_FROM: &str = "bkhost:restored-from";
/// The tag that tells of which part a drill has made a database.
const DRILL: &str = "bkhost:drill";
/// The most tags that RDS takes.
const MOST_TAGS: usize = 50;
/// How long RDS may not know yet what it has just made.
const APPEARS: Duration = Duration::from_secs(30);
/// How long a call may be repeated.
const CALL: Duration = Duration::from_secs(120);

/// States in which a new database stays until somebody does something.
const FAILED: [&str; 16] = [
    "cloning-failed",
    "deleted",
    "deleting",
    "delete-precheck",
    "failed",
    "inaccessible-encryption-credentials",
    "inaccessible-encryption-credentials-recoverable",
    "incompatible-credentials",
    "incompatible-network",
    "incompatible-option-group",
    "incompatible-parameters",
    "incompatible-restore",
    "insufficient-capacity",
    "restore-error",
    "stopped",
    "storage-full",
];

/// One restore.
struct Job<'a> {
    rds: &'a Rds,
    overrides: Overrides,
    /// The part whose restore is rehearsed, if it is.
    drill: Option<String>,
    /// The snapshot's identifier.
    snapshot: String,
    /// The snapshot as RDS tells it.
    found: Element,
    target: String,
    /// Whether the target has the name of what was captured.
    original: bool,
    deadline: Deadline,
    /// What nobody else's databases are tagged with.
    token: String,
}

/// Restore into `to`, or under the name of what was captured if that is free.
pub(crate) fn restore(plugin: &AmazonRds, snapshot: &Snapshot, to: Option<&str>) -> Result<()> {
    let state: State = snapshot.state()?;
    let target = names::target(to.unwrap_or(&state.source))?;
    make(plugin, snapshot, state, target, None).map(drop)
}

/// Restore into a throw-away database, and delete it. What it is proved to be is what a restore is.
pub(crate) fn rehearse(plugin: &AmazonRds, snapshot: &Snapshot) -> Result<Vec<Finding>> {
    if !plugin.drill {
        return Err(Error::unsupported("this part does not say that a drill may make a database").hint(
            "[part.config] drill = true: it is made of the newest proved set, costs what it costs while it exists, and is \
             deleted again. Or name the part under [drill] skip",
        ));
    }
    let mut state: State = snapshot.state()?;
    state.throw_away();
    let (drill, target) = drilled();
    let word = state.kind.names().word;
    let made = make(plugin, snapshot, state, target.clone(), Some(drill.clone()))?;
    removal::remove_drilled(&plugin.rds, &drill, &made)?;
    Ok(vec![Finding::info(
        format!("snapshot {}", snapshot.id),
        format!("{word} {target} was restored from it, became available, was what it must be, and is being deleted"),
    )])
}

/// What a drill of this part tags what it makes with, and how it calls it.
fn drilled() -> (String, String) {
    let (instance, part) = (config::instance(), config::part());
    (format!("{instance}/{part}"), names::drill(&instance, &part))
}

/// Delete what a drill of this part has made, and nothing else.
pub(crate) fn clear(plugin: &AmazonRds) -> Result<()> {
    let (drill, target) = drilled();
    let mut candidates = vec![(plugin.kind, target.clone())];
    if plugin.kind == Kind::Cluster {
        candidates.insert(0, (Kind::Instance, names::member(&target, 1)?));
    }
    let going = removal::remove_drilled(&plugin.rds, &drill, &candidates)?;
    removal::gone(&plugin.rds, &going)
}

/// Gives what was made, in the order in which it can be removed.
fn make(
    plugin: &AmazonRds,
    snapshot: &Snapshot,
    state: State,
    target: String,
    drill: Option<String>,
) -> Result<Vec<(Kind, String)>> {
    let overrides = plugin.overrides.clone();
    let job = Job {
        rds: &plugin.rds,
        overrides: if drill.is_some() { overrides.throw_away() } else { overrides },
        drill,
        found: usable(plugin, &state, &snapshot.id)?,
        snapshot: snapshot.id.clone(),
        original: target == state.source.to_ascii_lowercase(),
        target,
        deadline: Deadline::after(seconds(plugin.overrides.timeout_minutes * 60.0)),
        token: format!("{:x}-{:016x}", now(), RandomState::new().hash_one(now())),
    };
    job.free(state.kind, &job.target)?;
    let (candidates, outcome) = match state.kind {
        Kind::Instance => instance::restore(&job, state.instance.unwrap_or_default()),
        Kind::Cluster => cluster::restore(&job, state.cluster.unwrap_or_default()),
    };
    match outcome {
        Ok(()) => {
            info!("{} {} is restored and available", state.kind.names().word, job.target);
            Ok(candidates)
        }
        Err(error) => Err(removal::remove(&job, &candidates, error)),
    }
}

/// The snapshot, if a restore from it can begin.
fn usable(plugin: &AmazonRds, state: &State, id: &str) -> Result<Element> {
    let found = plugin.rds.snapshot(state.kind, id)?.ok_or_else(|| {
        Error::not_found(format!("snapshot {id} no longer exists in this region and account"))
            .hint("it was all there was of this part: choose another set")
    })?;
    if plugin.rds.label(state.kind, &found) != Some(&state.label) {
        return Err(Error::conflict(format!("snapshot {id} is not the one that was taken for this set"))
            .hint("its tags are others: somebody has replaced it, or this is another instance or part"));
    }
    match found.text("Status") {
        "available" => Ok(found),
        status => Err(Error::conflict(format!("snapshot {id} is {status}, not available"))),
    }
}

impl Job<'_> {
    /// Refuse a name that is in use, before anything is made.
    fn free(&self, kind: Kind, id: &str) -> Result<()> {
        if self.rds.find(kind, id)?.is_none() {
            return Ok(());
        }
        let word = kind.names().word;
        let error = Error::already_exists(format!("DB {word} {id} exists"));
        Err(if self.original {
            error.hint(
                "a live database is never replaced: restore beside it with --to <new name>, look at the new one, then \
                 switch the application over or rename the two yourself",
            )
        } else {
            error.hint("restore into a name that is free: --to <new name>")
        })
    }

    /// The tags of what is made: the original's, and ours.
    fn tags(&self, recorded: &[(String, String)]) -> Vec<(String, String)> {
        let drill = self.drill.as_ref().map(|drill| (DRILL, drill));
        let ours = [(MADE_BY, &self.token), (MADE_FROM, &self.snapshot)].into_iter().chain(drill);
        let ours: Vec<_> = ours.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        recorded.iter().take(MOST_TAGS.saturating_sub(ours.len())).cloned().chain(ours).collect()
    }

    /// Whether this call has made it.
    fn made(&self, found: &Element) -> bool {
        found.tag("TagList", MADE_BY) == Some(&self.token)
    }

    /// A call that makes `id`, whose parameters hold our tags.
    fn make(&self, kind: Kind, id: &str, action: &str, parameters: &Parameters) -> Result<()> {
        info!("{action}: {id}");
        let client = self.rds.within(CALL, &self.deadline);
        let failure = match client.change_again(action, parameters) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => return Err(Error::unsupported("a restore has no dry run")),
            Err(failure) => failure,
        };
        // Its answer was lost, and an attempt before the last may have done it: the tag tells.
        if !failure.is_interrupted() && (failure.exists() || failure.is_uncertain()) {
            match self.rds.with(client, Duration::from_secs(1)).find(kind, id)? {
                Some(found) if self.made(&found) => {
                    warn!("the answer to {action} was lost; {id} is there");
                    return Ok(());
                }
                Some(_) => {
                    let message = format!("DB {} {id} exists: somebody else has just made it", kind.names().word);
                    return Err(Error::already_exists(message));
                }
                None => {}
            }
        }
        Err(failure.into())
    }

    /// Wait until what was made is available; as it is then.
    fn available(&self, kind: Kind, id: &str) -> Result<Element> {
        let names = kind.names();
        let start = Deadline::after(APPEARS);
        let mut seen = String::new();
        let found = self.rds.watch(&self.deadline, |rds| {
            let Some(found) = rds.find(kind, id)? else {
                return if start.is_over() || !seen.is_empty() {
                    Err(Error::not_found(format!("DB {} {id} vanished while it was restored", names.word)))
                } else {
                    Ok(None)
                };
            };
            if !self.made(&found) {
                let message = format!("DB {} {id} is not the one that this restore has made", names.word);
                return Err(Error::conflict(message).hint("it is left alone: look at who else makes databases here"));
            }
            let status = found.text(names.status);
            if status != seen {
                info!("{} {id} is {status}", names.word);
                status.clone_into(&mut seen);
            }
            if FAILED.contains(&status) {
                return Err(failed(kind, id, &found));
            }
            if let Some(percent) = found.number::<u64>("PercentProgress") {
                progress::report("percent of the restore", percent.min(100), Some(100));
            }
            Ok(Some(found).filter(|found| found.text(names.status) == "available"))
        })?;
        found.ok_or_else(|| {
            let what = format!("DB {} {id} was not available, but {seen},", names.word);
            timed_out(what, &self.deadline).hint("raise restore.timeout-minutes in [part.config]")
        })
    }

    /// Set what can only be set on a database that is there. What was restored is proved by then, and stays.
    fn settle(&self, kind: Kind, id: &str, parameters: &Parameters) -> Result<()> {
        if *parameters == Parameters::new() {
            return Ok(());
        }
        let action = match kind {
            Kind::Instance => "ModifyDBInstance",
            Kind::Cluster => "ModifyDBCluster",
        };
        let call = parameters.clone().set(kind.names().id, id).set("ApplyImmediately", true);
        let outcome = self.rds.within(CALL, &self.deadline).change_again(action, &call);
        if let Err(failure) = outcome {
            if failure.is_interrupted() {
                return Err(failure.into());
            }
            let error = Error::from(failure);
            warn!(
                "{id} is restored, but not all of its settings: {}; set by hand: {}",
                error.message,
                parameters.encode().replace('&', ", ")
            );
            return Ok(());
        }
        self.available(kind, id).map(drop)
    }
}

/// Why RDS gave up, as far as it tells.
fn failed(kind: Kind, id: &str, found: &Element) -> Error {
    let names = kind.names();
    let reasons: Vec<_> = found.list("StatusInfos").iter().filter_map(|info| info.get("Message")).collect();
    let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
    Error::other(format!("the restored {} {id} is {}{why}", names.word, found.text(names.status)))
        .hint("its events in the RDS console say more; the original was not touched")
}
