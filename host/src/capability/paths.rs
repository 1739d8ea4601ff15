//! Guest paths: which host directory each is, and never anything beside it.

use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

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

/// An existing file or directory that a guest path names.
#[derive(Debug)]
pub struct HostPath {
    pub(super) file: std::fs::File,
    pub(super) path: PathBuf,
    pub(super) guest: String,
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
    /// It is no directory.
    pub fn dir(&self) -> Result<Dir, CallError> {
        let metadata = self.file.metadata().map_err(|e| CallError::new(Code::Other, format!("{}: {e}", self.guest)))?;
        if !metadata.is_dir() {
            return Err(CallError::new(Code::InvalidConfig, format!("{} is no directory", self.guest)));
        }
        let file = self.file.try_clone().map_err(|e| CallError::new(Code::Other, format!("{}: {e}", self.guest)))?;
        Ok(Dir::from_std_file(file))
    }

    /// The regular file, opened for reading.
    ///
    /// # Errors
    /// It is no regular file.
    pub fn file(&self) -> Result<std::fs::File, CallError> {
        let metadata = self.file.metadata().map_err(|e| CallError::new(Code::Other, format!("{}: {e}", self.guest)))?;
        if !metadata.is_file() {
            return Err(CallError::new(Code::InvalidConfig, format!("{} is no regular file", self.guest)));
        }
        self.file.try_clone().map_err(|e| CallError::new(Code::Other, format!("{}: {e}", self.guest)))
    }
}
