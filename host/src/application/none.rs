//! Nothing to lock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Application, ApplicationKind, Finding, Held, Hooks, Lock, Outcome, PlannedCalls, Release};
use crate::error::{Error, ErrorKind, Result};

/// An application that nobody has to lock: what is backed up is captured as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoApplication;

#[async_trait]
impl Application for NoApplication {
    fn kind(&self) -> ApplicationKind {
        ApplicationKind::None
    }

    fn describe(&self) -> String {
        "no application to lock".to_owned()
    }

    fn locks(&self) -> bool {
        false
    }

    fn max_lock_time(&self) -> Option<Duration> {
        None
    }

    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn version(&self) -> Result<Option<String>> {
        Ok(None)
    }

    async fn is_running(&self) -> Result<bool> {
        Ok(false)
    }

    fn planned_calls(&self) -> PlannedCalls {
        PlannedCalls::default()
    }

    async fn lock(&self, _: &Hooks) -> Result<Arc<dyn Lock>> {
        Ok(Arc::new(Unlocked))
    }

    fn adopt(&self, _: Held, _: std::time::Instant, _: &Hooks) -> Result<Arc<dyn Lock>> {
        Err(Error::new(ErrorKind::Internal, "there is no application that could be locked"))
    }

    async fn release(&self, held: &Held, _: Outcome, _: Duration, _: &Hooks) -> Result<Release> {
        if !held.is_open() {
            return Ok(Release::NeverTaken);
        }
        Err(Error::new(
            ErrorKind::Config,
            format!("an application of type {:?} is still held, but the configuration names none", held.kind().name()),
        )
        .hint("put the [application] section back as it was when the run began, then run `bkhost recover`"))
    }
}

/// The lock of an application that is not locked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlocked;

#[async_trait]
impl Lock for Unlocked {
    fn held(&self) -> Option<Held> {
        None
    }

    async fn drain(&self) -> Result<()> {
        Ok(())
    }

    async fn watch(&self) -> Error {
        std::future::pending().await
    }

    async fn confirm(&self) -> Result<()> {
        Ok(())
    }

    async fn progress(&self, _: u8) {}

    async fn release(&self, _: Outcome) -> Result<Release> {
        Ok(Release::NeverTaken)
    }
}
