//! Archives: writing, reading, verifying and mirroring trees.
//!
//! A part's archive is one tar (PAX) compressed with zstd, and an index of it; the output of a process is a stream,
//! compressed alone. All of it is synchronous (call it from a blocking task), obeys [`Control`], and needs memory that
//! does not grow with the number of files, apart from the names of one directory and a table of hard links.

mod acl;
mod compress;
mod control;
mod digest;
mod entry;
mod exclude;
mod fs;
pub mod id;
mod index;
mod mirror;
mod names;
mod part;
mod path;
pub mod set;
mod stream;
mod tar;
#[cfg(test)]
mod tests;

pub use acl::{Acl, Who};
pub use compress::Format;
pub use control::Control;
pub use digest::Written;
pub use entry::{Attributes, Entry, Kind, Time};
pub use exclude::Exclude;
pub use id::{SetId, check_name};
pub use index::{IndexEntry, IndexReader};
pub use mirror::{Copied, MirrorOptions, Pass, mirror};
pub use names::{MAX_NAMES, Named, show};
pub use part::{
    ExtractOptions, Extracted, OwnersBy, PartObjects, PartOptions, PartSummary, Source, SourceSummary, extract_part,
    verify_part, write_part,
};
pub use stream::{StreamReader, StreamSummary, verify_stream, write_stream};
