//! Streams: the output of a process, compressed into an object of its own.

use std::io::{self, BufReader, Read, Write};

use super::compress::{self, Format};
use super::control::Control;
use super::digest::{HashReader, HashWriter, Written};
use super::object::ObjectRecord;
use super::part::{compare, damaged, store_failed};
use crate::error::{Error, ErrorKind, Result, ResultExt as _};

/// What was written of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    /// The object.
    pub object: Written,
    /// The BLAKE3 hash of the stream itself, in hex; its size is `object.content_bytes`.
    pub content_blake3: String,
}

/// Reads `stream` to its end and writes it, compressed, into `object`. The writer still has to be flushed and closed.
/// Waiting for bytes cannot be interrupted from here: whoever cancels has to end what writes them.
///
/// # Errors
/// `Io` if the stream cannot be read, `Store` if the object cannot be written, `Cancelled`.
pub fn write_stream(
    mut stream: impl Read,
    mut object: impl Write,
    format: Format,
    control: &Control,
) -> Result<StreamSummary> {
    write(&mut stream, &mut object, format, control)
}

fn write(stream: &mut dyn Read, object: &mut dyn Write, format: Format, control: &Control) -> Result<StreamSummary> {
    let store = || "could not write the stream";
    let mut encoder = compress::writer(format, HashWriter::new(object)).or_error(ErrorKind::Store, store)?;
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
/// `Damaged`, naming the object; `Store` if it cannot be read; `Cancelled`.
pub fn verify_stream(object: impl Read + Send, expected: &ObjectRecord, control: &Control) -> Result<u64> {
    let mut stream = StreamReader::new(object, expected, control)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(stream.count),
            Ok(_) => {}
            Err(e) => {
                // Our own errors travel inside: tell them as they are.
                return Err(match e.downcast::<Error>() {
                    Ok(error) => error,
                    Err(e) => Error::new(ErrorKind::Internal, format!("could not read `{}`", expected.file)).because(e),
                });
            }
        }
    }
}

/// A stored object, hashed on its way.
type Object<'a> = HashReader<Box<dyn Read + Send + 'a>>;

/// The content of a stream's object. Its end is only reported once the whole object has been found to be what was
/// written; else the last read fails with an [`Error`] of kind `Damaged` inside. Who uses the bytes before that has to
/// be ready to drop them.
pub struct StreamReader<'a> {
    decoder: Option<zstd::Decoder<'static, BufReader<Object<'a>>>>,
    expected: ObjectRecord,
    control: Control,
    count: u64,
}

impl<'a> StreamReader<'a> {
    /// Reads the object that the set manifest describes as `expected`.
    ///
    /// # Errors
    /// `Internal` if there is no memory for the decompressor.
    pub fn new(object: impl Read + Send + 'a, expected: &ObjectRecord, control: &Control) -> Result<Self> {
        let decoder = compress::reader(HashReader::new(Box::new(object) as Box<dyn Read + Send>, control))
            .or_error(ErrorKind::Internal, || "could not start to decompress")?;
        Ok(Self { decoder: Some(decoder), expected: expected.clone(), control: control.clone(), count: 0 })
    }

    /// Reads what is left of the object, and judges it. `trouble` is what the decompressor said.
    fn judge(&mut self, trouble: Option<&io::Error>) -> Result<()> {
        let Some(decoder) = self.decoder.take() else { return Ok(()) };
        let mut raw = decoder.finish().into_inner();
        let read = match raw.finish() {
            Ok(read) => read,
            Err(_) if raw.failure().is_none() => return self.control.check(),
            Err(e) => return Err(store_failed(&self.expected.file, raw.failure().unwrap_or(e.kind()))),
        };
        if let Some(kind) = raw.failure() {
            return Err(store_failed(&self.expected.file, kind));
        }
        let why = match (compare(&read, &self.expected), trouble) {
            (Some(differs), Some(trouble)) => Some(format!("it cannot be decompressed: {trouble} ({differs})")),
            (Some(differs), None) => Some(differs),
            (None, Some(trouble)) => Some(format!("it cannot be decompressed: {trouble}")),
            (None, None) if self.count != self.expected.content_bytes => {
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
                self.judge(None).map_err(io::Error::other)?;
                self.control.finished();
                Ok(0)
            }
            Ok(read) => {
                self.count = self.count.saturating_add(read as u64);
                self.control.advance(read as u64);
                Ok(read)
            }
            Err(e) => {
                self.control.check().map_err(io::Error::other)?;
                self.judge(Some(&e)).map_err(io::Error::other)?;
                Err(e)
            }
        }
    }
}
