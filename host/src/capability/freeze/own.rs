//! File systems that must not be frozen: bkhost writes to them itself, and would wait for its own thaw.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::mounts::{self, Mount};
use super::{Place, tool};
use crate::capability::{CallError, Code};

/// File systems that the kernel cannot freeze.
const UNSUPPORTED: [&str; 14] = [
    "tmpfs", "ramfs", "overlay", "proc", "sysfs", "devtmpfs", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "zfs",
    "squashfs",
];
/// So deep may file systems lie in files of one another.
const DEPTH: usize = 8;

/// Refuses to freeze a file system that cannot be, or that bkhost needs.
///
/// # Errors
/// `denied`, `unsupported` or `not-found`.
pub(in crate::capability) fn refuse(place: &Place, mount: &Mount, own: &[(String, PathBuf)]) -> Result<(), CallError> {
    if !rustix::process::geteuid().is_root() {
        return Err(
            CallError::denied(format!("only root can freeze the file system {place}")).hint("run bkhost as root")
        );
    }
    if place.mount.to_str().is_none() {
        let text = format!("the mount point {place} is not UTF-8, as the journal needs it");
        return Err(CallError::new(Code::Unsupported, text).hint("mount it at another path"));
    }
    if UNSUPPORTED.contains(&mount.kind.as_str()) || mount.kind.starts_with("fuse") {
        let text = format!("the file system {place} cannot be frozen: it is {}", mount.kind);
        return Err(CallError::new(Code::Unsupported, text).hint("ext4, XFS and btrfs can be frozen, for example"));
    }
    tool::program().map_err(|why| {
        CallError::new(Code::NotFound, format!("the file system {place} cannot be frozen: {why}"))
            .hint("install util-linux")
    })?;
    let temporary = ("temporary files".to_owned(), std::env::temp_dir());
    let root = ("the system".to_owned(), PathBuf::from("/"));
    for (what, path) in [&root, &temporary].into_iter().chain(own) {
        if let Some(mount) = mount_of(path)
            && below(&mount).contains(&place.device)
        {
            return Err(needed(place, &format!("{what} ({})", path.display())));
        }
    }
    let streams = [("its standard output", file(std::io::stdout())), ("its standard error", file(std::io::stderr()))];
    for (what, mount) in streams {
        if mount.is_some_and(|mount| below(&mount).contains(&place.device)) {
            return Err(needed(place, what));
        }
    }
    Ok(())
}

fn needed(place: &Place, what: &str) -> CallError {
    CallError::denied(format!(
        "the file system {place} is not frozen, because bkhost writes to it: it holds {what}, and bkhost would wait for \
         its own thaw"
    ))
    .hint("keep what is backed up and what bkhost needs on different file systems, or take this volume by itself")
}

/// The mount that holds a path, or what there is of it.
fn mount_of(path: &Path) -> Option<Mount> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = path.ancestors().find_map(|path| rustix::fs::open(path, flags, Mode::empty()).ok());
    opened.and_then(|fd| mounts::of(fd).ok())
}

/// The mount that holds an open file; none if it is a pipe, a terminal or the like.
fn file(stream: impl AsFd) -> Option<Mount> {
    let stat = rustix::fs::fstat(&stream).ok()?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    regular.then(|| mounts::of(stream).ok()).flatten()
}

/// The devices of a file system and of those that it lies on: in a file behind a loop device, in an overlay's layer.
fn below(mount: &Mount) -> BTreeSet<String> {
    let mut found = BTreeSet::from([mount.device.clone()]);
    let mut look_at = vec![mount.clone()];
    for _ in 0..DEPTH {
        let files: Vec<PathBuf> = look_at.iter().flat_map(files).collect();
        look_at = files.iter().filter_map(|path| mount_of(path)).filter(|m| found.insert(m.device.clone())).collect();
    }
    found
}

/// The files and directories that a file system is kept in.
fn files(mount: &Mount) -> Vec<PathBuf> {
    let layer = mount.options.split(',').find_map(|option| option.strip_prefix("upperdir=")).map(PathBuf::from);
    let mut files: Vec<PathBuf> = layer.into_iter().collect();
    let mut devices = vec![mount.device.clone()];
    // Of btrfs, the mount tells a number that is no block device's.
    let number = File::open(&mount.source).ok().and_then(|file| file.metadata().ok()).map(|data| data.rdev());
    devices.extend(number.map(|n| format!("{}:{}", rustix::fs::major(n), rustix::fs::minor(n))));
    for _ in 0..DEPTH {
        let dirs: Vec<PathBuf> = devices.iter().map(|device| Path::new("/sys/dev/block").join(device)).collect();
        for name in ["loop/backing_file", "../loop/backing_file"] {
            files.extend(
                dirs.iter()
                    .filter_map(|dir| std::fs::read_to_string(dir.join(name)).ok())
                    .map(|file| PathBuf::from(file.trim_end_matches('\n'))),
            );
        }
        devices = dirs
            .iter()
            .filter_map(|dir| std::fs::read_dir(dir.join("slaves")).ok())
            .flat_map(|slaves| slaves.flatten())
            .filter_map(|slave| std::fs::read_to_string(slave.path().join("dev")).ok())
            .map(|device| device.trim().to_owned())
            .collect();
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bkhost_writes_to_is_not_frozen() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mount = mount_of(Path::new("/")).unwrap();
        let place = Place { mount: mount.point.clone(), device: mount.device.clone() };
        let error = refuse(&place, &mount, &[]).unwrap_err();
        assert!(matches!(error.code, Code::Denied | Code::Unsupported), "{error:?}");
        let mount = mount_of(Path::new("/proc/self/x/y")).unwrap();
        let place = Place { mount: mount.point.clone(), device: mount.device.clone() };
        assert_eq!(refuse(&place, &mount, &[]).unwrap_err().code, Code::Unsupported);
        let mut mount = mount;
        mount.kind = "ext4".into();
        let own = [("the state".to_owned(), PathBuf::from("/proc/not/there"))];
        let error = refuse(&place, &mount, &own).unwrap_err();
        assert!(error.code == Code::Denied && error.message.contains("the state (/proc/not/there)"), "{error:?}");
        assert_eq!(refuse(&place, &mount, &[]), Ok(()));
    }
}
