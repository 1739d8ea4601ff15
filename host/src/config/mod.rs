//! `bkhost.toml`: typed, documented, and strict.

mod json;
mod model;

pub use model::{
    Application, Archive, Bitbucket, Config, Instance, Limits, NoApplication, Part, Retention, StoreConfig,
};
