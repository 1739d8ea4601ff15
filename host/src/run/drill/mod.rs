//! Rehearsing a restore: a set is restored into scratch space and looked at there, beside production and never in it.
//!
//! Nothing of the instance is locked: a run may begin and end meanwhile. The scratch is removed whatever becomes of the drill.

mod check;
mod compared;
mod part;
mod place;
mod record;

use std::time::{Duration, Instant};

use serde::Serialize;

use self::part::rehearse;
pub use self::part::{DrilledPart, How};
pub(super) use self::part::{refused, tell};
use super::in_use;
use super::part::Part;
use super::scratch::Scratch;
use super::session::Session;
use crate::archive::SetId;
use crate::archive::set::PartRecord;
use crate::capability::manifest::RestoreTarget;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, Level, Phase};
use crate::store::StoredSet;

/// What its directories, its lock and its processes are called by.
const WHAT: &str = "drill";
/// How much nicer it is than what it runs beside.
const NICE: i32 = 10;

/// What came of a drill.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Drilled {
    /// The set.
    pub id: SetId,
    /// All parts were rehearsed, or may be left out by the configuration, and all checks were passed.
    pub ok: bool,
    /// Only some of the set's parts were asked for.
    pub partial: bool,
    /// The parts.
    pub parts: Vec<DrilledPart>,
    /// The operator's own checks that were passed.
    pub checks: Vec<String>,
    /// How long restoring took, with what a restore reads before it, in milliseconds.
    pub restore_ms: u64,
    /// How long all of it took, in milliseconds.
    pub duration_ms: u64,
    /// Why it is not ok.
    #[serde(skip)]
    pub failure: Option<Error>,
}

/// One part, and how it is rehearsed.
struct Task<'a> {
    record: &'a PartRecord,
    /// None: it is not configured here.
    part: Option<Part>,
    how: How,
    /// Why it is not rehearsed.
    why: Option<String>,
}

/// Rehearse restoring `set`, or these parts of it, and record the result in the store. What went wrong with the set is part of
/// the result.
///
/// # Errors
/// It could not be begun, or was cancelled: then nothing is recorded.
pub async fn drill(session: &Session, set: &StoredSet, parts: &[String]) -> Result<Drilled> {
    let set = &set.cancelled_by(&session.cancel);
    let start = Instant::now();
    // It is in no hurry.
    let _ = rustix::process::nice(NICE);
    let id = &set.manifest.id;
    session.reporter.event(&Event::Started {
        what: WHAT,
        instance: session.instance().to_owned(),
        set: id.to_string(),
    });
    let home = session.dirs.drill()?;
    let tasks = session.phase(Phase::Plan, plan(session, set, parts)).await?;
    let root = session.config.drill.scratch.as_deref();
    place::check(session, root.unwrap_or(&home), &tasks)?;
    let configured: Vec<&Part> = tasks.iter().filter_map(|task| task.part.as_ref()).collect();
    let scratch = Scratch::make(session, &home, root, WHAT, id, &configured).await?;
    let in_use = in_use::read(&session.reporter, set, WHAT).await?;
    let worked = work(session, set, &tasks, &scratch).await;
    in_use.end().await;
    let removed = scratch.remove().await;
    let (parts_done, checks, mut failure) = worked?;
    if let Err(error) = removed {
        session.reporter.message(Level::Error, None, error.to_string());
        failure = failure.or(Some(error));
    }
    let restore = parts_done.iter().fold(0_u64, |sum, part| sum.saturating_add(part.restore_ms));
    let drilled = Drilled {
        id: id.clone(),
        ok: failure.is_none(),
        partial: !parts.is_empty() && parts_done.len() < set.manifest.parts.len(),
        parts: parts_done,
        checks,
        restore_ms: restore,
        duration_ms: millis(start.elapsed()),
        failure,
    };
    record::write(session, set, &drilled).await;
    Ok(drilled)
}

async fn plan<'a>(session: &Session, set: &'a StoredSet, wanted: &[String]) -> Result<Vec<Task<'a>>> {
    let records = &set.manifest.parts;
    if let Some(unknown) = wanted.iter().find(|name| !records.iter().any(|record| record.name == **name)) {
        let have: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
        return Err(Error::new(ErrorKind::NotFound, format!("the set has no part `{unknown}`"))
            .hint(format!("its parts are: {}", have.join(", "))));
    }
    let mut tasks = Vec::new();
    for record in records.iter().filter(|record| wanted.is_empty() || wanted.contains(&record.name)) {
        tasks.push(task(session, record, !wanted.is_empty()).await?);
    }
    Ok(tasks)
}

async fn task<'a>(session: &Session, record: &'a PartRecord, asked_for: bool) -> Result<Task<'a>> {
    let without = |how, why: String| Task { record, part: None, how, why: Some(why) };
    if !asked_for && session.config.drill.skip.contains(&record.name) {
        return Ok(without(How::Skipped, "the configuration says so ([drill] skip)".to_owned()));
    }
    let Some(settings) = session.config.parts.iter().find(|part| part.name == record.name) else {
        return Ok(without(How::NotRehearsed, "it is not configured here".to_owned()));
    };
    let part = Part::load(session, settings).await?;
    if part.plugin.name() != record.plugin {
        let why = format!("it was made by the plugin {}, and is configured for {}", record.plugin, part.plugin.name());
        return Ok(without(How::NotRehearsed, why));
    }
    let (how, why) = if part.plugin.rehearses() {
        match part.rehearsal_target(session.instance()) {
            Ok(_) => (How::Plugin, None),
            Err(key) => (How::NotRehearsed, Some(format!("`{key}` of its [part.config] is not set"))),
        }
    } else if part.plugin.manifest().restore.target_of(&part.values) == RestoreTarget::Directory {
        (How::Directory, None)
    } else {
        (How::NotRehearsed, Some(format!("the plugin {} cannot rehearse a restore", record.plugin)))
    };
    Ok(Task { record, part: Some(part), how, why })
}

type Worked = (Vec<DrilledPart>, Vec<String>, Option<Error>);

/// All parts, whatever becomes of each, and then the operator's checks.
async fn work(session: &Session, set: &StoredSet, tasks: &[Task<'_>], scratch: &Scratch) -> Result<Worked> {
    let mut failure: Option<Error> = None;
    let mut done = Vec::new();
    session
        .phase(Phase::Restore, async {
            for task in tasks {
                let (part, error) = rehearse(session, set, task, scratch).await?;
                if let Some(error) = error {
                    session.reporter.message(Level::Error, Some(&part.part), error.to_string());
                    failure.get_or_insert(error);
                }
                done.push(part);
            }
            Ok(())
        })
        .await?;
    let mut passed = Vec::new();
    if failure.is_none() && !session.config.drill.check.is_empty() {
        match session.phase(Phase::Check, check::run(session, set, &done, scratch)).await {
            Ok(checks) => passed = checks,
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(error) => failure = Some(error),
        }
    }
    Ok((done, passed, failure))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
