//! Where a file has data, and where it has holes.

use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::{self, Errno};

use super::status::Status;

/// The most stretches that a map keeps: beyond them, a file is read to its end with its holes.
const MAX_SEGMENTS: usize = 1 << 20;

/// A stretch of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The data of an open file with holes, in order; `None` if it has none. Moves the file's position.
pub(crate) fn map(file: impl AsFd, status: &Status) -> io::Result<Option<Vec<Segment>>> {
    let size = status.size;
    // Asking is dear on some file systems: a file that has all its blocks has no holes.
    if size == 0 || status.blocks.saturating_mul(512) >= size {
        return Ok(None);
    }
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            // This file system does not tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(e) => return Err(e),
        };
        let end = if segments.len() >= MAX_SEGMENTS { size } else { seek(&file, SeekFrom::Hole(start))?.min(size) };
        // Both may be past the size if the file grew; and must go forward whatever happens to it.
        if start >= size || end <= start {
            break;
        }
        segments.push(Segment { offset: start, length: end.saturating_sub(start) });
        at = end;
    }
    let whole = matches!(segments.as_slice(), [one] if one.offset == 0 && one.length == size);
    Ok((!whole).then_some(segments))
}
