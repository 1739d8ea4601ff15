//! The compression of archives and streams.

use std::io::{self, BufReader, Read, Write};
use std::num::NonZero;

/// The format of archives and streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// zstd: `tar --zstd` reads the archives.
    Zstd {
        /// The level: 1 is fast, 19 is small.
        level: i32,
        /// Threads that compress; 0 means one for each processor.
        threads: u32,
    },
}

impl Default for Format {
    fn default() -> Self {
        Self::Zstd { level: 3, threads: 0 }
    }
}

/// The most memory that a frame may ask its reader for, as a power of two: that of zstd's own tool.
const WINDOW_LOG_MAX: u32 = 27;

/// Compresses what is written to it, with a checksum at the end.
pub(super) fn writer<'a, W: Write>(format: Format, to: W) -> io::Result<zstd::Encoder<'a, W>> {
    let Format::Zstd { level, threads } = format;
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get).try_into().unwrap_or(1),
        threads => threads,
    };
    let mut encoder = zstd::Encoder::new(to, level)?;
    encoder.multithread(threads)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

/// Decompresses `from`.
pub(super) fn reader<'a, R: Read>(from: R) -> io::Result<zstd::Decoder<'a, BufReader<R>>> {
    let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(256 << 10, from))?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}
