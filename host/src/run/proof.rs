//! Proving a set: reading every stored byte back and comparing it with the index.

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::chain::{Chain, Known};
use super::in_use;
use super::prune::blocking;
use crate::archive::set::{ObjectRecord, ObjectRole, PartRecord};
use crate::archive::{Control, Keys, Layers, PartObjects, SetId, verify_part, verify_stored, verify_stream};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Phase, Reporter};
use crate::store::{ObjectReader, StoredSet};

/// What was verified of a set.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verified {
    /// The set.
    pub id: SetId,
    /// Objects read.
    pub objects: u64,
    /// Entries compared with the index.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Objects of which only the stored bytes were looked at: they are encrypted, and there was no identity.
    #[serde(skip_serializing_if = "is_zero")]
    pub sealed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Verify all of a set, and of the sets on which it builds what it needs of them. What is `known` is not read again.
///
/// # Errors
/// `Damaged`, naming the object and the file; `Store` if it cannot be read; `NotFound` or `Busy` if it is deleted;
/// `Cancelled`.
pub async fn verify_set(
    reporter: &Reporter,
    set: &StoredSet,
    known: &mut Known,
    cancel: &CancellationToken,
) -> Result<Verified> {
    let in_use = in_use::read(reporter, set, "verify").await?;
    let verified = verify_marked(reporter, set, known, cancel).await;
    in_use.end().await;
    verified
}

async fn verify_marked(
    reporter: &Reporter,
    set: &StoredSet,
    known: &mut Known,
    cancel: &CancellationToken,
) -> Result<Verified> {
    let set = &set.cancelled_by(cancel);
    let mut verified = Verified { id: set.manifest.id.clone(), objects: 0, entries: 0, bytes: 0, sealed: 0 };
    for part in &set.manifest.parts {
        verified.entries += Chain::find(set, part).await?.prove(reporter, known, cancel).await?;
        verified.objects += part.objects.len() as u64;
        verified.sealed += part.objects.iter().filter(|object| is_sealed(object, set.keys())).count() as u64;
        verified.bytes = verified.bytes.saturating_add(content_bytes(part));
    }
    Ok(verified)
}

/// Whether only the stored bytes of an object can be looked at.
fn is_sealed(object: &ObjectRecord, keys: &Keys) -> bool {
    keys.is_empty() && Layers::of(&object.file).encrypted
}

/// Read every byte of a part's objects, which `open` opens by their names and `keys` decrypt: without any, encrypted ones are
/// compared as they are stored. Gives the number of entries that were compared with the index.
///
/// # Errors
/// As [`verify_set`].
pub(super) async fn prove(
    reporter: &Reporter,
    part: &PartRecord,
    keys: &Keys,
    open: impl Fn(&str) -> Result<ObjectReader> + Send + 'static,
    cancel: &CancellationToken,
) -> Result<u64> {
    let control = watched(reporter, &part.name, Phase::Verify.name(), Some(content_bytes(part)), cancel);
    let (part, keys) = (part.clone(), keys.clone());
    blocking(move || {
        let mut entries = 0;
        if part.objects.iter().any(|object| is_sealed(object, &keys)) {
            for object in &part.objects {
                verify_stored(open(&object.file)?, object, &control)?;
            }
            return Ok(0);
        }
        if let Some(objects) = part_objects(&part, &keys)? {
            entries += verify_part(open(&objects.data.file)?, open(&objects.index.file)?, &objects, &control)?;
        }
        for stream in part.objects.iter().filter(|object| object.role == ObjectRole::Stream) {
            verify_stream(open(&stream.file)?, stream, &keys, &control)?;
            entries += 1;
        }
        for notes in part.objects.iter().filter(|object| object.role == ObjectRole::Notes) {
            verify_stream(open(&notes.file)?, notes, &keys, &control)?;
        }
        Ok(entries)
    })
    .await
}

/// The archive of a part and its index; none if all its sources are streams or stay with the vendor.
///
/// # Errors
/// `Damaged` if there is one without the other.
pub(super) fn part_objects<'a>(part: &'a PartRecord, keys: &'a Keys) -> Result<Option<PartObjects<'a>>> {
    let find = |role| part.objects.iter().find(|object| object.role == role);
    match (find(ObjectRole::Data), find(ObjectRole::Index)) {
        (Some(data), Some(index)) => Ok(Some(PartObjects { data, index, keys })),
        (None, None) => Ok(None),
        _ => Err(Error::new(
            ErrorKind::Damaged,
            format!("part `{}` of the set has an archive without an index, or an index without an archive", part.name),
        )),
    }
}

/// A control that reports as progress of a part.
pub(super) fn watched(
    reporter: &Reporter,
    part: &str,
    what: &'static str,
    total: Option<u64>,
    cancel: &CancellationToken,
) -> Control {
    let (reporter, part) = (reporter.clone(), part.to_owned());
    Control::new(cancel.clone(), move |done| reporter.progress(&part, what, done, total))
}

/// Bytes of content in a part, as its sources count them.
fn content_bytes(part: &PartRecord) -> u64 {
    part.sources.iter().fold(0, |sum, source| sum.saturating_add(source.bytes))
}
