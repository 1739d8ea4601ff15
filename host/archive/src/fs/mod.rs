//! The file system as the archive sees it: always relative to an open directory, never through a symbolic link.

pub(super) mod attributes;
pub(super) mod dirs;
pub(super) mod links;
pub(super) mod open;
pub(super) mod owners;
pub(super) mod place;
pub(super) mod remove;
pub(super) mod sparse;
pub(super) mod status;
pub(super) mod walk;

use rustix::io::Errno;

use super::names::show;
use crate::error::{Error, ErrorKind};

/// The error for a system call that failed on a file: `could not read `a/b``.
pub(super) fn failed(what: &str, path: &[u8], errno: Errno) -> Error {
    let error = Error::new(ErrorKind::Io, format!("could not {what} `{}`", show(path))).because(errno);
    match errno {
        Errno::ACCESS | Errno::PERM => error.hint("run bkhost as root, or as a user who may do this"),
        Errno::NOSPC | Errno::DQUOT => error.hint("make room on the file system and try again"),
        Errno::MFILE => error.hint("raise the limit of open files (`ulimit -n`)"),
        Errno::IO => error.hint("the disk or the file system has an error: see the kernel's log"),
        _ => error,
    }
}

/// Whether this is what a system call says when the file it was about to read went away or was replaced by something
/// else.
pub(super) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO)
}
