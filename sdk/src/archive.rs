//! What was archived, for `restore`. The host verifies every byte against the set's manifest while it reads.

use crate::exec::{Command, Output};
use crate::{Archived, Result};

/// Write the archived tree `name` into the directory `to`, a guest path under `/target` or `/staging`, which must exist
/// and be empty. Returns the number of entries.
///
/// # Errors
/// The host's: no such tree, a target that is not empty, `corrupt` bytes.
pub fn extract(name: &str, to: &str) -> Result<u64> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::archive::extract(None, name, to);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.extract(name, to))
}

/// Write this archived tree, of the set that is restored or of a set on which it builds, into the directory `to`.
///
/// # Errors
/// As [`extract`].
pub fn extract_from(archived: &Archived, to: &str) -> Result<u64> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::archive::extract(Some(&archived.set), &archived.name, to);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.extract_from(&archived.set, &archived.name, to))
}

/// In `restore`: its label, unique to it, as that of a capture is: to be part of the tags or names of what it makes before that
/// is complete, so that [`Unfinished::abandon`](crate::Unfinished::abandon) knows it.
///
/// # Errors
/// `unsupported`: this is no restore.
pub fn label() -> Result<String> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::archive::label();
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.label())
}

/// In `restore`: tell the host that a tree of the part is back in this directory (a guest path below `/source`, `/target` or
/// `/staging`) which [`extract`] did not write: a rollback, a stream. The host looks after it as the part's profile says.
///
/// # Errors
/// The host's: a directory that is not granted or not there.
pub fn restored(directory: &str) -> Result<()> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::archive::restored(directory);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.restored(directory))
}

/// Run a command with the archived stream `name` on its stdin.
///
/// # Errors
/// The host's: no such stream, a command that is not allowed, `corrupt` bytes.
pub fn feed(name: &str, command: Command) -> Result<Output> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::archive::feed(None, name, command.id(), &command.arguments())
        .map(|completed| Output::new(command.id(), completed));
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.feed(name, &command))
}

/// Run a command with this archived stream on its stdin: one of the set that is restored, or of a set on which it builds.
///
/// # Errors
/// As [`feed`].
pub fn feed_from(archived: &Archived, command: Command) -> Result<Output> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::bkhost::snapshot::archive::feed(
        Some(&archived.set),
        &archived.name,
        command.id(),
        &command.arguments(),
    )
    .map(|completed| Output::new(command.id(), completed));
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.feed_from(&archived.set, &archived.name, &command))
}
