//! What an encrypted set tells nobody without a key.
//!
//! The manifest is read by `list`, retention and deep checks, which have no key. So what names content, or what a plugin
//! alone understands and may name it, is taken out of it and put into an encrypted object of the part's own, its *notes*:
//! the part's config, the snapshot's id and state, the names of sources and streams, what was left out, the files that changed, and warnings
//! with file names in them. What stays in the clear: the instance's, host's and parts' names, the application's URL, the
//! plugins and tools with their versions, times, sizes, counts, and the hashes of the encrypted bytes.
//!
//! The machine that made a set needs its own notes later, to delete the vendor's snapshot and to build an increment, and is
//! not to need an identity for it. It keeps a copy in its state directory, from where the snapshot's record never was a
//! secret: the journal has it too.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::prune::blocking;
use super::session::Session;
use crate::archive::set::{LeftOut, ObjectRecord, ObjectRole, PartRecord};
use crate::archive::{Control, Layers, SetId, read_stream};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::store::{Store, StoredSet};

/// Notes that are larger are none.
const MAX: u64 = 64 << 20;

/// What is not told of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Notes {
    config: Value,
    snapshot_id: String,
    snapshot_state: Value,
    /// The names of the sources, in their order.
    sources: Vec<String>,
    /// The sources of streams, by the objects' file names.
    streams: BTreeMap<String, String>,
    changed: Vec<String>,
    warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_out: Option<LeftOut>,
}

impl Notes {
    /// Take them out of a record. `warnings` are those without names.
    pub(super) fn hide(part: &mut PartRecord, warnings: Vec<String>) -> Self {
        let take = std::mem::take::<String>;
        Self {
            config: part.config.take(),
            snapshot_id: take(&mut part.snapshot.id),
            snapshot_state: part.snapshot.state.take(),
            sources: part.sources.iter_mut().map(|source| take(&mut source.name)).collect(),
            streams: (part.objects.iter_mut())
                .filter_map(|object| Some((object.file.clone(), object.source.take()?)))
                .collect(),
            changed: std::mem::take(&mut part.changed.files),
            warnings: std::mem::replace(&mut part.warnings, warnings),
            left_out: part.left_out.take(),
        }
    }

    /// Put them back.
    fn reveal(self, part: &mut PartRecord) {
        part.config = self.config;
        part.snapshot.id = self.snapshot_id;
        part.snapshot.state = self.snapshot_state;
        for (source, name) in part.sources.iter_mut().zip(self.sources) {
            source.name = name;
        }
        let mut streams = self.streams;
        for object in &mut part.objects {
            object.source = streams.remove(&object.file);
        }
        part.changed.files = self.changed;
        part.warnings = self.warnings;
        part.left_out = self.left_out;
    }

    /// As the content of an object.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).or_error(ErrorKind::Internal, || "cannot write a part's notes")?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn parse(bytes: &[u8], file: &str) -> Result<Self> {
        serde_json::from_slice(bytes).or_error(ErrorKind::Damaged, || format!("`{file}` is not a part's notes"))
    }

    /// Keep a copy on this machine.
    pub(super) fn keep(&self, dir: &Path, set: &SetId, part: &str) -> Result<()> {
        let path = copy(dir, set, part);
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(dir)?;
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()
        };
        write().or_error(ErrorKind::Io, || format!("cannot write {}", path.display()))
    }
}

fn copy(dir: &Path, set: &SetId, part: &str) -> PathBuf {
    dir.join(format!("{set}.{part}.json"))
}

/// Forget this machine's copies of a set that is gone.
pub(super) fn forget(dir: &Path, set: &SetId) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let prefix = format!("{set}.");
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
        let _ = fs::remove_file(entry.path());
    }
}

/// The object with a part's notes; none: nothing was hidden.
fn notes(part: &PartRecord) -> Option<&ObjectRecord> {
    part.objects.iter().find(|object| object.role == ObjectRole::Notes)
}

/// Whether something of a part is hidden in its notes.
pub(super) fn hides(part: &PartRecord) -> bool {
    notes(part).is_some()
}

/// Whether objects of a set are encrypted.
#[must_use]
pub fn is_encrypted(set: &StoredSet) -> bool {
    set.manifest.objects().any(|object| Layers::of(&object.file).encrypted)
}

/// An error as a record of a set may tell it: what went wrong may name a file, which an encrypted set does not.
#[must_use]
pub(super) fn told(set: &StoredSet, error: &Error) -> String {
    if !is_encrypted(set) {
        return if error.kind() == ErrorKind::Store { error.with_cause() } else { error.to_string() };
    }
    // The objects' names are those of the parts.
    match (error.kind(), error.detail_of("object")) {
        (ErrorKind::Damaged, Some(object)) => format!("`{object}` is damaged"),
        (ErrorKind::Store, Some(object)) => format!("`{object}` cannot be read"),
        (kind, _) => format!("{kind:?}"),
    }
}

/// A set with everything that was hidden put back. Its keys have to open it.
///
/// # Errors
/// `Denied` if no key opens it, before more than a few bytes of it were read; `Damaged`; `Store`.
pub async fn reveal(set: StoredSet) -> Result<StoredSet> {
    blocking(move || {
        let mut set = set;
        if set.keys().is_empty() {
            refuse_encrypted(&set)?;
            for part in set.manifest.parts.iter().filter(|part| part.snapshot.base.is_some()) {
                set.bases(&part.name)?.iter().try_for_each(refuse_encrypted)?;
            }
        }
        let mut parts = set.manifest.parts.clone();
        for part in &mut parts {
            reveal_part(&set, part)?;
        }
        set.manifest.parts = parts;
        Ok(set)
    })
    .await
}

fn refuse_encrypted(set: &StoredSet) -> Result<()> {
    if !is_encrypted(set) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Denied, format!("the set {} is encrypted, and no identity was given", set.manifest.id))
        .hint(
            "give the identity of one of those it was encrypted to with --identity FILE, or the passphrase with \
         --passphrase-file FILE or --ask-passphrase",
        ))
}

/// Put back what was hidden of a part of a stored set. Blocks.
///
/// # Errors
/// As [`reveal`].
pub(super) fn reveal_part(set: &StoredSet, part: &mut PartRecord) -> Result<()> {
    let Some(object) = notes(part).cloned() else { return Ok(()) };
    let bytes = read_stream(set.object(&object.file)?, &object, set.keys(), MAX, &Control::none())?;
    Notes::parse(&bytes, &object.file)?.reveal(part);
    Ok(())
}

/// As [`recall`], of a set in a store.
///
/// # Errors
/// As [`recall`].
pub(super) async fn recall_from(session: &Session, store: &Store, id: &SetId, part: &PartRecord) -> Result<PartRecord> {
    if notes(part).is_none() {
        return Ok(part.clone());
    }
    let keys = store.keys().and(&session.crypto().await?.keys);
    let store = store.clone().with_keys(keys);
    let (instance, id) = (session.instance().to_owned(), id.clone());
    let set = blocking(move || store.open_set(&instance, &id)).await?;
    recall(session.dirs.sealed(), &set, part).await
}

/// A part of a stored set as the machine that made it knows it: from its own copy of what was hidden, else with the set's
/// keys.
///
/// # Errors
/// `Denied` if there is neither; otherwise as [`reveal`].
pub(super) async fn recall(dir: PathBuf, set: &StoredSet, part: &PartRecord) -> Result<PartRecord> {
    let mut part = part.clone();
    if notes(&part).is_none() {
        return Ok(part);
    }
    let set = set.clone();
    blocking(move || {
        let path = copy(&dir, &set.manifest.id, &part.name);
        match fs::read(&path) {
            Ok(bytes) => Notes::parse(&bytes, &path.display().to_string())?.reveal(&mut part),
            Err(_) if set.keys().is_empty() => {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!(
                        "part `{}` of set {} is encrypted, this machine has no notes of its own of it, and no key",
                        part.name, set.manifest.id
                    ),
                )
                .hint("work on it from the machine that made it, or with `identity` in [encryption]"));
            }
            Err(_) => reveal_part(&set, &mut part)?,
        }
        Ok(part)
    })
    .await
}
