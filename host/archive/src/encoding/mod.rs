//! From content to the bytes of an object, and back: content → (zstd | gzip) → (age) → bytes. The one place that knows; an
//! object's file name says which it is.

mod gzip;
mod keys;
mod recipients;
mod zstandard;

use std::io::{self, Read, Write};
use std::num::NonZero;

use age::stream::StreamWriter;

use self::gzip::GzipWriter;
pub use self::keys::Keys;
pub(crate) use self::keys::Opening;
pub use self::recipients::Recipients;
use super::digest::HashWriter;

/// How content is made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zstd: `tar --zstd` reads the archives.
    Zstd {
        /// 1 is fast, 19 is small.
        level: i32,
        /// Threads that compress; 0 means one for each processor.
        threads: u32,
    },
    /// gzip: every tar reads the archives.
    Gzip {
        /// 1 is fast, 9 is small.
        level: u32,
        /// Threads that compress; 0 means one for each processor.
        threads: u32,
    },
    /// Not at all.
    None,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd { level: 3, threads: 0 }
    }
}

impl Compression {
    /// The same, for what is small: on one thread.
    #[must_use]
    pub fn small(self) -> Self {
        match self {
            Self::Zstd { .. } => Self::Zstd { level: 3, threads: 1 },
            Self::Gzip { .. } => Self::Gzip { level: 6, threads: 1 },
            Self::None => Self::None,
        }
    }

    /// What file names end in.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Zstd { .. } => ".zst",
            Self::Gzip { .. } => ".gz",
            Self::None => "",
        }
    }
}

/// How content becomes the bytes of an object.
#[derive(Debug, Clone, Default)]
pub struct Format {
    /// How it is compressed.
    pub compression: Compression,
    /// To whom it is encrypted; none: it is not.
    pub recipients: Option<Recipients>,
}

impl Format {
    /// What file names end in: `.zst.age`.
    #[must_use]
    pub fn suffix(&self) -> String {
        let age = if self.recipients.is_some() { AGE } else { "" };
        format!("{}{age}", self.compression.suffix())
    }

    /// The same, for what is small.
    #[must_use]
    pub fn small(&self) -> Self {
        Self { compression: self.compression.small(), recipients: self.recipients.clone() }
    }
}

const AGE: &str = ".age";

/// What an object's file name says about its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layers {
    /// How it is compressed, with the default level.
    pub compression: Compression,
    /// Whether it is an age file.
    pub encrypted: bool,
}

impl Layers {
    /// Reads the end of a file name.
    #[must_use]
    pub fn of(file: &str) -> Self {
        let (name, encrypted) = file.strip_suffix(AGE).map_or((file, false), |name| (name, true));
        let compression = if name.ends_with(".zst") {
            Compression::default()
        } else if name.ends_with(".gz") {
            Compression::Gzip { level: 6, threads: 0 }
        } else {
            Compression::None
        };
        Self { compression, encrypted }
    }

    /// A file name without the ends that this reads.
    #[must_use]
    pub fn strip(file: &str) -> &str {
        let name = file.strip_suffix(AGE).unwrap_or(file);
        name.strip_suffix(".zst").or_else(|| name.strip_suffix(".gz")).unwrap_or(name)
    }
}

/// Where the bytes go: hashed as they are stored.
type Stored<'a> = HashWriter<&'a mut dyn Write>;

/// Encrypts, or not.
pub(crate) enum Sealer<'a> {
    Plain(Stored<'a>),
    Age(StreamWriter<Stored<'a>>),
}

impl Write for Sealer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(to) => to.write(bytes),
            Self::Age(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.flush(),
            Self::Age(to) => to.flush(),
        }
    }
}

/// Encodes what is written to it.
pub(crate) enum Encoder<'a> {
    Zstd(zstd::Encoder<'a, Sealer<'a>>),
    Gzip(GzipWriter<Sealer<'a>>),
    None(Sealer<'a>),
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(format: &Format, to: &'a mut dyn Write) -> io::Result<Self> {
        let to = HashWriter::new(to);
        let to = match &format.recipients {
            Some(recipients) => Sealer::Age(recipients.writer(to)?),
            None => Sealer::Plain(to),
        };
        Ok(match format.compression {
            Compression::Zstd { level, threads } => Self::Zstd(zstandard::writer(level, count(threads), to)?),
            Compression::Gzip { level, threads } => Self::Gzip(GzipWriter::new(level, count(threads), to)?),
            Compression::None => Self::None(to),
        })
    }

    /// Writes the end, and gives what was hashed.
    pub(crate) fn finish(self) -> io::Result<Stored<'a>> {
        let sealer = match self {
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::None(sealer) => sealer,
        };
        match sealer {
            Sealer::Plain(to) => Ok(to),
            Sealer::Age(to) => to.finish(),
        }
    }
}

impl Write for Encoder<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Zstd(to) => to.write(bytes),
            Self::Gzip(to) => to.write(bytes),
            Self::None(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Zstd(to) => to.flush(),
            Self::Gzip(to) => to.flush(),
            Self::None(to) => to.flush(),
        }
    }
}

fn count(threads: u32) -> u32 {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get).try_into().unwrap_or(1),
        threads => threads,
    }
}

/// The content of the object `file`, whose bytes are `from`.
pub(crate) fn reader<'a>(
    file: &str,
    keys: &Keys,
    from: impl Read + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>, Opening> {
    let Layers { compression, encrypted } = Layers::of(file);
    if encrypted { decompressed(compression, keys.reader(from)?) } else { decompressed(compression, from) }
}

/// The content of a file whose first bytes say what it is, whatever it is called.
pub(crate) fn reader_by_content<'a>(
    keys: &Keys,
    from: impl Read + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>, Opening> {
    let (head, from) = peeked(from)?;
    if !head.starts_with(b"age-encryption.org/") {
        return decompressed(compression_of(&head), from);
    }
    let (head, from) = peeked(keys.reader(from)?)?;
    decompressed(compression_of(&head), from)
}

/// The first bytes, and a reader that gives them again.
fn peeked<'a>(mut from: impl Read + Send + 'a) -> Result<(Vec<u8>, impl Read + Send + 'a), Opening> {
    let mut head = Vec::new();
    from.by_ref().take(32).read_to_end(&mut head).map_err(Opening::Broken)?;
    Ok((head.clone(), io::Cursor::new(head).chain(from)))
}

fn compression_of(head: &[u8]) -> Compression {
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Compression::default()
    } else if head.starts_with(&[0x1f, 0x8b]) {
        Compression::Gzip { level: 6, threads: 0 }
    } else {
        Compression::None
    }
}

fn decompressed<'a>(
    compression: Compression,
    from: impl Read + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>, Opening> {
    Ok(match compression {
        Compression::Zstd { .. } => Box::new(zstandard::reader(from).map_err(Opening::Broken)?),
        Compression::Gzip { .. } => Box::new(gzip::reader(from)),
        Compression::None => Box::new(from),
    })
}
