//! zstd, as its own tool and `tar --zstd` read it.

use std::io::{self, BufReader, Read, Write};

/// The most memory that a frame may ask its reader for, as a power of two: that of zstd's own tool.
const WINDOW_LOG_MAX: u32 = 27;

/// Compresses what is written to it, with a checksum at the end.
pub(super) fn writer<'a, W: Write>(level: i32, threads: u32, to: W) -> io::Result<zstd::Encoder<'a, W>> {
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
