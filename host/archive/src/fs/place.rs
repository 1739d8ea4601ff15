//! Where an existing file is, for calls that come in two forms: by an open file, or by a name in an open directory.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fgetxattr,
    flistxattr, fremovexattr, fsetxattr, futimens, lgetxattr, llistxattr, lremovexattr, lsetxattr, utimensat,
};
use rustix::io;

use crate::entry::Time;

/// A file that exists.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// An entry of an open directory: for links, pipes and devices, which must not be opened.
    Name(BorrowedFd<'a>, &'a [u8]),
}

impl<'a> Place<'a> {
    pub(crate) fn open(fd: &'a impl AsFd) -> Self {
        Self::Open(fd.as_fd())
    }

    pub(crate) fn name(directory: &'a impl AsFd, name: &'a [u8]) -> Self {
        Self::Name(directory.as_fd(), name)
    }

    pub(crate) fn list_xattrs(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let length = match self {
            Self::Open(fd) => grow(buffer, |b| flistxattr(fd, b)),
            Self::Name(directory, name) => grow(buffer, |b| llistxattr(proc_path(*directory, name), b)),
        }?;
        buffer.truncate(length);
        Ok(())
    }

    pub(crate) fn get_xattr(&self, attribute: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
        let length = match self {
            Self::Open(fd) => grow(buffer, |b| fgetxattr(fd, attribute, b)),
            Self::Name(directory, name) => grow(buffer, |b| lgetxattr(proc_path(*directory, name), attribute, b)),
        }?;
        buffer.truncate(length);
        Ok(())
    }

    pub(crate) fn set_xattr(&self, attribute: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(fd) => fsetxattr(fd, attribute, value, XattrFlags::empty()),
            Self::Name(directory, name) => {
                lsetxattr(proc_path(*directory, name), attribute, value, XattrFlags::empty())
            }
        }
    }

    pub(crate) fn remove_xattr(&self, attribute: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(fd) => fremovexattr(fd, attribute),
            Self::Name(directory, name) => lremovexattr(proc_path(*directory, name), attribute),
        }
    }

    pub(crate) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Open(fd) => fchown(fd, uid, gid),
            Self::Name(directory, name) => chownat(directory, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Not for symbolic links: they have no mode.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => fchmod(fd, mode),
            Self::Name(directory, name) => chmodat(directory, *name, mode, AtFlags::empty()),
        }
    }

    pub(crate) fn set_mtime(&self, mtime: Time) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
        };
        match self {
            Self::Open(fd) => futimens(fd, &times),
            Self::Name(directory, name) => utimensat(directory, *name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }
}

/// There is no `lgetxattrat`: this names an entry of an open directory so that only its last component is looked up.
fn proc_path(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Calls with a larger buffer until the result fits. 64 KiB is the most that the kernel gives.
fn grow(buffer: &mut Vec<u8>, call: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    if buffer.len() < 256 {
        buffer.resize(256, 0);
    }
    loop {
        match call(buffer) {
            Err(io::Errno::RANGE) if buffer.len() <= 64 << 10 => buffer.resize(buffer.len().saturating_mul(4), 0),
            result => return result,
        }
    }
}
