//! The data plane: archives of trees, streams, and mirrors; and the one error type of the project.
//!
//! A crate of its own because it is what has to be fast: the rest of the host is built without optimisation, as its code
//! is full of wasmtime's generics. (For the same reason nothing hot here is generic over a type of the caller's.)
//!
//! A part's archive is one tar (PAX), compressed and perhaps encrypted, and an index of it; the output of a process is a
//! stream, an object of its own. All of it is synchronous (call it from a blocking task), obeys [`Control`], and needs memory that
//! does not grow with the number of files, apart from the names of one directory and a table of hard links.

mod acl;
mod control;
mod digest;
mod encoding;
mod entry;
pub mod error;
mod exclude;
mod fs;
mod index;
mod mirror;
mod names;
mod object;
mod one;
mod part;
mod path;
mod settle;
mod stream;
mod tar;
#[cfg(test)]
mod tests;

pub use acl::{Acl, Who};
pub use control::Control;
pub use digest::Written;
pub use encoding::{Compression, Format, Keys, Layers, Recipients};
pub use entry::{Attributes, Entry, Kind, Time};
pub use exclude::Exclude;
pub use fs::remove::remove_one_file_system;
pub use index::{IndexEntry, IndexReader};
pub use mirror::{Copied, MirrorOptions, Pass, mirror};
pub use names::{MAX_NAMES, Named, escape, show, unescape};
pub use object::{ObjectRecord, ObjectRole};
pub use one::{OneWriter, Unpacked, UnpackedObject, index_path, manifest_path, set_prefix, unpack_one};
pub use part::{
    Compared, ExtractOptions, Extracted, OwnersBy, PartObjects, PartOptions, PartSummary, Selection, Source,
    SourceSummary, compare_source, extract_part, extract_paths, read_index, verify_part, verify_stored, write_part,
};
pub use settle::{Settled, Standing, changed_at, remove_tree, settle, settle_metadata, standing};
pub use stream::{StreamReader, StreamSummary, read_stream, verify_stream, write_stream};
