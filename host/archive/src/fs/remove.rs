//! Removes whatever is at a name.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::dirs::{open_dir_to_change, reopen};
use super::failed;
use super::place::Place;
use super::walk::{Step, Walk};
use crate::control::Control;
use crate::error::Result;
use crate::exclude::Exclude;

/// Removes the entry `name` of an open directory, with all that is in it; never what a symbolic link points to. Gives
/// the number of entries removed: 0 if there was nothing.
pub(crate) fn remove(parent: impl AsFd, name: &[u8], control: &Control) -> Result<u64> {
    remove_within(parent.as_fd(), name, None, control)
}

/// Removes the entry `name` of an open directory, with all that is in it; never what a symbolic link points to, nor what is
/// mounted below it: a mount point is an error. If it is a directory, the file `mark` in it goes last: as long as anything
/// else is there, that is too. Gives the number of entries removed: 0 if there was nothing.
///
/// # Errors
/// `Io` for what cannot be removed; the rest of it is left.
pub fn remove_one_file_system(parent: impl AsFd, name: &std::ffi::OsStr, mark: &str) -> Result<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    remove_within(parent.as_fd(), name.as_bytes(), Some(mark), &Control::none())
}

/// With a mark: that goes last, and the rest of it has to be on one file system.
fn remove_within(parent: BorrowedFd<'_>, name: &[u8], mark: Option<&str>, control: &Control) -> Result<u64> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::NOENT) => return Ok(0),
        // What the system says for a directory.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(failed("remove", name, e)),
    }
    let directory = open_dir_to_change(parent, name).map_err(|e| failed("remove", name, e))?;
    let top = reopen(&directory).map_err(|e| failed("remove", name, e))?;
    let spared = Exclude::new(mark.map(|mark| format!("/{mark}")))?;
    let mut walk = Walk::new(directory, &spared, mark.is_some()).unlocking();
    let mut removed = 0;
    while let Some(step) = walk.next()? {
        control.check()?;
        let result = match &step {
            Step::Entry { parent, .. } => unlinkat(parent, walk.name(), AtFlags::empty()),
            Step::Leave { parent: Some(above), .. } => unlinkat(above, walk.name(), AtFlags::REMOVEDIR),
            Step::Leave { parent: None, .. } => {
                match mark.map(|mark| unlinkat(&top, mark, AtFlags::empty())) {
                    None | Some(Err(Errno::NOENT)) => {}
                    Some(Ok(())) => removed += 1,
                    Some(Err(e)) => return Err(failed("remove", name, e)),
                }
                unlinkat(parent, name, AtFlags::REMOVEDIR)
            }
            Step::Enter { directory, status } => {
                // Whoever is not root has to be allowed to write into it; if not, the next call says so.
                if status.mode & 0o700 != 0o700 {
                    let _ = Place::open(directory).set_mode(0o700);
                }
                continue;
            }
            Step::Vanished => continue,
        };
        match result {
            Ok(()) => removed += 1,
            Err(Errno::NOENT) => {}
            Err(e) => return Err(failed("remove", walk.path(), e)),
        }
    }
    Ok(removed)
}
