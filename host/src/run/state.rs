//! The directories that bkhost keeps on this machine.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// The state of one instance. Below the root: `aot/` (compiled plugins, shared), and per instance `lock`, `runs/` (journals),
/// `staging/<part>/` (unless the part has it elsewhere), `plugin-state/<part>/`, `mirrors/<part>/` and `sealed/`.
#[derive(Debug, Clone)]
pub struct StateDirs {
    root: PathBuf,
    instance: PathBuf,
}

impl StateDirs {
    /// Make sure that the directories of an instance exist.
    ///
    /// # Errors
    /// If they cannot be made or are not ours.
    pub fn open(root: &Path, instance: &str) -> Result<Self> {
        let dirs = Self { root: root.to_owned(), instance: root.join(instance) };
        // A child that runs as another user has to pass through to its staging directory, but not to look around.
        for dir in [root, &dirs.instance, &dirs.instance.join("staging")] {
            make(dir, 0o711)?;
        }
        for dir in
            [dirs.aot(), dirs.runs(), dirs.instance.join("plugin-state"), dirs.instance.join("mirrors"), dirs.sealed()]
        {
            make(&dir, 0o700)?;
        }
        Ok(dirs)
    }

    /// The instance's own directory, which holds its lock.
    #[must_use]
    pub fn instance(&self) -> &Path {
        &self.instance
    }

    /// Compiled plugins.
    #[must_use]
    pub fn aot(&self) -> PathBuf {
        self.root.join("aot")
    }

    /// The journals of the instance's runs.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.instance.join("runs")
    }

    /// How notifications went.
    #[must_use]
    pub fn notify(&self) -> PathBuf {
        self.instance.join("notify")
    }

    /// What this machine keeps of its encrypted sets: see [`super::sealed`].
    #[must_use]
    pub fn sealed(&self) -> PathBuf {
        self.instance.join("sealed")
    }

    /// Where restores are rehearsed: the drill's lock and notes, and its scratch unless the configuration has another. Made
    /// if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn drill(&self) -> Result<PathBuf> {
        self.workplace("drill")
    }

    /// Where plugins check what was archived, each in a directory of its own. Made if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn verify(&self) -> Result<PathBuf> {
        self.workplace("verify")
    }

    /// Where plugins check what a run is about to publish. Made if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn proof(&self) -> Result<PathBuf> {
        self.workplace("proof")
    }

    fn workplace(&self, name: &str) -> Result<PathBuf> {
        let dir = self.instance.join(name);
        make(&dir, 0o711)?;
        Ok(dir)
    }

    /// A part's staging directory, made if it is missing: below the directory `elsewhere` that the operator names, or below
    /// the state.
    ///
    /// # Errors
    /// If it cannot be made; if `elsewhere` does not exist, or somebody else may change what is in it.
    pub fn staging(&self, part: &str, elsewhere: Option<&Path>) -> Result<PathBuf> {
        let dir = match elsewhere {
            None => self.instance.join("staging").join(part),
            Some(place) => self.own_directory(place)?.join(part),
        };
        make(&dir, 0o700)?;
        Ok(dir)
    }

    /// The instance's directory in a place that is not our own.
    fn own_directory(&self, place: &Path) -> Result<PathBuf> {
        let hint = "it is `staging` of the [[part]]: a directory that exists, on a file system that is mounted";
        // Not made: where it belongs on another disk, that one is not mounted.
        if !place.is_dir() {
            let text = format!("the staging directory {} does not exist", place.display());
            return Err(Error::new(ErrorKind::Config, text).hint(hint));
        }
        let dir = place.join(self.instance.file_name().unwrap_or_default());
        let looked = || format!("cannot look at {}", dir.display());
        if std::fs::symlink_metadata(&dir).is_err() {
            make(&dir, 0o711).map_err(|e| e.hint(hint))?;
        }
        let found = std::fs::symlink_metadata(&dir).or_error(ErrorKind::Io, looked)?;
        let ours = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
        if found.is_dir() && ours {
            return Ok(dir);
        }
        let text = format!("{} is no directory of ours that nobody else may change", dir.display());
        Err(Error::new(ErrorKind::Denied, text).hint("move it away, or choose another `staging` for the [[part]]"))
    }

    /// A part's private state, made if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn plugin_state(&self, part: &str) -> Result<PathBuf> {
        let dir = self.instance.join("plugin-state").join(part);
        make(&dir, 0o700)?;
        Ok(dir)
    }

    /// Where the host remembers what it mirrored for a part, made if it is missing: out of reach of the plugin.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn mirrors(&self, part: &str) -> Result<PathBuf> {
        let dir = self.instance.join("mirrors").join(part);
        make(&dir, 0o700)?;
        Ok(dir)
    }
}

/// Where state is kept if the configuration does not say: `/var/lib/bkhost` for root, else below the user's state
/// directory.
///
/// # Errors
/// If there is no home either.
pub fn default_state() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/bkhost"));
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("bkhost"))
        .ok_or("neither XDG_STATE_HOME nor HOME is set")
        .or_error(ErrorKind::Config, || "there is no place for bkhost's state")
        .map_err(|e| e.hint("name one with --state or `[instance] state`"))
}

/// The id of the machine's boot: processes of another boot are gone.
///
/// # Errors
/// If the kernel does not tell it.
pub(super) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    std::fs::read_to_string(path)
        .map(|id| id.trim().to_owned())
        .or_error(ErrorKind::Io, || format!("cannot read {path}"))
}

/// The machine's name.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn make(dir: &Path, mode: u32) -> Result<()> {
    let hint = "choose another directory with `[instance] state`";
    if !dir.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(dir)
            .or_error(ErrorKind::Io, || format!("cannot make the state directory {}", dir.display()))
            .map_err(|e| e.hint(hint))?;
        // The mode above is subject to the umask, which may be tighter than a `run-as` user can live with.
        std::fs::set_permissions(dir, Permissions::from_mode(mode))
            .or_error(ErrorKind::Io, || format!("cannot set the mode of {}", dir.display()))?;
    }
    Ok(())
}
