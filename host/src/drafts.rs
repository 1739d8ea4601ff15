//! Drafts: files that are written under a name of their own until they are whole, and locked as long as they are anybody's.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Remove the drafts in a directory, by their names, of those who were killed while they wrote them. Best effort: one that
/// stays is in nobody's way.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn remove_unheld(dir: &Path, is_draft: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is_draft)
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = File::open(entry.path())
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}
