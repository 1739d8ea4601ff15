//! Open directories: how they are opened and listed, and a stack of them that does not run out of file descriptors.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, chmodat, openat};
use rustix::io::{self, Errno};

use super::status::{Identity, Status};

/// So many levels of a [`DirStack`] stay open.
const OPEN_LEVELS: usize = 48;

/// Opens the directory `name` of `parent` for listing; a symbolic link is refused.
pub(crate) fn open_dir(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Opens the directory `name` of `parent` to change what is in it. If its owner may not look into it, and we are the
/// owner, its mode is changed first.
pub(crate) fn open_dir_to_change(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    match open_dir(&parent, name) {
        Err(Errno::ACCESS) => {}
        result => return result,
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(&parent, name, flags, Mode::empty())?;
    // A file opened as a place cannot be given a mode, and by its name it could be another one by now.
    chmodat(CWD, format!("/proc/self/fd/{}", place.as_raw_fd()), Mode::RWXU, AtFlags::empty())?;
    reopen(&place)
}

/// Opens a directory again: with a position of its own, and for listing even if `directory` was opened only as a place.
pub(crate) fn reopen(directory: impl AsFd) -> io::Result<OwnedFd> {
    open_dir(directory, b".")
}

/// Opens the directory `path` below `root`, component by component, none of which may be a symbolic link.
pub(crate) fn open_below(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(root, b".".as_slice(), flags, Mode::empty())?;
    for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
        if name == b".." {
            return Err(Errno::INVAL);
        }
        at = openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at)
}

/// The names in a directory, sorted by their bytes. Kept in one block: there may be millions.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    bytes: Vec<u8>,
    entries: Vec<(usize, u8, bool)>,
}

impl Listing {
    /// Reads an open directory. `keep` is asked for each name, with whether it is a directory.
    pub(crate) fn read(directory: &OwnedFd, mut keep: impl FnMut(&[u8], bool) -> bool) -> io::Result<Self> {
        let mut listing = Self::default();
        let mut buffer = Vec::with_capacity(64 << 10);
        let mut raw = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system tells; and what vanished meanwhile is found out later.
                FileType::Unknown => Status::at(directory, name).map_or(FileType::Unknown, |status| status.kind),
                kind => kind,
            };
            let is_directory = kind == FileType::Directory;
            if keep(name, is_directory) {
                listing.push(name, is_directory)?;
            }
        }
        let Self { bytes, entries } = &mut listing;
        entries.sort_unstable_by(|a, b| slice(bytes, a).cmp(slice(bytes, b)));
        Ok(listing)
    }

    fn push(&mut self, name: &[u8], is_directory: bool) -> io::Result<()> {
        let length = u8::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
        self.entries.push((self.bytes.len(), length, is_directory));
        self.bytes.extend_from_slice(name);
        Ok(())
    }

    /// The name at this place in the order.
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        self.entries.get(index).map(|entry| slice(&self.bytes, entry))
    }

    /// All names in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| slice(&self.bytes, entry))
    }

    /// Whether it has this name.
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.entries.binary_search_by(|entry| slice(&self.bytes, entry).cmp(name)).is_ok()
    }
}

fn slice<'a>(bytes: &'a [u8], &(start, length, _): &(usize, u8, bool)) -> &'a [u8] {
    bytes.get(start..start.saturating_add(usize::from(length))).unwrap_or_default()
}

/// The directories from a root down to where a walk is. Those far above are closed and opened again through `..` on the
/// way back, when they have to be the same directory as before.
pub(crate) struct DirStack {
    levels: Vec<Level>,
}

struct Level {
    directory: Option<Arc<OwnedFd>>,
    identity: Identity,
}

impl DirStack {
    /// A stack with only the root.
    pub(crate) fn new(root: OwnedFd) -> io::Result<Self> {
        let mut stack = Self { levels: Vec::new() };
        stack.push(root)?;
        Ok(stack)
    }

    /// The directory on top.
    pub(crate) fn top(&self) -> io::Result<&Arc<OwnedFd>> {
        self.levels.last().and_then(|level| level.directory.as_ref()).ok_or(Errno::BADF)
    }

    /// How many directories are on it.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Goes down into a directory.
    pub(crate) fn push(&mut self, directory: OwnedFd) -> io::Result<&Arc<OwnedFd>> {
        let identity = Status::of(&directory)?.identity();
        self.levels.push(Level { directory: Some(Arc::new(directory)), identity });
        if let Some(far) = self.levels.len().checked_sub(OPEN_LEVELS).and_then(|i| self.levels.get_mut(i)) {
            far.directory = None;
        }
        self.top()
    }

    /// Goes up: gives the directory that was left. An error means that the one above is no longer where it was.
    pub(crate) fn pop(&mut self) -> io::Result<Arc<OwnedFd>> {
        let left = self.levels.pop().and_then(|level| level.directory).ok_or(Errno::BADF)?;
        if let Some(level) = self.levels.last_mut()
            && level.directory.is_none()
        {
            let above = open_dir(&left, b"..")?;
            if Status::of(&above)?.identity() != level.identity {
                return Err(Errno::STALE);
            }
            level.directory = Some(Arc::new(above));
        }
        Ok(left)
    }
}
