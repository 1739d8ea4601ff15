//! What a store holds.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;

use super::backend::{Entry, EntryKind};
use super::error::failed_io;
use super::object::ObjectReader;
use super::open::{Store, set_dir, side_by_side};
use super::records::SetRecords;
use super::{MARKER, is_draft};
use crate::archive::set::{self, MANIFEST, ObjectRecord, SetManifest, check_object_name};
use crate::archive::{Keys, SetId, check_name};
use crate::error::{Error, ErrorKind, Result};

/// A manifest larger than this is none: a run of thousands of parts has less than a hundredth.
pub(super) const MAX_MANIFEST: u64 = 64 << 20;

/// What a set is worth.
#[derive(Debug, Clone, PartialEq)]
pub enum SetState {
    /// It was proved when it was made, and all its objects are there in their sizes.
    Proved(Box<SetManifest>),
    /// It cannot be trusted, and why.
    Damaged(String),
    /// A run has not completed it: one that is under way, or one that was interrupted.
    Unpublished,
}

/// One set of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct SetEntry {
    /// Its id.
    pub id: SetId,
    /// What it is worth.
    pub state: SetState,
    /// The sets on whose archives it builds directly, as far as its manifest can be read.
    pub needs: Vec<SetId>,
    /// What was told of it since.
    pub records: SetRecords,
}

impl SetEntry {
    /// The manifest, if the set is proved.
    #[must_use]
    pub fn manifest(&self) -> Option<&SetManifest> {
        match &self.state {
            SetState::Proved(manifest) => Some(manifest),
            SetState::Damaged(_) | SetState::Unpublished => None,
        }
    }
}

/// An object that is not as the manifest has it, seen without reading it.
#[derive(Debug)]
pub struct Amiss {
    /// Its name.
    pub object: String,
    /// It is there, and has another size.
    pub readable: bool,
    /// What is wrong with it.
    pub error: Error,
}

/// A set that can be read.
#[derive(Debug, Clone)]
pub struct StoredSet {
    store: Store,
    dir: String,
    /// Its manifest.
    pub manifest: SetManifest,
}

impl StoredSet {
    pub(super) fn new(store: Store, dir: String, manifest: SetManifest) -> Self {
        Self { store, dir, manifest }
    }

    /// What opens its objects, if they are encrypted: what its store was given.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        self.store.keys()
    }

    /// Where it is.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Opens an object of the manifest.
    ///
    /// # Errors
    /// `NotFound` if the manifest does not name it, `Damaged` if it is gone, `Store` if it cannot be read.
    pub fn object(&self, file: &str) -> Result<ObjectReader> {
        if !self.manifest.objects().any(|object| object.file == file) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the set {} has no object `{}`", self.manifest.id, file.escape_debug()),
            ));
        }
        ObjectReader::open(&self.store, &format!("{}/{file}", self.dir))
    }

    /// The objects that are not there in their sizes, or that are there and should not be.
    ///
    /// # Errors
    /// `Store` if that cannot be found out.
    pub fn amiss(&self) -> Result<Vec<Amiss>> {
        Ok(amiss(&self.store.entries(&self.dir)?, &self.manifest).collect())
    }

    /// The same set, whose waits for a server end when this is fired.
    #[must_use]
    pub fn cancelled_by(&self, cancel: &CancellationToken) -> Self {
        Self { store: self.store.cancelled_by(cancel), ..self.clone() }
    }

    /// The same set, with what opens its objects.
    #[must_use]
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { store: self.store.with_keys(keys), ..self }
    }

    /// The sets that a restore of this part needs besides this one, the oldest first.
    ///
    /// # Errors
    /// As [`Store::bases`].
    pub fn bases(&self, part: &str) -> Result<Vec<Self>> {
        self.store.bases(&self.manifest.instance, &self.manifest, part)
    }
}

impl Store {
    /// The instances that have something here.
    ///
    /// # Errors
    /// `Store` if it cannot be read.
    pub fn instances(&self) -> Result<Vec<String>> {
        let names = self.names("")?;
        Ok(names
            .into_iter()
            .filter(|(name, dir)| *dir && check_name("an instance", name).is_ok())
            .map(|n| n.0)
            .collect())
    }

    /// The id of the newest set of an instance, whatever that is worth.
    ///
    /// # Errors
    /// `Store` if the store cannot be read.
    pub fn newest(&self, instance: &str) -> Result<Option<SetId>> {
        check_name("an instance", instance)?;
        Ok(self.names(instance)?.iter().filter_map(|(name, _)| name.parse().ok()).max())
    }

    /// All sets of an instance, newest first. Reads manifests and sizes, not objects. A set that builds on one that is
    /// missing or damaged is damaged itself, and so is one that a record says is damaged.
    ///
    /// # Errors
    /// `Store` if it cannot be read. A set that cannot be read is an entry, not an error.
    pub fn list(&self, instance: &str) -> Result<Vec<SetEntry>> {
        check_name("an instance", instance)?;
        let mut records = self.records(instance)?.by_set();
        // What has another name is not ours.
        let named = |(name, is_dir): (String, bool)| name.parse::<SetId>().ok().filter(|_| is_dir);
        let ids: Vec<SetId> = self.names(instance)?.into_iter().filter_map(named).collect();
        let mut entries: Vec<SetEntry> = Vec::new();
        for entry in side_by_side(&ids, |id| self.entry(instance, id)) {
            entries.extend(entry?);
        }
        for entry in &mut entries {
            entry.records = records.remove(&entry.id).unwrap_or_default();
        }
        let proved: BTreeSet<&SetId> =
            entries.iter().filter(|entry| entry.manifest().is_some()).map(|entry| &entry.id).collect();
        let mut broken = Vec::new();
        for entry in &entries {
            let Some(manifest) = entry.manifest() else { continue };
            let chains = manifest.parts.iter().filter(|part| part.snapshot.base.is_some());
            // Each link is looked at only if one is not whole: what a part needs of it may be, all the same.
            let doubtful = chains.filter(|part| !whole(&entries, &proved, manifest, &part.name));
            if let Some(e) = doubtful.filter_map(|part| self.bases(instance, manifest, &part.name).err()).next() {
                broken.push((entry.id.clone(), e.with_cause()));
            }
        }
        for (id, why) in broken {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) {
                entry.state = SetState::Damaged(why);
            }
        }
        entries.sort_by_key(|entry| entry.id.clone());
        told_damaged(&mut entries);
        entries.reverse();
        Ok(entries)
    }

    /// Whether a set is listed as a proved one, by its objects' sizes and by what was told of it since.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn is_listed_proved(&self, instance: &str, id: &SetId) -> Result<bool> {
        Ok(self.list(instance)?.iter().any(|set| set.id == *id && set.manifest().is_some()))
    }

    /// A set as it is listed; none if it was removed meanwhile.
    fn entry(&self, instance: &str, id: &SetId) -> Result<Option<SetEntry>> {
        let state = match self.look(instance, id) {
            Ok(state) => state,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => {
                // Is it the set, or the whole store?
                self.names(instance)?;
                SetState::Damaged(e.with_cause())
            }
        };
        let needs = match &state {
            SetState::Proved(manifest) => manifest.bases(),
            // What can still be told of it: somebody may want to save something from it, and from what it needs.
            SetState::Damaged(_) => {
                self.read_manifest(instance, id).map(|manifest| manifest.bases()).unwrap_or_default()
            }
            SetState::Unpublished => Vec::new(),
        };
        Ok(Some(SetEntry { id: id.clone(), state, needs, records: SetRecords::default() }))
    }

    /// Opens a set for reading.
    ///
    /// # Errors
    /// `NotFound` if there is none or it was never completed, `Damaged` if it cannot be trusted, `Store` if it cannot be
    /// read.
    pub fn open_set(&self, instance: &str, id: &SetId) -> Result<StoredSet> {
        let dir = set_dir(instance, id)?;
        match self.look(instance, id)? {
            SetState::Proved(manifest) => Ok(StoredSet { store: self.clone(), dir, manifest: *manifest }),
            SetState::Damaged(why) => Err(Error::new(ErrorKind::Damaged, format!("the set {id} is damaged: {why}"))),
            SetState::Unpublished => Err(Error::new(ErrorKind::NotFound, format!("the set {id} was never completed"))
                .hint("`bkhost list` shows the sets that can be restored")),
        }
    }

    /// As [`Store::open_set`], also if its objects are not all there: its manifest is whole.
    ///
    /// # Errors
    /// As [`Store::open_set`].
    pub fn open_damaged(&self, instance: &str, id: &SetId) -> Result<StoredSet> {
        self.open_set(instance, id).or_else(|error| match error.kind() {
            ErrorKind::Damaged => match self.read_manifest(instance, id) {
                Ok(manifest) => Ok(StoredSet { store: self.clone(), dir: set_dir(instance, id)?, manifest }),
                Err(_) => Err(error),
            },
            _ => Err(error),
        })
    }

    /// Whether a set was published here, whatever it is worth now.
    ///
    /// # Errors
    /// `Store` if that cannot be found out.
    pub fn is_published(&self, instance: &str, id: &SetId) -> Result<bool> {
        let entries = self.entries(&set_dir(instance, id)?)?;
        Ok(entries.iter().any(|entry| entry.name == MANIFEST && entry.kind != EntryKind::Directory))
    }

    /// What a set is worth.
    fn look(&self, instance: &str, id: &SetId) -> Result<SetState> {
        let dir = set_dir(instance, id)?;
        let entries = self.backend.entries(&dir);
        let entries =
            entries.map_err(|e| failed_io(e, format!("cannot list {dir} in the store {}", self.location())))?;
        let Some(entries) = entries else {
            return Err(Error::new(ErrorKind::NotFound, format!("the store {} has no set {id}", self.location()))
                .hint(format!("`bkhost list` shows the sets of `{instance}`")));
        };
        let is_manifest = |entry: &Entry| entry.name == MANIFEST && entry.kind != EntryKind::Directory;
        if !entries.iter().any(is_manifest) {
            return Ok(if is_rest(entries.iter().map(|entry| entry.name.as_str())) {
                SetState::Unpublished
            } else {
                SetState::Damaged(format!("its {MANIFEST} is missing"))
            });
        }
        match self.manifest(&entries, instance, id) {
            Ok(manifest) => Ok(SetState::Proved(Box::new(manifest))),
            Err(e) if e.kind() == ErrorKind::Damaged => Ok(SetState::Damaged(e.with_cause())),
            Err(e) => Err(e),
        }
    }

    fn manifest(&self, entries: &[Entry], instance: &str, id: &SetId) -> Result<SetManifest> {
        let manifest = self.read_manifest(instance, id)?;
        check_objects(entries, &manifest)?;
        Ok(manifest)
    }

    /// The sets on whose archives of `part` the set of this manifest builds, directly or through each other: the oldest
    /// first. What else is in those sets does not matter.
    ///
    /// # Errors
    /// `Damaged`, naming the set that is missing or damaged; `Store` if it cannot be read.
    pub fn bases(&self, instance: &str, manifest: &SetManifest, part: &str) -> Result<Vec<StoredSet>> {
        let mut bases: Vec<StoredSet> = Vec::new();
        let mut next = base_of(manifest, part).cloned();
        // A manifest builds on an older set only: this comes to an end.
        while let Some(id) = next {
            let base = self.base(instance, &id, part).map_err(|e| {
                let kind = if e.kind() == ErrorKind::NotFound { ErrorKind::Damaged } else { e.kind() };
                let built = bases.last().map_or(&manifest.id, |set: &StoredSet| &set.manifest.id);
                Error::new(
                    kind,
                    format!(
                        "part `{part}` of set {built} cannot be restored without set {id}, which {}",
                        if kind == e.kind() {
                            format!("is not whole: {}", e.with_cause())
                        } else {
                            "is missing".into()
                        }
                    ),
                )
                .hint("restore an older set; the next run makes a full archive of its own")
            })?;
            next = base_of(&base.manifest, part).cloned();
            bases.push(base);
        }
        bases.reverse();
        Ok(bases)
    }

    /// A set of which one part is needed.
    fn base(&self, instance: &str, id: &SetId, part: &str) -> Result<StoredSet> {
        let dir = set_dir(instance, id)?;
        let entries = self.entries(&dir)?;
        if !entries.iter().any(|entry| entry.name == MANIFEST) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no set {id}")));
        }
        let manifest = self.read_manifest(instance, id)?;
        let record =
            manifest.part(part).ok_or_else(|| Error::new(ErrorKind::Damaged, format!("it has no part `{part}`")))?;
        record.objects.iter().try_for_each(|object| check_object(&entries, object))?;
        Ok(StoredSet { store: self.clone(), dir, manifest })
    }

    /// A manifest, whatever became of the objects that it names.
    fn read_manifest(&self, instance: &str, id: &SetId) -> Result<SetManifest> {
        let dir = set_dir(instance, id)?;
        let path = format!("{dir}/{MANIFEST}");
        let cannot = |e| failed_io(e, format!("cannot read {path} in the store {}", self.location()));
        let bytes = self
            .backend
            .get(&path, MAX_MANIFEST.saturating_add(1))
            .map_err(cannot)?
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no set {id}")))?;
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(Error::new(ErrorKind::Damaged, "its manifest is far too large"));
        }
        let manifest = set::open(&bytes)?;
        if manifest.id != *id || manifest.instance != instance {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("its manifest is that of the set {} of `{}`", manifest.id, manifest.instance),
            ));
        }
        Ok(manifest)
    }
}

/// Checks that exactly the objects of a manifest are there, in their sizes.
pub(super) fn check_objects(entries: &[Entry], manifest: &SetManifest) -> Result<()> {
    amiss(entries, manifest).next().map_or(Ok(()), |amiss| Err(amiss.error))
}

/// What is not as the manifest has it.
fn amiss(entries: &[Entry], manifest: &SetManifest) -> impl Iterator<Item = Amiss> {
    let unknown = |name: &str| check_object_name(name).is_ok() && !manifest.objects().any(|object| object.file == name);
    let others = entries.iter().filter(move |entry| entry.kind != EntryKind::Directory && unknown(&entry.name));
    let others = others.map(|entry| not_so(&entry.name, "there, but not in the manifest"));
    manifest.objects().filter_map(|object| object_amiss(entries, object)).chain(others)
}

/// Checks that an object is there, in its size.
fn check_object(entries: &[Entry], object: &ObjectRecord) -> Result<()> {
    object_amiss(entries, object).map_or(Ok(()), |amiss| Err(amiss.error))
}

fn object_amiss(entries: &[Entry], object: &ObjectRecord) -> Option<Amiss> {
    let file = &object.file;
    match entries.iter().find(|entry| entry.name == *file).map(|entry| entry.kind) {
        Some(EntryKind::File(bytes)) if bytes == object.bytes => None,
        Some(EntryKind::File(bytes)) => {
            let error = Error::new(ErrorKind::Damaged, format!("{file} has {bytes} bytes instead of {}", object.bytes));
            Some(Amiss { object: file.clone(), readable: true, error: error.detail("object", file) })
        }
        Some(EntryKind::Directory | EntryKind::Other) => Some(not_so(file, "not a file")),
        None => Some(not_so(file, "missing")),
    }
}

fn not_so(file: &str, what: &str) -> Amiss {
    let error = Error::new(ErrorKind::Damaged, format!("{file} is {what}")).detail("object", file);
    Amiss { object: file.to_owned(), readable: false, error }
}

/// Whether files of these names are what a run left that did not come to its end. An empty directory: it died before it
/// marked it, or a deletion did before its last step.
pub(super) fn is_rest<'a>(mut names: impl Iterator<Item = &'a str> + Clone) -> bool {
    let marked = names.clone().all(is_draft) || names.clone().any(|name| name == MARKER);
    marked && names.all(|name| name != MANIFEST)
}

/// Makes damaged what records say is, and what builds on it. The oldest first.
fn told_damaged(entries: &mut [SetEntry]) {
    let mut damaged: BTreeSet<SetId> = BTreeSet::new();
    for entry in entries {
        let told = entry.records.damage().map(|record| {
            let what = record.note.as_deref().unwrap_or("no more is known");
            format!("found on {:.0} by {}: {what}", record.at, record.by.host)
        });
        if told.is_some() {
            damaged.insert(entry.id.clone());
        }
        let below = entry.needs.iter().find(|need| damaged.contains(need)).cloned();
        if below.is_some() {
            damaged.insert(entry.id.clone());
        }
        if let (SetState::Proved(_), Some(why)) =
            (&entry.state, told.or_else(|| below.map(|id| format!("it builds on set {id}, which is damaged"))))
        {
            entry.state = SetState::Damaged(why);
        }
    }
}

/// Whether each set that a part builds on is proved, and has the part.
fn whole(entries: &[SetEntry], proved: &BTreeSet<&SetId>, manifest: &SetManifest, part: &str) -> bool {
    let mut next = base_of(manifest, part);
    while let Some(id) = next.filter(|id| proved.contains(id)) {
        let base = entries.iter().find(|entry| entry.id == *id).and_then(SetEntry::manifest);
        let Some(base) = base.filter(|base| base.part(part).is_some() && base.id == *id) else { return false };
        next = base_of(base, part);
    }
    next.is_none()
}

fn base_of<'a>(manifest: &'a SetManifest, part: &str) -> Option<&'a SetId> {
    manifest.part(part)?.snapshot.base.as_ref()
}

/// Whether bkhost could have given a file in a set's directory this name.
pub(super) fn is_known_name(name: &str) -> bool {
    matches!(name, MANIFEST | MARKER) || is_draft(name) || check_object_name(name).is_ok()
}
