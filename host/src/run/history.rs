//! The earlier sets that a part can build on.

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::chain::{Chain, Known};
use super::part::Part;
use super::prune::blocking;
use super::sealed;
use super::session::Session;
use super::stores::Stores;
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Earlier, History};
use crate::report::{Level, Reporter};
use crate::store::{SetState, Store, StoredSet};

/// The sets of an instance before the run `before`, as one part sees them.
pub(super) struct EarlierSets {
    /// The first is what it is taken from; the others have to have it too.
    stores: Vec<Store>,
    instance: String,
    part: String,
    plugin: String,
    before: SetId,
    /// This machine's notes of encrypted sets.
    sealed: PathBuf,
    /// Whether what is offered is read back first.
    prove: bool,
    reporter: Reporter,
    cancel: CancellationToken,
    /// What was found: the answer is the same for the whole run.
    found: Mutex<Option<Option<Earlier>>>,
}

impl EarlierSets {
    pub(super) fn new(
        session: &Session,
        stores: &Stores,
        part: &Part,
        before: &SetId,
        prove: bool,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            stores: stores.required().map(|store| store.cancelled_by(&cancel)).collect(),
            instance: session.instance().to_owned(),
            part: part.name().to_owned(),
            plugin: part.plugin.name().to_owned(),
            before: before.clone(),
            sealed: session.dirs.sealed(),
            prove,
            reporter: session.reporter.clone(),
            cancel,
            found: Mutex::default(),
        }
    }

    async fn find(&self) -> Result<Option<Earlier>> {
        let Some(store) = self.stores.first().cloned() else { return Ok(None) };
        let instance = self.instance.clone();
        let sets = blocking(move || store.list(&instance)).await?;
        let known = Known::new();
        // A clock that was set back may have left sets that are newer than this run: those cannot be built on.
        for entry in sets.into_iter().filter(|entry| entry.id < self.before) {
            let manifest = match entry.state {
                SetState::Proved(manifest) => manifest,
                SetState::Damaged(why) => {
                    self.passed_over(&entry.id, &why);
                    continue;
                }
                SetState::Unpublished => continue,
            };
            if manifest.part(&self.part).is_none_or(|part| part.plugin != self.plugin) {
                continue;
            }
            match self.offer(&entry.id, &known).await {
                Ok(earlier) => return Ok(Some(earlier)),
                Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
                    self.passed_over(&entry.id, &e.to_string());
                }
                // Encrypted, by another machine: whole for all that can be known, and of no use here.
                Err(e) if e.kind() == ErrorKind::Denied => {
                    self.reporter.message(Level::Warning, Some(&self.part), format!("not built on: {e}"));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    async fn offer(&self, id: &SetId, known: &Known) -> Result<Earlier> {
        let set = self.open(self.stores.first(), id).await?;
        let part = set.manifest.part(&self.part).cloned();
        let part = part.ok_or_else(|| Error::new(ErrorKind::NotFound, "its part is gone"))?;
        let part = sealed::recall(self.sealed.clone(), &set, &part).await?;
        let chain = Chain::find(&set, &part).await?;
        for other in self.stores.iter().skip(1) {
            let set = self.open(Some(other), id).await.map_err(|e| e.within(format!("store `{}`", other.name())))?;
            let part = set.manifest.part(&self.part).cloned();
            let part = part.ok_or_else(|| Error::new(ErrorKind::NotFound, "its part is gone"))?;
            Chain::find(&set, &part).await?;
        }
        if self.prove {
            chain.prove(&self.reporter, known, &self.cancel).await?;
        }
        Ok(Earlier { set: id.clone(), depth: chain.depth(), snapshot: part.snapshot })
    }

    async fn open(&self, store: Option<&Store>, id: &SetId) -> Result<StoredSet> {
        let store = store.cloned().ok_or_else(|| Error::new(ErrorKind::Internal, "there is no store"))?;
        let (instance, id) = (self.instance.clone(), id.clone());
        blocking(move || store.open_set(&instance, &id)).await
    }

    fn passed_over(&self, id: &SetId, why: &str) {
        let text = format!("set {id} is damaged, and not built on: {why}");
        self.reporter.message(Level::Warning, Some(&self.part), text);
    }
}

#[async_trait]
impl History for EarlierSets {
    async fn previous(&self) -> Result<Option<Earlier>> {
        let mut found = self.found.lock().await;
        if let Some(earlier) = &*found {
            return Ok(earlier.clone());
        }
        let earlier = self.find().await?;
        *found = Some(earlier.clone());
        Ok(earlier)
    }
}
