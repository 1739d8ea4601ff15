//! Earlier sets, for strategies that archive only what has changed since one of them.

use crate::Result;

pub use crate::bindings::bkhost::snapshot::history::Earlier;

/// The newest earlier set that this part can build on: published, and read back just now with all that it needs itself.
/// Name it in `Snapshot::base`, in `capture` or `finish`, to build on it. May take as long as reading those archives: ask
/// in `finish`.
///
/// # Errors
/// The host's: the store cannot be read, the run was cancelled.
pub fn previous() -> Result<Option<Earlier>> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::history::previous();
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.previous())
}
