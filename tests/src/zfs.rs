//! A ZFS that all tests share; each makes datasets of its own.
//!
//! It lives in a private mount namespace. Commands enter it by `nsenter`, and files are looked at from outside through
//! `/proc/<pid>/root`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::{Running, script, tool, until};

/// A pool.
pub struct Zfs {
    _holder: Running,
    pid: String,
    pool: String,
}

/// The pool. It is made when the first test needs it, and goes when the tests end.
pub fn zfs() -> &'static Zfs {
    static POOL: OnceLock<Zfs> = OnceLock::new();
    POOL.get_or_init(Zfs::start)
}

impl Zfs {
    /// A pool of one's own, for a test that is hard on it.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        assert!(rustix::process::geteuid().is_root(), "the tests of ZFS need root: sudo make test");
        let mut command = Command::new(script("with-zfs.sh"));
        command.args(["--size", "1G", "bash", "-c", "echo \"pool $ZFS_POOL $$\"; read -r _"]);
        let mut holder = Running::start(command, true);
        let line = holder.says("pool ");
        let words: Vec<_> = line.split(' ').collect();
        Self { pool: words[1].to_owned(), pid: words[2].to_owned(), _holder: holder }
    }

    /// What makes a command run where the pool is mounted. The command keeps its process id.
    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        ["nsenter", &format!("--mount=/proc/{}/ns/mnt", self.pid), "--"].map(str::to_owned).to_vec()
    }

    /// A command that sees the pool.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let wrapper = self.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(program).args(args);
        command
    }

    /// `zfs` with these arguments, which has to succeed; what it printed.
    #[track_caller]
    pub fn zfs(&self, args: &[&str]) -> String {
        tool(self.command("zfs", args)).trim_end().to_owned()
    }

    /// Destroy a dataset, as soon as it is no longer busy.
    #[track_caller]
    pub fn destroy(&self, name: &str) {
        until(&format!("destroy {name}"), Duration::from_secs(20), || {
            Running::start(self.command("zfs", &["destroy", "-R", name]), false).end().code == 0
        });
    }

    /// The full name of a dataset.
    #[must_use]
    pub fn name(&self, dataset: &str) -> String {
        format!("{}/{dataset}", self.pool)
    }

    /// Make a dataset; its full name.
    #[track_caller]
    pub fn create(&self, dataset: &str) -> String {
        let name = self.name(dataset);
        self.zfs(&["create", &name]);
        name
    }

    /// The files of a dataset, as they are seen from here.
    #[must_use]
    #[track_caller]
    pub fn files(&self, name: &str) -> PathBuf {
        let mountpoint = self.zfs(&["get", "-H", "-o", "value", "mountpoint", name]);
        Path::new("/proc").join(&self.pid).join("root").join(mountpoint.trim_start_matches('/'))
    }

    /// The snapshots of a dataset, by what comes after the `@`, oldest first.
    #[must_use]
    #[track_caller]
    pub fn snapshots(&self, name: &str) -> Vec<String> {
        let listed = self.zfs(&["list", "-H", "-o", "name", "-t", "snapshot", "-s", "createtxg", "-r", name]);
        let prefix = format!("{name}@");
        listed.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    /// The datasets whose names begin like this.
    #[must_use]
    #[track_caller]
    pub fn datasets(&self, prefix: &str) -> Vec<String> {
        let listed = self.zfs(&["list", "-H", "-o", "name", "-t", "filesystem", "-r", &self.pool]);
        listed.lines().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// A `[[part]]` for datasets of it.
    #[must_use]
    pub fn part(&self, name: &str, datasets: &[&str]) -> String {
        format!("[[part]]\nname = \"{name}\"\nplugin = \"zfs.wasm\"\n[part.config]\ndatasets = {datasets:?}\n")
    }
}
