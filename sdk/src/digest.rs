//! Hashes of files, computed by the host.

pub use crate::bindings::bkhost::snapshot::digest::Algorithm;

use crate::Result;

/// The hash, in lower-case hexadecimal, of the file at `path`, a guest path below `/source` or `/staging`. With `gunzip`,
/// that of what the gzip file holds.
///
/// # Errors
/// The host's: a path that is not granted or leads through a symbolic link, a file that cannot be read, `corrupt` if it is
/// no complete gzip file.
pub fn file(path: &str, algorithm: Algorithm, gunzip: bool) -> Result<String> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::digest::file(path, algorithm, gunzip);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.digest(path, algorithm, gunzip))
}
