//! Writing a set: begin, objects, publish; or abandon.

use super::backend::{MARKER, Store, set_dir};
use super::error::{failed, failed_io};
use super::local;
use super::object::{ObjectReader, ObjectWriter};
use crate::archive::set::{self, MANIFEST, SetManifest, check_object_name};
use crate::archive::{Keys, SetId};
use crate::error::{Error, ErrorKind, Result};

/// Where the manifest is written before it is renamed.
pub(super) const MANIFEST_PART: &str = "manifest.json.part";

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
        match local::make_dir(&self.root.join(instance)) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(cannot(e)),
            _ => {}
        }
        let path = self.set_path(instance, id);
        match local::make_dir(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("the store {} already has something of the id {id}", self.location()),
                )
                .hint("nothing that a store holds is ever overwritten; begin a new run"));
            }
            Err(e) => return Err(cannot(e)),
            Ok(()) => {}
        }
        let set = SetWriter { store: self.clone(), instance: instance.to_owned(), id: id.clone(), dir };
        set.store.mark(&set.dir)?;
        local::sync_dir(&path).map_err(cannot)?;
        Ok(set)
    }

    /// Writes the marker of an unfinished set, with who is at it.
    pub(super) fn mark(&self, dir: &str) -> Result<()> {
        let marker = serde_json::json!({
            "host": local::host_name(),
            "pid": std::process::id(),
            "since": jiff::Timestamp::now().to_string(),
        });
        let path = format!("{dir}/{MARKER}");
        self.wait(self.op.write(&path, format!("{marker}\n").into_bytes()))
            .map_err(|e| failed(e, format!("cannot write {path} in the store {}", self.location())))?;
        let path = self.root.join(path);
        local::restrict(&path).map_err(|e| failed_io(e, format!("cannot set the mode of {}", path.display())))
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
        ObjectWriter::create(&self.store, format!("{}/{file}", self.dir))
    }

    /// Reads back an object that was finished.
    ///
    /// # Errors
    /// `Damaged` if it is not there, `Store` if it cannot be read.
    pub fn read(&self, file: &str) -> Result<ObjectReader> {
        check_object_name(file)?;
        ObjectReader::open(&self.store, format!("{}/{file}", self.dir))
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
        self.store.check_objects(&self.dir, manifest)?;
        let location = self.store.location();
        let cannot_io = |e| failed_io(e, format!("cannot publish the set {} in the store {location}", self.id));
        let cannot = |e| failed(e, format!("cannot publish the set {} in the store {location}", self.id));
        let path = self.store.set_path(&self.instance, &self.id);
        let (part, whole) = (format!("{}/{MANIFEST_PART}", self.dir), format!("{}/{MANIFEST}", self.dir));
        if self.store.wait(self.store.op.exists(&whole)).map_err(cannot)? {
            return Err(Error::new(ErrorKind::Conflict, format!("the set {} is already published", self.id)));
        }
        self.store.wait(self.store.op.write(&part, bytes)).map_err(cannot)?;
        local::restrict(&path.join(MANIFEST_PART)).map_err(cannot_io)?;
        // The objects' names have to be on disk before the manifest that vouches for them.
        local::sync_dir(&path).map_err(cannot_io)?;
        self.store.wait(self.store.op.rename(&part, &whole)).map_err(cannot)?;
        local::sync_dir(&path).map_err(cannot_io)?;
        // From here on the set is published. A marker that stays does not change that.
        let _ = self.store.wait(self.store.op.delete(&format!("{}/{MARKER}", self.dir)));
        let _ = local::sync_dir(&path);
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
