//! Has a file system write out what programs have changed.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::control::Control;
use crate::entry::Time;
use crate::error::Result;

/// File systems that only live in memory: there is nothing to write to, and so nothing makes later writes show.
const IN_MEMORY: [u64; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6]; // tmpfs, ramfs, hugetlbfs

/// Waits until everything is written that had been changed before, so that from then on every change shows in a file's
/// times. Gives whether that is so. The system call cannot be interrupted: if the work has to stop, it is left to itself.
pub(super) fn write_out(directory: &OwnedFd, control: &Control) -> Result<bool> {
    let in_memory = rustix::fs::fstatfs(directory).map(|fs| IN_MEMORY.contains(&u64::try_from(fs.f_type).unwrap_or(0)));
    let (Ok(false), Ok(directory)) = (in_memory, directory.try_clone()) else { return Ok(false) };
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        // Nobody listens if the work was stopped.
        let _ = sender.send(rustix::fs::syncfs(directory).is_ok());
    });
    loop {
        control.check()?;
        match receiver.recv_timeout(Duration::from_millis(20)) {
            Ok(worked) => return Ok(worked),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
    }
}

/// The time by the clock that local file systems use.
pub(super) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

/// `time` less `duration`.
pub(super) fn before(time: Time, duration: Duration) -> Time {
    let seconds = time.seconds.saturating_sub(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX));
    match time.nanos.checked_sub(duration.subsec_nanos()) {
        Some(nanos) => Time { seconds, nanos },
        None => Time {
            seconds: seconds.saturating_sub(1),
            nanos: time.nanos.saturating_add(1_000_000_000).saturating_sub(duration.subsec_nanos()),
        },
    }
}
