//! Deciding what a run does, before it does anything.

use std::sync::Arc;

use super::access::Access;
use super::coverage;
use super::crypto::Crypto;
use super::part::Part;
use super::session::Session;
use super::stores::Stores;
use crate::application::Application;
use crate::capability::Consistency;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Level;

/// What a run works with.
pub(super) struct Plan {
    /// What the guard has to know of the application.
    pub(super) access: Access,
    /// What is locked.
    pub(super) application: Arc<dyn Application>,
    /// What is backed up.
    pub(super) parts: Vec<Part>,
    /// Where to.
    pub(super) stores: Stores,
}

/// Load everything that a run needs, and refuse what cannot work.
///
/// # Errors
/// If the configuration, a plugin or a grant is wrong, or if a run without a lock was asked for that cannot be consistent.
pub(super) async fn make(session: &Session) -> Result<Plan> {
    coverage::names(&session.config)?;
    let access = Access::resolve(&session.config.application).await?;
    let application = access.connect()?;
    let parts = session.parts().await?;
    coverage::kinds_and_paths(session, &parts)?;
    coverage::stores(session, &parts)?;
    // What cannot be encrypted is not begun.
    refuse_an_identity_that_opens_nothing(session.crypto().await?)?;
    let stores = session.stores().await?;
    refuse_copies_without_a_lock(session, &parts)?;
    refuse_the_wrong_order(session, &parts)?;
    Ok(Plan { access, application, parts, stores })
}

/// What is written is compared with it, after the application was locked for nothing.
fn refuse_an_identity_that_opens_nothing(crypto: &Crypto) -> Result<()> {
    let Some(recipients) = crypto.recipients.as_ref().filter(|recipients| recipients.are_keys()) else { return Ok(()) };
    if crypto.keys.is_empty() || crypto.keys.open_what_is_for(recipients)? {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "the identity of [encryption] opens nothing that is encrypted to its recipients")
        .hint("add its public half (age-keygen -y FILE) to `recipients`, or take `identity` away: restore takes --identity"))
}

fn refuse_copies_without_a_lock(session: &Session, parts: &[Part]) -> Result<()> {
    let crate::config::Application::Bitbucket(bitbucket) = &session.config.application else {
        return Ok(());
    };
    if !bitbucket.zero_downtime {
        return Ok(());
    }
    match parts.iter().find(|part| part.plugin.manifest().plugin.consistency_of(&part.values) == Consistency::Copied) {
        None => Ok(()),
        Some(part) => Err(Error::new(
            ErrorKind::Config,
            format!(
                "`zero-downtime = true` cannot work with part `{}`: the plugin {} copies, and a copy of what changes \
                 is not consistent",
                part.name(),
                part.plugin.name(),
            ),
        )
        .hint("use a strategy that takes snapshots (zfs, postgresql), or set `[application] zero-downtime = false`")),
    }
}

/// What one part captures may have to be older than what others do (`[plugin] before` of its manifest): a file that its
/// metadata names has to be there when both are restored.
fn refuse_the_wrong_order(session: &Session, parts: &[Part]) -> Result<()> {
    for first in parts {
        let info = &first.plugin.manifest().plugin;
        if info.before.is_empty() {
            continue;
        }
        let later = || {
            parts.iter().filter(|p| p.name() != first.name() && info.before.contains(&p.plugin.manifest().plugin.kind))
        };
        if let Some(part) = later().find(|part| !comes_after(parts, part, first.name())) {
            let mut after = part.settings.after.clone();
            after.push(first.name().to_owned());
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "{}: `after` of part `{}`: it has to be captured after part `{}`, because what the plugin {} \
                     captures must not be newer than the files it refers to",
                    session.config.origin(),
                    part.name(),
                    first.name(),
                    first.plugin.name(),
                ),
            )
            .hint(format!("in the [[part]] `{}`: after = {after:?}", part.name())));
        }
        if later().next().is_none() {
            let kinds: Vec<_> = info.before.iter().map(|kind| kind.name()).collect();
            let text = format!(
                "no part of kind {} comes after it: the files that it refers to are not in this set",
                kinds.join(" or ")
            );
            session.reporter.message(Level::Warning, Some(first.name()), text);
        }
    }
    Ok(())
}

/// Whether `part` is captured after the part called `first`. The configuration has no circles.
pub(super) fn comes_after(parts: &[Part], part: &Part, first: &str) -> bool {
    part.settings.after.iter().any(|name| {
        name == first
            || parts.iter().find(|other| other.name() == name).is_some_and(|other| comes_after(parts, other, first))
    })
}
