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
