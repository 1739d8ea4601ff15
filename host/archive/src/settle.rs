//! Brings what was extracted beside its place into it: each piece by one rename, so that it is there whole or not at all.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, openat, readlinkat, renameat, renameat_with, unlinkat};
use rustix::io::{Errno, pread};

use crate::control::Control;
use crate::entry::{Kind, Time};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::attributes::AttributeReader;
use crate::fs::dirs::{Listing, open_below, open_dir, reopen};
use crate::fs::place::Place;
use crate::fs::remove::remove;
use crate::fs::status::Status;
use crate::fs::{failed, is_gone};
use crate::index::IndexEntry;
use crate::names::Named;
use crate::part::{Metadata, apply};
use crate::path::{join, split};

/// What became of what was extracted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Files and whole directories that were brought in.
    pub moved: u64,
    /// Of them, those that took the place of another.
    pub replaced: u64,
    /// What was there already, the same.
    pub same: u64,
    /// What is in the way, and was left as it is: what was extracted for it is still where it was.
    pub in_the_way: Named,
}

/// Moves all that is in the directory `from` into the directory `into` of the same file system. Directories that are there
/// already are gone into, and stay as they are; whatever else is there already stays, unless it is the same, or `replace`
/// says that files may take the place of files. If something stays in the way, nothing at all is moved. Can be
/// called again after it was interrupted.
///
/// # Errors
/// `Io`, `Cancelled`.
pub fn settle(from: impl AsFd, into: impl AsFd, replace: bool, control: &Control) -> Result<Settled> {
    let open = |what, e| failed(what, b"", e);
    let from = reopen(from).map_err(|e| open("open what was extracted", e))?;
    let into = reopen(into).map_err(|e| open("open the target directory", e))?;
    let mut settling = Settling { from, into, replace, really: false, done: Settled::default(), control };
    settling.all()?;
    if settling.done.in_the_way.is_empty() {
        settling.done = Settled::default();
        settling.really = true;
        settling.all()?;
        rustix::fs::syncfs(&settling.into).map_err(|e| failed("write everything to the disk of", b"", e))?;
    }
    Ok(settling.done)
}

/// When the content of an open file or directory last changed.
///
/// # Errors
/// `Io`.
pub fn changed_at(file: impl AsFd) -> Result<Time> {
    Status::of(file).map(|status| status.mtime).map_err(|e| failed("read the status of", b"", e))
}

/// Gives a directory the owner, mode and attributes of another, and this time of its last change.
///
/// # Errors
/// `Io`.
pub fn settle_metadata(from: impl AsFd, into: impl AsFd, mtime: Time) -> Result<()> {
    let (from, into) = (from.as_fd(), into.as_fd());
    let read = |e| failed("read the attributes of", b"", e);
    let status = Status::of(from).map_err(read)?;
    let attributes = AttributeReader::default().read(&Place::open(&from)).map_err(read)?;
    let metadata = Metadata {
        uid: status.uid,
        gid: status.gid,
        mode: Some(status.mode),
        mtime,
        attributes: &attributes,
        directory: true,
    };
    apply(&Place::open(&into), &metadata).map_err(|e| failed("set the owner, mode and time of", b"", e))?;
    Ok(())
}

/// Removes the entry `name` of an open directory with all that is in it, if it is there; never what a symbolic link points
/// to. Gives the number of entries.
///
/// # Errors
/// `Io`, `Cancelled`.
pub fn remove_tree(parent: impl AsFd, name: &[u8], control: &Control) -> Result<u64> {
    remove(parent, name, control)
}

/// What stands where an entry of an archive is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Free,
    /// The same, or a directory for a directory.
    Same,
    /// Something that a file can take the place of.
    Other,
    /// Something that cannot be replaced: a directory where a file belongs, or the other way round.
    Blocked,
}

/// Looks at what stands in the directory `into` where the entry of this line is to go.
///
/// # Errors
/// `Io`.
pub fn standing(into: impl AsFd, path: &[u8], line: &IndexEntry, control: &Control) -> Result<Standing> {
    let (parent, name) = split(path);
    let parent = match open_below(&into, parent) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(Standing::Free),
        // A file, or a link, where a directory belongs.
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Standing::Blocked),
        Err(e) => return Err(failed("look at", path, e)),
    };
    let status = match Status::at(&parent, name) {
        Ok(status) => status,
        Err(e) if is_gone(e) => return Ok(Standing::Free),
        Err(e) => return Err(failed("look at", path, e)),
    };
    let is_directory = status.kind == FileType::Directory;
    if is_directory != (line.kind == Kind::Directory) {
        return Ok(Standing::Blocked);
    }
    if is_directory {
        return Ok(Standing::Same);
    }
    let same = match (line.kind, status.kind) {
        (Kind::File, FileType::RegularFile) => {
            status.size == line.size
                && status.mtime.to_string() == line.mtime
                && line.blake3.is_some()
                && hash_of(&parent, name, path, control)? == line.blake3
        }
        (Kind::Symlink, FileType::Symlink) => {
            readlinkat(&parent, name, Vec::new()).map(|target| target.into_bytes()).ok() == line.link()
        }
        (Kind::Hardlink, _) => match line.link() {
            Some(first) => {
                let (above, first) = split(&first);
                open_below(&into, above)
                    .and_then(|above| Status::at(above, first))
                    .is_ok_and(|first| first.identity() == status.identity())
            }
            None => false,
        },
        (Kind::Fifo, FileType::Fifo) => true,
        _ => false,
    };
    Ok(if same { Standing::Same } else { Standing::Other })
}

fn hash_of(parent: &OwnedFd, name: &[u8], path: &[u8], control: &Control) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(content_hash(&file, path, control)?.to_hex().to_string())),
        Err(e) if is_gone(e) => Ok(None),
        Err(e) => Err(failed("open", path, e)),
    }
}

fn content_hash(file: &OwnedFd, path: &[u8], control: &Control) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0u64;
    loop {
        control.check()?;
        match pread(file, &mut buffer[..], at) {
            Ok(0) => return Ok(hasher.finalize()),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                at = at.saturating_add(n as u64);
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(failed("read", path, e)),
        }
    }
}

struct Settling<'a> {
    from: OwnedFd,
    into: OwnedFd,
    replace: bool,
    /// Or only look.
    really: bool,
    done: Settled,
    control: &'a Control,
}

impl Settling<'_> {
    fn all(&mut self) -> Result<()> {
        // Directories that are on both sides, by their paths: opened from the top, since they may be many levels deep.
        let mut left = vec![Vec::new()];
        let mut emptied = Vec::new();
        while let Some(path) = left.pop() {
            self.directory(&path, &mut left)?;
            emptied.push(path);
        }
        for path in emptied.iter().rev().filter(|path| self.really && !path.is_empty()) {
            let (parent, name) = split(path);
            let parent = open_below(&self.from, parent).map_err(|e| failed("open", path, e))?;
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {}
                Err(e) => return Err(failed("remove", path, e)),
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8], left: &mut Vec<Vec<u8>>) -> Result<()> {
        let opened = |top: &OwnedFd| open_below(top, path).and_then(|d| open_dir(d, b"."));
        let from = opened(&self.from).map_err(|e| failed("open", path, e))?;
        let into = opened(&self.into).map_err(|e| failed("open", path, e))?;
        let names = Listing::read(&from, |_, _| true).map_err(|e| failed("list", path, e))?;
        for name in names.iter() {
            self.control.check()?;
            let path = join(path, name);
            let ours = Status::at(&from, name).map_err(|e| failed("look at", &path, e))?;
            let theirs = match Status::at(&into, name) {
                Ok(status) => status,
                Err(e) if is_gone(e) => {
                    self.bring(&from, &into, name, &path, RenameFlags::NOREPLACE)?;
                    continue;
                }
                Err(e) => return Err(failed("look at", &path, e)),
            };
            match (ours.kind == FileType::Directory, theirs.kind == FileType::Directory) {
                (true, true) => left.push(path),
                (false, false) if self.same((&from, &ours), (&into, &theirs), name, &path)? => {
                    self.done.same = self.done.same.saturating_add(1);
                    if self.really {
                        unlinkat(&from, name, AtFlags::empty()).map_err(|e| failed("remove", &path, e))?;
                    }
                }
                (false, false) if self.replace => {
                    self.done.replaced = self.done.replaced.saturating_add(1);
                    self.bring(&from, &into, name, &path, RenameFlags::empty())?;
                }
                _ => self.done.in_the_way.push(&path),
            }
        }
        Ok(())
    }

    fn bring(&mut self, from: &OwnedFd, into: &OwnedFd, name: &[u8], path: &[u8], flags: RenameFlags) -> Result<()> {
        self.done.moved = self.done.moved.saturating_add(1);
        if !self.really {
            return Ok(());
        }
        match renameat_with(from, name, into, name, flags) {
            Ok(()) => Ok(()),
            // A file system that knows no flags: what was looked at a moment ago has to do.
            Err(Errno::INVAL | Errno::NOSYS) if flags == RenameFlags::NOREPLACE => {
                renameat(from, name, into, name).map_err(|e| failed("move", path, e))
            }
            Err(Errno::EXIST) => {
                let text = format!("`{}` appeared while it was restored", crate::names::show(path));
                Err(Error::new(ErrorKind::Conflict, text).hint("see to it that nobody writes there, and try again"))
            }
            Err(e) => Err(failed("move", path, e)),
        }
    }

    fn same(
        &self,
        (from, ours): (&OwnedFd, &Status),
        (into, theirs): (&OwnedFd, &Status),
        name: &[u8],
        path: &[u8],
    ) -> Result<bool> {
        if ours.identity() == theirs.identity() {
            return Ok(true);
        }
        let known = |status: &Status| (status.kind, status.mode, status.uid, status.gid, status.size, status.mtime);
        if known(ours) != known(theirs) || ours.links > 1 {
            return Ok(false);
        }
        match ours.kind {
            FileType::RegularFile => same_content(from, into, name, path, self.control),
            FileType::Symlink => {
                let target =
                    |at: &OwnedFd| readlinkat(at, name, Vec::new()).map_err(|e| failed("read the link", path, e));
                Ok(target(from)? == target(into)?)
            }
            _ => Ok(ours.special == theirs.special),
        }
    }
}

fn same_content(a: &OwnedFd, b: &OwnedFd, name: &[u8], path: &[u8], control: &Control) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |at: &OwnedFd| openat(at, name, flags, Mode::empty()).map_err(|e| failed("open", path, e));
    let (a, b) = (open(a)?, open(b)?);
    let mut buffers = [vec![0u8; 128 << 10], vec![0u8; 128 << 10]];
    let mut at = 0u64;
    loop {
        control.check()?;
        let [first, second] = &mut buffers;
        let read = |file: &OwnedFd, buffer: &mut [u8]| -> Result<usize> {
            let mut filled = 0usize;
            while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match pread(file, rest, at.saturating_add(filled as u64)) {
                    Ok(0) => break,
                    Ok(n) => filled = filled.saturating_add(n),
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(failed("read", path, e)),
                }
            }
            Ok(filled)
        };
        let (n, m) = (read(&a, first)?, read(&b, second)?);
        if n != m || first.get(..n) != second.get(..m) {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
        at = at.saturating_add(n as u64);
    }
}
