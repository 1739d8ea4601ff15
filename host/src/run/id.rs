//! Names of sets and labels live with the archive, which must not look up to the run.

pub use crate::archive::id::SetId;
