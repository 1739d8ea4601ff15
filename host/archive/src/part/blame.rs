//! Whose fault a failure while reading is.

use std::io::{self, Read};

use crate::control::Control;
use crate::digest::HashReader;
use crate::encoding::Keys;
use crate::error::{Error, ErrorKind, Result};
use crate::names::show;
use crate::object::ObjectRecord;

/// The two objects of a part's archive, as the set manifest describes them.
#[derive(Debug, Clone, Copy)]
pub struct PartObjects<'a> {
    /// The tar archive.
    pub data: &'a ObjectRecord,
    /// Its index.
    pub index: &'a ObjectRecord,
    /// What opens them, if they are encrypted.
    pub keys: &'a Keys,
}

/// The error for a damaged object. `file` is where it showed; `why` is what was wrong there.
pub(crate) fn damaged(object: &str, file: Option<&[u8]>, why: &str) -> Error {
    let at = file.map(|file| format!(" at `{}`", show(file))).unwrap_or_default();
    let error = Error::new(ErrorKind::Damaged, format!("`{object}` is damaged{at}: {why}"))
        .hint("restore from another set, or copy this object again from another store")
        .detail("object", object);
    match file {
        Some(file) => error.detail("file", show(file)),
        None => error,
    }
}

/// The error for an object that none of the keys opens, though it is as it was written.
pub(crate) fn locked(object: &str, why: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("`{object}` cannot be opened: {why}"))
        .hint("give the identity of one of those it was encrypted to with --identity FILE, or the passphrase")
        .detail("object", object)
}

/// Reads every byte of an object as it is stored, and compares its size and hash. Takes no key.
///
/// # Errors
/// `Damaged`, naming the object; `Store` if it cannot be read; `Cancelled`.
pub fn verify_stored(mut object: impl Read, expected: &ObjectRecord, control: &Control) -> Result<()> {
    let mut reader = HashReader::new(&mut object as &mut dyn Read, control);
    let mut buffer = vec![0; 256 << 10];
    while let Ok(read @ 1..) = reader.read(&mut buffer) {
        control.advance(read as u64);
    }
    let differs = finish(&mut reader, expected)?;
    control.finished();
    differs.map_or(Ok(()), |differs| Err(damaged(&expected.file, None, &differs)))
}

/// The error for a store that could not be read.
pub(crate) fn store_failed(object: &str, why: io::Error) -> Error {
    Error::new(ErrorKind::Store, format!("could not read `{object}` from the store"))
        .because(why)
        .detail("object", object)
}

/// Compares what was read with what was written. `None` if it is the same.
pub(crate) fn compare(read: &(u64, String), expected: &ObjectRecord) -> Option<String> {
    let (bytes, hash) = read;
    if *bytes != expected.bytes {
        return Some(format!("it has {bytes} bytes instead of {}", expected.bytes));
    }
    (*hash != expected.blake3).then(|| format!("its BLAKE3 hash is {hash} instead of {}", expected.blake3))
}

/// Something was wrong in an archive.
pub(crate) struct Trouble {
    /// What.
    pub(super) why: String,
    /// Where it showed.
    pub(super) file: Option<Vec<u8>>,
    /// It is only that no key opens this object.
    pub(super) locked: Option<String>,
}

/// Reads both objects to their ends, and tells which of them is not what was written.
pub(super) fn judge(
    data: &mut HashReader<impl Read>,
    index: &mut HashReader<impl Read>,
    objects: &PartObjects<'_>,
    trouble: Option<Trouble>,
) -> Result<()> {
    let data_differs = finish(data, objects.data)?;
    let index_differs = finish(index, objects.index)?;
    let file = trouble.as_ref().and_then(|trouble| trouble.file.as_deref());
    let why = trouble.as_ref().map(|trouble| trouble.why.as_str());
    match (data_differs, index_differs) {
        (Some(differs), index_differs) => {
            let why = why.map_or_else(|| differs.clone(), |why| format!("{why} ({differs})"));
            let error = damaged(&objects.data.file, file, &why);
            Err(match index_differs {
                Some(differs) => error.detail("also damaged", format!("{}: {differs}", objects.index.file)),
                None => error,
            })
        }
        (None, Some(differs)) => Err(damaged(&objects.index.file, file, &differs)),
        (None, None) => match why {
            Some(why) if trouble.as_ref().is_some_and(|trouble| trouble.locked.is_some()) => {
                let object = trouble.as_ref().and_then(|trouble| trouble.locked.as_deref());
                Err(locked(object.unwrap_or_default(), why))
            }
            Some(why) => {
                Err(damaged(&objects.data.file, file, &format!("{why}; both objects are as they were written")))
            }
            None => Ok(()),
        },
    }
}

fn finish(reader: &mut HashReader<impl Read>, expected: &ObjectRecord) -> Result<Option<String>> {
    match reader.finish() {
        Ok(read) => Ok(compare(&read, expected)),
        Err(e) => match reader.failure() {
            Some(why) => Err(store_failed(&expected.file, why)),
            None => Err(Error::new(ErrorKind::Cancelled, "stopped before everything was read").because(e)),
        },
    }
}
