//! Durations and sizes, as the whole program writes them.

pub use crate::units::{Size, Span};
