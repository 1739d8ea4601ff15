//! Hashes bytes on their way.

use std::io::{self, Read, Write};

use super::control::Control;

/// What was written to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The object's size in bytes.
    pub bytes: u64,
    /// Its size after decompression.
    pub content_bytes: u64,
    /// The BLAKE3 hash of the object's bytes, in hex.
    pub blake3: String,
}

/// Hashes and counts what goes into a writer.
pub(super) struct HashWriter<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> HashWriter<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, hasher: blake3::Hasher::new() }
    }

    /// The writer, and the hash of what went through.
    pub(super) fn into_parts(self) -> (W, blake3::Hash) {
        let hash = self.hasher.finalize();
        (self.inner, hash)
    }

    /// What went through, of `content_bytes` before compression.
    pub(super) fn written(&self, content_bytes: u64) -> Written {
        let blake3 = self.hasher.finalize().to_hex().to_string();
        Written { bytes: self.hasher.count(), content_bytes, blake3 }
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Counts what goes into a writer.
pub(super) struct CountWriter<W> {
    pub(super) inner: W,
    pub(super) count: u64,
}

impl<W: Write> Write for CountWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count = self.count.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes and counts what comes out of a stored object, and remembers whether the store failed: all other errors of the
/// readers above it mean damage.
pub(super) struct HashReader<R> {
    inner: R,
    hasher: blake3::Hasher,
    control: Control,
    failed: Option<io::Error>,
}

impl<R: Read> HashReader<R> {
    pub(super) fn new(inner: R, control: &Control) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), control: control.clone(), failed: None }
    }

    /// Reads to the end, and gives size and hash of everything.
    pub(super) fn finish(&mut self) -> io::Result<(u64, String)> {
        let mut buffer = vec![0; 256 << 10];
        while self.read(&mut buffer)? > 0 {}
        Ok((self.hasher.count(), self.hasher.finalize().to_hex().to_string()))
    }

    /// How the store failed, if it did.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failed.as_ref().map(same)
    }
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.control.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        loop {
            match self.inner.read(buffer) {
                Ok(read) => {
                    self.hasher.update(buffer.get(..read).unwrap_or_default());
                    return Ok(read);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.failed = Some(same(&e));
                    return Err(e);
                }
            }
        }
    }
}

/// The same failure once more: that of the operating system, where there is one below it.
fn same(error: &io::Error) -> io::Error {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let io = cause.downcast_ref::<io::Error>();
        if let Some(code) = io.and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(code);
        }
        // An error within an I/O error is none of its sources.
        next = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    io::Error::new(error.kind(), error.to_string())
}
