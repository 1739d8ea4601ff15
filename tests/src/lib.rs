//! What the integration tests share: the `bkhost` binary, a scratch instance, and real systems.
//!
//! The tests drive the binary from outside, as an operator does, and look at what it left with other tools.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::missing_panics_doc,
    reason = "only tests use it, and a test that cannot go on has failed"
)]

pub mod aws;
mod bkhost;
mod btrfs;
pub mod elasticsearch;
mod example;
mod freezer;
mod loopfs;
mod mariadb;
pub mod p4d;
mod pgfiles;
mod postgres;
mod proxy;
mod running;
pub mod s3;
mod simulator;
mod sshd;
mod tree;
mod uml;
mod writer;
mod zfs;

pub use bkhost::{Bkhost, application_none, directory_part, guests, plugins};
pub use btrfs::Btrfs;
pub use freezer::{freezer, signal};
pub use loopfs::LoopFs;
pub use mariadb::{Mariadb, Repeating, Session, mariadb};
pub use p4d::P4;
pub use pgfiles::PgFiles;
pub use postgres::{Postgres, postgres, postgres_bin};
pub use proxy::{Call, Fault, Proxy};
pub use running::{Outcome, Running, cell, tool, until};
pub use simulator::Simulator;
pub use sshd::Sshd;
pub use tree::{listing, noise};
pub use uml::{is_inside, run_inside};
pub use writer::Writer;
pub use zfs::{Zfs, zfs};

/// A script of `tests/scripts`.
fn script(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}
