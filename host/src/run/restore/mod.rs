//! Restoring: everything that could refuse, refuses before anything is touched.
//!
//! A [`Plan`] says what will happen, step by step, and changes nothing; [`restore`] takes its steps.

mod plan;
pub(super) mod step;
mod target;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use self::step::Means;
use super::chain::Known;
use super::lock::InstanceLock;
use super::session::Session;
use crate::archive::{OwnersBy, SetId};
use crate::capability::NoWitness;
use crate::error::Result;
use crate::report::{Event, Phase};
use crate::store::StoredSet;

pub use plan::{Plan, PlannedStep};

/// What to restore, and where to.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Only these parts; empty: all.
    pub parts: Vec<String>,
    /// Targets: `PART=TARGET`, or `TARGET` if there is one part.
    pub to: Vec<String>,
    /// Whom files are given to.
    pub owners: OwnersBy,
}

/// What was restored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restored {
    /// The set.
    pub id: SetId,
    /// The parts, with their targets; none: the original place.
    pub parts: Vec<(String, Option<String>)>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Take the steps of a plan. The caller has asked the operator to confirm.
///
/// # Errors
/// `Damaged` if a byte of what is to be restored is not what it was; `Conflict` if a target is in the way or the
/// application runs: in both cases before anything was touched.
pub async fn restore(session: &Session, set: &StoredSet, plan: Plan<'_>) -> Result<Restored> {
    let start = Instant::now();
    let id = set.manifest.id.clone();
    let _lock = InstanceLock::take(session.dirs.instance(), &format!("restore of {id}"))?;
    session.reporter.event(&Event::Started {
        what: "restore",
        instance: session.instance().to_owned(),
        set: id.to_string(),
    });
    // It may have been planned a while ago: the operator was asked since.
    let plan = session.phase(Phase::Plan, plan.again(session)).await?;
    session
        .phase(Phase::Verify, async {
            for step in &plan.steps {
                step.chain.prove(&session.reporter, &mut Known::new(), &session.cancel).await?;
            }
            Ok(())
        })
        .await?;
    session
        .phase(Phase::Restore, async {
            for step in &plan.steps {
                let within = |e: crate::error::Error| e.within(format!("part `{}`", step.part.name()));
                if let Some(directory) = &step.directory {
                    target::make(directory).await.map_err(within)?;
                }
                let means = Means { witness: Arc::new(NoWitness), owners: plan.owners };
                step.take(session, step.directory.as_deref(), means).await.map_err(within)?;
            }
            Ok(())
        })
        .await?;
    Ok(Restored {
        id,
        parts: plan.steps.into_iter().map(|step| (step.part.name().to_owned(), step.to)).collect(),
        duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}
