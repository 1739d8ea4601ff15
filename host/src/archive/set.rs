//! The set manifest: `manifest.json`, written last. It *is* the backup: what it does not name does not belong to the set.
//!
//! Format rules: a reader refuses a major version it does not know and ignores keys it does not know, so that a minor
//! version may add keys. Keys are kebab-case, times are RFC 3339 in UTC, lengths of time are milliseconds.

#[cfg(test)]
mod random;
pub(crate) mod seal;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::{SetId, check_name};
use super::{Compression, Layers, Named};
use crate::error::{Error, ErrorKind, Result};

pub use crate::capability::Consistency;
pub use bkhost_archive::{ObjectRecord, ObjectRole};
pub use seal::{open, seal};

/// The version of the format that is written, `major.minor`.
pub const FORMAT: &str = "1.0";
/// The manifest's file name in its set.
pub const MANIFEST: &str = "manifest.json";
/// So many changed files are named per part; of the rest only the number is kept.
pub const MAX_CHANGED: usize = 100;

/// One backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetManifest {
    /// [`FORMAT`].
    pub format: String,
    /// The set's id.
    pub id: SetId,
    /// The instance it belongs to.
    pub instance: String,
    /// When the run began.
    pub created: Timestamp,
    /// How long the run took until the set was complete, in milliseconds.
    pub duration_ms: u64,
    /// What made it.
    pub made_by: MadeBy,
    /// The application, and how it was held still.
    pub application: ApplicationRecord,
    /// Between the first and the last consistency point, in milliseconds.
    pub skew_ms: u64,
    /// The parts, in the order of the configuration.
    pub parts: Vec<PartRecord>,
    /// What the operator should know about this set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When and how the stored objects were read back. A set is not published without it.
    pub proved: Proof,
}

/// The program and machine that made a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MadeBy {
    /// bkhost's version.
    pub bkhost: String,
    /// The version of its WebAssembly engine.
    pub wasmtime: String,
    /// The machine's host name.
    pub host: String,
    /// An id of the machine: a set goes back to its original place only there. Made from `/etc/machine-id`, and does not
    /// tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
}

/// How the application was held still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// It was locked and drained.
    Locked,
    /// It kept running; every part has an instantaneous consistency point.
    ZeroDowntime,
    /// There was nothing to lock.
    Unlocked,
}

/// The application of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ApplicationRecord {
    /// `bitbucket`, `none`.
    pub kind: String,
    /// Where it was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its version, if it told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How it was held still.
    pub mode: LockMode,
    /// Lock to unlock, in milliseconds.
    pub locked_ms: u64,
    /// Of it, waiting for the application to drain.
    pub drain_ms: u64,
}

/// What a strategy captured of its part, as the contract's `snapshot`. Handed back unchanged to a fresh instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotRecord {
    /// The vendor's name for it.
    pub id: String,
    /// When the consistency point was fixed.
    pub created: Timestamp,
    /// How it was fixed.
    pub consistency: Consistency,
    /// Its size in bytes as far as the vendor tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What took part: `("server", "15.8")`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<(String, String)>,
    /// The plugin's own state, a JSON object.
    pub state: Value,
    /// The earlier set without whose archive of this part this one cannot be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<SetId>,
}

/// One part of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartRecord {
    /// The part's name.
    pub name: String,
    /// The plugin's name, from its manifest.
    pub plugin: String,
    /// The plugin's version.
    pub plugin_version: String,
    /// The SHA-256 of the component, in hex.
    pub plugin_sha256: String,
    /// `disk`, `database`, `search`, `other`.
    pub kind: String,
    /// The kinds of parts whose consistency points are later than this one's: what they hold refers to this part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// `[part.config]` with the plugin's defaults: enough to restore where the configuration is lost. Never a secret.
    #[serde(default)]
    pub config: Value,
    /// The identifier that the system which was captured gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What the plugin captured.
    pub snapshot: SnapshotRecord,
    /// What the plugin offered to archive.
    pub sources: Vec<SourceRecord>,
    /// What was stored.
    pub objects: Vec<ObjectRecord>,
    /// What was left out by choice; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// Entries (files, directories, links, …) in the archive.
    pub entries: u64,
    /// Files that changed while they were read.
    #[serde(default, skip_serializing_if = "ChangedFiles::is_empty")]
    pub changed: ChangedFiles,
    /// What the operator should know about this part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl PartRecord {
    /// Whether something of it was archived as a stream.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        self.sources.iter().any(|source| source.form == SourceForm::Stream)
    }
}

/// What was left out of a part by choice: by its profile and by the operator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeftOut {
    /// `[[part]] profile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// `[part.options]`, as far as they differ from the defaults.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub options: Value,
    /// `[[part]] exclude`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// All globs that were left out, relative to the root of each tree.
    pub globs: Vec<String>,
}

/// In which form a source was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceForm {
    /// A directory tree or a file, in the part's tar archive.
    Tree,
    /// The output of a process, an object of its own.
    Stream,
    /// It stays with the vendor: nothing is stored.
    Held,
}

/// One source of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceRecord {
    /// The name that the plugin gave it.
    pub name: String,
    /// In which form it was kept.
    pub form: SourceForm,
    /// Its size in bytes before compression.
    pub bytes: u64,
}

/// Files that changed while they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChangedFiles {
    /// How many.
    pub total: u64,
    /// The first [`MAX_CHANGED`] of them.
    pub files: Vec<String>,
}

impl ChangedFiles {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Counts one more, and keeps its name while there is room.
    pub fn push(&mut self, file: impl Into<String>) {
        self.total = self.total.saturating_add(1);
        if self.files.len() < MAX_CHANGED {
            self.files.push(file.into());
        }
    }
}

impl From<&Named> for ChangedFiles {
    fn from(named: &Named) -> Self {
        let mut changed = Self::default();
        named.names.iter().for_each(|name| changed.push(name));
        changed.total = named.total;
        changed
    }
}

/// How a set was proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Proof {
    /// When.
    pub at: Timestamp,
    /// How, in words: `every object read back and hashed`.
    pub how: String,
}

impl SetManifest {
    /// All objects of all parts.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRecord> {
        self.parts.iter().flat_map(|part| &part.objects)
    }

    /// What the set takes in the store, the manifest aside, in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.objects().fold(0, |sum, object| sum.saturating_add(object.bytes))
    }

    /// A part, by its name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&PartRecord> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The sets on whose archives this one builds directly, each once, in their order.
    #[must_use]
    pub fn bases(&self) -> Vec<SetId> {
        let bases: std::collections::BTreeSet<_> =
            self.parts.iter().filter_map(|part| part.snapshot.base.clone()).collect();
        bases.into_iter().collect()
    }

    /// A part that was captured before another one which has to be older than it. Both in this order.
    fn out_of_order(&self) -> Option<(&PartRecord, &PartRecord)> {
        self.parts.iter().find_map(|first| {
            let early = |part: &&PartRecord| {
                first.before.contains(&part.kind)
                    && part.name != first.name
                    && part.snapshot.created < first.snapshot.created
            };
            self.parts.iter().find(early).map(|part| (part, first))
        })
    }

    /// Checks what the types cannot say: names that are safe as file names, each used once, parts in their order, and that a
    /// set builds on an older one only, so that following it comes to an end.
    ///
    /// # Errors
    /// `Damaged`, naming what is wrong.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: String| Error::new(ErrorKind::Damaged, format!("the manifest of set {} {what}", self.id));
        check_name("an instance", &self.instance).map_err(|e| wrong(format!("is wrong: {e}")))?;
        if self.parts.is_empty() {
            return Err(wrong("has no part".to_owned()));
        }
        let mut parts = std::collections::BTreeSet::new();
        for part in &self.parts {
            check_name("a part", &part.name).map_err(|e| wrong(format!("is wrong: {e}")))?;
            if !parts.insert(&part.name) {
                return Err(wrong(format!("has two parts `{}`", part.name)));
            }
            if let Some(base) = part.snapshot.base.as_ref().filter(|base| **base >= self.id) {
                return Err(wrong(format!("has a part `{}` that builds on {base}, which is not older", part.name)));
            }
        }
        if let Some((older, newer)) = self.out_of_order() {
            return Err(wrong(format!(
                "has part `{}` captured at {}, before part `{}` at {}, which has to be the older of the two",
                older.name, older.snapshot.created, newer.name, newer.snapshot.created
            )));
        }
        let mut files = std::collections::BTreeSet::new();
        for object in self.objects() {
            check_object_name(&object.file).map_err(|e| wrong(format!("is wrong: {e}")))?;
            if !files.insert(&object.file) {
                return Err(wrong(format!("names the object `{}` twice", object.file)));
            }
        }
        Ok(())
    }
}

/// The file name of a part's archive. `suffix` is that of the format: `.zst`.
#[must_use]
pub fn data_file(part: &str, suffix: &str) -> String {
    format!("{part}.tar{suffix}")
}

/// The file name of a part's file index.
#[must_use]
pub fn index_file(part: &str, suffix: &str) -> String {
    format!("{part}.index.jsonl{suffix}")
}

/// The file name of a stream. The plugin chose the stream's name: [`check_object_name`] decides whether it can be one.
#[must_use]
pub fn stream_file(part: &str, stream: &str, suffix: &str) -> String {
    format!("{part}.{stream}{suffix}")
}

/// The file name of what an encrypted set's manifest does not say of a part.
#[must_use]
pub fn notes_file(part: &str, suffix: &str) -> String {
    format!("{part}.notes.json{suffix}")
}

/// Checks an object's file name: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 200 characters, ending in `.zst` or `.gz`, perhaps
/// with `.age` after it. So it can be neither a path, nor hidden, nor the manifest; and it says how to read the object.
///
/// # Errors
/// If it has another form.
pub fn check_object_name(file: &str) -> Result<()> {
    let valid = file.len() <= 200
        && file.starts_with(|c: char| c.is_ascii_alphanumeric())
        && Layers::of(file).compression != Compression::None
        && file.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if valid {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, format!("`{}` is no valid name for an object of a set", file.escape_debug()))
        .hint("letters, digits, `.`, `_` and `-`, at most 200 characters, ending in .zst or .gz, and perhaps .age"))
}
