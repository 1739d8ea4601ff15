//! Guest paths: which host directory each is, and never anything beside it.
//!
//! A guest path is opened below its root in one step of the kernel that follows no symbolic link at all (`openat2`), so
//! neither a link in the tree nor one that appears meanwhile leads out of it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::freeze::{Mount, Place};
use super::manifest::PathRoot;
use super::{Access, CallError, Code};

/// A directory the guest sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preopen {
    /// The directory on the host: absolute, without symbolic links.
    pub host: PathBuf,
    /// Its name in the guest: `/source/<name>`, `/staging`, `/state`, `/target`.
    pub guest: String,
    /// Whether the guest may write.
    pub access: Access,
}

/// An existing file or directory that a guest path names, opened.
#[derive(Debug)]
pub struct HostPath {
    file: File,
    path: PathBuf,
    guest: String,
}

impl HostPath {
    /// The real path on the host, without symbolic links; for messages and for commands.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, opened.
    ///
    /// # Errors
    /// `invalid-config`: it is no directory.
    pub fn dir(&self) -> Result<Dir, CallError> {
        let (file, kind) = self.again()?;
        if kind == FileType::Directory {
            Ok(Dir::from_std_file(file))
        } else {
            Err(CallError::new(Code::InvalidConfig, format!("{} is no directory", self.guest)))
        }
    }

    /// The regular file, opened for reading.
    ///
    /// # Errors
    /// `invalid-config`: it is no regular file.
    pub fn file(&self) -> Result<File, CallError> {
        let (file, kind) = self.again()?;
        if kind == FileType::RegularFile {
            Ok(file)
        } else {
            Err(CallError::new(Code::InvalidConfig, format!("{} is no regular file", self.guest)))
        }
    }

    fn again(&self) -> Result<(File, FileType), CallError> {
        let failed = |e: std::io::Error| CallError::new(Code::Other, format!("{}: {e}", self.guest));
        let file = self.file.try_clone().map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(|e| failed(e.into()))?;
        Ok((file, FileType::from_raw_mode(stat.st_mode)))
    }
}

/// A root of the guest's file system.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) preopen: Preopen,
    dir: OwnedFd,
}

/// A guest path, split into its root and the rest; written plainly.
fn split(guest: &str) -> Result<Vec<&str>, CallError> {
    let refuse = |why: &str| CallError::denied(format!("the guest path {} {why}", super::slots::shown(guest)));
    let rest =
        guest.strip_prefix('/').ok_or_else(|| refuse("does not start with /source/, /staging, /state or /target"))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if guest.len() > super::slots::MAX_LENGTH || guest.chars().any(|c| c == '\0') {
        return Err(refuse("is too long or holds a NUL"));
    }
    let parts: Vec<_> = rest.split('/').collect();
    match parts.iter().find(|part| matches!(**part, "" | "." | "..")) {
        Some(&"..") => Err(refuse("holds a `..`")),
        Some(_) => Err(refuse("holds an empty component or a `.`")),
        None => Ok(parts),
    }
}

/// The root of a guest path by its first component.
pub(super) fn root_kind(guest: &str) -> Result<PathRoot, CallError> {
    match split(guest)?.first() {
        Some(&"source") => Ok(PathRoot::Source),
        Some(&"staging") => Ok(PathRoot::Staging),
        Some(&"state") => Ok(PathRoot::State),
        Some(&"target") => Ok(PathRoot::Target),
        _ => Err(CallError::denied(format!(
            "the guest path {} is below no directory of the guest",
            super::slots::shown(guest)
        ))
        .hint("guest paths start with /source/<name>, /staging, /state or /target")),
    }
}

impl Root {
    /// Open a directory of the host as a root. The operator named it, so its own path may have symbolic links.
    ///
    /// # Errors
    /// `invalid-config`: not absolute, or no directory. `not-found`, `denied`: the system's.
    pub(super) fn open(guest: &str, host: &Path, access: Access) -> Result<Self, CallError> {
        if !host.is_absolute() {
            let message = format!("{guest}: {} is not an absolute path", host.display());
            return Err(CallError::new(Code::InvalidConfig, message).hint("write the whole path, from /"));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(host, flags, Mode::empty())
            .map_err(|e| failed(e, &format!("{guest}: the directory {}", host.display())))?;
        let real = real_path(dir.as_fd(), guest)?;
        Ok(Self { preopen: Preopen { host: real, guest: guest.to_owned(), access }, dir })
    }

    /// The file system that holds this root, and its mount.
    ///
    /// # Errors
    /// `other`: the system does not tell.
    pub(super) fn mount(&self) -> Result<(Place, Mount), CallError> {
        Place::of(&self.dir).map_err(|e| {
            let text = format!("{}: its file system is not known: {e}", self.preopen.guest);
            CallError::new(Code::Other, text).hint("mount /proc")
        })
    }

    /// The directory, once more.
    ///
    /// # Errors
    /// `other`: the system's.
    pub(super) fn duplicate(&self) -> Result<OwnedFd, CallError> {
        self.dir.try_clone().map_err(|e| CallError::new(Code::Other, format!("{}: {e}", self.preopen.guest)))
    }

    /// The rest of a guest path below this root; none if it is below another.
    fn rest<'a>(&self, guest: &'a str) -> Result<Option<Vec<&'a str>>, CallError> {
        let parts = split(guest)?;
        let own = self.preopen.guest.trim_start_matches('/').split('/');
        let mut rest = parts.into_iter();
        let below = own.into_iter().all(|part| rest.next() == Some(part));
        Ok(below.then(|| rest.collect()))
    }

    /// Whether a guest path is this root or below it.
    ///
    /// # Errors
    /// `denied`: it is no plain path.
    pub(super) fn holds(&self, guest: &str) -> Result<bool, CallError> {
        self.rest(guest).map(|rest| rest.is_some())
    }

    fn relative(&self, guest: &str) -> Result<PathBuf, CallError> {
        let rest = self
            .rest(guest)?
            .ok_or_else(|| CallError::denied(format!("{guest} is not below {}", self.preopen.guest)))?;
        Ok(if rest.is_empty() { PathBuf::from(".") } else { rest.iter().collect() })
    }

    fn beneath(&self, relative: &Path, flags: OFlags, guest: &str) -> Result<OwnedFd, CallError> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.dir, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Ok(fd) => return Ok(fd),
                // A rename elsewhere made the kernel unsure: it says to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(e) => return Err(failed(e, guest)),
            }
        }
    }

    /// The file or directory that a guest path below this root names.
    ///
    /// # Errors
    /// `denied`: a symbolic link on the way. `not-found`. `invalid-config`: a device, socket or FIFO.
    pub(super) fn locate(&self, guest: &str) -> Result<HostPath, CallError> {
        let relative = self.relative(guest)?;
        // Looked at before it is opened: opening a device does things to it.
        let looked = self.beneath(&relative, OFlags::PATH, guest)?;
        let kind = rustix::fs::fstat(&looked)
            .map(|stat| FileType::from_raw_mode(stat.st_mode))
            .map_err(|e| failed(e, guest))?;
        let flags = match kind {
            FileType::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
            FileType::RegularFile => OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
            _ => {
                let message = format!("{guest} is neither a regular file nor a directory");
                return Err(CallError::new(Code::InvalidConfig, message));
            }
        };
        let fd = self.beneath(&relative, flags, guest)?;
        let path = real_path(fd.as_fd(), guest)?;
        Ok(HostPath { file: File::from(fd), path, guest: guest.to_owned() })
    }

    /// The host's path for a command: of something that exists, or of something new in a directory that exists.
    ///
    /// # Errors
    /// `denied`: a symbolic link on the way or at the end. `not-found`: its directory does not exist.
    pub(super) fn path_for_command(&self, guest: &str) -> Result<PathBuf, CallError> {
        let relative = self.relative(guest)?;
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else {
            return Ok(self.preopen.host.clone());
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let dir = self.beneath(parent, OFlags::PATH | OFlags::DIRECTORY, guest)?;
        match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                return Err(failed(Errno::LOOP, guest));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(e, guest)),
        }
        Ok(real_path(dir.as_fd(), guest)?.join(name))
    }
}

/// The path by which the kernel knows an open file.
fn real_path(fd: impl AsRawFd, guest: &str) -> Result<PathBuf, CallError> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).map_err(|e| {
        CallError::new(Code::Other, format!("{guest}: its real path is not known: {e}")).hint("mount /proc")
    })
}

fn failed(e: Errno, what: &str) -> CallError {
    let (code, message) = match e {
        Errno::NOENT => (Code::NotFound, format!("{what} does not exist")),
        Errno::LOOP => (Code::Denied, format!("{what}: there is a symbolic link on the way, and none is followed")),
        Errno::XDEV => (Code::Denied, format!("{what} leads out of its directory")),
        Errno::ACCESS | Errno::PERM => (Code::Denied, format!("{what}: the operating system refuses it")),
        Errno::NOTDIR => (Code::InvalidConfig, format!("{what} is no directory")),
        other => (Code::Other, format!("{what}: {other}")),
    };
    CallError::new(code, message)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("sub/deep")).unwrap();
        fs::write(tree.join("sub/file"), "inside").unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        fs::write(dir.path().join("other/secret"), "outside").unwrap();
        symlink("../secret", tree.join("up")).unwrap();
        symlink("/etc", tree.join("etc")).unwrap();
        symlink("../other", tree.join("other")).unwrap();
        symlink("sub", tree.join("inner")).unwrap();
        symlink("nowhere", tree.join("dangling")).unwrap();
        let root = Root::open("/source/tree", &tree, Access::Read).unwrap();
        (dir, root)
    }

    #[test]
    fn inside() {
        let (dir, root) = root();
        let real = dir.path().canonicalize().unwrap().join("tree");
        assert_eq!(root.preopen.host, real);
        let top = root.locate("/source/tree").unwrap();
        assert_eq!(top.path(), real);
        assert!(top.dir().unwrap().exists("sub/file"));
        assert!(top.file().is_err());
        let file = root.locate("/source/tree/sub/file").unwrap();
        assert_eq!(std::io::read_to_string(file.file().unwrap()).unwrap(), "inside");
        assert!(file.dir().is_err());
        assert_eq!(root.locate("/source/tree/sub/").unwrap().path(), real.join("sub"));
        assert_eq!(root.path_for_command("/source/tree/sub/new").unwrap(), real.join("sub/new"));
        assert_eq!(root.path_for_command("/source/tree/sub/file").unwrap(), real.join("sub/file"));
        assert_eq!(root.path_for_command("/source/tree").unwrap(), real);
        assert_eq!(root.locate("/source/tree/missing").unwrap_err().code, Code::NotFound);
        assert_eq!(root.path_for_command("/source/tree/missing/new").unwrap_err().code, Code::NotFound);
    }

    #[test]
    fn no_way_out() {
        let (dir, root) = root();
        for path in [
            "/source/tree/..",
            "/source/tree/../other",
            "/source/tree/sub/../../secret",
            "/source/tree/./sub",
            "/source/tree//sub",
            "//source/tree",
            "source/tree",
            "",
            "/",
            "/source/treee",
            "/source/tre",
            "/etc/passwd",
            "/source/tree/up",
            "/source/tree/etc",
            "/source/tree/etc/passwd",
            "/source/tree/other/secret",
            "/source/tree/inner/file",
            "/source/tree/dangling",
            "/source/tree/sub\0",
            "/staging",
            dir.path().to_str().unwrap(),
        ] {
            assert_eq!(root.locate(path).unwrap_err().code, Code::Denied, "locate {path:?}");
            assert_eq!(root.path_for_command(path).unwrap_err().code, Code::Denied, "command {path:?}");
        }
        let long = format!("/source/tree/{}", "a/".repeat(5000));
        assert_eq!(root.locate(&long).unwrap_err().code, Code::Denied);
    }

    #[test]
    fn special_files_are_not_opened() {
        let (_dir, root) = root();
        let fifo = root.preopen.host.join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert_eq!(root.locate("/source/tree/fifo").unwrap_err().code, Code::InvalidConfig);
    }

    #[test]
    fn roots() {
        let open = |host: &str| Root::open("/source/x", Path::new(host), Access::Read).map(drop).unwrap_err().code;
        assert_eq!(open("relative"), Code::InvalidConfig);
        assert_eq!(open("/no/such/directory"), Code::NotFound);
        assert_eq!(open("/etc/passwd"), Code::InvalidConfig);
        assert_eq!(root_kind("/staging/a").unwrap(), PathRoot::Staging);
        for path in ["/tmp", "/stagingx", "/", "/../staging"] {
            assert_eq!(root_kind(path).unwrap_err().code, Code::Denied, "{path}");
        }
    }
}
