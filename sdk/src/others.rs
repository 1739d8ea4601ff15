//! Other parts of the same run, for a strategy whose files another part captures.

use crate::Result;

pub use crate::bindings::bkhost::snapshot::others::Held;

/// Whether the part `part` of this run captures the directory that this guest path below `/source` leads to, and what in it is
/// on other volumes. None: it does not. In `check`, `prepare`, `capture` and `finish`.
///
/// # Errors
/// `not-found`: there is no such part, or no such directory. `unsupported`: its strategy does not implement
/// [`Covers`](crate::Covers). What its strategy says.
pub fn holds(part: &str, directory: &str) -> Result<Option<Held>> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::others::holds(part, directory);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.holds(part, directory))
}
