//! What the integration tests share: the `bkhost` binary, a scratch instance, and real systems.
//!
//! The tests drive the binary from outside, as an operator does, and look at what it left with other tools.

// All of this crate is test code: a failed expectation is reported by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bkhost;

pub use bkhost::{Bkhost, Outcome, guests, plugins};
