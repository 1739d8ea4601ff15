//! The sandbox against guests that misbehave: each ends as a typed error, within a second of its limit.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod behaviours;
mod fixture;
mod lifecycle;
mod optional;
mod refused;
