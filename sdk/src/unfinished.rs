//! Restores that die just before they come to their end, for strategies that cannot mark what they make as complete.

use std::io::{ErrorKind, Write};

use crate::{Error, Result, path};

/// The label of the restore that has made all, and gives it its name.
const COMPLETE: &str = "/state/complete";

/// Note that the restore of this label has made all of it, and gives it its name now. To be called right before that: what has
/// the name from then on is complete.
///
/// # Errors
/// It cannot be written.
pub fn note_complete(label: &str) -> Result<()> {
    std::fs::File::create(path::local(COMPLETE))
        .and_then(|mut file| file.write_all(label.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| Error::io(format!("writing {COMPLETE}"), &error))
}

/// Note that it has not got its name after all.
///
/// # Errors
/// It is still noted that it has.
pub fn forget_complete() -> Result<()> {
    match std::fs::remove_file(path::local(COMPLETE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(format!("removing {COMPLETE}"), &error)),
        _ => Ok(()),
    }
}

/// Whether that was noted of this restore: if what it was to make has its name, it is complete.
///
/// # Errors
/// It cannot be read.
pub fn is_complete(label: &str) -> Result<bool> {
    match std::fs::read(path::local(COMPLETE)) {
        Ok(noted) => Ok(noted == label.as_bytes()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("reading {COMPLETE}"), &error)),
    }
}
