//! Retention: the host decides, the plugins delete.

use futures_util::FutureExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::fingerprint::Fingerprint;
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
use crate::store::retention::{Decision, Policy, decide, order};
use crate::store::{SetEntry, Store};

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
        // What an earlier machine of this instance made is its own too: whoever configured the run has said so.
        let failed = match Decided::make(session, &target.store, &policy).await {
            Ok(decided) => decided.carry_out(session, parts, &target.store).await.failed.into_iter().next(),
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

/// Whether anything is deleted by a prune that somebody asked for.
#[derive(Debug, Clone, Copy)]
pub enum Pruning<'a> {
    /// Only say what would go.
    DryRun,
    /// Delete it.
    Delete {
        /// The fingerprint that the operator typed: what was made elsewhere goes too.
        accept: Option<&'a str>,
    },
}

/// Prune because somebody asks for it, who may be on the wrong machine.
///
/// # Errors
/// If the store cannot be listed; `Busy` if a run or a restore is under way; `Conflict` if a set that would go was made on
/// another machine or of another application. A set that cannot be deleted is told in the result.
pub async fn prune_instance(session: &Session, store: &Store, policy: Policy, how: Pruning<'_>) -> Result<Pruned> {
    let _lock = InstanceLock::take(session.dirs.instance(), "prune")?;
    let parts = session.parts().await?;
    let Pruning::Delete { accept } = how else {
        let decided = Decided::make(session, store, &policy).await?;
        if let Err(error) = decided.made_here(session) {
            session.reporter.message(Level::Warning, None, format!("this would be refused: {error}"));
        }
        return Ok(Pruned { decisions: decided.decisions, ..Pruned::default() });
    };
    let lease = Lease::take(session, store, "prune").await?;
    let result = async {
        let decided = Decided::make(session, store, &policy).await?;
        let accepted = accept.is_some_and(|typed| typed == Fingerprint::here(session).short());
        if !accepted {
            decided.made_here(session)?;
        }
        Ok(decided.carry_out(session, &parts, store).await)
    };
    let result = result.await;
    lease.release().await;
    result
}

/// What a store has, and what becomes of it.
struct Decided {
    sets: Vec<SetEntry>,
    decisions: Vec<Decision>,
}

impl Decided {
    /// # Errors
    /// If the store cannot be listed.
    async fn make(session: &Session, store: &Store, policy: &Policy) -> Result<Self> {
        let (instance, listed) = (session.instance().to_owned(), store.clone());
        let (sets, skipped) =
            blocking(move || Ok((listed.list(&instance)?, listed.records(&instance)?.skipped))).await?;
        for skipped in skipped {
            let text = format!("{} stays, and is not looked at: {}", skipped.path, skipped.why);
            session.reporter.message(Level::Warning, None, text);
        }
        let uses = in_use::uses(store, session.instance()).await?;
        let decisions = decide(&sets, &uses, policy);
        Ok(Self { sets, decisions })
    }

    fn manifest(&self, id: &SetId) -> Option<&SetManifest> {
        self.sets.iter().find(|set| set.id == *id).and_then(|set| set.manifest())
    }

    /// # Errors
    /// A set that would go was made elsewhere.
    fn made_here(&self, session: &Session) -> Result<()> {
        let here = Fingerprint::here(session);
        let go = order(&self.sets, &self.decisions);
        go.iter().filter_map(|id| self.manifest(id)).try_for_each(|manifest| here.may_delete(manifest))
    }

    /// Delete what is to go.
    async fn carry_out(self, session: &Session, parts: &[Part], store: &Store) -> Pruned {
        in_use::clear(store, session.instance()).await;
        let (mut deleted, mut failed): (Vec<SetId>, Vec<(SetId, String)>) = (Vec::new(), Vec::new());
        for id in order(&self.sets, &self.decisions) {
            let Some(manifest) = self.manifest(&id) else { continue };
            let needs = |left: &SetId| self.sets.iter().any(|set| set.id == *left && set.needs.contains(&id));
            let result = match failed.iter().find(|(left, _)| needs(left)) {
                Some((left, _)) => Err(Error::new(ErrorKind::Store, format!("set {left} builds on it, and stays too"))),
                None => delete_unused(session, parts, store, manifest).await,
            };
            match result {
                Ok(()) => {
                    session.reporter.message(Level::Info, None, format!("set {id} deleted"));
                    deleted.push(id);
                }
                Err(error) => {
                    // What to do about it belongs to it: this is all that is told of it.
                    let why = error.hint_text().map_or_else(|| error.to_string(), |hint| format!("{error} ({hint})"));
                    session.reporter.message(Level::Warning, None, format!("set {id} stays: {why}"));
                    failed.push((id, why));
                }
            }
        }
        Pruned { decisions: self.decisions, deleted, failed }
    }
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
