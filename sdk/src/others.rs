//! Other parts of the same run, for a strategy whose files another part captures.

use crate::Result;

pub use crate::bindings::bkhost::snapshot::others::Held;

/// Whether the part `part` of this run captures the directory that this guest path below `/source` leads to, and what in it is
/// on other volumes: with `through` by a look through the whole tree, which takes the longer the more files there are, and does
/// not belong under the lock; else only what is mounted there. None: it does not. In `check`, `prepare`, `capture` and `finish`.
///
/// # Errors
/// `not-found`: there is no such part, or no such directory. `unsupported`: its strategy does not implement
/// [`Covers`](crate::Covers). What its strategy says.
pub fn holds(part: &str, directory: &str, through: bool) -> Result<Option<Held>> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::others::holds(part, directory, through);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.holds(part, directory, through))
}
