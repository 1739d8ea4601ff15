//! The tar format: POSIX.1-2001 (PAX), with GNU's sparse files 1.0 and the `SCHILY` records of extended attributes and
//! ACLs, as GNU tar, bsdtar and star read them.

mod header;
mod pax;
pub(super) mod reader;
pub(super) mod writer;

pub(super) use pax::attribute_digest;

/// The unit of everything in a tar archive.
const BLOCK: usize = 512;

/// `length` rounded up to whole blocks, less `length`.
fn padding(length: u64) -> usize {
    let over = length % BLOCK as u64;
    if over == 0 { 0 } else { BLOCK.saturating_sub(usize::try_from(over).unwrap_or(0)) }
}
