//! What was archived, for `restore`. The host verifies every byte against the set's manifest while it reads.

use crate::Result;
use crate::exec::{Command, Output};

/// Write the archived tree `name` into the directory `to`, a guest path under `/target` or `/staging`, which must exist
/// and be empty. Returns the number of entries.
///
/// # Errors
/// The host's: no such tree, a target that is not empty, `corrupt` bytes.
pub fn extract(name: &str, to: &str) -> Result<u64> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::archive::extract(name, to);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.extract(name, to))
}

/// Run a command with the archived stream `name` on its stdin.
///
/// # Errors
/// The host's: no such stream, a command that is not allowed, `corrupt` bytes.
pub fn feed(name: &str, command: Command) -> Result<Output> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::archive::feed(name, command.id(), &command.arguments())
        .map(|completed| Output::new(command.id(), completed));
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.feed(name, &command))
}
