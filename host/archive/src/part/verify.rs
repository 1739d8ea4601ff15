//! Proves that a stored archive is what was written.

use std::io::Read;

use super::blame::PartObjects;
use super::scan::{Fault, Visitor, scan};
use crate::control::Control;
use crate::error::Result;
use crate::index::IndexEntry;
use crate::tar::reader::Item;

/// Looks at everything, keeps nothing.
struct Nothing;

impl Visitor for Nothing {
    fn begin(&mut self, _: &Item, _: &IndexEntry) -> Result<(), Fault> {
        Ok(())
    }

    fn content(&mut self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Reads every byte of an archive and its index: sizes and hashes of both objects, every header, owner, mode, time, link
/// and attribute, and the hash of every file, none missing and none too many. Gives the number of entries.
///
/// # Errors
/// `Damaged`, naming the object and, where it shows, the file (also as the details `object` and `file`); `Denied` if no key
/// opens an object; `Store` if one cannot be read; `Cancelled`.
pub fn verify_part(
    mut object: impl Read + Send,
    mut index: impl Read + Send,
    objects: &PartObjects<'_>,
    control: &Control,
) -> Result<u64> {
    scan(&mut object, &mut index, objects, control, &mut Nothing)
}
