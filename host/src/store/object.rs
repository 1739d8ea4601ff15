//! Objects: one stream of bytes each, written once and read from front to back.

use std::io::{self, Read, Write};

use opendal::{Reader, Writer};

use super::backend::Store;
use super::error::{as_io, failed, failed_io};
use super::local;
use crate::error::{Error, ErrorKind, Result};

/// So much is handed to the backend at once: large enough that its threads and system calls do not matter.
const CHUNK: usize = 1 << 20;

/// Writes one object. It counts only after [`ObjectWriter::finish`].
pub struct ObjectWriter {
    store: Store,
    path: String,
    buffer: Vec<u8>,
    bytes: u64,
    writer: Option<Writer>,
}

impl ObjectWriter {
    /// Begins the object `path`, which must not exist.
    pub(super) fn create(store: &Store, path: String) -> Result<Self> {
        let options = opendal::options::WriteOptions { if_not_exists: true, ..Default::default() };
        let cannot = |e| failed(e, format!("cannot write {path} in the store {}", store.location()));
        // The file service opens its file with the first byte, and only then sees one that exists: look now as well.
        if store.wait(store.op.exists(&path)).map_err(cannot)? {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("{path} already exists in the store {}", store.location()),
            )
            .hint("nothing that a store holds is ever overwritten"));
        }
        let writer = store.wait(store.op.writer_options(&path, options)).map_err(cannot)?;
        Ok(Self { store: store.clone(), path, buffer: Vec::with_capacity(CHUNK), bytes: 0, writer: Some(writer) })
    }

    /// Ends the object: its bytes are on disk when this returns. Its size.
    ///
    /// # Errors
    /// `Store`, with the reason.
    pub fn finish(mut self) -> Result<u64> {
        self.drain()?;
        if let Some(mut writer) = self.writer.take() {
            let closed = self.store.wait(writer.close());
            self.drop_writer(writer);
            closed.map_err(|e| self.failed(e))?;
        }
        let path = self.store.root.join(&self.path);
        local::restrict(&path).map_err(|e| failed_io(e, format!("cannot set the mode of {}", path.display())))?;
        Ok(self.bytes)
    }

    fn drain(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let writer =
            self.writer.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "a finished object was written to"))?;
        let written = self.store.wait(writer.write(chunk));
        written.map_err(|e| self.failed(e))
    }

    fn failed(&self, error: opendal::Error) -> Error {
        failed(error, format!("cannot write {} in the store {}", self.path, self.store.location()))
    }

    fn drop_writer(&self, writer: Writer) {
        let _in_runtime = self.store.handle().enter();
        drop(writer);
    }
}

impl Write for ObjectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK.saturating_sub(self.buffer.len());
        let (now, _) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.buffer.extend_from_slice(now);
        self.bytes = self.bytes.saturating_add(now.len() as u64);
        if self.buffer.len() >= CHUNK {
            self.drain().map_err(as_io)?;
        }
        Ok(now.len())
    }

    /// Nothing: an object counts when it is finished, and small pieces cost.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.drop_writer(writer);
        }
    }
}

impl std::fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectWriter").field("path", &self.path).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Reads one object, as it is stored.
pub struct ObjectReader {
    store: Store,
    path: String,
    len: u64,
    offset: u64,
    chunk: io::Cursor<Vec<u8>>,
    reader: Option<Reader>,
}

impl ObjectReader {
    pub(super) fn open(store: &Store, path: String) -> Result<Self> {
        let cannot = |e: opendal::Error| {
            if e.kind() == opendal::ErrorKind::NotFound {
                Error::new(ErrorKind::Damaged, format!("{path} is missing in the store {}", store.location()))
            } else {
                failed(e, format!("cannot read {path} in the store {}", store.location()))
            }
        };
        let len = store.wait(store.op.stat(&path)).map_err(cannot)?.content_length();
        let reader = store.wait(store.op.reader(&path)).map_err(cannot)?;
        Ok(Self {
            store: store.clone(),
            path,
            len,
            offset: 0,
            chunk: io::Cursor::new(Vec::new()),
            reader: Some(reader),
        })
    }

    /// Its size in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a size in bytes, not a collection")]
    pub fn len(&self) -> u64 {
        self.len
    }

    fn next_chunk(&mut self) -> Result<()> {
        let end = self.offset.saturating_add(CHUNK as u64).min(self.len);
        let Some(reader) = self.reader.as_ref().filter(|_| self.offset < end) else {
            return Ok(());
        };
        let bytes = self.store.wait(reader.read(self.offset..end)).map_err(|e| {
            failed(
                e,
                format!("cannot read {} at byte {} in the store {}", self.path, self.offset, self.store.location()),
            )
        })?;
        if bytes.is_empty() {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("{} in the store {} became shorter while it was read", self.path, self.store.location()),
            ));
        }
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        self.chunk = io::Cursor::new(bytes.to_vec());
        Ok(())
    }
}

impl std::fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectReader").field("path", &self.path).field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.position() >= self.chunk.get_ref().len() as u64 {
            self.next_chunk().map_err(as_io)?;
        }
        self.chunk.read(buffer)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        let _in_runtime = self.store.handle().enter();
        self.reader = None;
    }
}
