//! Guest paths.

use std::path::PathBuf;

/// The part's own scratch space, kept between runs.
pub const STAGING: &str = "/staging";
/// Small and private, kept between runs.
pub const STATE: &str = "/state";
/// The directory to restore into.
pub const TARGET: &str = "/target";

/// Where `std::fs` finds a guest path: the path itself in a component; beneath the test's directory in
/// [`testing`](crate::testing).
#[must_use]
pub fn local(guest: &str) -> PathBuf {
    #[cfg(target_arch = "wasm32")]
    return PathBuf::from(guest);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::local(guest)
}

/// What a component is told of a path below a directory that the host could not open for it (ENOTCAPABLE).
const NOT_OPENED: i32 = 76;

/// Why a directory of the configuration (`/source/<name>`) cannot be read, for a finding.
#[must_use]
pub fn unreadable(error: &std::io::Error) -> String {
    if error.raw_os_error() == Some(NOT_OPENED) {
        return "it does not exist, is no directory, or may not be read by this user".to_owned();
    }
    format!("cannot be read: {error}")
}
