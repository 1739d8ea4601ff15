//! Objects: one stream of bytes each, written once and read from front to back.

use std::io::{self, Read, Write};

use super::backend::Sink;
use super::error::{as_io, failed_io};
use super::open::Store;
use crate::error::{Error, ErrorKind, Result};

/// Writes one object. It counts only after [`ObjectWriter::finish`].
pub struct ObjectWriter {
    place: String,
    bytes: u64,
    sink: Option<Box<dyn Sink>>,
}

impl ObjectWriter {
    /// Begins the object `path`, which must not exist.
    pub(super) fn create(store: &Store, path: &str) -> Result<Self> {
        let place = format!("{path} in the store {}", store.location());
        let sink = store.backend.create(path).map_err(|e| failed_io(e, format!("cannot write {place}")))?;
        let sink = sink.ok_or_else(|| {
            Error::new(ErrorKind::Conflict, format!("{path} already exists in the store {}", store.location()))
                .hint("nothing that a store holds is ever overwritten")
        })?;
        Ok(Self { place, bytes: 0, sink: Some(sink) })
    }

    /// Ends the object: its bytes are on disk when this returns. Its size.
    ///
    /// # Errors
    /// `Store`, with the reason.
    pub fn finish(mut self) -> Result<u64> {
        if let Some(sink) = self.sink.take() {
            sink.finish().map_err(|e| self.failed(e))?;
        }
        Ok(self.bytes)
    }

    fn failed(&self, error: io::Error) -> Error {
        failed_io(error, format!("cannot write {}", self.place))
    }
}

impl Write for ObjectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(sink) = &mut self.sink else { return Err(io::Error::other("a finished object was written to")) };
        let written = sink.write(bytes).map_err(|e| as_io(self.failed(e)))?;
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    /// Nothing: an object counts when it is finished, and small pieces cost.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectWriter").field("place", &self.place).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Reads one object, as it is stored.
pub struct ObjectReader {
    place: String,
    len: u64,
    offset: u64,
    source: Box<dyn Read + Send>,
}

impl ObjectReader {
    pub(super) fn open(store: &Store, path: &str) -> Result<Self> {
        let place = format!("{path} in the store {}", store.location());
        let name = path.rsplit('/').next().unwrap_or(path);
        let failed = |e| failed_io(e, format!("cannot read {place}")).detail("object", name);
        let source = store.backend.open(path).map_err(failed)?;
        let (len, source) = source.ok_or_else(|| {
            Error::new(ErrorKind::Damaged, format!("{path} is missing in the store {}", store.location()))
                .detail("object", name)
        })?;
        Ok(Self { place, len, offset: 0, source })
    }

    /// Its size in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a size in bytes, not a collection")]
    pub fn len(&self) -> u64 {
        self.len
    }
}

impl std::fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectReader").field("place", &self.place).field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // What grows while it is read is not read beyond its size.
        let room = usize::try_from(self.len.saturating_sub(self.offset)).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = self
            .source
            .read(buffer)
            .map_err(|e| as_io(failed_io(e, format!("cannot read {} at byte {}", self.place, self.offset))))?;
        if read == 0 {
            let text = format!("{} became shorter while it was read", self.place);
            return Err(as_io(Error::new(ErrorKind::Damaged, text)));
        }
        self.offset = self.offset.saturating_add(read as u64);
        Ok(read)
    }
}
