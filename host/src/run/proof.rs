//! Proving a set: reading every stored byte back and comparing it with the index.

use tokio_util::sync::CancellationToken;

use super::prune::blocking;
use crate::archive::set::{ObjectRecord, ObjectRole, PartRecord};
use crate::archive::{Control, Keys, Layers, PartObjects, verify_part, verify_stored, verify_stream};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Phase, Reporter};
use crate::store::ObjectReader;

/// Whether only the stored bytes of an object can be looked at.
pub(super) fn is_sealed(object: &ObjectRecord, keys: &Keys) -> bool {
    keys.is_empty() && Layers::of(&object.file).encrypted
}

/// Read every byte of a part's objects, which `open` opens by their names and `keys` decrypt: without any, encrypted ones are
/// compared as they are stored. Gives the number of entries that were compared with the index.
///
/// # Errors
/// `Damaged`, naming the object and the file; `Store` if it cannot be read; `Cancelled`.
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
pub(super) fn content_bytes(part: &PartRecord) -> u64 {
    part.sources.iter().fold(0, |sum, source| sum.saturating_add(source.bytes))
}
