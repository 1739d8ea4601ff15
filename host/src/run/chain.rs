//! A part of a set together with those of the earlier sets on which its archive builds: what a restore of it needs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::proof;
use super::prune::blocking;
use super::sealed;
use crate::archive::SetId;
use crate::archive::set::PartRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Reporter;
use crate::store::StoredSet;

/// A part of a set.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) set: StoredSet,
    pub(super) part: PartRecord,
}

/// A part of a set, and those on which it builds.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    /// The oldest first.
    bases: Vec<Link>,
    last: Link,
}

/// What was read back already, and what came of it: sets that share a base share its verification. By the store, the set, and
/// the part or the object.
#[derive(Debug, Default)]
pub struct Known(Mutex<Read>);

type Read = BTreeMap<(String, SetId, String), Result<u64, String>>;

impl Known {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known of this; else what `look` finds, which is known from then on.
    ///
    /// # Errors
    /// Those of `look`; a damage that is known.
    pub(super) async fn or_look(
        &self,
        set: &StoredSet,
        what: &str,
        look: impl Future<Output = Result<u64>>,
    ) -> Result<u64> {
        let key = (set.store().location().to_owned(), set.manifest.id.clone(), what.to_owned());
        match self.map().get(&key) {
            Some(Ok(count)) => return Ok(*count),
            Some(Err(why)) => return Err(Error::new(ErrorKind::Damaged, why.clone())),
            None => {}
        }
        let found = look.await;
        match &found {
            Ok(count) => drop(self.map().insert(key, Ok(*count))),
            Err(e) if e.kind() == ErrorKind::Damaged => drop(self.map().insert(key, Err(e.to_string()))),
            Err(_) => {}
        }
        found
    }

    fn map(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chain {
    /// What a restore of this part needs. Looks at manifests and sizes, and reads no object.
    ///
    /// # Errors
    /// `Damaged`, naming the set that is missing or not whole; `Store` if it cannot be read.
    pub(super) async fn find(set: &StoredSet, part: &PartRecord) -> Result<Self> {
        let last = Link { set: set.clone(), part: part.clone() };
        if part.snapshot.base.is_none() {
            return Ok(Self { bases: Vec::new(), last });
        }
        let (set, name) = (set.clone(), part.name.clone());
        let bases = blocking(move || set.bases(&name)).await?;
        let mut bases: Vec<Link> = bases
            .into_iter()
            .filter_map(|set| Some(Link { part: set.manifest.part(&part.name)?.clone(), set }))
            .collect();
        bases = blocking(move || {
            for link in bases.iter_mut().filter(|link| !link.set.keys().is_empty()) {
                sealed::reveal_part(&link.set, &mut link.part)?;
            }
            Ok(bases)
        })
        .await?;
        if let Some(other) = bases.iter().find(|base| base.part.plugin != part.plugin) {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "part `{}` was made by the plugin {}, and builds on set {}, where it was made by {}",
                    part.name, part.plugin, other.set.manifest.id, other.part.plugin
                ),
            ));
        }
        Ok(Self { bases, last })
    }

    /// Only this part, whatever it builds on.
    pub(super) fn alone(set: &StoredSet, part: &PartRecord) -> Self {
        Self { bases: Vec::new(), last: Link { set: set.clone(), part: part.clone() } }
    }

    /// How many sets the part needs besides its own.
    pub(super) fn depth(&self) -> u32 {
        u32::try_from(self.bases.len()).unwrap_or(u32::MAX)
    }

    /// The part in each set, the oldest first.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.bases.iter().chain(std::iter::once(&self.last))
    }

    /// Whether this is the part in its own set.
    pub(super) fn is_last(&self, link: &Link) -> bool {
        std::ptr::eq(link, &raw const self.last)
    }

    /// The part in its own set.
    pub(super) fn last(&self) -> &Link {
        &self.last
    }

    /// Only those on which it builds, the oldest first.
    pub(super) fn into_bases(self) -> Vec<Link> {
        self.bases
    }

    /// The part in this set; none: in the one that the chain ends with.
    pub(super) fn link(&self, set: Option<&str>) -> Option<&Link> {
        match set {
            None => Some(&self.last),
            Some(set) => self.links().find(|link| link.set.manifest.id.as_str() == set),
        }
    }

    /// Read back every byte that a restore needs, the oldest first, but for what is known. Gives the entries of the part in
    /// its own set.
    ///
    /// # Errors
    /// `Damaged`, naming the object and, if it is another, the set; `Store` if it cannot be read; `Cancelled`.
    pub(super) async fn prove(&self, reporter: &Reporter, known: &Known, cancel: &CancellationToken) -> Result<u64> {
        let mut entries = 0;
        for link in self.links() {
            entries = link.prove(reporter, known, cancel).await.map_err(|e| self.told(link, e))?;
        }
        Ok(entries)
    }

    /// Damage in a set that nobody named has to say which set it is.
    pub(super) fn told(&self, link: &Link, error: Error) -> Error {
        let (id, last) = (&link.set.manifest.id, &self.last.set.manifest.id);
        if id == last || error.kind() == ErrorKind::Cancelled {
            return error;
        }
        error
            .within(format!("set {id}, on which part `{}` of set {last} builds", link.part.name))
            .detail("set", id.as_str())
    }
}

impl Link {
    async fn prove(&self, reporter: &Reporter, known: &Known, cancel: &CancellationToken) -> Result<u64> {
        let reader = self.set.clone();
        let read = move |file: &str| reader.object(file);
        known
            .or_look(&self.set, &self.part.name, proof::prove(reporter, &self.part, self.set.keys(), read, cancel))
            .await
    }
}
