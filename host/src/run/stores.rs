//! The stores of an instance. Each set is written to all of them; one that is not required may drop out on the way.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::prune::blocking;
use super::session::Session;
use crate::archive::SetId;
use crate::config::{Occasion, StoreConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::notify::{Channels, Notification};
use crate::report::{Level, Reporter, waiting};
use crate::store::Store;

/// A store of a run.
pub struct Target {
    /// The store.
    pub store: Store,
    /// Without it there is no backup.
    pub required: bool,
    /// Why it takes no part any more.
    dropped: OnceLock<String>,
    reporter: Reporter,
}

impl Target {
    fn new(store: Store, required: bool, reporter: Reporter) -> Arc<Self> {
        Arc::new(Self { store, required, dropped: OnceLock::new(), reporter })
    }

    /// Whether it takes no part any more.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.dropped.get().is_some()
    }

    /// Something failed in it: with one that is not required the run goes on.
    ///
    /// # Errors
    /// The failure itself, if the store is required, or if it is the run that was cancelled.
    pub(super) fn failed(&self, error: Error) -> Result<()> {
        if self.required || matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Internal) {
            return Err(error);
        }
        let why = error.in_full();
        if self.dropped.set(why.clone()).is_ok() {
            let text =
                format!("the store `{}` drops out of this run, which goes on without it: {why}", self.store.name());
            self.reporter.message(Level::Warning, None, text);
        }
        Ok(())
    }
}

/// The stores of an instance, in the order of the configuration.
#[derive(Clone)]
pub struct Stores {
    targets: Vec<Arc<Target>>,
    /// Those that could not even be opened, and why.
    absent: Vec<(String, String)>,
    cancel: CancellationToken,
}

impl Stores {
    /// Opens those of the configuration.
    ///
    /// # Errors
    /// If a required one cannot be opened.
    pub(super) async fn open(session: &Session) -> Result<Self> {
        // A recovery goes on without what only reading takes.
        let keys = session.crypto().await.map(|crypto| crypto.keys.clone()).unwrap_or_default();
        let (mut targets, mut absent) = (Vec::new(), Vec::new());
        for config in &session.config.stores {
            match session.open_store(config).await {
                Ok(store) => {
                    let store = store.with_keys(keys.clone());
                    targets.push(Target::new(store, config.required, session.reporter.clone()));
                }
                Err(error) if config.required => return Err(error),
                Err(error) => {
                    let name = config.name();
                    let text = format!("the store `{name}` drops out of this run, which goes on without it: {error}");
                    session.reporter.message(Level::Warning, None, text);
                    absent.push((name, error.to_string()));
                }
            }
        }
        if !targets.iter().any(|target| target.required) {
            return Err(Error::new(ErrorKind::Config, "the configuration names no required [[store]]"));
        }
        Ok(Self { targets, absent, cancel: session.cancel.clone() })
    }

    /// Those that still take part.
    pub(super) fn live(&self) -> impl Iterator<Item = &Arc<Target>> + Clone {
        self.targets.iter().filter(|target| !target.is_dropped())
    }

    /// Those without which there is no backup.
    pub(super) fn required(&self) -> impl Iterator<Item = &Store> {
        self.targets.iter().filter(|target| target.required).map(|target| &target.store)
    }

    /// All, also those that have dropped out.
    pub(super) fn all(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The one at this location.
    pub(super) fn at(&self, location: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|target| target.store.location() == location)
    }

    /// What dropped out, and why: their names and reasons.
    pub(super) fn dropped(&self) -> Vec<(String, String)> {
        let dropped = |target: &Arc<Target>| Some((target.store.name().to_owned(), target.dropped.get()?.clone()));
        self.targets.iter().filter_map(dropped).chain(self.absent.iter().cloned()).collect()
    }

    /// Do something in each store that takes part. With one that is not required and fails, it goes on without.
    ///
    /// # Errors
    /// The first failure of a required one.
    pub(super) async fn each<T: Send + 'static>(
        &self,
        work: impl Fn(&Store) -> Result<T> + Clone + Send + 'static,
    ) -> Result<Vec<(Arc<Target>, T)>> {
        let mut done = Vec::new();
        for target in self.live() {
            let (store, work) = (target.store.cancelled_by(&self.cancel), work.clone());
            let what = format!("the store `{}`", store.name());
            match waiting(&target.reporter, &what, blocking(move || work(&store))).await {
                Ok(value) => done.push((Arc::clone(target), value)),
                Err(error) => target.failed(error)?,
            }
        }
        Ok(done)
    }
}

/// The stores of a configuration in which a set may be, other than the one at `location`; of those that cannot be opened,
/// why.
pub(super) async fn others(session: &Session, location: &str) -> Vec<Result<Store>> {
    let mut others = Vec::new();
    for config in &session.config.stores {
        let store = session.open_store(config).await;
        if store.as_ref().map_or(true, |store| store.location() != location) {
            others.push(store.map_err(|e| e.within(format!("store `{}`", config.name()))));
        }
    }
    others
}

/// Whether a store has the set, published.
pub(super) async fn has(store: &Store, instance: &str, id: &SetId) -> Result<bool> {
    let (store, instance, id) = (store.clone(), instance.to_owned(), id.clone());
    blocking(move || store.is_published(&instance, &id)).await
}

/// Tell on every channel that stores have dropped out of a run that succeeded.
pub(super) async fn tell(stores: &Stores, channels: &Channels, instance: &str, id: &SetId, reporter: &Reporter) {
    let dropped = stores.dropped();
    if dropped.is_empty() {
        return;
    }
    let names: Vec<&str> = dropped.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = format!("Set {id} is proved, but these stores have not got it:\n");
    for (name, why) in &dropped {
        text.push_str(&format!("\n{name}: {why}\nOnce it is repaired: bkhost copy {id} --to {name}\n"));
    }
    let title = format!("bkhost: {instance} is backed up, but not to {}", names.join(", "));
    channels.send(&Notification::new(Occasion::Failure, instance, title, text).about(id), reporter).await;
}

impl Session {
    /// Opens a store of the configuration; makes its directory, if only the last component of its path is missing.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn open_store(&self, config: &StoreConfig) -> Result<Store> {
        Store::configured(config, true).await
    }

    /// Whether the configuration has a store at this location, even if it cannot be opened.
    pub(super) fn has_store_at(&self, location: &str) -> bool {
        // A bucket's server is named behind it.
        self.config.stores.iter().any(|config| {
            location.strip_prefix(&config.to).is_some_and(|rest| rest.is_empty() || rest.starts_with(" at "))
        })
    }

    /// The stores of the configuration.
    ///
    /// # Errors
    /// If a required one cannot be opened.
    pub async fn stores(&self) -> Result<Stores> {
        Stores::open(self).await
    }
}
