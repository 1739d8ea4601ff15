//! Failures of a store, told so that the operator knows what to do.

use std::error::Error as StdError;
use std::io;

use crate::error::{Error, ErrorKind};

/// A failure of opendal; `message` says what was being done.
pub(super) fn failed(error: opendal::Error, message: String) -> Error {
    if error.kind() == opendal::ErrorKind::ConditionNotMatch {
        return Error::new(ErrorKind::Conflict, message)
            .hint("it exists, or has changed meanwhile: nothing that a store holds is ever overwritten")
            .because(error);
    }
    match io_cause(&error) {
        Some(cause) => told(io::Error::new(cause.kind(), cause.to_string()), cause.raw_os_error(), message),
        None => Error::new(ErrorKind::Store, message).because(error),
    }
}

/// A failure of the operating system; `message` says what was being done.
pub(super) fn failed_io(error: io::Error, message: String) -> Error {
    let code = error.raw_os_error();
    told(error, code, message)
}

fn told(cause: io::Error, code: Option<i32>, message: String) -> Error {
    use rustix::io::Errno;
    let hint = match code.map(Errno::from_raw_os_error) {
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

/// The operating system's error below one of opendal's, which knows no full disk.
fn io_cause(error: &opendal::Error) -> Option<&io::Error> {
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = cause.source();
    }
    None
}

/// Our error as one that [`io::Write`] and [`io::Read`] can return.
pub(super) fn as_io(error: Error) -> io::Error {
    let kind = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .map_or(io::ErrorKind::Other, io::Error::kind);
    io::Error::new(kind, error)
}
