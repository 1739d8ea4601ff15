//! The archive of a part: one tar, one index.

mod blame;
mod compare;
mod content;
mod extract;
mod metadata;
mod scan;
mod select;
mod verify;
mod write;

pub use blame::{PartObjects, verify_stored};
pub(super) use blame::{compare, damaged, locked, store_failed};
pub use compare::{Compared, compare_source};
pub use extract::{ExtractOptions, Extracted, OwnersBy, extract_part, extract_paths};
pub(super) use scan::{Fault, Visitor, scan};

pub(super) use metadata::{Metadata, Refused, apply};
pub use select::{Selection, read_index};
pub use verify::verify_part;
pub use write::{PartOptions, PartSummary, Source, SourceSummary, write_part};
