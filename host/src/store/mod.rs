//! Where sets live: `<root>/<instance>/<set id>/{<objects>, manifest.json}`.
//!
//! The rules, in one place:
//! - A set exists only once its manifest does, which is written last and atomically. Until then a marker,
//!   `in-progress`, says that what is there is a run's unfinished work; a set with neither is damaged.
//! - Nothing rewrites an object that exists.
//! - Deleting puts the marker back and removes the manifest first, so that what an interrupted deletion leaves is
//!   recognised as a rest, not as a damaged set.
//! - What is told of a set later lies beside it, in `<root>/<instance>/records`, and goes with it.
//! - Only files whose names this program could have given are ever deleted, and never a directory with others in it.
//!
//! All functions block; call them on a thread that may (`tokio::task::spawn_blocking`), of a process that has a tokio
//! runtime.

mod backend;
mod claim;
mod delete;
mod error;
mod list;
mod local;
mod object;
mod records;
pub mod retention;
#[cfg(test)]
mod tests;
mod write;

pub use backend::{Store, check_location};
pub use delete::Swept;
pub use list::{SetEntry, SetState, StoredSet};
pub use object::{ObjectReader, ObjectWriter};
pub use records::{Author, Record, RecordKind, Records, SetRecords, Skipped};
pub use write::SetWriter;
