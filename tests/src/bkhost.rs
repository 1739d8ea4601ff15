//! Runs the binary.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::{Outcome, Running, Simulator, Zfs, tool, until};

/// The directory of the workspace's build output.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // <target>/release/deps/<test>
    let dir = test.ancestors().nth(3).unwrap();
    dir.to_owned()
}

/// A directory that `make` fills, named by a variable or found in the build output.
fn built(variable: &str, name: &str, command: &str) -> PathBuf {
    let dir = std::env::var_os(variable).map_or_else(|| target().join(name), PathBuf::from);
    assert!(dir.exists(), "{} is missing: run `{command}` first", dir.display());
    dir
}

/// Where the strategies are.
#[must_use]
pub fn plugins() -> PathBuf {
    built("BKHOST_PLUGINS", "plugins", "make plugins")
}

/// Where the tests' own guests are.
#[must_use]
pub fn guests() -> PathBuf {
    built("BKHOST_TEST_GUESTS", "test-guests", "sdk/build-guests.sh --tests")
}

fn binary() -> PathBuf {
    let binary = std::env::var_os("BKHOST_BIN").map_or_else(|| target().join("release/bkhost"), PathBuf::from);
    assert!(binary.exists(), "{} is missing: run `make host` first", binary.display());
    binary
}

/// State that all scratch instances share: each has a directory of its own in it, and the compiled plugins are compiled
/// once. It is in the build output, and so nothing that a test leaves behind.
fn state() -> PathBuf {
    target().join("it-state")
}

/// `[application]` of an instance that has none.
#[must_use]
pub fn application_none() -> String {
    "[application]\ntype = \"none\"\n".to_owned()
}

/// A `[[part]]` of the strategy `directory`.
#[must_use]
pub fn directory_part(name: &str, path: &Path) -> String {
    format!("[[part]]\nname = \"{name}\"\nplugin = \"directory.wasm\"\n[part.config]\npath = \"{}\"\n", path.display())
}

/// The binary with a scratch directory, an instance and a configuration of its own.
pub struct Bkhost {
    dir: tempfile::TempDir,
    instance: String,
    wrapper: Vec<String>,
}

impl Default for Bkhost {
    fn default() -> Self {
        Self::new()
    }
}

impl Bkhost {
    /// A scratch instance.
    #[must_use]
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::Builder::new().prefix("bkhost-it-").tempdir().unwrap();
        let this = Self { dir, instance: format!("it{}-{number}", std::process::id()), wrapper: Vec::new() };
        std::fs::write(this.path("password"), "admin\n").unwrap();
        std::fs::set_permissions(this.path("password"), std::fs::Permissions::from_mode(0o600)).unwrap();
        this
    }

    /// A scratch instance that sees this ZFS.
    #[must_use]
    pub fn inside(zfs: &Zfs) -> Self {
        let mut this = Self::new();
        this.wrapper = zfs.wrapper();
        this.wrapper.extend(["env".to_owned(), "-C".to_owned(), this.dir.path().display().to_string()]);
        this
    }

    /// Run the binary by this script, which finds it and its arguments as `"$@"`.
    pub fn wrap(&mut self, script: &str) {
        self.wrapper.extend(["bash", "-c", script, "wrapper"].map(str::to_owned));
    }

    /// The instance's name.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// A path in the scratch directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The instance's own directory of the state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        state().join(&self.instance)
    }

    /// The directory of a set in the store.
    #[must_use]
    pub fn set(&self, id: &str) -> PathBuf {
        self.path("backups").join(&self.instance).join(id)
    }

    /// Write the configuration: the instance, the store, and these tables.
    pub fn config(&self, tables: &[&str]) {
        let store = format!("[[store]]\nto = \"{}\"\n", self.path("backups").display());
        self.config_for(tables, &[&store]);
    }

    /// Write the configuration: the instance, these tables, and these stores.
    pub fn config_for(&self, tables: &[&str], stores: &[&str]) {
        let text = format!("[instance]\nname = \"{}\"\n\n{}\n{}", self.instance, tables.join("\n"), stores.join("\n"));
        std::fs::write(self.path("bkhost.toml"), text).unwrap();
    }

    /// `[application]` for this simulator, with these further keys.
    #[must_use]
    pub fn application(&self, simulator: &Simulator, keys: &str) -> String {
        format!(
            "[application]\ntype = \"bitbucket\"\nurl = \"{}\"\nusername = \"admin\"\npassword = {{ file = \"{}\" }}\n{keys}\n",
            simulator.url(),
            self.path("password").display()
        )
    }

    /// Write an executable script that stands in for a program; its path.
    #[must_use]
    pub fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The command with these arguments, not yet started: nothing of the tests' own environment but `PATH`.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let binary = binary();
        let mut command = match self.wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("BKHOST_STATE", state())
            .env("BKHOST_PLUGINS", plugins());
        command
    }

    /// Start it.
    #[must_use]
    #[track_caller]
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Running {
        Running::start(self.command(args), false)
    }

    /// Start it, to die at this point of its journal: `after:child-ended:4`.
    #[must_use]
    #[track_caller]
    pub fn doomed<S: AsRef<OsStr>>(&self, args: &[S], point: &str) -> Running {
        let mut command = self.command(args);
        command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", point);
        Running::start(command, false)
    }

    /// Run it to its end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        self.spawn(args).end()
    }

    /// Run a backup that has to succeed; the set's manifest.
    #[track_caller]
    pub fn backup(&self) -> Value {
        let outcome = self.run(&["run", "--json"]).ok();
        let manifest = outcome.json();
        assert!(manifest["id"].is_string(), "{outcome}");
        manifest
    }

    /// Run a backup that has to succeed; the set's id.
    #[track_caller]
    pub fn backup_id(&self) -> String {
        self.backup()["id"].as_str().unwrap().to_owned()
    }

    /// What `list --json` says: each set's id and state, newest first.
    #[track_caller]
    pub fn list(&self) -> Vec<(String, String)> {
        let listed = self.run(&["list", "--json"]).ok().json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        listed["sets"].as_array().unwrap().iter().map(|set| (text(&set["id"]), text(&set["state"]))).collect()
    }

    /// The names in the store's directory of the instance, but for what is told of its sets and of who works on them.
    #[must_use]
    pub fn stored(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("backups").join(&self.instance)) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !matches!(name.as_str(), "lease.json" | "records" | "in-use"));
        names.sort();
        names
    }

    /// What the guards of dead runs have told, as far as they did.
    #[must_use]
    pub fn guard_log(&self) -> String {
        std::fs::read_to_string(self.state().join("guard.log")).unwrap_or_default()
    }

    /// No run of this instance has left a child, by what the journals say.
    #[track_caller]
    pub fn no_child_left(&self) {
        let mut groups = Vec::new();
        for entry in std::fs::read_dir(self.state().join("runs")).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            for line in text.lines().filter(|line| line.contains("pgid")) {
                let record: Value = serde_json::from_str(line).unwrap();
                groups.push(record["pgid"].as_u64().unwrap_or_else(|| panic!("{record}")).to_string());
            }
        }
        until("no child is left", Duration::from_secs(5), || {
            let mut ps = Command::new("ps");
            ps.args(["-e", "-o", "pgid=,stat="]);
            // What is dead, and only waits for somebody to take notice, does no harm.
            !tool(ps).lines().any(|line| {
                let mut words = line.split_whitespace();
                let group = words.next().unwrap_or_default();
                groups.iter().any(|ours| ours == group) && !words.next().unwrap_or_default().starts_with('Z')
            })
        });
    }
}

impl Drop for Bkhost {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.state());
    }
}
