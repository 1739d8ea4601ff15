//! Gives a file its owner, mode, times and attributes.

use rustix::io::{self, Errno};

use crate::entry::{Attributes, Time};
use crate::fs::attributes;
use crate::fs::place::Place;

const SET_ID: u32 = 0o6000;

/// What a file is to be given.
pub(crate) struct Metadata<'a> {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `None` for a symbolic link.
    pub(crate) mode: Option<u32>,
    pub(crate) mtime: Time,
    pub(crate) attributes: &'a Attributes,
    pub(crate) directory: bool,
}

/// What could not be given, because this user or this file system does not allow it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) owner: bool,
    pub(crate) attributes: u64,
}

/// Gives it all to a file, in the one order that works: a change of owner takes set-user-ID bits and capabilities away,
/// an ACL changes the mode, and everything but the time changes the time.
pub(crate) fn apply(place: &Place<'_>, metadata: &Metadata<'_>) -> io::Result<Refused> {
    let Metadata { uid, gid, mode, mtime, attributes, directory } = metadata;
    let owner = match place.set_owner(Some(*uid), Some(*gid)) {
        Ok(()) => false,
        Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => {
            // The group alone may be possible: one of the user's own.
            let _ = place.set_owner(None, Some(*gid));
            true
        }
        Err(e) => return Err(e),
    };
    let mut refused = Refused { owner, attributes: 0 };
    if mode.is_some() || !attributes.is_empty() {
        refused.attributes = attributes::write(place, attributes, *directory)?;
    }
    if let Some(mode) = mode {
        // Never set-user-ID for somebody else than it was meant for.
        place.set_mode(if owner && !directory { mode & !SET_ID } else { *mode })?;
    }
    place.set_mtime(*mtime)?;
    Ok(refused)
}
