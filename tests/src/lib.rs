//! What the integration tests share: the `bkhost` binary, a scratch instance, and real systems.
//!
//! The tests drive the binary from outside, as an operator does, and look at what it left with other tools.

mod bkhost;

pub use bkhost::{Bkhost, Outcome, guests, plugins};
