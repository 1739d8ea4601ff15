//! Runs the binary.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The directory of the workspace's build output.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
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

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// How long it took.
    pub elapsed: Duration,
}

impl Outcome {
    /// The outcome, if it is a success.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// The outcome, if it failed with this code and says all of this.
    ///
    /// # Panics
    /// If not.
    #[must_use]
    pub fn fails(self, code: i32, says: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        for text in says {
            assert!(self.stderr.contains(text), "stderr does not say `{text}`: {self:#?}");
        }
        self
    }

    /// What `--json` printed on stdout.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {self:#?}"))
    }
}

/// The binary with a scratch directory, state and config of its own.
pub struct Bkhost {
    dir: tempfile::TempDir,
}

impl Default for Bkhost {
    fn default() -> Self {
        Self::new()
    }
}

impl Bkhost {
    /// A scratch instance.
    ///
    /// # Panics
    /// If there is no scratch space.
    #[must_use]
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("bkhost-it-").tempdir().unwrap() }
    }

    /// A path in the scratch directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Write the config; `{dir}` stands for the scratch directory.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn config(&self, text: &str) {
        let text = text.replace("{dir}", &self.dir.path().display().to_string());
        std::fs::write(self.path("bkhost.toml"), text).unwrap();
    }

    /// The command with these arguments, not yet started: nothing of the tests' own environment but `PATH`.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let binary = std::env::var_os("BKHOST_BIN").map_or_else(|| target().join("release/bkhost"), PathBuf::from);
        assert!(binary.exists(), "{} is missing: run `make host` first", binary.display());
        let mut command = Command::new(binary);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("BKHOST_PLUGINS", plugins())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Start it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// Run it to its end.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        let start = Instant::now();
        let output = self.command(args).output().unwrap();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            elapsed: start.elapsed(),
        }
    }

    /// Run a backup that has to succeed; the id of the set.
    ///
    /// # Panics
    /// If it fails.
    pub fn backup(&self) -> String {
        let outcome = self.run(&["run", "--json"]).ok();
        // The last line is the result; those before it are events.
        let last: Value = serde_json::from_str(outcome.stdout.lines().last().unwrap_or_default())
            .unwrap_or_else(|e| panic!("{e} in {outcome:#?}"));
        last["id"].as_str().unwrap_or_else(|| panic!("no id in {last}")).to_owned()
    }
}
