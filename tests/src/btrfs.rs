//! A btrfs of one's own, in a file behind a loop device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Running, tool};

/// A mounted btrfs with a directory `snaps` for snapshots. Unmounted when this is dropped.
pub struct Btrfs {
    dir: tempfile::TempDir,
}

impl Default for Btrfs {
    fn default() -> Self {
        Self::new(300)
    }
}

impl Btrfs {
    /// A file system of so many MiB.
    #[must_use]
    #[track_caller]
    pub fn new(mib: u64) -> Self {
        assert!(rustix::process::geteuid().is_root(), "the tests of btrfs need root: sudo make test");
        let btrfs = Self { dir: tempfile::Builder::new().prefix("bkhost-btrfs-").tempdir().unwrap() };
        // Servers that are not root work on it too.
        std::fs::set_permissions(btrfs.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let image = btrfs.dir.path().join("img");
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let mut mkfs = Command::new("mkfs.btrfs");
        mkfs.arg("-q").arg(&image);
        tool(mkfs);
        std::fs::create_dir(btrfs.point()).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image).arg(btrfs.point());
        tool(mount);
        std::fs::create_dir(btrfs.path("snaps")).unwrap();
        btrfs
    }

    /// Where it is mounted.
    #[must_use]
    pub fn point(&self) -> PathBuf {
        self.dir.path().join("m")
    }

    /// A path on it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.point().join(name)
    }

    /// A path on it, as text.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A directory beside it, on another file system.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `btrfs` with these arguments, which has to succeed; what it printed.
    #[track_caller]
    pub fn btrfs(&self, args: &[&str]) -> String {
        let mut command = Command::new("btrfs");
        command.args(args);
        tool(command).trim_end().to_owned()
    }

    /// Make a subvolume; its path.
    #[track_caller]
    pub fn create(&self, name: &str) -> PathBuf {
        self.btrfs(&["subvolume", "create", &self.text(name)]);
        self.path(name)
    }

    /// Take a read-only snapshot, as somebody else would.
    #[track_caller]
    pub fn snapshot(&self, of: &str, name: &str) {
        self.btrfs(&["subvolume", "snapshot", "-r", &self.text(of), &self.text(name)]);
    }

    /// Delete a subvolume, by the hand of somebody else.
    #[track_caller]
    pub fn delete(&self, name: &str) {
        self.btrfs(&["subvolume", "delete", &self.text(name)]);
    }

    /// The identity of a subvolume.
    #[must_use]
    #[track_caller]
    pub fn uuid(&self, path: &Path) -> String {
        let shown = self.btrfs(&["subvolume", "show", path.to_str().unwrap()]);
        let line = shown.lines().find_map(|line| line.trim_start().strip_prefix("UUID:")).unwrap();
        line.trim().to_owned()
    }

    /// All subvolumes, and all that is in the directory for snapshots: what a backup could make or remove. Sorted.
    #[must_use]
    #[track_caller]
    pub fn inventory(&self) -> Vec<String> {
        let listed = self.btrfs(&["subvolume", "list", "-u", &self.text("")]);
        // Identity and path: the rest changes with every write.
        let tail = |line: &str| line.split_once(" uuid ").unwrap().1.to_owned();
        let mut all: Vec<String> = listed.lines().map(tail).collect();
        all.extend(self.snaps().into_iter().map(|name| format!("in snaps: {name}")));
        all.sort();
        all
    }

    /// The names in the directory for snapshots, sorted.
    #[must_use]
    pub fn snaps(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("snaps")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A `[[part]]` for subvolumes of it, with these further keys.
    #[must_use]
    pub fn part(&self, name: &str, subvolumes: &[&str], keys: &str) -> String {
        let subvolumes: Vec<String> = subvolumes.iter().map(|name| self.text(name)).collect();
        format!(
            "[[part]]\nname = \"{name}\"\nplugin = \"btrfs.wasm\"\n[part.config]\nsubvolumes = {subvolumes:?}\n\
             snapshots = {:?}\n{keys}\n",
            self.text("snaps")
        )
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        let point = self.point();
        for lazy in [false, false, true] {
            let mut umount = Command::new("umount");
            umount.args(lazy.then_some("-l")).arg(&point);
            if Running::start(umount, false).end().code == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
