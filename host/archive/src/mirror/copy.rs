//! Copies the content of a file.

use std::os::fd::OwnedFd;

use rustix::fs::{copy_file_range, ftruncate, ioctl_ficlone};
use rustix::io::{Errno, pread, pwrite};

use crate::control::Control;
use crate::error::Result;
use crate::fs::failed;
use crate::fs::open::Opened;
use crate::fs::sparse::{self, Segment};

/// So much is copied by one system call, which cannot be interrupted.
const CHUNK: usize = 16 << 20;
const BUFFER: usize = 1 << 20;

/// Makes the empty file `to` equal to what `from` had when it was opened: shares its blocks where the file system can,
/// else copies its data and leaves its holes. Gives the bytes copied.
pub(super) fn content(from: &Opened, to: &OwnedFd, path: &[u8], control: &Control) -> Result<u64> {
    let size = from.status.size;
    if size == 0 {
        return Ok(0);
    }
    if ioctl_ficlone(to, &from.file).is_ok() {
        return Ok(size);
    }
    let segments = sparse::map(&from.file, &from.status).map_err(|e| failed("read", path, e))?;
    let whole = [Segment { offset: 0, length: size }];
    let mut written = 0u64;
    let mut buffer = Vec::new();
    for segment in segments.as_deref().unwrap_or(&whole) {
        written = written.saturating_add(range(&from.file, to, *segment, &mut buffer, path, control)?);
    }
    // The end may be a hole, or the file may have shrunk.
    ftruncate(to, size).map_err(|e| failed("write", path, e))?;
    Ok(written)
}

fn range(
    from: &OwnedFd,
    to: &OwnedFd,
    segment: Segment,
    buffer: &mut Vec<u8>,
    path: &[u8],
    control: &Control,
) -> Result<u64> {
    let mut done = 0u64;
    let mut in_kernel = true;
    while done < segment.length {
        control.check()?;
        let at = segment.offset.saturating_add(done);
        let left = usize::try_from(segment.length.saturating_sub(done)).unwrap_or(usize::MAX);
        let copied = if in_kernel {
            let (mut offset_in, mut offset_out) = (at, at);
            match copy_file_range(from, Some(&mut offset_in), to, Some(&mut offset_out), left.min(CHUNK)) {
                Ok(copied) if copied > 0 => copied,
                Err(Errno::INTR) => continue,
                Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::FBIG)) => {
                    return Err(failed("copy", path, e));
                }
                // Not between these file systems, or it says that nothing is left, which is not always true.
                Ok(_) | Err(_) => {
                    in_kernel = false;
                    continue;
                }
            }
        } else {
            match by_hand(from, to, at, left, buffer) {
                // The file shrank.
                Ok(0) => break,
                Ok(copied) => copied,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(failed("copy", path, e)),
            }
        };
        done = done.saturating_add(copied as u64);
        control.advance(copied as u64);
    }
    Ok(done)
}

fn by_hand(from: &OwnedFd, to: &OwnedFd, at: u64, left: usize, buffer: &mut Vec<u8>) -> rustix::io::Result<usize> {
    buffer.resize(BUFFER, 0);
    let read = pread(from, buffer.get_mut(..left.min(BUFFER)).unwrap_or_default(), at)?;
    let mut written = 0;
    while written < read {
        let rest = buffer.get(written..read).unwrap_or_default();
        match pwrite(to, rest, at.saturating_add(written as u64)) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => written = written.saturating_add(count),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}
