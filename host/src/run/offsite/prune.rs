//! Retention of copies: by the place's own rules, and whatever became of the sets here.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::call;
use super::known::{Copy, Known};
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Level;
use crate::run::lock::InstanceLock;
use crate::run::part::{Part, Place, Purpose};
use crate::run::prune::blocking;
use crate::run::session::Session;
use crate::store::retention::{Decision, decide_copies};

/// What became of the copies of one part at one place.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PrunedCopies {
    /// The part.
    pub part: String,
    /// The place.
    pub place: String,
    /// For each copy: whether it should stay, and why.
    pub decisions: Vec<Decision>,
    /// Copies, by their sets, that were deleted.
    pub deleted: Vec<SetId>,
    /// What should have been deleted and was not, and why.
    pub failed: Vec<(SetId, String)>,
}

/// As [`prune`], after a backup.
///
/// # Errors
/// The first copy that could not be deleted.
pub(in crate::run) async fn after_backup(session: &Session, parts: &[Part]) -> Result<()> {
    let pruned = prune(session, parts, false).await?;
    let failed =
        pruned.into_iter().flat_map(|one| one.failed.into_iter().map(move |(id, why)| (one.place.clone(), id, why)));
    failed.into_iter().next().map_or(Ok(()), |(place, id, why)| {
        Err(Error::new(ErrorKind::Plugin, format!("the old copy of set {id} at `{place}` could not be deleted: {why}")))
    })
}

/// Delete the copies that their places' rules do not keep; with `dry_run` only say which.
///
/// # Errors
/// `Busy`; a part cannot be loaded. A copy that cannot be deleted is told in the result.
pub async fn prune_instance(session: &Session, dry_run: bool) -> Result<Vec<PrunedCopies>> {
    if session.config.parts.iter().all(|part| part.offsite.is_empty()) {
        return Ok(Vec::new());
    }
    let _lock = InstanceLock::take(session.dirs.instance(), "prune")?;
    let parts = session.parts().await?;
    prune(session, &parts, dry_run).await
}

async fn prune(session: &Session, parts: &[Part], dry_run: bool) -> Result<Vec<PrunedCopies>> {
    let mut all = Vec::new();
    if parts.iter().all(|part| part.places().is_empty()) {
        return Ok(all);
    }
    let known = Known::of(session).await?;
    for part in parts {
        for place in part.places() {
            all.push(one(session, &known, part, place, dry_run).await?);
        }
    }
    Ok(all)
}

async fn one(session: &Session, known: &Known, part: &Part, place: &Place, dry_run: bool) -> Result<PrunedCopies> {
    let name = &place.settings.name;
    let copies: Vec<&Copy> = known.copies.iter().filter(|copy| copy.is_at(part.name(), name)).collect();
    let dated: Vec<_> = copies.iter().map(|copy| (copy.set.clone(), copy.created)).collect();
    let pinned = pinned(session).await;
    let decisions = decide_copies(&dated, &pinned, &place.settings.retention.policy());
    let mut pruned = PrunedCopies {
        part: part.name().to_owned(),
        place: name.clone(),
        decisions,
        deleted: Vec::new(),
        failed: Vec::new(),
    };
    if dry_run {
        return Ok(pruned);
    }
    // The oldest first: an interruption leaves the newest.
    for decision in pruned.decisions.iter().rev().filter(|decision| !decision.keep) {
        let Some(copy) = copies.iter().find(|copy| copy.set == decision.id) else { continue };
        let result = match delete(session, part, copy).await {
            Ok(()) => known.forget(session, (&copy.set, &copy.part, &copy.place), false).await,
            Err(error) => Err(error),
        };
        let set = decision.id.clone();
        match result {
            Ok(()) => {
                let text = format!("the copy of set {set} at `{name}` deleted");
                session.reporter.message(Level::Info, Some(part.name()), text);
                pruned.deleted.push(set);
            }
            Err(error) => {
                let why = error.hint_text().map_or_else(|| error.to_string(), |hint| format!("{error} ({hint})"));
                let text = format!("the copy of set {set} at `{name}` stays: {why}");
                session.reporter.message(Level::Warning, Some(part.name()), text);
                pruned.failed.push((set, why));
            }
        }
    }
    Ok(pruned)
}

async fn delete(session: &Session, part: &Part, copy: &Copy) -> Result<()> {
    if copy.plugin != part.plugin.name() {
        let text = format!("the plugin {} made it, and the part is configured for {}", copy.plugin, part.plugin.name());
        return Err(Error::new(ErrorKind::Config, text).hint("prune with the configuration that made it"));
    }
    call(session, format!("part `{}`: delete the copy of set {} at `{}`", copy.part, copy.set, copy.place));
    let mut live = part.start(session, Purpose::at(&copy.place, CancellationToken::new())).await?;
    let work = async {
        let found = match &copy.snapshot {
            Some(snapshot) => Some(snapshot.clone()),
            None => live.instance.find_copy(&copy.set.label(session.instance())).await?,
        };
        match found {
            Some(snapshot) => live.instance.delete(&snapshot).await,
            None => Ok(()),
        }
    };
    let result = work.boxed().await;
    live.stop().await;
    result.map_err(|e| e.within(format!("part `{}` at `{}`", copy.part, copy.place)))
}

/// The sets that somebody has pinned, in any store that can be asked.
async fn pinned(session: &Session) -> BTreeSet<SetId> {
    let mut pinned = BTreeSet::new();
    for store in super::open_stores(session).await {
        let instance = session.instance().to_owned();
        let records = blocking(move || store.records(&instance)).await.unwrap_or_default();
        pinned.extend(records.by_set().into_iter().filter(|(_, records)| records.pin().is_some()).map(|(set, _)| set));
    }
    pinned
}
