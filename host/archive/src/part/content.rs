//! Reads the content of files that may change meanwhile.

use rustix::io::{Errno, pread};

use crate::control::Control;
use crate::error::Result;
use crate::fs::failed;
use crate::fs::open::Opened;
use crate::fs::sparse::Segment;
use crate::fs::status::Status;

const BUFFER: usize = 1 << 20;

/// Zeros, for what a hole or a shrunken file leaves out.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What was read.
pub(super) struct Read {
    /// Of all bytes up to the size, holes included.
    pub(super) hash: blake3::Hash,
    /// The file was not the same after reading as before.
    pub(super) changed: bool,
}

/// Reads files; keeps its buffer.
#[derive(Default)]
pub(super) struct FileReader {
    buffer: Vec<u8>,
}

impl FileReader {
    /// Hands out exactly the bytes that the status and the map announce, whatever the file has now.
    pub(super) fn read(
        &mut self,
        opened: &Opened,
        segments: Option<&[Segment]>,
        path: &[u8],
        control: &Control,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Read> {
        if self.buffer.is_empty() {
            self.buffer.resize(BUFFER, 0);
        }
        let size = opened.status.size;
        let whole = [Segment { offset: 0, length: size }];
        let mut hasher = blake3::Hasher::new();
        let mut short = false;
        let mut end = 0u64;
        for segment in segments.unwrap_or(&whole) {
            hash_zeros(&mut hasher, segment.offset.saturating_sub(end), control)?;
            let mut left = segment.length;
            while left > 0 {
                control.check()?;
                let at = segment.offset.saturating_add(segment.length.saturating_sub(left));
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                let buffer = self.buffer.get_mut(..most).unwrap_or_default();
                let read = match pread(&opened.file, &mut *buffer, at) {
                    Ok(read) => read,
                    Err(Errno::INTR) => continue,
                    Err(e) => return Err(failed("read", path, e)),
                };
                let bytes = match read {
                    0 => {
                        short = true;
                        ZEROS.get(..most.min(ZEROS.len())).unwrap_or_default()
                    }
                    read => buffer.get(..read).unwrap_or_default(),
                };
                hasher.update(bytes);
                take(bytes)?;
                left = left.saturating_sub(bytes.len() as u64);
                control.advance(bytes.len() as u64);
            }
            end = segment.offset.saturating_add(segment.length);
        }
        hash_zeros(&mut hasher, size.saturating_sub(end), control)?;
        let after = Status::of(&opened.file).map_err(|e| failed("read the status of", path, e))?;
        Ok(Read { hash: hasher.finalize(), changed: short || !opened.status.unchanged(&after) })
    }
}

/// Hashes a hole.
pub(super) fn hash_zeros(hasher: &mut blake3::Hasher, mut count: u64, control: &Control) -> Result<()> {
    while count > 0 {
        control.check()?;
        let most = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(ZEROS.get(..most).unwrap_or_default());
        count = count.saturating_sub(most as u64);
        control.advance(most as u64);
    }
    Ok(())
}
