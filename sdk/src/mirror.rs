//! The host's copy of a tree: native, many files at once, reflinked where the file system can.

pub use crate::bindings::bkhost::snapshot::mirror::{Copied, Pass};

use crate::Result;

/// Make the directory `destination` (under `/staging`) equal to the directory `source` (under `/source`), leaving out
/// what matches `exclude` (globs relative to `source`; a pattern without a slash matches at any depth).
///
/// # Errors
/// The host's: a path that is not granted, a full disk, a cancelled run.
pub fn copy(source: &str, destination: &str, exclude: &[String], pass: Pass) -> Result<Copied> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::mirror::copy(source, destination, exclude, pass);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.mirror(source, destination, exclude, pass))
}
