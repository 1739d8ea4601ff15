//! Verifying what is stored, as deep as is asked for.

mod absent;
mod objects;
mod plugins;
mod record;

use std::time::Instant;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use self::plugins::CheckedByPlugin;
pub(super) use self::plugins::ask_of_streams;
pub(super) use self::record::read_back;
use super::chain::{Chain, Known};
use super::in_use;
use super::proof::{content_bytes, is_sealed};
use super::prune::blocking;
use super::sealed::reveal;
use super::session::Session;
use crate::archive::SetId;
use crate::archive::set::SetManifest;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, waiting};
use crate::store::{Amiss, StoredSet};

/// So many parts or objects are read at once, if there are processors for it.
const AT_ONCE: usize = 4;

/// How deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// The manifest, and that all objects are there in their sizes.
    Quick,
    /// Every byte of every object, as it is stored.
    Objects,
    /// Besides, what is in them: every file against the index, and what the strategies' own tools say.
    Full,
}

/// What was verified of a set.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verified {
    /// The set.
    pub id: SetId,
    /// How deep.
    pub depth: Depth,
    /// Its objects.
    pub objects: u64,
    /// Their size in the store, in bytes.
    pub stored_bytes: u64,
    /// Entries compared with the index.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Objects of which only the stored bytes were looked at: they are encrypted, and there was no identity.
    #[serde(skip_serializing_if = "is_zero")]
    pub sealed: u64,
    /// What plugins said of their parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<CheckedByPlugin>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Verified {
    fn begun(manifest: &SetManifest, depth: Depth) -> Self {
        Self {
            id: manifest.id.clone(),
            depth,
            objects: manifest.objects().count() as u64,
            stored_bytes: manifest.stored_bytes(),
            entries: 0,
            bytes: manifest.parts.iter().fold(0, |sum, part| sum.saturating_add(content_bytes(part))),
            sealed: 0,
            plugins: Vec::new(),
            duration_ms: 0,
        }
    }
}

/// How sets are verified.
pub struct Verification<'a> {
    /// How deep.
    pub depth: Depth,
    /// Where it is reported.
    pub reporter: Reporter,
    /// The operator's cancel.
    pub cancel: CancellationToken,
    /// What was read already: sets that share a base share its verification.
    pub known: Known,
    /// The instance, for what its plugins can check; none: they are not asked.
    pub session: Option<&'a Session>,
}

impl Verification<'_> {
    /// Verify a set, and of the sets on which it builds what it needs of them; the result is recorded in the store, unless
    /// next to nothing was looked at.
    ///
    /// # Errors
    /// `Damaged`, naming the object and the file; `Store` if it cannot be read; `Plugin` if a plugin's check did not work;
    /// `NotFound` or `Busy` if it is deleted; `Cancelled`.
    pub async fn verify(&self, set: &StoredSet) -> Result<Verified> {
        let start = Instant::now();
        let in_use = in_use::read(&self.reporter, set, "verify").await?;
        let looked = self.look(&set.cancelled_by(&self.cancel)).await;
        in_use.end().await;
        let result = looked.map(|mut verified| {
            verified.duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            verified
        });
        if self.depth != Depth::Quick {
            record::write(&self.reporter, set, &result, self.depth, start.elapsed()).await;
        }
        result
    }

    async fn look(&self, set: &StoredSet) -> Result<Verified> {
        let manifest = &set.manifest;
        let mut verified = Verified::begun(manifest, self.depth);
        let looked = set.clone();
        let amiss = blocking(move || looked.amiss()).await?;
        let (mut chains, mut broken) = (Vec::new(), Vec::new());
        for part in &manifest.parts {
            match Chain::find(set, part).await {
                Ok(chain) => chains.push(chain),
                Err(error) if error.kind() == ErrorKind::Damaged => broken.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        let what = format!("set {} to be verified", manifest.id);
        let found = match self.depth {
            Depth::Quick => Vec::new(),
            Depth::Objects => waiting(&self.reporter, &what, objects::read(self, &chains, &amiss)).await,
            Depth::Full => waiting(&self.reporter, &what, self.files(&chains, &amiss)).await,
        };
        // What was read tells more of an object than its size.
        let told = |amiss: &Amiss| found.iter().any(|found| found.as_ref().is_err_and(|e| names(e, &amiss.object)));
        let rest: Vec<Amiss> = amiss.into_iter().filter(|amiss| !told(amiss)).collect();
        let within = |amiss: Amiss| Err(amiss.error.within(format!("the set {} is damaged", manifest.id)));
        let entries = all(found.into_iter().chain(rest.into_iter().map(within)).chain(broken).collect())?;
        match self.depth {
            Depth::Quick | Depth::Objects => {}
            Depth::Full => {
                verified.entries = entries;
                verified.sealed = manifest.objects().filter(|object| is_sealed(object, set.keys())).count() as u64;
                if let Some(session) = self.session {
                    verified.plugins = self.plugins(session, set, verified.sealed == 0).await?;
                }
            }
        }
        Ok(verified)
    }

    /// What the strategies' own tools say: of a set with what was hidden put back, if it can be opened.
    async fn plugins(&self, session: &Session, set: &StoredSet, opens: bool) -> Result<Vec<CheckedByPlugin>> {
        let set = if opens { reveal(set.clone()).await? } else { set.clone() };
        let mut chains = Vec::new();
        for part in &set.manifest.parts {
            chains.push(Chain::find(&set, part).await?);
        }
        plugins::ask(session, &set, &chains).await
    }

    /// Every file against the index. Gives the number of entries of each part.
    async fn files(&self, chains: &[Chain], amiss: &[Amiss]) -> Vec<Result<u64>> {
        let work = chains.iter().map(|chain| async move {
            match absent::of(chain, amiss) {
                Some(absent) => absent.told(self, chain).await,
                None => vec![chain.prove(&self.reporter, &self.known, &self.cancel).await],
            }
        });
        stream::iter(work).buffered(at_once()).collect::<Vec<_>>().await.into_iter().flatten().collect()
    }
}

/// Whether a failure is of this object.
fn names(error: &Error, object: &str) -> bool {
    error.details().iter().any(|(name, value)| name == "object" && value == object)
}

/// The sum, or all that went wrong: the first is the error, the others its details.
fn all(results: Vec<Result<u64>>) -> Result<u64> {
    let mut sum = 0_u64;
    let mut first: Option<Error> = None;
    for result in results {
        match result {
            Ok(count) => sum = sum.saturating_add(count),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => {
                first = Some(match first.take() {
                    Some(first) => first.detail("and", e.with_cause()),
                    None => e,
                });
            }
        }
    }
    first.map_or(Ok(sum), Err)
}

fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(AT_ONCE)
}
