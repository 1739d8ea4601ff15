//! One run at a time per instance.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::identity::ProcessId;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Level, Reporter};

/// How the guard of a dead run names itself.
pub(super) const GUARD: &str = "guard of the dead run";
/// How long the guard of a dead run may hold the lock in one go, and then some.
const GUARD_PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked again.
const PAUSE: Duration = Duration::from_millis(100);
/// So often in a row nobody's name may be in it.
const NAMELESS: u32 = 10;

/// Who works on an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Owner {
    /// What it does: `backup 20261121-014200-4f2a9c`.
    pub(super) what: String,
    /// The process.
    #[serde(flatten)]
    pub(super) process: ProcessId,
    /// Since when.
    pub(super) since: Timestamp,
}

impl Owner {
    /// For people.
    #[must_use]
    pub(super) fn describe(&self) -> String {
        format!("{}, process {}, since {:.0}", self.what, self.process.pid, self.since)
    }
}

/// Held while a run, restore or prune of an instance is under way. The kernel releases it when the process dies, however
/// it dies: what is left in the file then is only the name of whoever died.
#[derive(Debug)]
pub(super) struct InstanceLock {
    file: File,
    /// Whoever died with the lock in its hands.
    pub(super) stale: Option<Owner>,
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
            .or_error(ErrorKind::Io, || format!("cannot open the instance's lock {}", path.display()))
            .map_err(|e| e.hint("make the state directory writable, or choose another with `[instance] state`"))?;
        let free = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let owner = read(&mut file);
        if !free {
            let who = owner.map_or_else(|| "it has not said who it is".to_owned(), |owner| owner.describe());
            return Err(Error::new(ErrorKind::Busy, format!("another bkhost works on this instance: {who}"))
                .hint("wait for it to end, or end it with `bkhost cancel`; `bkhost status` shows how far it is"));
        }
        let new = Owner { what: what.to_owned(), process: ProcessId::own()?, since: Timestamp::now() };
        let text = serde_json::to_string(&new).or_error(ErrorKind::Internal, || "cannot express the lock as JSON")?;
        // Only a name: a full disk must not keep a recovery from the application.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
        Ok(Self { file, stale: owner })
    }

    /// As [`InstanceLock::take`], for what undoes dead runs: the guard of one gives the lock away between two tries, and
    /// this waits for it. Tells whose lock is taken over.
    ///
    /// # Errors
    /// As [`InstanceLock::take`].
    pub(super) async fn take_over(dir: &Path, what: &str, reporter: &Reporter) -> Result<Self> {
        let end = Instant::now() + GUARD_PATIENCE;
        let (mut told, mut nameless) = (false, 0);
        loop {
            match Self::take(dir, what) {
                Ok(lock) => {
                    if let Some(stale) = &lock.stale {
                        let text = format!("{} died without giving its lock back: taken over", stale.describe());
                        reporter.message(Level::Warning, None, text);
                    }
                    return Ok(lock);
                }
                Err(error) if error.kind() == ErrorKind::Busy => {
                    match Self::owner(dir)? {
                        Some(guard) if guard.what.starts_with(GUARD) && Instant::now() < end => {
                            if !told {
                                reporter.message(Level::Warning, None, format!("waiting for {}", guard.describe()));
                                told = true;
                            }
                        }
                        // It has just been given back, or whoever took it has not said yet who it is.
                        None if nameless < NAMELESS => nameless += 1,
                        _ => return Err(error),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Who holds the lock, if anybody does. Does not touch the lock: whoever takes it in this instant gets it.
    ///
    /// # Errors
    /// If the lock's file cannot be read.
    pub(super) fn owner(dir: &Path) -> Result<Option<Owner>> {
        let path = dir.join("lock");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                return Err(e)
                    .or_error(ErrorKind::Io, || format!("cannot read the instance's lock {}", path.display()));
            }
        };
        Ok(read(&mut file).filter(|owner| owner.process.hold().is_some()))
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        // An empty file: whoever had it gave it back.
        let _ = self.file.set_len(0);
    }
}

fn read(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_about_the_first() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(InstanceLock::owner(dir.path()).unwrap(), None);
        let first = InstanceLock::take(dir.path(), "backup 1").unwrap();
        let error = InstanceLock::take(dir.path(), "backup 2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.message().contains("backup 1"), "{error}");
        assert_eq!(InstanceLock::owner(dir.path()).unwrap().unwrap().process, ProcessId::own().unwrap());
        drop(first);
        assert_eq!(InstanceLock::take(dir.path(), "backup 2").unwrap().stale, None);
    }

    #[test]
    fn whoever_died_with_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = InstanceLock::take(dir.path(), "backup 1").unwrap();
        // As the kernel does it when a process dies: the file stays as it is.
        let file = first.file.try_clone().unwrap();
        first.file = File::open("/dev/null").unwrap();
        flock(&file, FlockOperation::Unlock).unwrap();
        let second = InstanceLock::take(dir.path(), "backup 2").unwrap();
        assert_eq!(second.stale.as_ref().unwrap().what, "backup 1");
    }
}
