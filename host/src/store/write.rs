//! Writing a set: begin, objects, publish; or abandon.

use super::MARKER;
use super::backend::EntryKind;
use super::error::failed_io;
use super::list::{MAX_MANIFEST, StoredSet, check_objects, is_rest};
use super::object::{ObjectReader, ObjectWriter};
use super::open::{Store, set_dir};
use crate::archive::set::{self, MANIFEST, SetManifest, check_object_name};
use crate::archive::{Keys, SetId};
use crate::error::{Error, ErrorKind, Result};

/// A set that is being written. Dropped without [`SetWriter::publish`] or [`SetWriter::abandon`] it stays in the store as
/// an unpublished rest, for [`Store::sweep`].
#[derive(Clone, Debug)]
pub struct SetWriter {
    store: Store,
    instance: String,
    id: SetId,
    dir: String,
}

impl Store {
    /// Begins a set.
    ///
    /// # Errors
    /// `Conflict` if there is something of that id, `Store` if it cannot be made.
    pub fn begin(&self, instance: &str, id: &SetId) -> Result<SetWriter> {
        let dir = set_dir(instance, id)?;
        let cannot = |e| failed_io(e, format!("cannot begin the set {id} in the store {}", self.location()));
        let taken = || {
            Error::new(
                ErrorKind::Conflict,
                format!("the store {} already has something of the id {id}", self.location()),
            )
            .hint("nothing that a store holds is ever overwritten; begin a new run")
        };
        if !self.backend.make_dir(&dir).map_err(cannot)? || !self.mark(&dir)? {
            return Err(taken());
        }
        self.backend.settle(&dir).map_err(cannot)?;
        Ok(SetWriter { store: self.clone(), instance: instance.to_owned(), id: id.clone(), dir })
    }

    /// As [`Store::begin`]; goes on with what an earlier attempt of this machine has left of the same set.
    ///
    /// # Errors
    /// `Conflict` if it is published, or if another host may be at it; `Store` if it cannot be made.
    pub fn begin_again(&self, instance: &str, id: &SetId) -> Result<SetWriter> {
        let dir = set_dir(instance, id)?;
        let names = self.names(&dir)?;
        let rest = !names.is_empty() && is_rest(names.iter().map(|(name, _)| name.as_str()));
        if !rest {
            return self.begin(instance, id);
        }
        if let Some(host) = self.marked_by(&dir).filter(|host| *host != super::host_name()) {
            let text = format!("the host `{host}` may be writing the set {id} to the store {}", self.location());
            return Err(Error::new(ErrorKind::Conflict, text)
                .hint("wait until it has ended there; what it left is removed by its next run"));
        }
        let _marked = self.mark(&dir)?;
        Ok(SetWriter { store: self.clone(), instance: instance.to_owned(), id: id.clone(), dir })
    }

    /// A manifest as it is stored.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Store` if it cannot be read.
    pub fn manifest_bytes(&self, instance: &str, id: &SetId) -> Result<Vec<u8>> {
        let path = format!("{}/{MANIFEST}", set_dir(instance, id)?);
        let bytes = self.backend.get(&path, MAX_MANIFEST);
        bytes
            .map_err(|e| failed_io(e, format!("cannot read {path} in the store {}", self.location())))?
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no set {id}")))
    }

    /// Writes the marker of an unfinished set, with who is at it: false if there is one.
    pub(super) fn mark(&self, dir: &str) -> Result<bool> {
        let marker = serde_json::json!({
            "host": super::host_name(),
            "pid": std::process::id(),
            "since": jiff::Timestamp::now().to_string(),
        });
        let path = format!("{dir}/{MARKER}");
        self.backend
            .put(&path, format!("{marker}\n").as_bytes())
            .map_err(|e| failed_io(e, format!("cannot write {path} in the store {}", self.location())))
    }
}

impl SetWriter {
    /// What opens its objects, if they are encrypted.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        self.store.keys()
    }

    /// The set's id.
    #[must_use]
    pub fn id(&self) -> &SetId {
        &self.id
    }

    /// Begins an object. Several may be written at once.
    ///
    /// # Errors
    /// `Config` for a name that no object can have, `Conflict` if it exists, `Store` if it cannot be made.
    pub fn object(&self, file: &str) -> Result<ObjectWriter> {
        check_object_name(file)?;
        ObjectWriter::create(&self.store, &format!("{}/{file}", self.dir))
    }

    /// Reads back an object that was finished.
    ///
    /// # Errors
    /// `Damaged` if it is not there, `Store` if it cannot be read.
    pub fn read(&self, file: &str) -> Result<ObjectReader> {
        check_object_name(file)?;
        ObjectReader::open(&self.store, &format!("{}/{file}", self.dir))
    }

    /// What was written of the set so far, to be read as one that this would be the manifest of.
    #[must_use]
    pub fn unpublished(&self, manifest: SetManifest) -> StoredSet {
        StoredSet::new(self.store.clone(), self.dir.clone(), manifest)
    }

    /// The size of an object, if it is there.
    ///
    /// # Errors
    /// `Store` if that cannot be found out.
    pub fn has(&self, file: &str) -> Result<Option<u64>> {
        let entries = self.store.entries(&self.dir)?;
        let entry = entries.into_iter().find(|entry| entry.name == file);
        Ok(entry.and_then(|entry| if let EntryKind::File(bytes) = entry.kind { Some(bytes) } else { None }))
    }

    /// Removes an object of the set, which is not published.
    ///
    /// # Errors
    /// `Conflict` if it is published; `Store` if it cannot be removed.
    pub fn remove(&self, file: &str) -> Result<()> {
        check_object_name(file)?;
        if self.store.is_published(&self.instance, &self.id)? {
            return Err(Error::new(ErrorKind::Conflict, format!("the set {} is published", self.id)));
        }
        self.store.remove_file(&format!("{}/{file}", self.dir))
    }

    /// Makes the set a backup: checks that exactly the manifest's objects are there in their sizes, then writes the
    /// manifest in one step that a power cut either leaves done or not done.
    ///
    /// # Errors
    /// `Internal` for a manifest of another set, `Damaged` if the objects are not those of the manifest, `Store` if it
    /// cannot be written. The set is unpublished then.
    pub fn publish(&self, manifest: &SetManifest) -> Result<()> {
        if manifest.id != self.id || manifest.instance != self.instance {
            return Err(Error::new(ErrorKind::Internal, format!("the manifest is not that of the set {}", self.id)));
        }
        let bytes = set::seal(manifest)?;
        self.publish_as(manifest, &bytes)
    }

    /// As [`SetWriter::publish`], with the manifest as another store has it.
    ///
    /// # Errors
    /// As [`SetWriter::publish`].
    pub fn publish_as(&self, manifest: &SetManifest, bytes: &[u8]) -> Result<()> {
        check_objects(&self.store.entries(&self.dir)?, manifest)?;
        let backend = &self.store.backend;
        let published = backend.put(&format!("{}/{MANIFEST}", self.dir), bytes).map_err(|e| {
            failed_io(e, format!("cannot publish the set {} in the store {}", self.id, self.store.location()))
        })?;
        if !published {
            return Err(Error::new(ErrorKind::Conflict, format!("the set {} is already published", self.id)));
        }
        let path = format!("{}/{MANIFEST}", self.dir);
        let stored = backend.get(&path, bytes.len() as u64 + 1);
        let stored =
            stored.map_err(|e| failed_io(e, format!("cannot read {path} in the store {}", self.store.location())))?;
        if stored.is_none_or(|stored| stored != bytes) {
            let text = format!("the store {} does not give back what was written to {path}", self.store.location());
            return Err(Error::new(ErrorKind::Damaged, text));
        }
        // From here on the set is published. A marker that stays does not change that.
        let _ = backend.remove(&format!("{}/{MARKER}", self.dir));
        let _ = backend.settle(&self.dir);
        Ok(())
    }

    /// Removes what was written of a set that will not be published.
    ///
    /// # Errors
    /// `Conflict` if it was published, or if its directory holds what bkhost did not make; `Store` if it cannot be
    /// removed.
    pub fn abandon(self) -> Result<()> {
        self.store.remove_rest(&self.instance, &self.id)
    }
}
