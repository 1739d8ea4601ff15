//! File systems that stand still for a moment, so that several volumes get one consistency point.

use crate::Result;

/// File systems that stand frozen. Dropping it thaws them; [`thaw`](Self::thaw) also tells whether they stood still.
#[derive(Debug)]
#[must_use = "dropping it thaws"]
pub struct Frozen {
    #[cfg(target_arch = "wasm32")]
    frozen: crate::bindings::bkhost::snapshot::freeze::Frozen,
    #[cfg(not(target_arch = "wasm32"))]
    directories: Vec<String>,
}

impl Frozen {
    /// Thaw them all, now.
    ///
    /// # Errors
    /// What was captured meanwhile is no consistency point (`timed-out`, `conflict`), or one did not thaw (`other`).
    pub fn thaw(self) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        return self.frozen.thaw();
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::with(|host| host.thaw(&self.directories))
    }
}

/// Freeze the file systems that hold these guest directories (`/source/<name>` or `/source/<name>/<n>`, of a
/// `[[directory]]` with `freeze = true`), each once; all or none. Only in `capture`, and for a moment: whoever writes there
/// waits.
///
/// ```no_run
/// # fn main() -> bkhost_sdk::Result<()> {
/// let frozen = bkhost_sdk::freeze(&["/source/volumes/0", "/source/volumes/1"])?;
/// // … take the snapshots …
/// frozen.thaw()
/// # }
/// ```
///
/// # Errors
/// The host's: not granted, a file system that bkhost itself writes to, one that is frozen already or cannot be.
pub fn freeze<S: AsRef<str>>(directories: &[S]) -> Result<Frozen> {
    let directories = owned(directories);
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::freeze::freeze(&directories).map(|frozen| Frozen { frozen });
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.freeze(&directories)).map(|()| Frozen { directories })
}

/// Whether [`freeze`] would refuse them: for `check`. Freezes nothing.
///
/// # Errors
/// As [`freeze`], as far as it can be told without trying.
pub fn can_freeze<S: AsRef<str>>(directories: &[S]) -> Result<()> {
    let directories = owned(directories);
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::freeze::can_freeze(&directories);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.can_freeze(&directories))
}

fn owned<S: AsRef<str>>(directories: &[S]) -> Vec<String> {
    directories.iter().map(|directory| directory.as_ref().to_owned()).collect()
}
