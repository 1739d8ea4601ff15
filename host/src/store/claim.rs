//! Small files that several hosts compete for, changed only by whoever knows what they held.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::backend::Store;
use super::error::failed_io;
use super::local;
use crate::archive::check_name;
use crate::error::Result;

/// The lease of an instance.
const LEASE: &str = "lease.json";
/// Larger is no lease.
const MAX: u64 = 64 << 10;
/// How long another host may be at it. A change takes milliseconds; a file server may be slow.
const PATIENCE: Duration = Duration::from_secs(10);

impl Store {
    /// What the lease of an instance holds, if there is one.
    ///
    /// # Errors
    /// `Store` if it cannot be read.
    pub fn lease(&self, instance: &str) -> Result<Option<Vec<u8>>> {
        check_name("an instance", instance)?;
        let path = self.root.join(instance).join(LEASE);
        match File::open(&path).and_then(|mut file| read(&mut file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed_io(e, format!("cannot read {}", path.display()))),
        }
    }

    /// Change the lease of an instance from `old` (none: there is no lease) to `new` (none: remove it). False, and nothing
    /// is changed, if it holds something else.
    ///
    /// Hosts that share the directory through a file system whose `flock` reaches all of them (NFS version 4, a cluster
    /// file system) are kept apart; so are processes of one host.
    ///
    /// # Errors
    /// `Store` if it cannot be changed.
    pub fn change_lease(&self, instance: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool> {
        check_name("an instance", instance)?;
        let dir = self.root.join(instance);
        let path = dir.join(LEASE);
        let cannot = |e| failed_io(e, format!("cannot change {}", path.display()));
        match local::make_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(cannot(e)),
            _ => {}
        }
        match (old, new) {
            (None, Some(new)) => create(&dir, &path, new).map_err(cannot),
            (None, None) => Ok(!path.exists()),
            (Some(old), new) => replace(&dir, &path, old, new).map_err(cannot),
        }
    }
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file of its own with this content, on disk.
fn draft(dir: &Path, bytes: &[u8]) -> io::Result<tempfile::TempPath> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (now, next) = (jiff::Timestamp::now().as_nanosecond(), NEXT.fetch_add(1, Ordering::Relaxed));
    // Not by `tempfile`, whose errors no longer say what the system's was.
    let path = dir.join(format!(".lease-{}-{now}-{next}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let draft = tempfile::TempPath::try_from_path(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(draft)
}

fn create(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    // Whole or not at all: linked under its name once it is written, and only if nothing has that name.
    match std::fs::hard_link(draft(dir, bytes)?, path) {
        Ok(()) => local::sync_dir(dir).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // A file system without hard links.
        Err(_) => match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                file.write_all(bytes)?;
                file.sync_all()?;
                local::sync_dir(dir).map(|()| true)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e),
        },
    }
}

fn replace(dir: &Path, path: &Path, old: &[u8], new: Option<&[u8]>) -> io::Result<bool> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        if let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if e != rustix::io::Errno::WOULDBLOCK {
                return Err(e.into());
            }
            if Instant::now() >= end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another host keeps it locked"));
            }
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        // Whoever had it before has put another file in its place.
        let held = file.metadata()?;
        match std::fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {}
            Ok(_) => continue,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        }
        if read(&mut file)? != old {
            return Ok(false);
        }
        match new {
            Some(new) => draft(dir, new)?.persist(path)?,
            None => std::fs::remove_file(path)?,
        }
        return local::sync_dir(dir).map(|()| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn only_whoever_knows_what_it_held_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_str().unwrap()).unwrap();
        assert_eq!(store.lease("wiki").unwrap(), None);
        assert!(!store.change_lease("wiki", Some(b"a"), Some(b"b")).unwrap(), "there is none");
        assert!(store.change_lease("wiki", None, Some(b"a")).unwrap());
        assert!(!store.change_lease("wiki", None, Some(b"b")).unwrap(), "there is one");
        assert!(!store.change_lease("wiki", Some(b"x"), Some(b"b")).unwrap());
        assert!(!store.change_lease("wiki", Some(b"x"), None).unwrap());
        assert!(store.change_lease("wiki", Some(b"a"), Some(b"b")).unwrap());
        assert_eq!(store.lease("wiki").unwrap().unwrap(), b"b");
        assert!(store.change_lease("wiki", Some(b"b"), None).unwrap());
        assert_eq!(store.lease("wiki").unwrap(), None);
        assert_eq!(store.list("wiki").unwrap().len(), 0);
        let left = std::fs::read_dir(dir.path().join("wiki")).unwrap().count();
        assert_eq!(left, 0, "drafts are left");
    }

    /// Of many who know the same old content, one wins each round.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_of_many_wins() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_str().unwrap()).unwrap();
        let mut old: Option<Vec<u8>> = None;
        for round in 0..20 {
            let wins: Vec<Vec<u8>> = std::thread::scope(|scope| {
                let tries: Vec<_> = (0..8)
                    .map(|n| {
                        let (store, old) = (&store, old.as_deref());
                        scope.spawn(move || {
                            let new = format!("{round} {n}").into_bytes();
                            store.change_lease("wiki", old, Some(&new)).unwrap().then_some(new)
                        })
                    })
                    .collect();
                tries.into_iter().filter_map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(wins.len(), 1, "round {round}");
            assert_eq!(store.lease("wiki").unwrap().as_ref(), wins.first());
            old = wins.into_iter().next();
        }
    }
}
