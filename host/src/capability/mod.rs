//! The gate: the only code that holds commands, directories and an HTTP client for guests.
//!
//! A guest asks (its [`Manifest`]), the operator grants (a [`Grant`], pinned to the plugin's digest), the host executes
//! (the [`Gate`]). A denial is a typed [`CallError`] that names the rule and the line of `bkhost.toml` that would allow
//! the call; it is decided before anything runs.

mod address;
mod authenticate;
mod aws;
mod error;
mod freeze;
mod gate;
mod grant;
mod http;
mod lifecycle;
pub mod manifest;
mod mask;
mod operator;
mod paths;
mod process;
mod program;
mod rights;
mod role;
mod secret;
mod server;
mod sign;
mod slots;
mod stanza;
pub mod units;
mod user;
mod via;

pub(crate) use aws::{Keys, Known};
pub use error::{CallError, Code};
pub use freeze::{FreezeRules, Frozen, MAX_FREEZE, Place, overdue_freeze, thaw};
pub use gate::{Gate, Mode};
pub use grant::{Grant, HttpGrant, HttpGrantTable};
pub(crate) use http::chain;
pub use http::{HttpTimeouts, Resolver, ResponseBody, SystemResolver};
pub use lifecycle::{Ended, Leaves, LifecycleCommand, check_program, lifecycle_owner};
pub use manifest::{Access, Consistency, Manifest};
pub use operator::{OperatorCheck, OperatorCommand};
pub use paths::{HostPath, Preopen};
pub use process::{Argument, Completed, Leader, NoWitness, Output, Process, Witness, kill_orphans, start_time};
pub use rights::{Origin, Rights, RightsRequest};
pub use secret::{Resolved, Secret, SecretSource};
pub use via::{check_via, is_remote};

/// The names of the secrets that are AWS keys.
pub(crate) mod aws_secrets {
    pub(crate) use super::aws::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
}

/// Choose the implementation of TLS's cryptography for this process. Whoever is first chooses; all choose the same.
pub fn choose_tls() {
    let _same = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests;
