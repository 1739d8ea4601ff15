//! One run at a time per instance.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Held while a run, restore or prune of an instance is under way. The kernel releases it when the process dies, however
/// it dies, so that a stale one cannot exist.
#[derive(Debug)]
pub(super) struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    /// Take the lock in the instance's state directory.
    ///
    /// # Errors
    /// `Busy`, with what holds it, if another process has it.
    pub(super) fn take(dir: &Path, what: &str) -> Result<Self> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .or_error(ErrorKind::Io, || format!("cannot open the instance's lock {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            // Only for the message: whoever holds it wrote it.
            let _ = file.read_to_string(&mut owner);
            return Err(Error::new(
                ErrorKind::Busy,
                format!("another bkhost works on this instance: {}", owner.trim()),
            )
            .hint(format!("wait for it to end; the lock is {}", path.display())));
        }
        let owner = format!("{what}, process {}, since {}\n", std::process::id(), jiff::Timestamp::now());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(owner.as_bytes()))
            .or_error(ErrorKind::Io, || format!("cannot write to the instance's lock {}", path.display()))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_about_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = InstanceLock::take(dir.path(), "backup 1").unwrap();
        let error = InstanceLock::take(dir.path(), "backup 2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.message().contains("backup 1"), "{error}");
        drop(first);
        InstanceLock::take(dir.path(), "backup 2").unwrap();
    }
}
