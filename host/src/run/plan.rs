//! Deciding what a run does, before it does anything.

use std::sync::Arc;

use super::access::Access;
use super::part::Part;
use super::session::Session;
use crate::application::Application;
use crate::capability::Consistency;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// What a run works with.
pub(super) struct Plan {
    /// What the guard has to know of the application.
    pub(super) access: Access,
    /// What is locked.
    pub(super) application: Arc<dyn Application>,
    /// What is backed up.
    pub(super) parts: Vec<Part>,
    /// Where to.
    pub(super) store: Store,
}

/// Load everything that a run needs, and refuse what cannot work.
///
/// # Errors
/// If the configuration, a plugin or a grant is wrong, or if a run without a lock was asked for that cannot be consistent.
pub(super) async fn make(session: &Session) -> Result<Plan> {
    let access = Access::resolve(&session.config.application).await?;
    let application = access.connect()?;
    let parts = session.parts().await?;
    let store = session.store()?;
    refuse_copies_without_a_lock(session, &parts)?;
    Ok(Plan { access, application, parts, store })
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
