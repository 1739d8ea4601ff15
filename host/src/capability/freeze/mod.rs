//! Freezing mounted file systems for a moment, and never for longer.
//!
//! The ioctl is made by `fsfreeze` of util-linux, a child of the host: this program has no unsafe code for it. What is
//! frozen belongs to a task ([`keep`]) that thaws it whatever becomes of the guest, at its deadline at the latest; each
//! freeze is in the run's journal before it happens, so that a guard or a recovery thaws it when this process cannot.
//!
//! What somebody else has frozen stays frozen. The kernel tells that only to one who tries to freeze it, and so there is one
//! instant, between that answer and the record of it, in which the death of this process has it thawed all the same.

mod claim;
mod keep;
mod mounts;
mod own;
mod place;
mod suspended;
mod tool;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{CallError, Code};

pub(super) use keep::{Job, keep};
pub(super) use mounts::Mount;
pub(super) use own::refuse;
pub use place::{Place, thaw};
pub(super) use tool::argv;

/// The longest time for which a file system may be configured to stand frozen.
pub const MAX_FREEZE: Duration = Duration::from_secs(300);

/// What a part's freezes have to obey, besides its grant.
#[derive(Debug, Clone)]
pub struct FreezeRules {
    /// How long file systems may stand frozen.
    pub limit: Duration,
    /// Where bkhost itself writes: what it is, and where. Their file systems are never frozen.
    pub own: Vec<(String, PathBuf)>,
}

impl Default for FreezeRules {
    fn default() -> Self {
        Self { limit: Duration::from_secs(30), own: Vec::new() }
    }
}

/// How it stands with what was frozen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Standing {
    /// Frozen.
    Stands,
    /// Thawed when it was asked for, and frozen up to then.
    Thawed,
    /// Thawed before it was asked for: what was captured meanwhile is no consistency point.
    Broken(CallError),
    /// Asked for, and not thawed yet.
    Stuck(CallError),
}

/// File systems that stand frozen. Dropping it has them thawed.
#[derive(Debug)]
pub struct Frozen {
    /// None: planned in a dry run.
    kept: Option<(Watched, DropGuard)>,
}

impl Frozen {
    pub(super) fn planned() -> Self {
        Self { kept: None }
    }

    pub(super) fn kept(watched: Watched) -> Self {
        let drop = watched.ask.clone().drop_guard();
        Self { kept: Some((watched, drop)) }
    }

    /// Thaw them all, now. Idempotent.
    ///
    /// # Errors
    /// `timed-out`, `conflict`, `interrupted`: they had been thawed before. `other`: not all are thawed yet.
    pub async fn thaw(&self) -> Result<(), CallError> {
        match &self.kept {
            None => Ok(()),
            Some((watched, _)) => watched.thaw().await,
        }
    }
}

/// A view of file systems that stand frozen. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) ask: CancellationToken,
    pub(super) standing: watch::Receiver<Standing>,
}

impl Watched {
    async fn thaw(&self) -> Result<(), CallError> {
        self.ask.cancel();
        let mut standing = self.standing.clone();
        let reached = standing.wait_for(|standing| *standing != Standing::Stands).await;
        match reached.map(|standing| standing.clone()) {
            Ok(Standing::Broken(e) | Standing::Stuck(e)) => Err(e),
            Ok(Standing::Thawed | Standing::Stands) => Ok(()),
            Err(_) => Err(CallError::new(Code::Other, "the host's task that thaws file systems is gone")),
        }
    }
}

/// What one gate froze.
#[derive(Debug, Default)]
pub(super) struct Freezes {
    watched: Mutex<Vec<Watched>>,
    /// Fires when file systems stood frozen for too long.
    pub(super) overdue: CancellationToken,
}

impl Freezes {
    pub(super) fn add(&self, watched: Watched) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    /// Thaw what still stands; to be called at the end of a capture.
    ///
    /// # Errors
    /// Something still stood, or did not stand for as long as it had to, or does not thaw.
    pub(super) async fn settle(&self) -> Result<(), CallError> {
        let all = std::mem::take(&mut *self.watched.lock().unwrap_or_else(PoisonError::into_inner));
        let left = all.iter().filter(|watched| !watched.ask.is_cancelled()).count();
        let mut first = None;
        for watched in &all {
            first = first.or(watched.thaw().await.err());
        }
        if let Some(e) = first {
            return Err(e);
        }
        if left > 0 {
            return Err(CallError::new(Code::Other, "the plugin left file systems frozen at the end of its capture")
                .hint("they are thawed; this is a defect of the plugin: report it to its author"));
        }
        Ok(())
    }
}

/// What the failure of a freeze that lasted too long says.
#[must_use]
pub fn overdue_freeze(limit: Duration) -> CallError {
    overdue(limit, "what the plugin froze")
}

fn overdue(limit: Duration, points: &str) -> CallError {
    let limit = super::units::Span(limit);
    CallError::new(
        Code::TimedOut,
        format!(
            "{points} stood frozen for {limit} and was thawed: what was captured meanwhile is no consistency point"
        ),
    )
    .hint("find out why the snapshot takes so long; `freeze` in [part.limits] allows more, up to 5m")
}

/// A view, and what changes what it shows. `cancel` thaws too.
pub(super) fn watched(cancel: &CancellationToken) -> (Watched, watch::Sender<Standing>) {
    let (sender, standing) = watch::channel(Standing::Stands);
    (Watched { ask: cancel.child_token(), standing }, sender)
}
