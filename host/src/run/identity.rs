//! Which process is meant.

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::state::boot_id;
use crate::capability::start_time;
use crate::error::{ErrorKind, Result, ResultExt};

/// One process for ever: its number alone would be another's after a while, and after the next boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the boot.
    #[serde(default)]
    pub start: u64,
    /// The boot.
    pub boot_id: String,
}

impl ProcessId {
    /// This process.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub(super) fn own() -> Result<Self> {
        let pid = std::process::id();
        let start = start_time(pid)
            .ok_or("there is no such process")
            .or_error(ErrorKind::Io, || format!("cannot read /proc/{pid}/stat"))?;
        Ok(Self { pid, start, boot_id: boot_id()? })
    }

    /// Whether the machine was not booted since.
    #[must_use]
    pub(super) fn is_of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot_id)
    }

    /// Hold the process, so that what is sent reaches it and no other. None if it is gone.
    #[must_use]
    pub(super) fn hold(&self) -> Option<OwnedFd> {
        if !self.is_of_this_boot() {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after it is held: before, the number could still change hands.
        (start_time(self.pid) == Some(self.start)).then_some(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_no_other() {
        let own = ProcessId::own().unwrap();
        assert!(own.hold().is_some());
        assert!(ProcessId { start: own.start + 1, ..own.clone() }.hold().is_none());
        assert!(ProcessId { boot_id: "another".into(), ..own }.hold().is_none());
    }
}
