//! Strategies: loading, compiling, binding and calling components.
//!
//! [`PluginHost::load`] reads a component without compiling or running any of it: what it is, what it asks for, whether
//! it fits. [`Plugin::instantiate`] compiles it, or takes the compiled code from the cache, and starts a sandbox for one
//! part. All that a sandbox can do goes through its part's [`Gate`](crate::capability::Gate).

mod aot;
mod bindings;
mod component;
mod engine;
mod exports;
mod failure;
mod find;
mod host;
mod imports;
mod instance;
mod limits;
mod loaded;
mod record;
mod review;
mod schema;
mod source;
mod state;
mod tail;
mod text;

pub use crate::archive::set::SnapshotRecord as Snapshot;
pub use crate::capability::Origin;
pub use crate::capability::manifest::Limits;
pub use engine::WASMTIME_VERSION;
pub use find::default_search;
pub use host::{Archived, Earlier, Held, History, Item, Others, Place, Volume};
pub use instance::{Instance, PartContext};
pub use loaded::{HostOptions, Plugin, PluginHost};
pub use record::{Finding, Severity};
pub use review::review;
pub use schema::ConfigSchema;
pub use source::Source;
