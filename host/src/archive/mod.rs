//! Archives: the data plane, and what a set is.

pub mod id;
pub mod set;

pub use bkhost_archive::{
    Acl, Attributes, Compression, Control, Copied, Entry, Exclude, ExtractOptions, Extracted, Format, IndexEntry,
    IndexReader, Keys, Kind, Layers, MAX_NAMES, MirrorOptions, Named, OwnersBy, PartObjects, PartOptions, PartSummary,
    Pass, Recipients, Source, SourceSummary, StreamReader, StreamSummary, Time, Who, Written, extract_part, mirror,
    read_stream, show, verify_part, verify_stored, verify_stream, write_part, write_stream,
};
pub use id::{SetId, check_name};
