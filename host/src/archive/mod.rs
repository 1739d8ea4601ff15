//! Archives: the data plane, and what a set is.

pub mod id;
pub mod set;

pub use bkhost_archive::{
    Acl, Attributes, Compared, Compression, Control, Copied, Entry, Exclude, ExtractOptions, Extracted, Format,
    IndexEntry, IndexReader, Keys, Kind, Layers, MAX_NAMES, MirrorOptions, Named, OneWriter, OwnersBy, PartObjects,
    PartOptions, PartSummary, Pass, Recipients, Selection, Settled, Source, SourceSummary, Standing, StreamReader,
    StreamSummary, Time, Unpacked, UnpackedObject, Who, Written, changed_at, compare_source, escape, extract_part,
    extract_paths, index_path, manifest_path, mirror, read_index, read_stream, remove_one_file_system, remove_tree,
    set_prefix, settle, settle_metadata, show, standing, unescape, unpack_one, verify_part, verify_stored,
    verify_stream, write_part, write_stream,
};
pub use id::{SetId, check_name};
