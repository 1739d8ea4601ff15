//! One part of an instance: its plugin, what it is allowed, and how an instance of it is started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::prune::blocking;
use super::session::Session;
use crate::archive::set::SnapshotRecord;
use crate::capability::manifest::Kind;
use crate::capability::{FreezeRules, Gate, Mode, NoWitness, Rights, RightsRequest, Secret, SecretSource, Witness};
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Archived, History, Instance, Limits, Others, PartContext, Plugin};
use crate::report::Level;
use crate::units::Span;

/// Under which key a plugin finds the settings of the place that it works for.
const OFFSITE: &str = "offsite";
/// How long a strategy may take to clean up after itself when a copy has taken too long.
const CLEANING: Duration = Duration::from_secs(300);

/// A part whose plugin is loaded and whose config fits it.
#[derive(Clone)]
pub struct Part {
    /// Its configuration.
    pub settings: config::Part,
    /// Its plugin.
    pub plugin: Arc<Plugin>,
    /// `[part.config]`, complete and valid.
    pub values: Value,
    secrets: BTreeMap<String, Secret>,
    /// The places to which it is copied.
    places: Vec<Place>,
}

/// A place to which what a part captured is copied.
#[derive(Clone)]
pub struct Place {
    /// Its configuration.
    pub settings: config::Offsite,
    /// The part's values, with those of the place under `offsite`.
    values: Value,
    /// The part's secrets, and its own.
    secrets: BTreeMap<String, Secret>,
}

/// What an instance of a part's plugin is started for.
#[derive(Clone)]
pub struct Purpose {
    /// Whether things really happen.
    pub mode: Mode,
    /// Ends whatever the instance is doing.
    pub cancel: CancellationToken,
    /// Is told about children.
    pub witness: Arc<dyn Witness>,
    /// `/target`, in a restore into a directory.
    pub target: Option<PathBuf>,
    /// The operator's target, in a restore to a name.
    pub restore_to: Option<String>,
    /// What was archived, in a restore.
    pub archived: Option<Arc<dyn Archived>>,
    /// Earlier sets, in a run.
    pub history: Option<Arc<dyn History>>,
    /// The other parts, in a run.
    pub others: Option<Arc<dyn Others>>,
    /// Directories of its own instead of the part's, which a run may be using.
    pub workspace: Option<Workspace>,
    /// The place that it works for, by its name.
    pub place: Option<String>,
    /// In a dry run: it ends before anything would be changed, and this is fired.
    pub foresight: Option<CancellationToken>,
}

/// Directories for an instance that works beside a run. They exist.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// `/staging`.
    pub staging: PathBuf,
    /// `/state`.
    pub state: PathBuf,
    /// Where the host remembers what it mirrors.
    pub mirrors: PathBuf,
}

impl Purpose {
    /// Calls outside of a run, such as `delete` and `list`.
    #[must_use]
    pub fn plain(cancel: CancellationToken) -> Self {
        Self {
            mode: Mode::Live,
            cancel,
            witness: Arc::new(NoWitness),
            target: None,
            restore_to: None,
            archived: None,
            history: None,
            others: None,
            workspace: None,
            place: None,
            foresight: None,
        }
    }
}

impl Purpose {
    /// Calls for one of the part's places.
    #[must_use]
    pub fn at(place: &str, cancel: CancellationToken) -> Self {
        Self { place: Some(place.to_owned()), ..Self::plain(cancel) }
    }
}

/// The operator writes the place's keys elsewhere than the plugin finds them.
fn in_words(error: &Error) -> Error {
    let told = |text: &str| {
        text.replace("part.config.offsite", "part.offsite.config").replace("config.offsite", "part.offsite.config")
    };
    let told_error = Error::new(error.kind(), told(error.message()));
    match error.hint_text() {
        Some(hint) => told_error.hint(told(hint)),
        None => told_error,
    }
}

/// The part's keys with those of a place.
fn with_place(config: &Map<String, Value>, place: &config::Offsite) -> Map<String, Value> {
    let mut own = place.config.clone();
    own.insert("name".to_owned(), Value::String(place.name.clone()));
    let mut values = config.clone();
    values.insert(OFFSITE.to_owned(), Value::Object(own));
    values
}

/// The secrets that a table names, resolved.
async fn secrets(
    session: &Session,
    plugin: &Plugin,
    part: &str,
    sources: &BTreeMap<String, SecretSource>,
) -> Result<BTreeMap<String, Secret>> {
    let mut secrets = BTreeMap::new();
    for (name, source) in sources {
        if !plugin.manifest().secret.iter().any(|asked| asked.name == *name) {
            return Err(Error::new(ErrorKind::Config, format!("the plugin does not ask for a secret `{name}`"))
                .hint("`bkhost plugin inspect` lists what it asks for"));
        }
        let resolved = source.resolve(name).await?;
        for warning in resolved.warnings {
            session.reporter.message(Level::Warning, Some(part), warning);
        }
        secrets.insert(name.clone(), resolved.secret);
    }
    Ok(secrets)
}

/// A running instance of a part's plugin, with its gate.
pub struct LivePart<'a> {
    /// The part.
    pub part: &'a Part,
    /// The instance.
    pub instance: Instance,
    /// Its gate: holds the children that the instance started.
    pub gate: Arc<Gate>,
    /// The identifier that its system gave itself when it was checked.
    pub identity: Option<String>,
    /// What it captured.
    pub snapshot: Option<SnapshotRecord>,
}

impl Part {
    /// Load a part's plugin, check its config, resolve its secrets, and make sure that its rights can be had.
    ///
    /// # Errors
    /// If any of that fails; the error names the part.
    pub async fn load(session: &Session, settings: &config::Part) -> Result<Self> {
        let within = |e: Error| e.within(format!("part `{}`", settings.name));
        let path = match session.config.plugin_path(settings) {
            Some(path) => path,
            None => session.host.find(&settings.plugin).map_err(within)?,
        };
        let host = Arc::clone(&session.host);
        let plugin = blocking(move || host.load(&path)).await.map_err(within)?;
        let mut settings = settings.clone();
        settings.fit(plugin.schema().json());
        if plugin.copies_offsite() && settings.config.contains_key(OFFSITE) {
            return Err(within(
                Error::new(ErrorKind::Config, "`part.config.offsite` is not for [part.config]")
                    .hint("add a [[part.offsite]] with a name, and write its keys below [part.offsite.config]"),
            ));
        }
        let values = plugin.schema().complete(&Value::Object(settings.config.clone())).map_err(within)?;
        refuse_excludes_of_databases(&settings, &plugin).map_err(within)?;
        let secrets = secrets(session, &plugin, &settings.name, &settings.secrets).await.map_err(within)?;
        let mut places = Vec::new();
        for place in &settings.offsite {
            let of_place = |e: Error| within(e.within(format!("offsite `{}`", place.name)));
            if !plugin.copies_offsite() {
                let text = format!("the plugin {} cannot copy what it captures to another place", plugin.name());
                return Err(of_place(
                    Error::new(ErrorKind::Config, text)
                        .hint("take the [[part.offsite]] away; a second [[store]] keeps what is archived twice"),
                ));
            }
            let values = with_place(&settings.config, place);
            let values = plugin.schema().complete(&Value::Object(values)).map_err(|e| of_place(in_words(&e)))?;
            let own = self::secrets(session, &plugin, &settings.name, &place.secrets).await.map_err(of_place)?;
            let secrets = secrets.clone().into_iter().chain(own).collect();
            places.push(Place { settings: place.clone(), values, secrets });
        }
        let part = Self { settings, plugin, values, secrets, places };
        part.rights(session, &Purpose::plain(CancellationToken::new()))?;
        for place in &part.settings.offsite {
            part.rights(session, &Purpose::at(&place.name, CancellationToken::new()))?;
        }
        // Takes a second the first time, so before anything is locked; and not for what nobody granted.
        let plugin = Arc::clone(&part.plugin);
        blocking(move || plugin.compile()).await.map_err(within)?;
        Ok(part)
    }

    /// The part's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The places to which it is copied.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// One of them.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<&Place> {
        self.places.iter().find(|place| place.settings.name == name)
    }

    /// The plugin's configuration and secrets for a purpose.
    fn given(&self, purpose: &Purpose) -> (&Value, &BTreeMap<String, Secret>) {
        match purpose.place.as_deref().and_then(|name| self.place(name)) {
            Some(place) => (&place.values, &place.secrets),
            None => (&self.values, &self.secrets),
        }
    }

    fn rights(&self, session: &Session, purpose: &Purpose) -> Result<Rights> {
        let (values, secrets) = self.given(purpose);
        Rights::resolve(RightsRequest {
            manifest: self.plugin.manifest(),
            digest: self.plugin.digest(),
            origin: self.plugin.origin(),
            plugin: &self.settings.plugin,
            grant: session.config.grants.iter().find(|grant| grant.plugin == self.settings.plugin),
            part: self.name(),
            config: values,
            secrets: secrets.clone(),
            programs: self.settings.programs.clone(),
            via: self.settings.via.clone(),
            run_as: self.settings.run_as.clone(),
            staging: match &purpose.workspace {
                Some(workspace) => workspace.staging.clone(),
                None => session
                    .dirs
                    .staging(self.name(), self.settings.staging.as_deref())
                    .map_err(|e| e.within(format!("part `{}`", self.name())))?,
            },
            state: match &purpose.workspace {
                Some(workspace) => workspace.state.clone(),
                None => session.dirs.plugin_state(self.name())?,
            },
            target: purpose.target.clone(),
            restore_to: purpose.restore_to.clone(),
        })
        .map_err(|e| e.within(format!("part `{}`", self.name())))
    }

    /// What the plugin asks for, where the operator does not say otherwise.
    fn limits(&self, purpose: &Purpose) -> Limits {
        let asked = &self.plugin.manifest().limits;
        let set = &self.settings.limits;
        let place = purpose.place.as_deref().and_then(|name| self.place(name));
        Limits {
            memory: set.memory.unwrap_or(asked.memory),
            cpu: set.cpu.unwrap_or(asked.cpu),
            call: set.call.unwrap_or(asked.call),
            // The operator says how long a copy may take, and is obeyed by whoever waits for it.
            long_call: match place {
                Some(place) => Span(place.settings.timeout.0.saturating_add(CLEANING)),
                None => set.long_call.unwrap_or(asked.long_call),
            },
            log: set.log.unwrap_or(asked.log),
            freeze: set.freeze.unwrap_or(asked.freeze),
        }
    }

    /// The directory that the plugin's only `[[directory]]` with a `path` names: where a restore into a directory goes by
    /// default.
    #[must_use]
    pub fn original_directory(&self) -> Option<String> {
        let key = self.plugin.manifest().directory.iter().find_map(|d| d.path.as_deref())?.strip_prefix("config.")?;
        self.values.get(key)?.as_str().map(str::to_owned)
    }

    /// What `restore.to` stands for when the plugin rehearses a restore.
    ///
    /// # Errors
    /// The key of `[part.config]` without which it cannot.
    pub fn rehearsal_target(&self, instance: &str) -> Result<Option<String>, String> {
        self.plugin.manifest().restore.rehearsal_target(&self.values, instance, self.name())
    }

    /// The directories that the part's configuration names for its plugin.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let keys = self.plugin.manifest().directory.iter().filter_map(|d| d.path.as_deref()?.strip_prefix("config."));
        let values = keys.filter_map(|key| key.split('.').try_fold(&self.values, |value, key| value.get(key)));
        let mut texts = Vec::new();
        for value in values {
            match value {
                Value::String(text) => texts.push(PathBuf::from(text)),
                Value::Array(list) => texts.extend(list.iter().filter_map(Value::as_str).map(PathBuf::from)),
                _ => {}
            }
        }
        texts
    }

    /// Start an instance of the part's plugin.
    ///
    /// # Errors
    /// If its rights cannot be had or it does not start; the error names the part.
    pub async fn start(&self, session: &Session, purpose: Purpose) -> Result<LivePart<'_>> {
        let rights = self.rights(session, &purpose)?;
        let limits = self.limits(&purpose);
        let config = self.given(&purpose).0.clone();
        // Its commands start there, and write there.
        let owned = rights.own_staging().and_then(|()| match &purpose.workspace {
            Some(_) => rights.own_target(),
            None => Ok(()),
        });
        owned.map_err(|e| e.within(format!("part `{}`", self.name())))?;
        let gate = Arc::new(
            Gate::new(rights, session.reporter.clone(), purpose.mode, purpose.cancel.clone(), purpose.witness)
                .with_freeze_rules(FreezeRules { limit: limits.freeze.0, own: own_places(session) })
                .with_foresight(purpose.foresight),
        );
        let instance = self
            .plugin
            .instantiate(PartContext {
                instance: session.instance().to_owned(),
                part: self.name().to_owned(),
                config,
                excludes: self.settings.excludes(),
                gate: Arc::clone(&gate),
                reporter: session.reporter.clone(),
                limits,
                cancel: purpose.cancel,
                archived: purpose.archived,
                history: purpose.history,
                others: purpose.others,
                mirrors: match purpose.workspace {
                    Some(workspace) => workspace.mirrors,
                    None => session.dirs.mirrors(self.name())?,
                },
            })
            .await?;
        Ok(LivePart { part: self, instance, gate, identity: None, snapshot: None })
    }
}

/// Half a database is none.
fn refuse_excludes_of_databases(settings: &config::Part, plugin: &Plugin) -> Result<()> {
    let kind = plugin.manifest().plugin.kind;
    let key = match (settings.profile, settings.exclude.is_empty()) {
        (Some(_), _) => "profile",
        (None, false) => "exclude",
        (None, true) => return Ok(()),
    };
    if !matches!(kind, Kind::Database | Kind::Search) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        format!("`{key}` is for directories, and the plugin {} is for a {}", plugin.name(), kind.name()),
    )
    .hint(format!("take `{key}` out of this [[part]]")))
}

/// Where bkhost itself writes: what it is, and where.
fn own_places(session: &Session) -> Vec<(String, PathBuf)> {
    let state = ("the state directory".to_owned(), session.dirs.instance().to_owned());
    let stores = session.config.stores.iter().map(|store| ("the store".to_owned(), PathBuf::from(&store.to)));
    // One that is no directory of this machine is none that could be frozen.
    let staging = session.config.parts.iter().filter_map(|part| part.staging.clone());
    let staging = staging.map(|path| ("the staging area".to_owned(), path));
    std::iter::once(state).chain(staging).chain(stores.filter(|(_, path)| path.is_absolute())).collect()
}

impl LivePart<'_> {
    /// The part's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.part.name()
    }

    /// End the instance and reap what it started.
    pub async fn stop(self) {
        self.instance.end().await;
        self.gate.shutdown().await;
    }
}
