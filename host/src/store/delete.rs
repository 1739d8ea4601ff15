//! Deleting: whole sets, and what interrupted runs left. Only files that bkhost could have made, never a pattern.

use serde::Deserialize;

use super::backend::{MARKER, Store, set_dir};
use super::error::{failed, failed_io};
use super::list::is_known_name;
use super::local;
use crate::archive::set::MANIFEST;
use crate::archive::{SetId, check_name};
use crate::error::{Error, ErrorKind, Result};

/// What [`Store::sweep`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// The rests that were removed.
    pub removed: Vec<SetId>,
    /// Those that stay, and why.
    pub left: Vec<(SetId, String)>,
}

/// What of a marker is read.
#[derive(Deserialize)]
struct Marker {
    host: String,
}

impl Store {
    /// Deletes a set, published or not, damaged or not. Idempotent: one that is gone is no error. Interrupted, it leaves
    /// an unpublished rest.
    ///
    /// # Errors
    /// `Conflict` if the set's directory holds what bkhost did not make: then nothing is deleted. `Store` if it cannot be
    /// deleted.
    pub fn delete(&self, instance: &str, id: &SetId) -> Result<()> {
        let dir = set_dir(instance, id)?;
        let path = self.set_path(instance, id);
        if !path.is_dir() {
            return self.remove_records(instance, id);
        }
        self.refuse_strangers(&dir)?;
        self.mark(&dir)?;
        let cannot = |e| failed_io(e, format!("cannot delete the set {id} from the store {}", self.location()));
        local::sync_dir(&path).map_err(cannot)?;
        self.remove_file(&format!("{dir}/{MANIFEST}"))?;
        local::sync_dir(&path).map_err(cannot)?;
        self.remove_rest(instance, id)?;
        self.remove_records(instance, id)
    }

    /// Removes what was written of a set that was not published. Idempotent: one that is gone is no error.
    ///
    /// # Errors
    /// `Conflict` if it is published, or if its directory holds what bkhost did not make; `Store` if it cannot be removed.
    pub fn abandon(&self, instance: &str, id: &SetId) -> Result<()> {
        set_dir(instance, id)?;
        if self.set_path(instance, id).is_dir() { self.remove_rest(instance, id) } else { Ok(()) }
    }

    /// Removes what interrupted runs of this machine left unpublished before the run `before`. The caller holds the
    /// instance's lock: no other run of this machine is under way.
    ///
    /// # Errors
    /// `Store` if the store cannot be listed. A rest that cannot be removed is told in the result.
    pub fn sweep(&self, instance: &str, before: &SetId) -> Result<Swept> {
        check_name("an instance", instance)?;
        let mut swept = Swept::default();
        for (name, is_dir) in self.names(instance)? {
            let Some(id) = name.parse::<SetId>().ok().filter(|id| is_dir && id < before) else { continue };
            let dir = set_dir(instance, &id)?;
            let names = self.names(&dir)?;
            let has = |name: &str| names.iter().any(|(n, _)| n == name);
            if has(MANIFEST) || !(names.is_empty() || has(MARKER)) {
                continue;
            }
            if let Some(host) = self.marked_by(&dir).filter(|host| *host != local::host_name()) {
                swept.left.push((id, format!("a run on the host `{host}` may be writing it")));
                continue;
            }
            match self.remove_rest(instance, &id) {
                Ok(()) => swept.removed.push(id),
                Err(e) => swept.left.push((id, e.message().to_owned())),
            }
        }
        Ok(swept)
    }

    fn marked_by(&self, dir: &str) -> Option<String> {
        let bytes = self.wait(self.op.read(&format!("{dir}/{MARKER}"))).ok()?;
        serde_json::from_slice::<Marker>(&bytes.to_vec()).ok().map(|marker| marker.host)
    }

    /// Removes the files of a set without a manifest, the marker last, then its directory.
    pub(super) fn remove_rest(&self, instance: &str, id: &SetId) -> Result<()> {
        let dir = set_dir(instance, id)?;
        let path = self.set_path(instance, id);
        let names = self.names(&dir)?;
        if names.iter().any(|(name, _)| name == MANIFEST) {
            return Err(Error::new(ErrorKind::Conflict, format!("the set {id} is published"))
                .hint("only `bkhost prune` deletes published sets"));
        }
        self.refuse_strangers(&dir)?;
        for (name, _) in names.iter().filter(|(name, _)| name != MARKER) {
            self.remove_file(&format!("{dir}/{name}"))?;
        }
        self.remove_file(&format!("{dir}/{MARKER}"))?;
        match local::remove_dir(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(failed_io(e, format!("cannot remove {} from the store", path.display())))
            }
            _ => Ok(()),
        }
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        self.wait(self.op.delete(path))
            .map_err(|e| failed(e, format!("cannot delete {path} from the store {}", self.location())))
    }

    fn refuse_strangers(&self, dir: &str) -> Result<()> {
        let stranger = self.names(dir)?.into_iter().find(|(name, is_dir)| *is_dir || !is_known_name(name));
        match stranger {
            None => Ok(()),
            Some((name, _)) => Err(Error::new(
                ErrorKind::Conflict,
                format!("{dir}/{} in the store {} was not made by bkhost", name.escape_debug(), self.location()),
            )
            .hint("nothing of this set was deleted; move that file or directory elsewhere")),
        }
    }
}
