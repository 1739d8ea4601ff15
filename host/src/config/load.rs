//! Finding, reading and checking a configuration.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::Checker;
use super::document::{Loose, Overlay, bad_assignment, path_of, split_assignment};
use super::drill::Drill;
use super::encryption::AgeEncryption;
use super::hint::{header, nearest, tell};
use super::keep::{Coverage, Metrics, Retention};
use super::model::{Application, Archive, Config, Instance, Part, StoreConfig};
use super::notify::{self, Notify};
use super::restore::RestoreConfig;
use super::secrets;
use super::source::Sources;
use crate::capability::Grant;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// The environment variable that names the file.
const VARIABLE: &str = "BKHOST_CONFIG";
/// Where the file is looked for, in this order.
const PLACES: [&str; 2] = ["./bkhost.toml", "/etc/bkhost/bkhost.toml"];
/// A file larger than this is not a configuration.
const MAX_FILE: u64 = 1 << 20;
/// The values of `[application] type`.
const APPLICATIONS: [&str; 4] = ["bitbucket", "service", "command", "none"];

/// The file, but for `[application]` and `[[notify]]`, whose keys depend on their type.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    instance: Instance,
    #[serde(rename = "application")]
    _application: Option<IgnoredAny>,
    part: Vec<Part>,
    store: Vec<StoreConfig>,
    #[serde(default)]
    retention: Retention,
    #[serde(default)]
    coverage: Coverage,
    #[serde(default)]
    metrics: Metrics,
    #[serde(default)]
    archive: Archive,
    #[serde(default)]
    restore: RestoreConfig,
    encryption: Option<AgeEncryption>,
    #[serde(default)]
    drill: Drill,
    #[serde(rename = "notify")]
    _notify: Option<IgnoredAny>,
    #[serde(default)]
    grant: Vec<Grant>,
}

/// What takes the place of a file: `bkhost run --plugin zfs.wasm --set datasets=tank/home --to /backups`.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--plugin`: the strategy of the only part.
    pub plugin: String,
    /// `--set`: keys of `[part.config]`, each `key=value`.
    pub set: Vec<String>,
    /// `--secret`: secrets of the part, each `name=env:NAME`, `name=file:/path` or `name=credential:name`.
    pub secrets: Vec<String>,
    /// `--to`: the store. A relative path is taken from the current directory.
    pub to: String,
    /// `--name`: the instance. Default: the plugin's file name without its ending.
    pub name: Option<String>,
    /// `--state`: see [`Instance::state`].
    pub state: Option<PathBuf>,
    /// `--keep-last`: see [`Retention::keep_last`].
    pub keep_last: Option<u32>,
}

impl Config {
    /// The file to read: `explicit` (the flag `-c`), else `$BKHOST_CONFIG`, else `./bkhost.toml`, else
    /// `/etc/bkhost/bkhost.toml`.
    ///
    /// # Errors
    /// `Config` if there is none.
    pub fn locate(explicit: Option<&Path>) -> Result<PathBuf> {
        let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = explicit.map(Path::to_path_buf).or(variable) {
            return Ok(path);
        }
        let found = PLACES.iter().map(PathBuf::from).find(|path| path.exists());
        found.ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("there is no configuration: neither {}", PLACES.join(" nor ")))
                .hint(format!("name it with -c FILE or {VARIABLE}, or go without: bkhost run --plugin zfs.wasm --set datasets=tank/home --to /backups"))
        })
    }

    /// Reads and checks a file. `set` are overrides, each `key=value`, that win over it.
    ///
    /// Their keys are paths: `application.drain-timeout=2m`, `part.home.config.datasets=tank/home` (a part by its name),
    /// `store.to=/backups`, `grant."acme.wasm".read=…`. Their values are TOML if they parse as such, else text. A key
    /// that is given twice is a list; of a plugin's keys see also [`Part::fit`].
    ///
    /// # Errors
    /// `Config`, with the place, what is wrong, and what to do.
    pub fn load(path: &Path, set: &[String]) -> Result<Self> {
        let text = read(path)?;
        let dir = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_path_buf));
        let mut config = Self::parse(path, text, set)?;
        config.dir = dir.unwrap_or_default();
        config.file = Some(path.to_owned());
        Ok(config)
    }

    /// Where it was read from, for errors that are found later.
    #[must_use]
    pub fn origin(&self) -> String {
        self.file.as_ref().map_or_else(|| "the flags".to_owned(), |file| file.display().to_string())
    }

    /// Checks the text of a file. `path` is only named in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: String, set: &[String]) -> Result<Self> {
        let mut sources = Sources::file(path, text);
        let mut assignments = Vec::new();
        for assignment in set {
            let place = sources.add_flag(format!("--set {assignment}"));
            let (path, value) = split_assignment(assignment).map_err(|what| bad_assignment(&sources, &place, what))?;
            sources.set_path(&place, &path);
            assignments.push((path, value.to_owned(), place));
        }
        build(&sources, &assignments)
    }

    /// A configuration without a file: one part, nothing to lock.
    ///
    /// # Errors
    /// `Config`, naming the flag.
    pub fn from_flags(flags: &Flags) -> Result<Self> {
        let mut sources = Sources::default();
        let mut assignments = Vec::new();
        let stem = Path::new(&flags.plugin).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let (name, name_flag) = match &flags.name {
            Some(name) => (name.clone(), format!("--name {name}")),
            None => (stem.unwrap_or_default(), format!("--plugin {}", flags.plugin)),
        };
        let to = match std::path::absolute(&flags.to) {
            Ok(path) if !flags.to.contains("://") => path.display().to_string(),
            _ => flags.to.clone(),
        };
        let text = |value: &str| toml::Value::String(value.to_owned()).to_string();
        let part = |key: &str| ["part", "part", key].map(str::to_owned).to_vec();
        let mut add = |path: Vec<String>, value: String, flag: String| {
            let place = sources.add_flag(flag);
            sources.set_path(&place, &path);
            assignments.push((path, value, place));
        };
        add(vec!["instance".into(), "name".into()], text(&name), name_flag);
        add(vec!["application".into(), "type".into()], text("none"), "--plugin".into());
        // The part is found by the name that it begins with.
        add(part("plugin"), text(&flags.plugin), format!("--plugin {}", flags.plugin));
        add(vec!["store".into(), "to".into()], text(&to), format!("--to {}", flags.to));
        if let Some(state) = &flags.state {
            let value = text(&state.to_string_lossy());
            add(vec!["instance".into(), "state".into()], value, format!("--state {}", state.display()));
        }
        if let Some(keep) = flags.keep_last {
            add(vec!["retention".into(), "keep-last".into()], keep.to_string(), format!("--keep-last {keep}"));
        }
        for secret in &flags.secrets {
            let place = sources.add_flag(format!("--secret {secret}"));
            let (name, source) = secret.split_once('=').unwrap_or((secret, ""));
            let Some((kind @ ("env" | "file" | "credential"), value)) = source.split_once(':') else {
                return Err(sources.error(Some(&place), true, "does not say where the secret is").hint(format!(
                    "write --secret {}=env:NAME, =file:/path or =credential:name",
                    name.escape_debug()
                )));
            };
            let path = ["part", "part", "secrets", name, kind].map(str::to_owned).to_vec();
            sources.set_path(&place, &path);
            assignments.push((path, text(value), place));
        }
        for assignment in &flags.set {
            let place = sources.add_flag(format!("--set {assignment}"));
            let (key, value) = split_assignment(assignment).map_err(|what| bad_assignment(&sources, &place, what))?;
            let mut path = part("config");
            path.extend(key);
            sources.set_path(&place, &path);
            assignments.push((path, value.to_owned(), place));
        }
        let mut config = build(&sources, &assignments)?;
        config.dir = std::env::current_dir().unwrap_or_default();
        if let Some(part) = config.parts.first_mut() {
            part.name = config.instance.name.clone();
        }
        Ok(config)
    }

    /// The file of a part's plugin, if it was given as a path; a relative one is taken from the configuration's directory.
    /// None if it was given as a name, to be looked up beside the program.
    #[must_use]
    pub fn plugin_path(&self, part: &Part) -> Option<PathBuf> {
        part.plugin.contains('/').then(|| self.dir.join(&part.plugin))
    }
}

type Assignment = (Vec<String>, String, super::source::Place);

/// Reads, lays the flags over, and checks.
fn build(sources: &Sources, assignments: &[Assignment]) -> Result<Config> {
    let root = if sources.text().is_empty() {
        // Without a file the flags describe one part. Its name is a placeholder that is grammatical.
        let part = DeTable::parse("[[part]]\nname = \"part\"\n").map(Spanned::into_inner);
        if assignments.iter().any(|(path, ..)| path.first().is_some_and(|key| key == "part")) {
            part
        } else {
            Ok(DeTable::new())
        }
    } else {
        DeTable::parse(sources.text()).map(Spanned::into_inner)
    };
    let root = root.map_err(|e| syntax(sources, &e))?;
    let mut overlay = Overlay::new(root, sources);
    for (path, text, place) in assignments {
        overlay.set(path, text, place)?;
    }
    let (root, loose) = (overlay.root, overlay.loose);
    secrets::check(sources, &root)?;
    let file: File = typed(sources, &root, "", table(root.clone()))?;
    let application = application(sources, &root)?;
    let mut config = Config {
        instance: file.instance,
        application,
        parts: file.part,
        stores: file.store,
        retention: file.retention,
        coverage: file.coverage,
        metrics: file.metrics,
        archive: file.archive,
        restore: file.restore,
        encryption: file.encryption,
        drill: file.drill,
        notify: notify(sources, &root)?,
        grants: file.grant,
        dir: PathBuf::new(),
        file: None,
    };
    Checker { sources, root: &root }.check(&config)?;
    for Loose { part, key, text } in loose {
        if let Some(part) = config.parts.get_mut(part) {
            part.loose.insert(key, text);
        }
    }
    Ok(config)
}

/// A syntax error, with what people trip over.
fn syntax(sources: &Sources, error: &toml::de::Error) -> Error {
    let message = error.message();
    let told = sources.error(error.span().as_ref(), false, &format!("this is not TOML: {message}"));
    if message.contains("duplicate key") {
        told.hint("this key or table stands above already: keep one")
    } else if message.contains("quoted") || message.contains("string") {
        told.hint("text stands between quotes: name = \"bitbucket\"")
    } else {
        told.hint("a line is a [table], a [[list of tables]], or key = value")
    }
}

fn table(table: DeTable<'_>) -> Spanned<DeValue<'_>> {
    Spanned::new(0..0, DeValue::Table(table))
}

/// A value as a type.
fn typed<'i, T: Deserialize<'i>>(
    sources: &Sources,
    root: &DeTable<'i>,
    at: &str,
    value: Spanned<DeValue<'i>>,
) -> Result<T> {
    let whole = value.span();
    T::deserialize(toml::de::ValueDeserializer::from(value)).map_err(|e| {
        let place = e.span().filter(|place| *place != (0..0));
        let path = match &place {
            Some(place) if *place != whole => {
                sources.flag_path(place).map_or_else(|| path_of(root, place), str::to_owned)
            }
            _ => at.to_owned(),
        };
        let mut told = tell(e.message(), &path);
        if e.message().contains(": sequence,") && place.as_ref().is_some_and(|place| sources.flag_path(place).is_some())
        {
            told.hint = Some("a flag that is given twice makes a list: give it once".to_owned());
        }
        let place = place.or(Some(whole).filter(|place| *place != (0..0)));
        let error = sources.error(place.as_ref(), false, &told.message);
        match told.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// `[application]`, whose type decides about its keys.
fn application(sources: &Sources, root: &DeTable<'_>) -> Result<Application> {
    let Some(value) = root.get("application") else {
        let told = tell("missing field `application`", "");
        return Err(sources.error(None, false, &told.message).hint(told.hint.unwrap_or_default()));
    };
    let (kind, rest) = by_type(sources, value, "application", "application", &APPLICATIONS)?;
    match kind {
        "bitbucket" => Ok(Application::Bitbucket(typed(sources, root, "application", rest)?)),
        "service" => Ok(Application::Service(typed(sources, root, "application", rest)?)),
        "command" => Ok(Application::Command(typed(sources, root, "application", rest)?)),
        _ => Ok(Application::None(typed(sources, root, "application", rest)?)),
    }
}

/// `[[notify]]`, whose type decides about its keys.
fn notify(sources: &Sources, root: &DeTable<'_>) -> Result<Vec<Notify>> {
    let Some(value) = root.get("notify") else { return Ok(Vec::new()) };
    let DeValue::Array(items) = value.get_ref() else {
        let message = format!("`notify` must be a list, not {}", value.get_ref().type_str());
        return Err(sources
            .error(Some(&value.span()), false, &message)
            .hint("write [[notify]], with two brackets on each side"));
    };
    let one = |(index, value)| {
        let at = format!("notify[{index}]");
        let (kind, rest) = by_type(sources, value, &at, "notification channel", &notify::KINDS)?;
        match kind {
            "webhook" => Ok(Notify::Webhook(typed(sources, root, &at, rest)?)),
            "ping" => Ok(Notify::Ping(typed(sources, root, &at, rest)?)),
            "mail" => Ok(Notify::Mail(typed(sources, root, &at, rest)?)),
            _ => Ok(Notify::Command(typed(sources, root, &at, rest)?)),
        }
    };
    items.iter().enumerate().map(one).collect()
}

/// The type of a table at `at`, one of `kinds`, and the rest of its keys.
fn by_type<'i>(
    sources: &Sources,
    value: &Spanned<DeValue<'i>>,
    at: &str,
    what: &str,
    kinds: &[&'static str],
) -> Result<(&'static str, Spanned<DeValue<'i>>)> {
    let span = value.span();
    let DeValue::Table(keys) = value.get_ref() else {
        let message = format!("`{at}` must be a table, not {}", value.get_ref().type_str());
        return Err(sources
            .error(Some(&span), false, &message)
            .hint(format!("write {} and its keys below it", header(at))));
    };
    let wrong = |place, message: &str, hint: Option<String>| {
        let error = sources.error(Some(place), false, message);
        Err(match hint {
            Some(hint) => error.hint(hint),
            None => error,
        })
    };
    let Some(kind) = keys.get("type") else {
        let told = tell("missing field `type`", at);
        return wrong(&span, &told.message, told.hint);
    };
    let Some(name) = kind.get_ref().as_str() else {
        let message = format!("invalid type: {}, expected a string", kind.get_ref().type_str());
        let told = tell(&message, &format!("{at}.type"));
        return wrong(&kind.span(), &told.message, told.hint);
    };
    let Some(known) = kinds.iter().copied().find(|known| *known == name) else {
        let hint = match nearest(name, kinds.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"? There are: {}", kinds.join(", ")),
            None => format!("there are: {}", kinds.join(", ")),
        };
        return wrong(&kind.span(), &format!("there is no {what} of the type `{}`", name.escape_debug()), Some(hint));
    };
    let mut rest = keys.clone();
    rest.remove("type");
    Ok((known, Spanned::new(span, DeValue::Table(rest))))
}

/// The text of a file.
fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let cannot = || format!("cannot read the configuration {shown}");
    let file = std::fs::File::open(path).map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::NotFound => "name it with -c FILE or BKHOST_CONFIG",
            std::io::ErrorKind::PermissionDenied => "run bkhost as the user that owns the file",
            _ => "look at the path",
        };
        Error::new(ErrorKind::Config, cannot()).hint(hint).because(e)
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE.saturating_add(1)).read_to_end(&mut bytes).or_error(ErrorKind::Config, cannot)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::new(ErrorKind::Config, format!("{shown} is larger than 1 MiB: that is no configuration")));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes().iter().take(e.utf8_error().valid_up_to()).filter(|b| **b == b'\n').count();
        Error::new(ErrorKind::Config, format!("{shown}:{}: this is not UTF-8", line.saturating_add(1)))
            .hint("save the file as UTF-8")
    })
}
