//! Failures of a store, told so that the operator knows what to do.

use std::error::Error as _;
use std::io;

use crate::error::{Error, ErrorKind};

/// A failure of the operating system, or of a server; `message` says what was being done.
pub(super) fn failed_io(cause: io::Error, message: String) -> Error {
    use rustix::io::Errno;
    // One of ours knows what sort of failure it is, and what to do.
    if let Some(known) = cause.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return Error::new(known.kind(), message).because(cause);
    }
    let hint = match cause.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => Some("the store is full: make room, or prune old sets (`bkhost prune --keep-last N`)"),
        Some(Errno::DQUOT) => Some("the quota of the store is used up: raise it, or prune old sets"),
        Some(Errno::ROFS) => {
            Some("the store is mounted read-only: remount it, and look for disk errors in the kernel log")
        }
        Some(Errno::ACCESS | Errno::PERM) => Some("run bkhost as the user that owns the store"),
        Some(Errno::IO) => Some("the disk or its connection fails: look into the kernel log"),
        Some(Errno::STALE | Errno::TIMEDOUT | Errno::HOSTDOWN | Errno::NOTCONN) => {
            Some("the file system behind the store is gone: mount it again")
        }
        _ => None,
    };
    let error = Error::new(ErrorKind::Store, message).because(cause);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Our error as one that [`io::Write`] and [`io::Read`] can return.
pub(super) fn as_io(error: Error) -> io::Error {
    let kind = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .map_or(io::ErrorKind::Other, io::Error::kind);
    io::Error::new(kind, error)
}
