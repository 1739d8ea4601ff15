//! `bkhost.toml`: typed, documented, and strict.
//!
//! A document is read as a tree of values that know where they were written ([`document`]); the flags are laid over it;
//! then it is given its types ([`model`]) and checked as a whole ([`check`]). Every error says where, what, and what to
//! write instead, and shows no secret.

mod application;
mod check;
mod derived;
mod document;
mod drill;
mod encryption;
mod fit;
mod hint;
mod json;
mod keep;
mod load;
mod model;
mod notify;
mod offsite;
mod profile;
mod restore;
mod schema;
mod secrets;
mod source;
#[cfg(test)]
mod tests;

pub use application::{CommandApplication, Manager, ServiceApplication};
pub use drill::Drill;
pub use encryption::AgeEncryption;
pub(crate) use hint::nearest;
pub use keep::{Coverage, Metrics, Retention};
pub use load::Flags;
pub use model::{
    Application, Archive, ArchiveFormat, Bitbucket, Config, Encryption, Instance, Limits, NoApplication, Part,
    StoreConfig,
};
pub use notify::{Mail, Notify, NotifyCommand, Occasion, Ping, Webhook};
pub use offsite::Offsite;
pub use profile::{GitLocks, Profile, ProfileOptions};
pub use restore::RestoreConfig;
pub use schema::schema;
