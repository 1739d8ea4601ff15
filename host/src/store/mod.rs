//! Where sets live: `<root>/<instance>/<set id>/{<objects>, manifest.json}`.
//!
//! A place is a directory of this machine or a bucket that speaks S3; what differs between them is behind `backend`.
//!
//! The rules, in one place:
//! - A set exists only once its manifest does, which is written last and atomically. Until then a marker,
//!   `in-progress`, says that what is there is a run's unfinished work; a set with neither is damaged.
//! - Nothing rewrites an object that exists.
//! - Deleting puts the marker back and removes the manifest first, so that what an interrupted deletion leaves is
//!   recognised as a rest, not as a damaged set.
//! - What works on a set leaves a mark in `<root>/<instance>/in-use` while it does.
//! - What is told of a set later lies beside it, in `<root>/<instance>/records`, and goes with it.
//! - Only files whose names this program could have given are ever deleted, and never a directory with others in it.
//!
//! All functions block; call them on a thread that may (`tokio::task::spawn_blocking`), of a process that has a tokio
//! runtime.

mod backend;
mod claim;
mod delete;
mod error;
mod in_use;
mod list;
mod local;
mod object;
mod open;
mod records;
pub mod retention;
mod s3;
#[cfg(test)]
mod tests;
mod write;

pub use backend::Bucket;
pub use delete::Swept;
pub use in_use::UseMark;
pub use list::{Amiss, SetEntry, SetState, StoredSet};
pub use object::{ObjectReader, ObjectWriter};
pub use open::{Store, check_location};
pub use records::{Author, Record, RecordKind, Records, SetRecords, Skipped};
pub use write::SetWriter;

/// The file that says that a set is not complete.
const MARKER: &str = "in-progress";

/// What the names begin with under which small files are written before they get their own.
const DRAFT: &str = ".put-";

/// Whether a file is one that was never finished.
fn is_draft(name: &str) -> bool {
    name.strip_prefix(DRAFT).is_some_and(is_serial)
}

/// Whether it is the numbers that follow in the name of a draft.
fn is_serial(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

/// The machine's name, for the marker of an unfinished set.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
