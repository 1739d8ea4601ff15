//! From a directory to the repositories in it, and to their locks.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps, fstat, futimens, openat, statat, unlinkat,
};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::Locks;
use super::names::{DEEP, fixed, is_deep, is_top};
use crate::error::{Error, ErrorKind, Result};

/// Repositories lie at most so deep below the directories they are looked for in.
const DEPTH: usize = 8;
/// Names of refs have at most so many components.
const REF_DEPTH: usize = 64;

pub(super) struct Walk<'a> {
    pub(super) remove: bool,
    pub(super) cancel: &'a CancellationToken,
    pub(super) locks: Locks,
}

/// What is in a directory.
struct Entry {
    name: Vec<u8>,
    kind: FileType,
}

impl Walk<'_> {
    /// Look below a directory, a path from the root; it need not be there.
    pub(super) fn below(&mut self, root: &OwnedFd, directory: &str) -> Result<()> {
        match self.descend(root, b"", directory.as_bytes())? {
            Some(found) => self.search(&found, directory.as_bytes(), DEPTH),
            None => Ok(()),
        }
    }

    /// The directory `way` below `from`, whose path is `path`; no link on the way is followed.
    fn descend(&mut self, from: &OwnedFd, path: &[u8], way: &[u8]) -> Result<Option<OwnedFd>> {
        let mut path = path.to_vec();
        let mut at: Option<OwnedFd> = None;
        for name in way.split(|byte| *byte == b'/') {
            path = join(&path, name);
            match self.open(at.as_ref().unwrap_or(from), name, &path)? {
                Some(next) => at = Some(next),
                None => return Ok(None),
            }
        }
        Ok(at)
    }

    /// A directory; none if there is none, or if it cannot be opened, which is told.
    fn open(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<OwnedFd>> {
        self.alive()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(parent, name, flags, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            // A file, or a link: the flags make both the same.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                if statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
                {
                    self.locks.problem(path, "it is a symbolic link, and was not looked into");
                }
                Ok(None)
            }
            Err(e) => {
                self.locks.problem(path, &format!("cannot be looked into: {e}"));
                Ok(None)
            }
        }
    }

    fn alive(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "the search for lock files of git was cancelled"));
        }
        Ok(())
    }

    fn entries(&mut self, directory: &OwnedFd, path: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let listed = Dir::read_from(directory).and_then(|listing| {
            for entry in listing {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if !matches!(name, b"." | b"..") {
                    let kind = match entry.file_type() {
                        FileType::Unknown => match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                            Err(_) => continue,
                        },
                        kind => kind,
                    };
                    entries.push(Entry { name: name.to_vec(), kind });
                }
            }
            Ok(())
        });
        if let Err(e) = listed {
            self.locks.problem(path, &format!("cannot be listed: {e}"));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// Find repositories in a directory, which may be one itself.
    fn search(&mut self, directory: &OwnedFd, path: &[u8], depth: usize) -> Result<()> {
        let entries = self.entries(directory, path);
        if is_repository(&entries) {
            return self.repository(directory, path, &entries, depth);
        }
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        for entry in entries.iter().filter(|entry| entry.kind == FileType::Directory) {
            let path = join(path, &entry.name);
            if let Some(next) = self.open(directory, &entry.name, &path)? {
                self.search(&next, &path, depth)?;
            }
        }
        Ok(())
    }

    fn repository(&mut self, directory: &OwnedFd, path: &[u8], entries: &[Entry], depth: usize) -> Result<()> {
        self.locks.repositories = self.locks.repositories.saturating_add(1);
        self.locked(directory, path, entries, is_top);
        for way in DEEP {
            self.deep(directory, path, way)?;
        }
        for (way, names) in fixed() {
            if let Some(found) = self.descend(directory, path, way.as_bytes())? {
                let path = join(path, way.as_bytes());
                let entries = self.entries(&found, &path);
                self.locked(&found, &path, &entries, |name| names.contains(&name));
            }
        }
        self.worktrees(directory, path)?;
        // Submodules have repositories of their own in there.
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        match self.descend(directory, path, b"modules")? {
            Some(modules) => self.search(&modules, &join(path, b"modules"), depth),
            None => Ok(()),
        }
    }

    /// Each linked worktree has an index, a HEAD and refs of its own.
    fn worktrees(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<()> {
        let Some(worktrees) = self.descend(directory, path, b"worktrees")? else { return Ok(()) };
        let path = join(path, b"worktrees");
        for entry in self.entries(&worktrees, &path).into_iter().filter(|entry| entry.kind == FileType::Directory) {
            let path = join(&path, &entry.name);
            let Some(worktree) = self.open(&worktrees, &entry.name, &path)? else { continue };
            let entries = self.entries(&worktree, &path);
            if entries.iter().any(|entry| entry.name == b"HEAD") {
                self.locked(&worktree, &path, &entries, is_top);
                self.deep(&worktree, &path, "refs")?;
                self.deep(&worktree, &path, "logs")?;
            }
        }
        Ok(())
    }

    /// All locks below a directory in which nothing else can have such a name.
    fn deep(&mut self, from: &OwnedFd, path: &[u8], way: &str) -> Result<()> {
        match self.descend(from, path, way.as_bytes())? {
            Some(directory) => self.all(&directory, &join(path, way.as_bytes()), REF_DEPTH),
            None => Ok(()),
        }
    }

    fn all(&mut self, directory: &OwnedFd, path: &[u8], depth: usize) -> Result<()> {
        let entries = self.entries(directory, path);
        self.locked(directory, path, &entries, is_deep);
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        for entry in entries.iter().filter(|entry| entry.kind == FileType::Directory) {
            let path = join(path, &entry.name);
            if let Some(next) = self.open(directory, &entry.name, &path)? {
                self.all(&next, &path, depth)?;
            }
        }
        Ok(())
    }

    /// Take the locks among the regular files of a directory.
    fn locked(&mut self, directory: &OwnedFd, path: &[u8], entries: &[Entry], is_lock: impl Fn(&[u8]) -> bool) {
        let mut before = None;
        for entry in entries.iter().filter(|entry| entry.kind == FileType::RegularFile && is_lock(&entry.name)) {
            let path = join(path, &entry.name);
            self.locks.name(&path);
            if !self.remove {
                continue;
            }
            before = before.or_else(|| fstat(directory).ok());
            match unlinkat(directory, OsStr::from_bytes(&entry.name), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => self.locks.removed = self.locks.removed.saturating_add(1),
                Err(e) => self.locks.problem(&path, &format!("cannot be removed: {e}")),
            }
        }
        // The directory is as old as it was restored.
        if let Some(stat) = before {
            let time = |seconds, nanoseconds: u64| Timespec {
                tv_sec: seconds,
                tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
            };
            let times = Timestamps {
                last_access: time(stat.st_atime, stat.st_atime_nsec),
                last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
            };
            if let Err(e) = futimens(directory, &times) {
                self.locks.problem(path, &format!("cannot be given the time that it had: {e}"));
            }
        }
    }
}

/// What git takes for a repository: a HEAD, and directories of objects and refs.
fn is_repository(entries: &[Entry]) -> bool {
    let has = |name: &[u8], kind| entries.iter().any(|entry| entry.name == name && entry.kind == kind);
    (has(b"HEAD", FileType::RegularFile) || has(b"HEAD", FileType::Symlink))
        && has(b"objects", FileType::Directory)
        && has(b"refs", FileType::Directory)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, name].join(b"/".as_slice()) }
}
