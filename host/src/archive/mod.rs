//! Archives: the data plane, and what a set is.

pub mod id;
pub mod set;

pub use bkhost_archive::{
    Acl, Attributes, Compression, Control, Copied, Entry, Exclude, ExtractOptions, Extracted, Format, IndexEntry,
    IndexReader, Keys, Kind, Layers, MAX_NAMES, MirrorOptions, Named, OwnersBy, PartObjects, PartOptions, PartSummary,
    Pass, Recipients, Selection, Settled, Source, SourceSummary, Standing, StreamReader, StreamSummary, Time, Who,
    Written, changed_at, escape, extract_part, extract_paths, mirror, read_index, read_stream, remove_tree, settle,
    settle_metadata, show, standing, unescape, verify_part, verify_stored, verify_stream, write_part, write_stream,
};
pub use id::{SetId, check_name};
