//! From flags to what the commands work with.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::args::{Adhoc, Global, KeyArgs, Place};
use crate::archive::SetId;
use crate::archive::set::{PartRecord, SetManifest};
use crate::config::{Config, Flags};
use crate::error::{Error, ErrorKind, Result};
use crate::notify::Channels;
use crate::plugin::{HostOptions, PluginHost, default_search};
use crate::report::{Level, Reporter, Terms, waiting};
use crate::run::{self, Session, StateDirs, blocking, on_signals};
use crate::store::{Store, StoredSet};

/// The flags that hold for every command, and what follows from them.
pub(super) struct Context {
    pub(super) global: Global,
    shipped: Vec<(String, String)>,
    reporter: Reporter,
}

/// The stores and the instance in them that is meant.
#[derive(Clone)]
pub(super) struct Opened {
    /// The first of them.
    pub(super) store: Store,
    /// All of them: with `--store` only that one.
    pub(super) stores: Vec<Store>,
    pub(super) instance: String,
    config: Option<Config>,
    state: Option<PathBuf>,
    reporter: Reporter,
}

impl Context {
    pub(super) fn new(global: Global, shipped: &str) -> Self {
        let reporter = Reporter::for_terms(Terms {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            terminal: std::io::stderr().is_terminal(),
        });
        Self { shipped: digests(shipped), global, reporter }
    }

    pub(super) fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    pub(super) fn shipped(&self) -> Vec<(String, String)> {
        self.shipped.clone()
    }

    /// Cancelled by the signals.
    pub(super) fn cancel(&self) -> Result<CancellationToken> {
        on_signals(&self.reporter)
    }

    /// The configuration: a file's, or the flags'.
    pub(super) fn config(&self, adhoc: &Adhoc) -> Result<Config> {
        let mut config = match (&adhoc.plugin, &adhoc.to) {
            (Some(plugin), Some(to)) => Config::from_flags(&Flags {
                plugin: plugin.clone(),
                to: to.clone(),
                set: self.global.set.clone(),
                secrets: adhoc.secret.clone(),
                name: adhoc.name.clone(),
                keep_last: adhoc.keep_last,
                state: None,
            })?,
            _ => self.config_file()?,
        };
        if let Some(state) = &self.global.state {
            config.instance.state = Some(std::path::absolute(state).unwrap_or_else(|_| state.clone()));
        }
        Ok(config)
    }

    fn config_file(&self) -> Result<Config> {
        let path = Config::locate(self.global.config.as_deref())?;
        Config::load(&path, &self.global.set)
    }

    /// Its directories on this machine.
    pub(super) fn dirs(&self, config: &Config) -> Result<StateDirs> {
        let root = config.instance.state.clone().map_or_else(crate::run::default_state, Ok)?;
        StateDirs::open(&root, &config.instance.name)
    }

    /// Who is told of what happens. How that goes is remembered if there is a place for it.
    pub(super) async fn channels(&self, config: &Config) -> Result<Channels> {
        let channels = Channels::resolve(&config.notify).await?;
        Ok(match self.dirs(config) {
            Ok(dirs) => channels.remembered_in(dirs.notify()),
            Err(_) => channels,
        })
    }

    /// A host for plugins, which keeps what it compiled in the state directory.
    pub(super) fn host(&self, aot_dir: Option<PathBuf>) -> Result<PluginHost> {
        PluginHost::new(HostOptions { aot_dir, shipped: self.shipped.clone(), search: default_search() })
    }

    /// Open the instance for work.
    pub(super) fn session(&self, config: Config) -> Result<Session> {
        let dirs = self.dirs(&config)?;
        Ok(Session {
            host: Arc::new(self.host(Some(dirs.aot()))?),
            config,
            dirs,
            reporter: self.reporter(),
            notify: Channels::default(),
            cancel: self.cancel()?,
            crypto: OnceCell::new(),
        })
    }

    /// As [`Context::place`], with what opens encrypted sets.
    pub(super) async fn open(&self, place: &Place, keys: &KeyArgs) -> Result<Opened> {
        let opened = self.place(place).await?;
        let keys = self.keys(keys, opened.config.as_ref()).await?;
        let stores = opened.stores.iter().map(|store| store.clone().with_keys(keys.clone())).collect();
        Ok(Opened { store: opened.store.with_keys(keys), stores, ..opened })
    }

    /// The stores and the instance: the configuration's, or those that the flags name.
    pub(super) async fn place(&self, place: &Place) -> Result<Opened> {
        let state = self.global.state.clone();
        let Some(wanted) = &place.store else {
            let config = self.config(&Adhoc::default())?;
            let stores = self.open_all(&config).await?;
            return self.opened(stores, config.instance.name.clone(), Some(config), state);
        };
        let config = match self.config_file() {
            Ok(config) => Some(config),
            Err(_) if self.global.config.is_none() => None,
            Err(error) => return Err(error),
        };
        let store = self.store(config.as_ref(), wanted).await?;
        let instance = match &place.instance {
            Some(instance) => instance.clone(),
            None => match &config {
                Some(config) if config.stores.iter().any(|store| store.name() == *wanted) => {
                    config.instance.name.clone()
                }
                _ => {
                    let store = store.clone();
                    blocking(move || only_instance(&store)).await?
                }
            },
        };
        // A configuration of the same instance knows more than the store: its parts and grants.
        let config = config.filter(|config| config.instance.name == instance);
        self.opened(vec![store], instance, config, state)
    }

    fn opened(
        &self,
        stores: Vec<Store>,
        instance: String,
        config: Option<Config>,
        state: Option<PathBuf>,
    ) -> Result<Opened> {
        let store = stores.first().cloned();
        let store = store.ok_or_else(|| Error::new(ErrorKind::Config, "the configuration names no [[store]]"))?;
        Ok(Opened { store, stores, instance, config, state, reporter: self.reporter() })
    }

    /// [`run::reveal`]. What is found damaged is noted.
    pub(super) async fn reveal(&self, set: StoredSet) -> Result<StoredSet> {
        run::noted(&self.reporter(), &set, run::reveal(set.clone()).await).await
    }

    /// A store by its name in the configuration, or by its location.
    pub(super) async fn store(&self, config: Option<&Config>, wanted: &str) -> Result<Store> {
        let configured = config.into_iter().flat_map(|config| &config.stores);
        let mut configured = configured.filter(|store| store.name() == wanted || store.to == wanted);
        if let Some(store) = configured.next() {
            return Store::configured(store, false).await;
        }
        if wanted.contains("://") {
            return Store::open(wanted);
        }
        let absolute =
            std::path::absolute(wanted).map_or_else(|_| wanted.to_owned(), |path| path.display().to_string());
        Store::open(&absolute).map_err(|error| match config {
            Some(config) if error.kind() == ErrorKind::NotFound && !wanted.contains('/') => {
                let names: Vec<String> = config.stores.iter().map(crate::config::StoreConfig::name).collect();
                error.hint(format!("the configuration's stores are called: {}", names.join(", ")))
            }
            _ => error,
        })
    }

    /// The stores of the configuration. One that cannot be opened is left out, and that is said: it is when a store is gone
    /// that the others are looked at.
    async fn open_all(&self, config: &Config) -> Result<Vec<Store>> {
        let (mut stores, mut failed) = (Vec::new(), Vec::new());
        for store in &config.stores {
            match Store::configured(store, false).await {
                Ok(opened) => stores.push(opened),
                Err(error) => failed.push((store.name(), error)),
            }
        }
        if stores.is_empty() {
            return failed.into_iter().next().map_or(Ok(stores), |(_, error)| Err(error));
        }
        for (name, error) in failed {
            self.reporter.message(Level::Warning, None, format!("the store `{name}` is left out: {error}"));
        }
        Ok(stores)
    }
}

fn only_instance(store: &Store) -> Result<String> {
    let instances = store.instances()?;
    match instances.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::new(ErrorKind::NotFound, format!("the store {} holds no sets", store.location()))),
        several => {
            Err(Error::new(ErrorKind::Config, format!("the store {} holds several instances", store.location()))
                .hint(format!("choose one with --instance: {}", several.join(", "))))
        }
    }
}

impl Opened {
    /// Do something that asks stores, and say that they are waited for.
    pub(super) async fn asking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let names: Vec<String> = self.stores.iter().map(|store| format!("`{}`", store.name())).collect();
        let what = format!("the store {}", names.join(" or "));
        waiting(&self.reporter, &what, blocking(work)).await
    }

    /// The configuration, if there is one.
    pub(super) fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Each store by itself.
    pub(super) fn each(&self) -> impl Iterator<Item = Self> {
        self.stores.iter().map(|store| Self { store: store.clone(), stores: vec![store.clone()], ..self.clone() })
    }

    /// The set with this id, or the newest proved one for `latest`: from the first store that has it whole.
    pub(super) async fn set(&self, id: &str) -> Result<StoredSet> {
        let (stores, instance) = (self.stores.clone(), self.instance.clone());
        let wanted = if id == "latest" { None } else { Some(id.parse::<SetId>()?) };
        self.asking(move || {
            let mut failed: Option<Error> = None;
            let id = match wanted {
                Some(id) => id,
                None => {
                    let mut newest = None;
                    for store in &stores {
                        match store.list(&instance) {
                            Ok(sets) => {
                                let proved = sets.into_iter().filter(|set| set.manifest().is_some()).map(|set| set.id);
                                newest = newest.max(proved.max());
                            }
                            Err(error) => failed = failed.or(Some(error)),
                        }
                    }
                    newest.ok_or_else(|| {
                        let places: Vec<&str> = stores.iter().map(Store::location).collect();
                        let text = format!("instance {instance} has no proved set in {}", places.join(" or "));
                        failed.take().unwrap_or_else(|| Error::new(ErrorKind::NotFound, text))
                    })?
                }
            };
            let (mut failed, mut doubtful): (Option<Error>, _) = (None, None);
            for store in &stores {
                match store.open_set(&instance, &id) {
                    // What was found damaged there may be whole elsewhere.
                    Ok(set) if stores.len() > 1 && !store.is_listed_proved(&instance, &id).unwrap_or(false) => {
                        doubtful = doubtful.or(Some(set));
                    }
                    Ok(set) => return Ok(set),
                    // That one store has not got it is not the news if another one has it damaged.
                    Err(error) if failed.as_ref().is_none_or(|known| known.kind() == ErrorKind::NotFound) => {
                        failed = Some(error);
                    }
                    Err(_) => {}
                }
            }
            if let Some(set) = doubtful {
                return Ok(set);
            }
            Err(failed.unwrap_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no set {id}"))))
        })
        .await
    }

    /// As [`Opened::set`], to read these parts of it (none: all). What else is damaged in it does not matter.
    pub(super) async fn set_for(&self, id: &str, parts: &[String]) -> Result<StoredSet> {
        let refused = match self.set(id).await {
            Err(error) if error.kind() == ErrorKind::Damaged && id != "latest" => error,
            other => return other,
        };
        let (stores, instance, id) = (self.stores.clone(), self.instance.clone(), id.parse::<SetId>()?);
        let wanted = parts.to_vec();
        self.asking(move || {
            let mut whole: Vec<String> = Vec::new();
            for set in stores.iter().filter_map(|store| store.open_damaged(&instance, &id).ok()) {
                let amiss = set.amiss()?;
                let is_whole = |part: &&PartRecord| {
                    part.objects.iter().all(|object| amiss.iter().all(|amiss| amiss.object != object.file))
                };
                let parts = set.manifest.parts.iter().filter(is_whole).map(|part| part.name.clone());
                whole = parts.collect();
                if !wanted.is_empty() && wanted.iter().all(|part| whole.contains(part)) {
                    return Ok(set);
                }
            }
            Err(match whole.as_slice() {
                [] => refused,
                whole => refused.hint(format!(
                    "of its parts these are all there, and can be chosen with --part: {}",
                    whole.join(", ")
                )),
            })
        })
        .await
    }

    /// The set in every store that has something of it. Its manifest is whole; its objects may not be all there.
    pub(super) async fn sets(&self, id: &str) -> Result<Vec<Result<StoredSet>>> {
        let first = self.set(id).await;
        let id = match (&first, id) {
            (Ok(set), _) => set.manifest.id.clone(),
            (Err(_), "latest") => return first.map(|set| vec![Ok(set)]),
            (Err(_), id) => id.parse::<SetId>()?,
        };
        let (stores, instance) = (self.stores.clone(), self.instance.clone());
        let found =
            self.asking(move || Ok(stores.iter().map(|store| store.open_damaged(&instance, &id)).collect::<Vec<_>>()));
        let mut found = found.await?;
        found.retain(|set| set.as_ref().err().is_none_or(|error| error.kind() != ErrorKind::NotFound));
        if found.is_empty() { first.map(|set| vec![Ok(set)]) } else { Ok(found) }
    }

    /// The configuration, or one that has as much of it as the set tells: enough to restore to another place.
    pub(super) fn config_for(&self, set: &SetManifest) -> Result<Config> {
        match &self.config {
            Some(config) => Ok(config.clone()),
            None => Ok(self.with_state(Config::from_set(set, self.store.location()))),
        }
    }

    /// The configuration, or one without parts.
    pub(super) fn config_or_plain(&self) -> Config {
        self.config
            .clone()
            .unwrap_or_else(|| self.with_state(Config::without_parts(&self.instance, self.store.location())))
    }

    fn with_state(&self, mut config: Config) -> Config {
        config.instance.state.clone_from(&self.state);
        config
    }
}

/// `<sha256>  <name>.wasm` per line, as `sha256sum` writes it.
fn digests(list: &str) -> Vec<(String, String)> {
    list.lines()
        .filter_map(|line| line.split_once("  "))
        .filter_map(|(sha256, file)| Some((file.strip_suffix(".wasm")?.to_owned(), sha256.to_owned())))
        .collect()
}
