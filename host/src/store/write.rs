//! Writing a set: begin, objects, publish; or abandon.

use super::MARKER;
use super::error::failed_io;
use super::list::check_objects;
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
        check_objects(&self.store.entries(&self.dir)?, manifest)?;
        let backend = &self.store.backend;
        let published = backend.put(&format!("{}/{MANIFEST}", self.dir), &bytes).map_err(|e| {
            failed_io(e, format!("cannot publish the set {} in the store {}", self.id, self.store.location()))
        })?;
        if !published {
            return Err(Error::new(ErrorKind::Conflict, format!("the set {} is already published", self.id)));
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
