//! A stand-in for Perforce Helix Core's `p4d` and `p4`, which cannot be had here: written from Perforce's manual, for
//! these tests alone. It is no Perforce product and shares nothing with one.
//!
//! True to the manual: the commands and what they print, the names of checkpoints and journals, their text (a journal's
//! records, with a header and a trailer), gzip, the `.md5` beside a checkpoint, counters, the rotation of the journal, the
//! order in which a submit writes (files first, then metadata), a lock that lasts as long as a checkpoint. Not true: the
//! inside of the `db.*` files, of which no documentation exists (here: journal records, appended), and the protocol between
//! `p4` and `p4d`.
//!
//! `standin-fault` in the server's root names what is to go wrong, `standin-options` how it differs from the usual.

mod archive;
mod checkpoint;
mod command;
mod database;
mod fixture;
mod record;
mod server;

pub use command::p4d;
pub use database::Database;
pub use fixture::{P4, Submitter};
pub use server::p4;

/// What a stand-in's command failed with: its last words.
type Result<T> = std::result::Result<T, String>;

/// Seconds since the epoch.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A failed operation on a file, as p4d words it.
fn io(what: &str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> String {
    let text = format!("Perforce server error:\n\t{what}: {}", path.display());
    move |e| format!("{text}: {e}")
}
