//! Small files that several hosts compete for, changed only by whoever knows what they held.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat, open};

use crate::drafts::remove_unheld;
use crate::store::is_serial;

/// Larger is no lease.
const MAX: u64 = 64 << 10;
/// What the names of drafts begin with.
const DRAFT: &str = ".lease-";
/// How long another host may be at it. A change takes milliseconds; a file server may be slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the file holds, if there is one.
pub(super) fn held(path: &Path) -> io::Result<Option<Vec<u8>>> {
    super::found(File::open(path).and_then(|mut file| read(&mut file)))
}

/// Changes the file from `old` (none: there is none) to `new` (none: remove it).
///
/// Hosts that share the directory through a file system whose `flock` reaches all of them (NFS version 4, a cluster file
/// system) are kept apart; so are processes of one host.
pub(super) fn change(path: &Path, old: Option<&[u8]>, new: Option<&[u8]>) -> io::Result<bool> {
    let dir = path.parent().unwrap_or(path);
    super::existing(super::make_dir(dir))?;
    // Not at each renewal.
    if old.is_none() || new.is_none() {
        remove_unheld(dir, |name| name.strip_prefix(DRAFT).is_some_and(is_serial))?;
    }
    match (old, new) {
        (None, Some(new)) => create(dir, path, new),
        (None, None) => Ok(!path.exists()),
        (Some(old), new) => replace(dir, path, old, new),
    }
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file of its own with this content, on disk; its lock is held as long as the file is open.
fn draft(dir: &Path, bytes: &[u8]) -> io::Result<(File, tempfile::TempPath)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let (now, next) = (jiff::Timestamp::now().as_nanosecond(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Not by `tempfile`, whose errors no longer say what the system's was.
        let path = dir.join(format!("{DRAFT}{}-{now}-{next}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let draft = tempfile::TempPath::try_from_path(path)?;
        // Somebody who tidies up may have been quicker.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => continue,
            locked => locked?,
        }
        if file.metadata()?.nlink() == 0 {
            continue;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        return Ok((file, draft));
    }
}

fn create(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    match create_nameless(dir, path, bytes) {
        Ok(()) => return super::sync_dir(dir).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        // A file system without files that have no name, NFS for one.
        Err(_) => {}
    }
    // Whole or not at all: linked under its name once it is written, and only if nothing has that name.
    let (_locked, draft) = draft(dir, bytes)?;
    match std::fs::hard_link(&draft, path) {
        Ok(()) => super::sync_dir(dir).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // A file system without hard links.
        Err(_) => match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                file.write_all(bytes)?;
                file.sync_all()?;
                super::sync_dir(dir).map(|()| true)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e),
        },
    }
}

/// The file gets its name when it is whole: whoever is killed before that leaves nothing.
fn create_nameless(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File =
        open(dir, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))?.into();
    file.write_all(bytes)?;
    file.sync_all()?;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
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
            Some(new) => {
                let (_locked, draft) = self::draft(dir, new)?;
                draft.persist(path)?;
            }
            None => std::fs::remove_file(path)?,
        }
        return super::sync_dir(dir).map(|()| true);
    }
}
