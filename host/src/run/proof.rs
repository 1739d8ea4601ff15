//! Proving a set: reading every stored byte back and comparing it with the index.

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::chain::{Chain, Known};
use super::prune::blocking;
use crate::archive::set::{ObjectRole, PartRecord};
use crate::archive::{Control, PartObjects, SetId, verify_part, verify_stream};
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
}

/// Verify all of a set, and of the sets on which it builds what it needs of them. What is `known` is not read again.
///
/// # Errors
/// `Damaged`, naming the object and the file; `Store` if it cannot be read; `Cancelled`.
pub async fn verify_set(
    reporter: &Reporter,
    set: &StoredSet,
    known: &mut Known,
    cancel: &CancellationToken,
) -> Result<Verified> {
    let mut verified = Verified { id: set.manifest.id.clone(), objects: 0, entries: 0, bytes: 0 };
    for part in &set.manifest.parts {
        verified.entries += Chain::find(set, part).await?.prove(reporter, known, cancel).await?;
        verified.objects += part.objects.len() as u64;
        verified.bytes = verified.bytes.saturating_add(content_bytes(part));
    }
    Ok(verified)
}

/// Read every byte of a part's objects, which `open` opens by their names. Gives the number of entries.
///
/// # Errors
/// As [`verify_set`].
pub(super) async fn prove(
    reporter: &Reporter,
    part: &PartRecord,
    open: impl Fn(&str) -> Result<ObjectReader> + Send + 'static,
    cancel: &CancellationToken,
) -> Result<u64> {
    let control = watched(reporter, &part.name, Phase::Verify.name(), Some(content_bytes(part)), cancel);
    let part = part.clone();
    blocking(move || {
        let mut entries = 0;
        if let Some(objects) = part_objects(&part)? {
            entries += verify_part(open(&objects.data.file)?, open(&objects.index.file)?, &objects, &control)?;
        }
        for stream in part.objects.iter().filter(|object| object.role == ObjectRole::Stream) {
            verify_stream(open(&stream.file)?, stream, &control)?;
            entries += 1;
        }
        Ok(entries)
    })
    .await
}

/// The archive of a part and its index; none if all its sources are streams or stay with the vendor.
///
/// # Errors
/// `Damaged` if there is one without the other.
pub(super) fn part_objects(part: &PartRecord) -> Result<Option<PartObjects<'_>>> {
    let find = |role| part.objects.iter().find(|object| object.role == role);
    match (find(ObjectRole::Data), find(ObjectRole::Index)) {
        (Some(data), Some(index)) => Ok(Some(PartObjects { data, index })),
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
