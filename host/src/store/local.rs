//! What a local store needs beyond opendal's file service. That service syncs a file when it is closed, but not the
//! directory that names it, and makes files and directories with the process' umask.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a directory for its owner only, and makes sure that it is there after a power cut. Fails if it exists.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    sync_parent(path)
}

/// Makes what is in a directory survive a power cut: names, not contents.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// Lets only its owner read and write a file.
pub(super) fn restrict(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// Removes an empty directory, for good.
pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    fs::remove_dir(path)?;
    sync_parent(path)
}

/// The bytes that are free for this user.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Makes and removes a file.
pub(super) fn probe(root: &Path) -> io::Result<()> {
    // The name of a process' own: two checks at once must not meet.
    let path = root.join(format!(".bkhost-check-{}", std::process::id()));
    let written =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).and_then(|file| {
            io::Write::write_all(&mut &file, b"check\n")?;
            file.sync_all()
        });
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => written.and(Err(e)),
        _ => written,
    }
}

/// The machine's name, for the marker of an unfinished set.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
