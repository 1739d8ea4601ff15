//! Which machine and application this is: what destroys refuses to work on another one than it was meant for.

use std::path::Path;

use super::session::Session;
use super::state::host_name;
use crate::archive::set::SetManifest;
use crate::config::Application;
use crate::error::{Error, ErrorKind, Result};

/// So many characters of a fingerprint are typed.
const SHORT: usize = 8;

/// Which machine, and which application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    host: String,
    machine: Option<String>,
    url: Option<String>,
    /// The identifiers that the systems of parts give themselves, where they are not those of the set: the part, then and now.
    others: Vec<(String, String, String)>,
}

impl Fingerprint {
    /// Of this machine, and the application that is configured.
    pub(super) fn here(session: &Session) -> Self {
        Self { host: host_name(), machine: machine(), url: url(session), others: Vec::new() }
    }

    /// The system of this part is another one than that of the set.
    pub(super) fn other_system(&mut self, part: &str, then: &str, now: &str) {
        self.others.push((part.to_owned(), then.to_owned(), now.to_owned()));
    }

    /// What is typed to say that this one is meant.
    pub(super) fn short(&self) -> String {
        let text = format!("{:?} {:?} {:?} {:?}", self.host, self.machine, self.url, self.others);
        blake3::hash(text.as_bytes()).to_hex().chars().take(SHORT).collect()
    }

    /// Whether the original place of a set is here.
    ///
    /// # Errors
    /// `Conflict`: what is different, and what would allow it.
    pub(super) fn may_restore(&self, set: &SetManifest) -> Result<()> {
        self.same(set, || format!("the original place of set {} is not here", set.id)).map_err(|error| {
            error.hint(format!(
                "restore to another place with --to; if this is where it belongs now, add {}",
                self.acceptance()
            ))
        })
    }

    /// Whether a set is this instance's own to delete.
    ///
    /// # Errors
    /// `Conflict`: what is different, and what would allow it.
    pub(super) fn may_delete(&self, set: &SetManifest) -> Result<()> {
        self.same(set, || format!("set {} was not made here", set.id)).map_err(|error| {
            error.hint(format!(
                "look whether this is the machine and the configuration that you mean; if the sets of the other one are to \
                 go, add {}",
                self.acceptance()
            ))
        })
    }

    fn acceptance(&self) -> String {
        format!("--accept-fingerprint {}", self.short())
    }

    fn same(&self, set: &SetManifest, what: impl Fn() -> String) -> Result<()> {
        let made = &set.made_by;
        let elsewhere = match (&made.machine, &self.machine) {
            (Some(theirs), Some(ours)) => theirs != ours,
            // A set of an older bkhost, or a system without an id.
            _ => made.host != self.host,
        };
        let mut differences = Vec::new();
        if elsewhere && made.host == self.host {
            differences.push(format!("it was made on another machine that is called {} too", made.host));
        } else if elsewhere {
            differences.push(format!("it was made on the machine {}, and this is {}", made.host, self.host));
        }
        // With a slash at its end it is the same.
        let plain = |url: &Option<String>| url.as_ref().map(|url| url.trim_end_matches('/').to_owned());
        if plain(&set.application.url) != plain(&self.url) {
            let shown = |url: &Option<String>| url.clone().unwrap_or_else(|| "none".to_owned());
            differences.push(format!(
                "its application was {}, and the one configured here is {}",
                shown(&set.application.url),
                shown(&self.url)
            ));
        }
        differences.extend(self.others.iter().map(|(part, then, now)| {
            format!("part `{part}` was made of the system {then}, and the one that is configured here is {now}")
        }));
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, format!("{}: {}", what(), differences.join("; "))))
    }
}

/// An id of this machine that does not tell `/etc/machine-id` itself, which is to be kept private. A machine that was set
/// up anew is another one.
pub(super) fn machine() -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
    let id = read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id"))?;
    let id = id.trim();
    if id.is_empty() || id == "uninitialized" {
        return None;
    }
    Some(blake3::derive_key("bkhost 2026-11 fingerprint of a machine", id.as_bytes()).iter().take(16).fold(
        String::new(),
        |mut text, byte| {
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        },
    ))
}

fn url(session: &Session) -> Option<String> {
    match &session.config.application {
        Application::Bitbucket(bitbucket) => Some(bitbucket.url.clone()),
        _ => None,
    }
}
