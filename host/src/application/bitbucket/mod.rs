//! Bitbucket Server and Data Center, by their maintenance API.

mod settings;
mod version;

pub use settings::{Settings, Timing};
