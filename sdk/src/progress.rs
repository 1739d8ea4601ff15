//! Progress of a long step.

/// `done` of `total` bytes (or items, if `what` says so) of the step called `what`. Best effort.
pub fn report(what: &str, done: u64, total: Option<u64>) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::bkhost::snapshot::progress::report(what, done, total);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (what, done, total);
}
