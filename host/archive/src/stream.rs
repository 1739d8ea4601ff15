//! Streams: the output of a process, encoded into an object of its own.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::control::Control;
use super::digest::{HashReader, Written};
use super::encoding::{self, Encoder, Format, Keys, Opening};
use super::object::ObjectRecord;
use super::part::{compare, damaged, locked, store_failed};
use crate::error::{Error, ErrorKind, Result, ResultExt as _};

/// What was written of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    /// The object.
    pub object: Written,
    /// The BLAKE3 hash of the stream itself, in hex; its size is `object.content_bytes`.
    pub content_blake3: String,
}

/// Reads `stream` to its end and writes it, encoded, into `object`. The writer still has to be flushed and closed.
/// Waiting for bytes cannot be interrupted from here: whoever cancels has to end what writes them.
///
/// # Errors
/// `Io` if the stream cannot be read, `Store` if the object cannot be written, `Cancelled`.
pub fn write_stream(
    mut stream: impl Read,
    mut object: impl Write,
    format: &Format,
    control: &Control,
) -> Result<StreamSummary> {
    write(&mut stream, &mut object, format, control)
}

fn write(stream: &mut dyn Read, object: &mut dyn Write, format: &Format, control: &Control) -> Result<StreamSummary> {
    let store = || "could not write the stream";
    let mut encoder = Encoder::new(format, object).or_error(ErrorKind::Store, store)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = match stream.read(&mut buffer) {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e).or_error(ErrorKind::Io, || "could not read the stream"),
        };
        // After the read: an end that came because the writer was killed is no end.
        control.check()?;
        if read == 0 {
            break;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        hasher.update(bytes);
        encoder.write_all(bytes).or_error(ErrorKind::Store, store)?;
        control.advance(read as u64);
    }
    let object = encoder.finish().or_error(ErrorKind::Store, store)?.written(hasher.count());
    control.finished();
    Ok(StreamSummary { object, content_blake3: hasher.finalize().to_hex().to_string() })
}

/// Reads every byte of a stream's object. Gives the size of the stream.
///
/// # Errors
/// `Damaged`, naming the object; `Denied` if no key opens it; `Store` if it cannot be read; `Cancelled`.
pub fn verify_stream(object: impl Read + Send, expected: &ObjectRecord, keys: &Keys, control: &Control) -> Result<u64> {
    let mut stream = StreamReader::new(object, expected, keys, control)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(stream.count),
            Ok(_) => {}
            Err(e) => return Err(told(e, &expected.file)),
        }
    }
}

/// Reads a stream's object into memory, if it is not larger than `most` bytes.
///
/// # Errors
/// As [`verify_stream`]; `Damaged` if it is larger.
pub fn read_stream(
    object: impl Read + Send,
    expected: &ObjectRecord,
    keys: &Keys,
    most: u64,
    control: &Control,
) -> Result<Vec<u8>> {
    if expected.content_bytes > most {
        let why = format!("it is said to hold {} bytes, and must not hold more than {most}", expected.content_bytes);
        return Err(damaged(&expected.file, None, &why));
    }
    let mut bytes = Vec::new();
    let mut stream = StreamReader::new(object, expected, keys, control)?;
    stream.read_to_end(&mut bytes).map_err(|e| told(e, &expected.file))?;
    Ok(bytes)
}

/// Our own errors travel inside those of a read: told as they are.
pub(super) fn told(error: io::Error, file: &str) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(e) => Error::new(ErrorKind::Internal, format!("could not read `{file}`")).because(e),
    }
}

/// A stored object, hashed on its way. What decodes it and who judges it share it.
struct Object<'a>(Arc<Mutex<HashReader<Box<dyn Read + Send + 'a>>>>);

impl<'a> Object<'a> {
    fn lock(&self) -> MutexGuard<'_, HashReader<Box<dyn Read + Send + 'a>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Object<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lock().read(buffer)
    }
}

/// The content of a stream's object. Its end is only reported once the whole object has been found to be what was
/// written; else the last read fails with an [`Error`] of kind `Damaged` inside. Who uses the bytes before that has to
/// be ready to drop them. More bytes than were written never come out.
pub struct StreamReader<'a> {
    raw: Object<'a>,
    decoder: Option<Box<dyn Read + Send + 'a>>,
    expected: ObjectRecord,
    control: Control,
    count: u64,
}

impl<'a> StreamReader<'a> {
    /// Reads the object that the set manifest describes as `expected`.
    ///
    /// # Errors
    /// `Denied` if no key opens it; `Damaged`; `Store` if it cannot be read.
    pub fn new(object: impl Read + Send + 'a, expected: &ObjectRecord, keys: &Keys, control: &Control) -> Result<Self> {
        let raw = HashReader::new(Box::new(object) as Box<dyn Read + Send>, control);
        let raw = Object(Arc::new(Mutex::new(raw)));
        let opened = encoding::reader(&expected.file, keys, Object(Arc::clone(&raw.0)));
        let mut reader = Self { raw, decoder: None, expected: expected.clone(), control: control.clone(), count: 0 };
        match opened {
            Ok(decoder) => reader.decoder = Some(decoder),
            Err(Opening::Locked(why)) => {
                reader.judge(None, false)?;
                return Err(locked(&expected.file, &why));
            }
            Err(Opening::Broken(e)) => {
                reader.judge(Some(&e), false)?;
                return Err(damaged(&expected.file, None, &format!("it cannot be opened: {e}")));
            }
        }
        Ok(reader)
    }

    /// Reads what is left of the object, and judges it. `trouble` is what the decoder said; `whole` that it came to its end.
    fn judge(&mut self, trouble: Option<&io::Error>, whole: bool) -> Result<()> {
        self.decoder = None;
        let mut raw = self.raw.lock();
        let read = match raw.finish() {
            Ok(read) => read,
            Err(_) if raw.failure().is_none() => return self.control.check(),
            Err(e) => return Err(store_failed(&self.expected.file, raw.failure().unwrap_or(e))),
        };
        if let Some(why) = raw.failure() {
            return Err(store_failed(&self.expected.file, why));
        }
        let why = match (compare(&read, &self.expected), trouble) {
            (Some(differs), Some(trouble)) => Some(format!("it cannot be decoded: {trouble} ({differs})")),
            (Some(differs), None) => Some(differs),
            (None, Some(trouble)) => Some(format!("it cannot be decoded: {trouble}")),
            (None, None) if whole && self.count != self.expected.content_bytes => {
                Some(format!("it holds {} bytes instead of {}", self.count, self.expected.content_bytes))
            }
            (None, None) => None,
        };
        match why {
            Some(why) => Err(damaged(&self.expected.file, None, &why)),
            None => Ok(()),
        }
    }
}

impl Read for StreamReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(decoder) = &mut self.decoder else { return Ok(0) };
        match decoder.read(buffer) {
            Ok(0) => {
                self.judge(None, true).map_err(io::Error::other)?;
                self.control.finished();
                Ok(0)
            }
            Ok(read) => {
                self.count = self.count.saturating_add(read as u64);
                if self.count > self.expected.content_bytes {
                    // A few bytes can be made to swell into any number.
                    let more = format!("it holds more than {} bytes", self.expected.content_bytes);
                    self.judge(Some(&io::Error::other(more)), false).map_err(io::Error::other)?;
                }
                self.control.advance(read as u64);
                Ok(read)
            }
            Err(e) => {
                self.control.check().map_err(io::Error::other)?;
                self.judge(Some(&e), false).map_err(io::Error::other)?;
                Err(e)
            }
        }
    }
}
