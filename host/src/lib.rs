//! bkhost: application-consistent backups whose vendor-specific parts are sandboxed WebAssembly plugins.
//!
//! Dependencies point one way: `cli` → `run` → {`application`, `plugin`, `archive`, `store`, `report`};
//! `plugin` → `capability`. Nothing points back.

pub mod application;
pub mod archive;
pub mod capability;
pub mod cli;
pub mod config;
pub mod demo;
mod drafts;
pub mod error;
pub mod git;
pub mod notify;
pub mod plugin;
pub mod report;
pub mod run;
pub mod store;
pub mod units;

/// The version of this build, with that of its WebAssembly engine: most security fixes come with the latter.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (wasmtime ", env!("BKHOST_WASMTIME_VERSION"), ")");

pub use error::{Error, ErrorKind, Result, ResultExt};
