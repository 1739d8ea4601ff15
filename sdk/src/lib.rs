//! Write a bkhost strategy: implement [`Strategy`], name it in [`export!`], build it for `wasm32-wasip2`.
//!
//! A strategy decides *what* to do; the host does it. Commands are named in the crate's `plugin.toml` and run by the
//! host ([`exec`]), bulk bytes are read, compressed and stored by the host ([`Source`]), copies are made by the host
//! ([`mirror`], [`archive`]). Everything else is ordinary Rust: `std::fs` sees the guest paths that the host granted.
//!
//! The README of this crate writes a plugin in ten minutes. [`testing`] runs a strategy natively, in a unit test, against
//! a host that the test plays.
//!
//! ```no_run
//! use bkhost_sdk::{Archived, Finding, Result, Snapshot, Source, Strategy, exec};
//!
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     volume: String,
//! }
//!
//! struct Acme {
//!     config: Config,
//! }
//!
//! impl Strategy for Acme {
//!     type Config = Config;
//!
//!     fn new(config: Config) -> Result<Self> {
//!         Ok(Self { config })
//!     }
//!
//!     fn check(&mut self) -> Result<Vec<Finding>> {
//!         Ok(vec![match exec::run("version", &[])?.ok() {
//!             Ok(version) => Finding::info("acme", version.first_line()),
//!             Err(error) => Finding::failure("acme", &error.message).hint("install acme 2 or newer"),
//!         }])
//!     }
//!
//!     fn capture(&mut self, label: &str) -> Result<Snapshot> {
//!         exec::run("snapshot", &[("volume", &self.config.volume), ("label", label)])?.ok()?;
//!         Snapshot::atomic(label, &label)
//!     }
//!
//!     fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
//!         Ok(vec![Source::tree("", &format!("/source/volume/.snapshots/{}", snapshot.id))])
//!     }
//!
//!     fn restore(&mut self, _: &Snapshot, _: &[Archived], _: Option<&str>) -> Result<()> {
//!         bkhost_sdk::archive::extract("", "/target").map(drop)
//!     }
//!
//!     fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
//!         self.discard(&snapshot.id)
//!     }
//!
//!     fn discard(&mut self, label: &str) -> Result<()> {
//!         exec::run("delete", &[("volume", &self.config.volume), ("label", label)])?.ok().map(drop)
//!     }
//! }
//! # fn main() {}
//! ```

pub mod archive;
#[doc(hidden)]
#[allow(missing_docs, unsafe_code, unreachable_pub, unused_qualifications, clippy::all, clippy::restriction)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "plugin",
        pub_export_macro: true,
        export_macro_name: "export_guest",
        default_bindings_module: "bkhost_sdk::bindings",
    });
}
#[doc(hidden)]
#[allow(missing_docs, unsafe_code, unreachable_pub, unused_qualifications, clippy::all, clippy::restriction)]
pub mod bindings_verify {
    wit_bindgen::generate!({
        path: "../wit",
        world: "verifying",
        pub_export_macro: true,
        export_macro_name: "export_guest_verify",
        default_bindings_module: "bkhost_sdk::bindings_verify",
        with: { "bkhost:snapshot/types@0.1.0": crate::bindings::bkhost::snapshot::types },
    });
}
#[doc(hidden)]
#[allow(missing_docs, unsafe_code, unreachable_pub, unused_qualifications, clippy::all, clippy::restriction)]
pub mod bindings_drill {
    wit_bindgen::generate!({
        path: "../wit",
        world: "rehearsing",
        pub_export_macro: true,
        export_macro_name: "export_guest_drill",
        default_bindings_module: "bkhost_sdk::bindings_drill",
        with: { "bkhost:snapshot/types@0.1.0": crate::bindings::bkhost::snapshot::types },
    });
}
#[doc(hidden)]
#[allow(missing_docs, unsafe_code, unreachable_pub, unused_qualifications, clippy::all, clippy::restriction)]
pub mod bindings_identity {
    wit_bindgen::generate!({
        path: "../wit",
        world: "identifying",
        pub_export_macro: true,
        export_macro_name: "export_guest_identity",
        default_bindings_module: "bkhost_sdk::bindings_identity",
        with: { "bkhost:snapshot/types@0.1.0": crate::bindings::bkhost::snapshot::types },
    });
}
#[doc(hidden)]
#[allow(missing_docs, unsafe_code, unreachable_pub, unused_qualifications, clippy::all, clippy::restriction)]
pub mod bindings_offsite {
    wit_bindgen::generate!({
        path: "../wit",
        world: "copying",
        pub_export_macro: true,
        export_macro_name: "export_guest_offsite",
        default_bindings_module: "bkhost_sdk::bindings_offsite",
        with: { "bkhost:snapshot/types@0.1.0": crate::bindings::bkhost::snapshot::types },
    });
}
#[doc(hidden)]
#[allow(missing_docs, unsafe_code, unreachable_pub, unused_qualifications, clippy::all, clippy::restriction)]
pub mod bindings_covers {
    wit_bindgen::generate!({
        path: "../wit",
        world: "covering",
        pub_export_macro: true,
        export_macro_name: "export_guest_covers",
        default_bindings_module: "bkhost_sdk::bindings_covers",
        with: { "bkhost:snapshot/types@0.1.0": crate::bindings::bkhost::snapshot::types },
    });
}
#[doc(hidden)]
#[allow(missing_docs, unsafe_code, unreachable_pub, unused_qualifications, clippy::all, clippy::restriction)]
pub mod bindings_unfinished {
    wit_bindgen::generate!({
        path: "../wit",
        world: "abandoning",
        pub_export_macro: true,
        export_macro_name: "export_guest_unfinished",
        default_bindings_module: "bkhost_sdk::bindings_unfinished",
        with: { "bkhost:snapshot/types@0.1.0": crate::bindings::bkhost::snapshot::types },
    });
}
pub mod config;
pub mod digest;
mod error;
pub mod exec;
mod export;
mod frozen;
pub mod history;
pub mod http;
pub mod log;
pub mod mirror;
mod optional;
pub mod others;
pub mod path;
pub mod progress;
mod retry;
mod snapshot;
pub mod staging;
mod strategy;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod unfinished;

pub use bindings::bkhost::snapshot::types::{
    Archived, ArchivedForm, Consistency, Error, ErrorCode, Finding, Severity, Snapshot,
};
pub use bindings::exports::bkhost::snapshot::strategy::{FileSource, OutputSource, Source, TreeSource};
pub use bindings_covers::exports::bkhost::snapshot::covers::{Place, Volume};
#[doc(hidden)]
pub use export::{Cell, with};
pub use frozen::{Frozen, can_freeze, freeze};
pub use optional::{Covers, Drill, Identity, Offsite, Unfinished, Verify};
pub use retry::retry;
pub use snapshot::now;
pub use strategy::Strategy;

/// The result of almost every function here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
