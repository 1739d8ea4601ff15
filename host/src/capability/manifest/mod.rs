//! A plugin's manifest (`plugin.toml`): what it is, and every capability it asks for, with the reason.

mod check;
mod rehearsal;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Size, Span};
use crate::{Error, ErrorKind, Result};

pub(super) use check::config_key;
pub(super) use template::{Element, Piece};

/// The version of the contract and of this file format that this build speaks.
pub const API: &str = "0.1";

/// The manifest, as its author wrote it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// What the plugin is.
    pub plugin: PluginInfo,
    /// How it restores.
    #[serde(default)]
    pub restore: Restore,
    /// The commands it may run, by id.
    #[serde(default)]
    pub exec: Vec<ExecRequest>,
    /// The directories it reads or writes.
    #[serde(default)]
    pub directory: Vec<DirectoryRequest>,
    /// The servers it calls.
    #[serde(default)]
    pub http: Vec<HttpRequest>,
    /// The secrets it needs: by name, never by value.
    #[serde(default)]
    pub secret: Vec<SecretRequest>,
    /// What its code needs to run.
    #[serde(default)]
    pub limits: Limits,
}

/// What a plugin is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PluginInfo {
    /// Its name: `[a-z0-9][a-z0-9-]{0,31}`.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// The version of the contract: "0.1".
    pub api: String,
    /// What sort of thing it backs up.
    pub kind: Kind,
    /// How it fixes the consistency point.
    pub consistency: Consistency,
    /// What it captures has to be older than what parts of these kinds capture: a run in which one of them does not come
    /// `after` a part of this plugin is refused, and so is a set in which one is older.
    #[serde(default)]
    pub before: Vec<Kind>,
    /// One sentence for the operator.
    #[serde(default)]
    pub description: String,
    /// Settings that make the plugin copy where it would take a snapshot: each is a key of `[part.config]` and the value
    /// that does so. With it, the plugin's consistency counts as `copied`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copied_if: BTreeMap<String, String>,
    /// Settings with which the plugin captures nothing, because what it is for is made anew after a restore: each is a key
    /// of `[part.config]` and the value that says so. `[coverage]` says of such a part that it is only declared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub declared_if: BTreeMap<String, String>,
}

impl PluginInfo {
    /// How the consistency point of a part with this configuration is fixed.
    #[must_use]
    pub fn consistency_of(&self, config: &serde_json::Value) -> Consistency {
        if any_of(&self.copied_if, config) { Consistency::Copied } else { self.consistency }
    }

    /// Whether a part with this configuration captures nothing.
    #[must_use]
    pub fn is_declared(&self, config: &serde_json::Value) -> bool {
        any_of(&self.declared_if, config)
    }
}

/// What sort of thing a plugin backs up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// File systems and block devices.
    Disk,
    /// Databases.
    Database,
    /// Search indexes.
    Search,
    /// Anything else.
    Other,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Disk, Self::Database, Self::Search, Self::Other];

    /// Its name in the manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Database => "database",
            Self::Search => "search",
            Self::Other => "other",
        }
    }
}

/// How a consistency point is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// By one instantaneous snapshot of the storage.
    Atomic,
    /// By a transaction or snapshot that the vendor's server keeps while it is read.
    Exported,
    /// By copying while the application stands still. A zero-downtime run refuses it.
    Copied,
}

/// How a plugin restores.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Restore {
    /// What `--to` means.
    #[serde(default)]
    pub target: RestoreTarget,
    /// Settings with which `--to` is a directory where it otherwise is a name: each is a key of `[part.config]` and the
    /// value that makes it so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub directory_if: BTreeMap<String, String>,
    /// It writes nothing when it restores, but refuses what must not be done: it comes before all parts that write.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// What `restore.to` stands for while a plugin rehearses a restore to a name: a text with `{instance}`, `{part}` and
    /// `{config.<key>}`. A part whose configuration has no such key cannot be rehearsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<String>,
}

impl Restore {
    /// What `--to` means to a part with this configuration.
    #[must_use]
    pub fn target_of(&self, config: &serde_json::Value) -> RestoreTarget {
        if any_of(&self.directory_if, config) { RestoreTarget::Directory } else { self.target }
    }

    /// Whether there are parts that restore into a directory.
    #[must_use]
    pub fn into_directory(&self) -> bool {
        self.target == RestoreTarget::Directory || !self.directory_if.is_empty()
    }
}

/// Whether one of these keys has the value beside it in `[part.config]`.
fn any_of(settings: &BTreeMap<String, String>, config: &serde_json::Value) -> bool {
    settings.iter().any(|(key, value)| {
        let given = config.get(key).map(|given| given.as_str().map_or_else(|| given.to_string(), str::to_owned));
        given.as_ref() == Some(value)
    })
}

/// What `bkhost restore --to` means to a plugin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestoreTarget {
    /// A directory, which the plugin sees as `/target`.
    Directory,
    /// A name that the vendor understands: a database, a dataset.
    #[default]
    Name,
}

/// A command the plugin may run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExecRequest {
    /// The name by which the plugin calls it: `[a-z0-9][a-z0-9-]{0,31}`.
    pub id: String,
    /// The program's file name; the operator decides which file that is.
    pub program: String,
    /// Where else it may be than in the system's directories: absolute paths, of which one component may hold a `*` that
    /// stands for a number, the highest first: `/usr/lib/postgresql/*/bin`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// It refuses to run as root, and where it would, runs as this user instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_root: Option<String>,
    /// The arguments: literals and `{slots}`. A list inside the list is an optional group, rendered when all its slots
    /// are given. `{slot...}` is a whole element that is repeated. `{{` and `}}` are literal braces.
    #[serde(default)]
    pub argv: Vec<Argv>,
    /// Why it is needed, for the operator.
    pub reason: String,
    /// Whether it changes anything. A dry run only records commands that do.
    #[serde(default)]
    pub effect: Effect,
    /// How long it may run.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// How much of its stdout is kept; the rest is read and dropped.
    #[serde(default = "default_max_output")]
    pub max_output: Size,
    /// What each slot of `argv` and `stdin` may hold.
    #[serde(default)]
    pub slots: BTreeMap<String, Slot>,
    /// Its environment, beyond the fixed one (LC_ALL, TZ, PATH, HOME).
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The lines that the plugin may write to its stdin, by id. Without this table, stdin is empty.
    #[serde(default)]
    pub stdin: Option<BTreeMap<String, String>>,
}

/// One entry of `argv`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Argv {
    /// One argument.
    One(String),
    /// Arguments that are rendered together or not at all.
    Group(Vec<String>),
}

/// Whether a command changes anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It only looks.
    Read,
    /// It changes something.
    #[default]
    Change,
}

/// What a slot may hold: exactly one of `one-of`, `pattern` and `path`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Slot {
    /// One of these values: `"config.<key>"` (a value or a list in `[part.config]`), `"restore.to"`, or a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<OneOf>,
    /// With `one-of`: a regular expression for what comes before the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// With `one-of`: a regular expression for what comes after the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// A regular expression for the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// A guest path below this root; the command gets the real path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRoot>,
    /// How an allowed value is written: `"hex"` writes the hex digits of its bytes, for languages whose quoting depends on
    /// settings, such as SQL. Such a value may hold any character. Without this: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The longest value, in bytes; 4096 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
}

/// How the value of a slot is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// The hex digits of its UTF-8 bytes.
    Hex,
}

/// Where the allowed values of a slot come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOf {
    /// `config.<key>` or `restore.to`.
    Reference(String),
    /// These.
    Values(Vec<String>),
}

/// The guest's directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PathRoot {
    /// `/source/<name>`.
    Source,
    /// `/staging`.
    Staging,
    /// `/state`.
    State,
    /// `/target`.
    Target,
}

/// Where the value of an environment variable comes from. A secret or config key that is not set leaves it out.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EnvValue {
    /// The secret of this name.
    Secret(String),
    /// `config.<key>`.
    Config(String),
    /// This text.
    Value(String),
    /// What the plugin gives for this slot, which the command then needs: for names that a program would take apart as
    /// an argument.
    Slot(String),
}

impl ExecRequest {
    /// The slots whose values go into the environment.
    pub(crate) fn env_slots(&self) -> impl Iterator<Item = &str> {
        self.env.values().filter_map(|value| match value {
            EnvValue::Slot(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// A directory the plugin asks for, shown to it as `/source/<name>`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DirectoryRequest {
    /// Its name below `/source`.
    pub name: String,
    /// `config.<key>`: the directory, or a list of them (then `/source/<name>/<n>`, from 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How the host finds the directories out: `/source/<name>/<n>`, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discover: Option<Discover>,
    /// Whether it may be written.
    #[serde(default)]
    pub access: Access,
    /// Whether the file system that holds it may be frozen while a snapshot is taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub freeze: bool,
    /// Why it is needed, for the operator.
    pub reason: String,
}

/// How the host finds directories out: it runs a command once for each value; stdout is the directory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Discover {
    /// The command's id. It must have `effect = "read"`.
    pub exec: String,
    /// The slot that gets the value.
    pub slot: String,
    /// `config.<key>`: the values.
    pub each: String,
}

/// What may be done with a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read.
    #[default]
    Read,
    /// Read and write.
    Write,
}

/// A server the plugin calls.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HttpRequest {
    /// Its origin (`https://host` or `https://host:port`), `config.<key>`, or a text with `{config.<key>}` in it.
    pub url: String,
    /// A name, where one server is asked in several ways (signed for another region, another service or by another role): a
    /// request whose header `bkhost-as` has it is meant, and gets this signature. Without a name: requests without the header.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why it is needed, for the operator.
    pub reason: String,
    /// It is usually in one's own network: a shipped plugin's name may resolve to an address that is not public. A third
    /// party's may if its grant says so (`private = true`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// `config.<key>`: a PEM file of certificates. Where the key is set, these alone are trusted for this server. The guest
    /// does not get to see the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// How the host signs what goes there. The keys stay with the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<Sign>,
    /// How the host says who is asking, if the secret for it is configured. At most one of these secrets may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authenticate: Vec<Authenticate>,
}

/// A header `Authorization` that the host puts on the requests to a server. The secret stays with the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Authenticate {
    /// The scheme: `Basic`, which joins the user name and the secret, or one whose value is the secret as it is
    /// (`Bearer`, `ApiKey`).
    pub scheme: String,
    /// The secret's name.
    pub secret: String,
    /// `config.<key>`: the user name, for `Basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// How the host signs the requests to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sign {
    /// The form of the signature.
    #[serde(rename = "type")]
    pub form: SignForm,
    /// The service it is for: `ec2`, `rds`.
    pub service: String,
    /// The region it is for: `config.<key>`, or its name.
    pub region: String,
    /// Where that key is not set, requests go out without a signature.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// A role that the host assumes first, if the configuration names one: then requests are signed as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<SignRole>,
}

/// A role of AWS that the host assumes, with the keys that it would sign with otherwise. Its temporary keys stay with the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SignRole {
    /// Its ARN: `config.<key>`. Where that is not set, no role is assumed.
    pub arn: String,
    /// The secret of the manifest that is the external id which the role asks for, if it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// `config.<key>`: where the security token service is asked, if not at the region's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// The form of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignForm {
    /// AWS Signature Version 4. The keys are the secrets `access-key-id`, `secret-access-key` and, for temporary ones,
    /// `session-token`, if the manifest asks for these and they are configured; else those of the host's environment,
    /// shared configuration, web identity, container or instance.
    AwsSigv4,
}

/// A secret the plugin's commands or requests need.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SecretRequest {
    /// Its key in `[part.secrets]`.
    pub name: String,
    /// Why it is needed, for the operator.
    pub reason: String,
}

/// What a plugin's code needs to run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Memory, all in all.
    pub memory: Size,
    /// CPU time of one call.
    pub cpu: Span,
    /// Wall time of one call of `finish` and `restore`.
    pub long_call: Span,
    /// Wall time of any other call.
    pub call: Span,
    /// Bytes of log messages, over the instance's life.
    pub log: Size,
    /// How long file systems may stand frozen: 5 minutes at most.
    pub freeze: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Size(256 << 20),
            cpu: Span(Duration::from_secs(60)),
            long_call: Span(Duration::from_secs(24 * 3600)),
            call: Span(Duration::from_secs(600)),
            log: Size(1 << 20),
            freeze: Span(Duration::from_secs(30)),
        }
    }
}

fn default_timeout() -> Span {
    Span(Duration::from_secs(600))
}

fn default_max_output() -> Size {
    Size(1 << 20)
}

impl Manifest {
    /// Parse and cross-check a manifest.
    ///
    /// # Errors
    /// [`ErrorKind::Plugin`] with the line, what is wrong there, and what to write instead.
    pub fn parse(text: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|span| line_of(text, span.start));
            invalid(line, e.message().lines().next().unwrap_or_default())
        })?;
        check::check(&manifest).map_err(|p| invalid(p.line(text), &p.message).hint(p.hint))?;
        Ok(manifest)
    }

    /// The command of this id.
    #[must_use]
    pub fn command(&self, id: &str) -> Option<&ExecRequest> {
        self.exec.iter().find(|command| command.id == id)
    }
}

fn invalid(line: Option<usize>, message: &str) -> Error {
    let place = line.map_or_else(|| "plugin.toml".to_owned(), |line| format!("plugin.toml:{line}"));
    Error::new(ErrorKind::Plugin, format!("{place}: {message}"))
        .hint("the manifest is part of the plugin: its author has to correct it")
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}
