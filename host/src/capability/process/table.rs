//! The machine's processes, as `/proc` tells them.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process. Its number alone may be another's soon; with its start time it names one process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// In clock ticks since the boot.
    pub(super) start: u64,
    pub(super) zombie: bool,
}

impl Entry {
    /// The process with this number.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the command's name in parentheses, and may hold anything.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        Some(Self {
            pid,
            parent: i32::try_from(number(1)?).ok()?,
            group: i32::try_from(number(2)?).ok()?,
            start: u64::try_from(number(19)?).ok()?,
            zombie: matches!(fields.first(), Some(&"Z" | &"X")),
        })
    }

    /// Whether its environment, as it was when its program was started, has a variable that `wanted` accepts.
    pub(super) fn environment_has(&self, wanted: impl Fn(&[u8]) -> bool) -> bool {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        environment.split(|b| *b == 0).any(wanted)
    }

    /// Send it SIGKILL; whether it was this process, and could be sent one.
    pub(super) fn kill(&self) -> bool {
        let Some(fd) = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            return false;
        };
        // The number could have become another process' before it was held: look again.
        Self::of(self.pid).is_some_and(|now| now.start == self.start) && pidfd_send_signal(&fd, Signal::KILL).is_ok()
    }
}

/// All of them, without those that have ended and are only waited for.
pub(super) fn all() -> Vec<Entry> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Entry::of)
        .filter(|entry| !entry.zombie)
        .collect()
}

/// When the process with this number was started, in clock ticks since the boot; none if there is none.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    Entry::of(i32::try_from(pid).ok()?).map(|entry| entry.start)
}
