//! Deleting: whole sets, and what interrupted runs left. Only files that bkhost could have made, never a pattern.

use serde::Deserialize;

use super::MARKER;
use super::error::failed_io;
use super::list::{is_known_name, is_rest};
use super::open::{Store, set_dir};
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
        if !self.has_set(&dir)? {
            return self.remove_records(instance, id);
        }
        self.refuse_strangers(&dir)?;
        let cannot = |e| failed_io(e, format!("cannot delete the set {id} from the store {}", self.location()));
        // One that is there is that of an earlier attempt.
        let _marked = self.mark(&dir)?;
        self.backend.settle(&dir).map_err(cannot)?;
        self.remove_file(&format!("{dir}/{MANIFEST}"))?;
        self.backend.settle(&dir).map_err(cannot)?;
        self.remove_rest(instance, id)?;
        self.remove_records(instance, id)
    }

    /// Removes what was written of a set that was not published. Idempotent: one that is gone is no error.
    ///
    /// # Errors
    /// `Conflict` if it is published, or if its directory holds what bkhost did not make; `Store` if it cannot be removed.
    pub fn abandon(&self, instance: &str, id: &SetId) -> Result<()> {
        let dir = set_dir(instance, id)?;
        if self.has_set(&dir)? { self.remove_rest(instance, id) } else { Ok(()) }
    }

    /// Whether there is anything of a set.
    fn has_set(&self, dir: &str) -> Result<bool> {
        let entries = self.backend.entries(dir);
        entries
            .map(|entries| entries.is_some())
            .map_err(|e| failed_io(e, format!("cannot list {dir} in the store {}", self.location())))
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
            let names = match self.names(&dir) {
                Ok(names) => names,
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
                // A set that cannot be looked into is no reason to make no more of them.
                Err(e) => {
                    swept.left.push((id, e.message().to_owned()));
                    continue;
                }
            };
            if !is_rest(names.iter().map(|(name, _)| name.as_str())) {
                continue;
            }
            if let Some(host) = self.marked_by(&dir).filter(|host| *host != super::host_name()) {
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

    pub(super) fn marked_by(&self, dir: &str) -> Option<String> {
        let bytes = self.backend.get(&format!("{dir}/{MARKER}"), 64 << 10).ok()??;
        serde_json::from_slice::<Marker>(&bytes).ok().map(|marker| marker.host)
    }

    /// Removes the files of a set without a manifest, the marker last, then its directory.
    pub(super) fn remove_rest(&self, instance: &str, id: &SetId) -> Result<()> {
        let dir = set_dir(instance, id)?;
        let names = self.names(&dir)?;
        if names.iter().any(|(name, _)| name == MANIFEST) {
            return Err(Error::new(ErrorKind::Conflict, format!("the set {id} is published"))
                .hint("only `bkhost prune` deletes published sets"));
        }
        self.refuse_strangers(&dir)?;
        for (name, _) in names.iter().filter(|(name, _)| name != MARKER) {
            self.remove_file(&format!("{dir}/{name}"))?;
        }
        let cannot = |e| failed_io(e, format!("cannot remove {dir} from the store {}", self.location()));
        self.backend.forget_uploads(&dir).map_err(cannot)?;
        self.remove_file(&format!("{dir}/{MARKER}"))?;
        self.backend.remove_dir(&dir).map_err(cannot)
    }

    pub(super) fn remove_file(&self, path: &str) -> Result<()> {
        self.backend
            .remove(path)
            .map_err(|e| failed_io(e, format!("cannot delete {path} from the store {}", self.location())))
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
