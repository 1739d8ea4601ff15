//! Opens regular files to read them.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Mode, OFlags, openat};
use rustix::io::{self, Errno};

use super::is_gone;
use super::status::Status;
use crate::entry::Time;

/// A file that was opened for reading, and its status before.
pub(crate) struct Opened {
    pub(crate) file: OwnedFd,
    pub(crate) status: Status,
}

/// Longer than the tick of a Linux clock.
const TICK: Duration = Duration::from_millis(15);

/// How long to wait so that the next change to a file that last changed at `ctime` gets another time: else a change
/// while it is read could not be told from the one before.
fn rest_of_tick(ctime: Time) -> Option<Duration> {
    let since = Duration::new(u64::try_from(ctime.seconds).ok()?, ctime.nanos);
    let age = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(since)?;
    TICK.checked_sub(age)
}

/// Opens files.
#[derive(Default)]
pub(crate) struct Opener {
    /// Only a file's owner and root may leave its access time alone: not tried again after the first refusal.
    sets_access_time: bool,
}

impl Opener {
    /// Opens a regular file; `None` if it is gone, or is no regular file any more.
    pub(crate) fn open(&mut self, parent: impl AsFd, name: &[u8]) -> io::Result<Option<Opened>> {
        // What became a pipe a moment ago must not make us wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut opened = Err(Errno::PERM);
        if !self.sets_access_time {
            opened = openat(&parent, name, flags | OFlags::NOATIME, Mode::empty());
        }
        if matches!(opened, Err(Errno::PERM)) {
            opened = openat(&parent, name, flags, Mode::empty());
            self.sets_access_time = opened.is_ok();
        }
        let file = match opened {
            Ok(file) => file,
            Err(e) if is_gone(e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut status = Status::of(&file)?;
        if let Some(rest) = rest_of_tick(status.ctime) {
            std::thread::sleep(rest);
            status = Status::of(&file)?;
        }
        Ok((status.kind == FileType::RegularFile).then_some(Opened { file, status }))
    }
}
