//! Restoring: everything that could refuse, refuses before anything is touched.
//!
//! A [`Plan`] says what will happen, step by step, and changes nothing; [`restore`] takes its steps. What is restored into a
//! directory is written beside it and comes into its place when it is whole; a journal says how far that is, so that a
//! restore that dies is cleaned up after, and gone on with by the next one of the same set.

mod around;
mod foresee;
mod going;
mod partial;
mod past;
mod paths;
mod plan;
mod repositories;
pub(super) mod step;
mod target;
mod unfinished;

use std::time::{Duration, Instant};

use serde::Serialize;

use self::going::Going;
use super::chain::Known;
use super::damage;
use super::lock::InstanceLock;
use super::prune::blocking;
use super::session::Session;
use crate::archive::{OwnersBy, SetId};
use crate::error::{Error, Result};
use crate::report::{Event, Level, Phase, waiting};
use crate::store::{Record as StoreRecord, RecordKind, StoredSet};

pub(super) use partial::Partial;
pub(super) use past::recover;
pub use paths::typed as typed_paths;
pub use plan::{Plan, PlannedStep};
pub use repositories::Aftercare;
pub(super) use repositories::Repositories;

/// How long the record of a restore may take to be written: it is done by then.
const RECORD_PATIENCE: Duration = Duration::from_secs(60);

/// What to restore, and where to.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Only these parts; empty: all.
    pub parts: Vec<String>,
    /// Targets: `PART=TARGET`, or `TARGET` if there is one part.
    pub to: Vec<String>,
    /// Only these paths of the one part that is chosen; empty: all of it.
    pub paths: Vec<Vec<u8>>,
    /// Files among them take the place of files that are there.
    pub replace: bool,
    /// Whom files are given to.
    pub owners: OwnersBy,
    /// What [`Plan::refusals`] asked to be typed, since this is another machine or application than the set was made of.
    pub accept: Option<String>,
    /// Restore also what an earlier restore of this set, which did not come to its end, has completed.
    pub again: bool,
}

/// What was restored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restored {
    /// The set.
    pub id: SetId,
    /// The parts, with their targets; none: the original place.
    pub parts: Vec<(String, Option<String>)>,
    /// What was looked after in them, and what is left to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aftercare: Vec<Aftercare>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Take the steps of a plan. The caller has asked the operator to confirm.
///
/// # Errors
/// `Damaged` if a byte of what is to be restored is not what it was; `Conflict` if a target is in the way or the
/// application runs: in both cases before anything was touched. What a restore that fails later has made is removed, but
/// for parts that are whole in their places.
pub async fn restore(session: &Session, set: &StoredSet, plan: Plan<'_>) -> Result<Restored> {
    let start = Instant::now();
    let set = &set.cancelled_by(&session.cancel);
    let (id, run) = (set.manifest.id.clone(), SetId::generate()?);
    let what = format!("restore of {id}: {run}");
    let _lock = InstanceLock::take_over(session.dirs.instance(), &what, &session.reporter).await?;
    session.reporter.event(&Event::Started {
        what: "restore",
        instance: session.instance().to_owned(),
        set: id.to_string(),
    });
    if let Err(error) = past::recover_all(session).await {
        // A disk that is gone must not keep others from being restored to.
        if past::left_near(&session.dirs, plan.directories()) {
            return Err(error);
        }
        session.reporter.message(Level::Error, None, error.in_full());
    }
    // It may have been planned a while ago: the operator was asked since.
    let plan = session.phase(Phase::Plan, plan.again(session)).await?;
    let verified = session
        .phase(Phase::Verify, async {
            let known = Known::new();
            for step in plan.steps.iter().filter(|step| step.done.is_none()) {
                let what = format!("part `{}` to be read back", step.part.name());
                let prove = step.chain.prove(&session.reporter, &known, &session.cancel);
                waiting(&session.reporter, &what, prove).await?;
            }
            Ok(())
        })
        .await;
    let result = match verified {
        Ok(()) => session.phase(Phase::Restore, taken(session, &run, &id, &plan)).await,
        Err(error) => Err(error),
    };
    let result = damage::noted(&session.reporter, set, result).await;
    let parts: Vec<_> = plan.steps.iter().map(|step| (step.part.name().to_owned(), step.to.clone())).collect();
    let whole = plan.steps.iter().all(|step| step.done.is_none() && step.chosen.is_none())
        && parts.len() == set.manifest.parts.len();
    record(session, set, &parts, whole, start.elapsed(), result.as_ref().err()).await;
    let aftercare = result?;
    Ok(Restored { id, parts, aftercare, duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) })
}

/// Take the steps, with the operator's commands around them if something goes to its original place.
async fn taken(session: &Session, run: &SetId, set: &SetId, plan: &Plan<'_>) -> Result<Vec<Aftercare>> {
    let going = Going::start(session, run, set, plan.owners)?;
    if !plan.to_original() {
        return going.take(&plan.steps).await;
    }
    let stopped = async {
        around::before(session).await?;
        plan::refuse_running(session).await?;
        plan.refused_now(session).await.into_iter().next().map_or(Ok(()), Err)
    };
    let result = match stopped.await {
        Ok(()) => going.take(&plan.steps).await,
        Err(error) => {
            going.nothing()?;
            Err(error)
        }
    };
    let after = around::after(session, result.is_ok()).await;
    result.and_then(|aftercare| after.map(|()| aftercare))
}

/// Tell the store how it went, and how long it took. That it cannot be told does not undo it.
async fn record(
    session: &Session,
    set: &StoredSet,
    parts: &[(String, Option<String>)],
    whole: bool,
    took: Duration,
    error: Option<&Error>,
) {
    let detail = serde_json::json!({
        "parts": parts.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "whole": whole,
    });
    let record = StoreRecord::new(RecordKind::Restore, &set.manifest.id).took(took).detail(detail);
    let record = match error {
        None => record,
        Some(error) => record.failed(crate::run::sealed::told(set, error)),
    };
    let (store, instance) = (set.store().clone(), set.manifest.instance.clone());
    let write = tokio::time::timeout(RECORD_PATIENCE, blocking(move || store.record(&instance, &record).map(|_| ())));
    let problem = match waiting(&session.reporter, "the store to take the record of this restore", write).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the store did not take it within {} s", RECORD_PATIENCE.as_secs()),
    };
    let text = format!("how long this restore took could not be recorded: {problem}");
    session.reporter.message(Level::Warning, None, text);
}
