//! What the file system says about a file.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, statx};
use rustix::io;

use crate::entry::Time;

/// Device and inode number: tells a file from all others that exist at the time.
pub(crate) type Identity = ((u32, u32), u64);

/// A file's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) kind: FileType,
    /// The lower 12 bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) links: u32,
    /// Of a device file.
    pub(crate) special: (u32, u32),
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
}

impl Status {
    /// Of an open file.
    pub(crate) fn of(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(&statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
    }

    /// Of the entry `name` of an open directory; of a symbolic link itself.
    pub(crate) fn at(directory: impl AsFd, name: &[u8]) -> io::Result<Self> {
        Ok(Self::from(&statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?))
    }

    pub(crate) fn identity(&self) -> Identity {
        (self.device, self.inode)
    }

    /// Whether nothing happened to the file between two looks, as far as the file system can tell.
    pub(crate) fn unchanged(&self, later: &Self) -> bool {
        (self.identity(), self.size, self.mtime, self.ctime) == (later.identity(), later.size, later.mtime, later.ctime)
    }
}

impl From<&Statx> for Status {
    fn from(status: &Statx) -> Self {
        let mode = u32::from(status.stx_mode);
        Self {
            kind: FileType::from_raw_mode(mode),
            mode: mode & 0o7777,
            uid: status.stx_uid,
            gid: status.stx_gid,
            size: status.stx_size,
            blocks: status.stx_blocks,
            device: (status.stx_dev_major, status.stx_dev_minor),
            inode: status.stx_ino,
            links: status.stx_nlink,
            special: (status.stx_rdev_major, status.stx_rdev_minor),
            mtime: Time { seconds: status.stx_mtime.tv_sec, nanos: status.stx_mtime.tv_nsec },
            ctime: Time { seconds: status.stx_ctime.tv_sec, nanos: status.stx_ctime.tv_nsec },
        }
    }
}
