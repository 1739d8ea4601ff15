//! A file system that can be frozen, and thawed by anybody who knows its name.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::mounts::{self, Mount};
use super::suspended;
use super::tool::{self, Failure, Way};
use crate::capability::{CallError, Code};

/// How long a thaw may take. Nothing has to be written for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A file system, named so that no other is taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Place {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The device it is on, as `major:minor`.
    pub device: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mount.display().fmt(f)
    }
}

impl Place {
    /// The file system that holds an open directory.
    pub(in crate::capability) fn of(directory: impl AsFd) -> std::io::Result<(Self, Mount)> {
        let mount = mounts::of(directory)?;
        Ok((Self { mount: mount.point.clone(), device: mount.device.clone() }, mount))
    }

    /// A path that leads to this file system now: its mount point, or another one when that is hidden or gone.
    pub(super) fn path(&self) -> std::io::Result<PathBuf> {
        let mounts = mounts::all()?;
        let points = mounts.iter().filter(|mount| mount.device == self.device).map(|mount| mount.point.as_path());
        std::iter::once(self.mount.as_path())
            .chain(points)
            .find(|point| leads_to(point, &self.device))
            .map(Path::to_owned)
            .ok_or_else(|| std::io::Error::other(format!("the device {} is not mounted any more", self.device)))
    }
}

fn leads_to(point: &Path, device: &str) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(point, flags, Mode::empty());
    opened.ok().and_then(|fd| mounts::of(fd).ok()).is_some_and(|mount| mount.device == device)
}

/// Thaw a file system. Gives whether it was frozen: one that was not is no error.
///
/// # Errors
/// It may still be frozen.
pub async fn thaw(place: &Place) -> Result<bool, CallError> {
    let stuck = |why: String| {
        CallError::new(Code::Other, format!("the file system {place} may still be frozen: {why}"))
            .hint(format!("as root: fsfreeze --unfreeze {place}"))
    };
    let path = place.path().map_err(|e| stuck(e.to_string()))?;
    suspended::resume(&place.device).await;
    match tool::fsfreeze(Way::Thaw, &path, None, PATIENCE, &CancellationToken::new()).await {
        Ok(()) => Ok(true),
        Err(Failure::NotFrozen) => Ok(false),
        Err(failure) => Err(stuck(failure.to_string())),
    }
}
