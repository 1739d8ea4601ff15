//! One pass over the sources writes to all stores.

use std::io::{self, Write};
use std::sync::Arc;

use super::stores::Target;
use crate::archive::Keys;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{ObjectReader, ObjectWriter, SetWriter};

/// A set that is being written to several stores. Cheap to clone.
#[derive(Clone)]
pub(super) struct Writers(Vec<(Arc<Target>, SetWriter)>);

impl Writers {
    /// Of the set as it was begun in each store.
    pub(super) fn new(writers: Vec<(Arc<Target>, SetWriter)>) -> Self {
        Self(writers)
    }

    /// Those of the stores that still take part: the required ones first.
    pub(super) fn live(&self) -> Vec<(Arc<Target>, SetWriter)> {
        let live = self.0.iter().filter(|(target, _)| !target.is_dropped());
        let (mut all, rest): (Vec<_>, Vec<_>) = live.cloned().partition(|(target, _)| target.required);
        all.extend(rest);
        all
    }

    /// What opens the objects, if they are encrypted.
    pub(super) fn keys(&self) -> Keys {
        self.0.first().map(|(_, writer)| writer.keys().clone()).unwrap_or_default()
    }

    /// Begins an object in each store.
    ///
    /// # Errors
    /// As [`SetWriter::object`], of a store that is required.
    pub(super) fn object(&self, file: &str) -> Result<Object> {
        let mut objects = Vec::new();
        for (target, writer) in self.live() {
            match writer.object(file) {
                Ok(object) => objects.push((target, Some(object))),
                Err(error) => target.failed(error)?,
            }
        }
        Ok(Object { objects, bytes: 0 })
    }
}

/// An object that is being written to several stores.
pub(super) struct Object {
    objects: Vec<(Arc<Target>, Option<ObjectWriter>)>,
    bytes: u64,
}

impl Object {
    /// Ends the object everywhere. Its size.
    ///
    /// # Errors
    /// As [`ObjectWriter::finish`], of a store that is required; `Store` if one took another number of bytes.
    pub(super) fn finish(self) -> Result<u64> {
        for (target, object) in self.objects {
            let Some(object) = object.filter(|_| !target.is_dropped()) else { continue };
            let finished = object.finish().and_then(|stored| match stored == self.bytes {
                true => Ok(()),
                false => {
                    let text = format!("it took {stored} bytes of an object instead of {}", self.bytes);
                    Err(Error::new(ErrorKind::Store, text))
                }
            });
            if let Err(error) = finished {
                target.failed(error)?;
            }
        }
        Ok(self.bytes)
    }
}

impl Write for Object {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (target, object) in &mut self.objects {
            let Some(writer) = object else { continue };
            if target.is_dropped() {
                // What it has sent is taken back.
                *object = None;
            } else if let Err(error) = writer.write_all(bytes) {
                *object = None;
                target.failed(ours(error)).map_err(io::Error::other)?;
            }
        }
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A store's writer wraps one of ours.
fn ours(error: io::Error) -> Error {
    let kind = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map(Error::kind);
    match kind {
        Some(_) => match error.into_inner().map(|inner| inner.downcast::<Error>()) {
            Some(Ok(error)) => *error,
            _ => Error::new(ErrorKind::Store, "an object could not be written"),
        },
        None => Error::new(ErrorKind::Store, "an object could not be written").because(error),
    }
}

/// Compares the stored bytes of an object with what was recorded of it. `interrupted` is asked now and then.
///
/// # Errors
/// `Damaged` if they differ; `Store` if they cannot be read; `Cancelled`.
pub(super) fn same_bytes(
    mut reader: ObjectReader,
    object: &crate::archive::set::ObjectRecord,
    interrupted: &dyn Fn() -> bool,
) -> Result<()> {
    let hash = hash_of(&mut reader, &mut io::sink(), interrupted)?;
    if reader.len() != object.bytes || hash != object.blake3 {
        let text = format!("{} is not what was written: it has another hash", object.file);
        return Err(Error::new(ErrorKind::Damaged, text));
    }
    Ok(())
}

/// Copies all bytes; their BLAKE3.
///
/// # Errors
/// `Store` if it cannot be read or written; `Cancelled`.
pub(super) fn hash_of(reader: &mut ObjectReader, to: &mut dyn Write, interrupted: &dyn Fn() -> bool) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        if interrupted() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled while an object was read"));
        }
        let read = io::Read::read(reader, &mut buffer).map_err(ours)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        to.write_all(bytes).map_err(ours)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}
