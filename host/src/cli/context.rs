//! From flags to what the commands work with.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::args::{Adhoc, Global, Place};
use crate::archive::SetId;
use crate::archive::set::SetManifest;
use crate::config::{Config, Flags};
use crate::error::{Error, ErrorKind, Result};
use crate::notify::Channels;
use crate::plugin::{HostOptions, PluginHost, default_search};
use crate::report::{Reporter, Terms};
use crate::run::{Session, StateDirs, blocking, on_signals};
use crate::store::{Store, StoredSet};

/// The flags that hold for every command, and what follows from them.
pub(super) struct Context {
    pub(super) global: Global,
    shipped: Vec<(String, String)>,
    reporter: Reporter,
}

/// A store and the instance in it that is meant.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) instance: String,
    config: Option<Config>,
    state: Option<PathBuf>,
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
        })
    }

    /// The store and the instance: the configuration's, or those that the flags name.
    pub(super) async fn place(&self, place: &Place) -> Result<Opened> {
        let state = self.global.state.clone();
        let Some(location) = &place.store else {
            let config = self.config(&Adhoc::default())?;
            let store = config
                .stores
                .first()
                .ok_or_else(|| Error::new(ErrorKind::Config, "the configuration names no [[store]]"))?;
            let store = Store::configured(store, false).await?;
            return Ok(Opened { store, instance: config.instance.name.clone(), config: Some(config), state });
        };
        let absolute =
            std::path::absolute(location).map_or_else(|_| location.clone(), |path| path.display().to_string());
        let store = Store::open(if location.contains("://") { location } else { &absolute })?;
        let instance = match &place.instance {
            Some(instance) => instance.clone(),
            None => {
                let store = store.clone();
                blocking(move || only_instance(&store)).await?
            }
        };
        // A configuration of the same instance knows more than the store: its parts and grants.
        let config = match self.config_file() {
            Ok(config) if config.instance.name == instance => Some(config),
            Ok(_) => None,
            Err(_) if self.global.config.is_none() => None,
            Err(error) => return Err(error),
        };
        Ok(Opened { store, instance, config, state })
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
    /// The set with this id, or the newest proved one for `latest`.
    pub(super) async fn set(&self, id: &str) -> Result<StoredSet> {
        let (store, instance) = (self.store.clone(), self.instance.clone());
        let wanted = if id == "latest" { None } else { Some(id.parse::<SetId>()?) };
        blocking(move || {
            let id = match wanted {
                Some(id) => id,
                None => store
                    .list(&instance)?
                    .into_iter()
                    .find(|set| set.manifest().is_some())
                    .map(|set| set.id)
                    .ok_or_else(|| {
                        Error::new(
                            ErrorKind::NotFound,
                            format!("instance {instance} has no proved set in {}", store.location()),
                        )
                    })?,
            };
            store.open_set(&instance, &id)
        })
        .await
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
