//! What the contract offers to a guest, each interface over the gate or the host's data plane. Nothing is decided here.

mod archive;
mod config;
mod convert;
mod digest;
mod exec;
mod freeze;
mod history;
mod http;
mod interrupt;
mod log;
mod mirror;
mod others;
mod progress;

pub use archive::{Archived, Item};
pub use history::{Earlier, History};
pub(super) use http::Egress;
pub(super) use interrupt::Interrupt;
pub(super) use log::Journal;
pub use others::{Held, Others, Place, Volume};
pub(super) use progress::Pace;
