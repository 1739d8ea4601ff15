//! Archives: writing, reading, verifying and mirroring trees.

pub mod id;
pub mod set;

pub use id::{SetId, check_name};
