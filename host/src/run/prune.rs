//! Retention: the host decides, the plugins delete.

use futures_util::FutureExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::in_use;
use super::lease::Lease;
use super::lock::InstanceLock;
use super::part::{Part, Purpose};
use super::sealed;
use super::session::Session;
use super::stores::{self, Stores};
use crate::archive::SetId;
use crate::archive::set::{Consistency, PartRecord, SetManifest};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::Level;
use crate::store::Store;
use crate::store::retention::{Decision, Policy, decide, order};

/// What became of the sets.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pruned {
    /// For each set: whether it should stay, and why.
    pub decisions: Vec<Decision>,
    /// What was deleted.
    pub deleted: Vec<SetId>,
    /// What should have been deleted and was not, and why.
    pub failed: Vec<(SetId, String)>,
}

/// Prune as the configuration says. Called after a set was published.
///
/// # Errors
/// If the store cannot be listed, or a set could not be deleted.
pub(super) async fn after_backup(session: &Session, parts: &[Part], stores: &Stores) -> Result<()> {
    let policy = session.config.retention.policy();
    let mut failures = Vec::new();
    for target in stores.live() {
        let failed = match prune(session, parts, &target.store, policy.clone(), false).await {
            Ok(pruned) => pruned.failed.into_iter().next(),
            Err(error) => {
                failures.push(error);
                continue;
            }
        };
        failures.extend(failed.map(|(id, why)| {
            let name = target.store.name();
            Error::new(ErrorKind::Store, format!("the old set {id} could not be deleted from store `{name}`: {why}"))
        }));
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// As [`prune`], for a caller that does not hold the instance's lock.
///
/// # Errors
/// As [`prune`]; `Busy` if a run or a restore is under way.
pub async fn prune_instance(session: &Session, store: &Store, policy: Policy, dry_run: bool) -> Result<Pruned> {
    let _lock = InstanceLock::take(session.dirs.instance(), "prune")?;
    let parts = session.parts().await?;
    if dry_run {
        return prune(session, &parts, store, policy, true).await;
    }
    let lease = Lease::take(session, store, "prune").await?;
    let result = prune(session, &parts, store, policy, false).await;
    lease.release().await;
    result
}

/// Delete the sets that the policy does not keep; with `dry_run` only say which.
///
/// # Errors
/// If the store cannot be listed. A set that cannot be deleted is told in the result.
pub(super) async fn prune(
    session: &Session,
    parts: &[Part],
    store: &Store,
    policy: Policy,
    dry_run: bool,
) -> Result<Pruned> {
    let instance = session.instance().to_owned();
    let sets = {
        let store = store.clone();
        let (sets, skipped) = blocking(move || Ok((store.list(&instance)?, store.records(&instance)?.skipped))).await?;
        for skipped in skipped {
            let text = format!("{} stays, and is not looked at: {}", skipped.path, skipped.why);
            session.reporter.message(Level::Warning, None, text);
        }
        sets
    };
    let uses = in_use::uses(store, session.instance()).await?;
    let mut pruned = Pruned { decisions: decide(&sets, &uses, &policy), ..Pruned::default() };
    if dry_run {
        return Ok(pruned);
    }
    in_use::clear(store, session.instance()).await;
    for id in order(&sets, &pruned.decisions) {
        let Some(manifest) = sets.iter().find(|set| set.id == id).and_then(|set| set.manifest()) else { continue };
        let left =
            sets.iter().find(|set| set.needs.contains(&id) && pruned.failed.iter().any(|(left, _)| *left == set.id));
        let deleted = match left {
            Some(left) => Err(Error::new(ErrorKind::Store, format!("set {} builds on it, and stays too", left.id))),
            None => delete_unused(session, parts, store, manifest).await,
        };
        match deleted {
            Ok(()) => {
                session.reporter.message(Level::Info, None, format!("set {id} deleted"));
                pruned.deleted.push(id);
            }
            Err(error) => {
                // What to do about it belongs to it: this is all that is told of it.
                let why = error.hint_text().map_or_else(|| error.to_string(), |hint| format!("{error} ({hint})"));
                session.reporter.message(Level::Warning, None, format!("set {id} stays: {why}"));
                pruned.failed.push((id, why));
            }
        }
    }
    Ok(pruned)
}

/// Delete a set that nobody reads.
async fn delete_unused(session: &Session, parts: &[Part], store: &Store, manifest: &SetManifest) -> Result<()> {
    let mark = in_use::delete(store, session.instance(), &manifest.id).await?;
    let deleted = delete_set(session, parts, store, manifest).await;
    mark.end().await;
    deleted
}

/// The vendors' snapshots first: a set that is left without them still restores from what was archived, but a snapshot that
/// is left without its set would be found by nobody.
///
/// They belong to the set as long as any store has it: they go with the last one.
async fn delete_set(session: &Session, parts: &[Part], store: &Store, manifest: &SetManifest) -> Result<()> {
    let elsewhere = elsewhere(session, store, manifest).await?;
    for record in manifest.parts.iter().filter(|_| !elsewhere) {
        match parts.iter().find(|part| part.name() == record.name && part.plugin.name() == record.plugin) {
            Some(part) => {
                let record = sealed::recall_from(session, store, &manifest.id, record).await?;
                delete_snapshot(session, part, &record).await?;
            }
            // A copy or a dump leaves nothing with its vendor.
            None if record.snapshot.consistency == Consistency::Atomic => {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "part `{}` with plugin {} is not configured here, and its snapshot `{}` would stay for ever",
                        record.name, record.plugin, record.snapshot.id
                    ),
                )
                .hint("prune with the configuration that made the set"));
            }
            None => {}
        }
    }
    let (store, instance, id) = (store.clone(), session.instance().to_owned(), manifest.id.clone());
    let sealed = session.dirs.sealed();
    blocking(move || {
        store.delete(&instance, &id)?;
        sealed::forget(&sealed, &id);
        Ok(())
    })
    .await
}

/// Whether another store of the configuration has the set too.
async fn elsewhere(session: &Session, store: &Store, manifest: &SetManifest) -> Result<bool> {
    // What leaves nothing with its vendor can be deleted without knowing.
    let vendors = manifest.parts.iter().any(|record| record.snapshot.consistency == Consistency::Atomic);
    for other in stores::others(session, store.location()).await {
        let has = match other {
            Ok(other) => stores::has(&other, session.instance(), &manifest.id)
                .await
                .map_err(|e| e.within(format!("whether store `{}` has it too is not known", other.name()))),
            Err(error) => Err(error),
        };
        match has {
            Ok(true) => return Ok(true),
            Err(error) if vendors => return Err(error),
            _ => {}
        }
    }
    Ok(false)
}

async fn delete_snapshot(session: &Session, part: &Part, record: &PartRecord) -> Result<()> {
    let cancel = CancellationToken::new();
    let mut live = part.start(session, Purpose::plain(cancel.clone())).await?;
    let result = live.instance.delete(&record.snapshot).boxed().await;
    live.stop().await;
    result.map_err(|e| e.within(format!("part `{}`", record.name)))
}

/// Run what blocks on a thread that may.
///
/// # Errors
/// Those of `work`.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.or_error(ErrorKind::Internal, || "a worker thread ended early")?
}
