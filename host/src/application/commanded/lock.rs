//! An application that programs brought to rest.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::super::{Held, Hooks, Lock, Outcome, Release, Stage};
use super::{Probe, release};
use crate::error::{Error, ErrorKind, Result};

/// How often it is asked whether it is still at rest.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct CommandedLock {
    name: String,
    held: Mutex<Held>,
    until: Instant,
    rest: Vec<(String, Probe)>,
    timeout: Duration,
    hooks: Hooks,
    /// Serialises releases: the second caller gets the first one's result.
    released: tokio::sync::Mutex<Option<Release>>,
}

impl CommandedLock {
    pub(super) fn new(
        name: String,
        held: Held,
        until: Instant,
        rest: Vec<(String, Probe)>,
        timeout: Duration,
        hooks: &Hooks,
    ) -> Self {
        let released = tokio::sync::Mutex::new(None);
        Self { name, held: Mutex::new(held), until, rest, timeout, hooks: hooks.clone(), released }
    }

    fn current(&self) -> Held {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// What is not at rest any more.
    async fn disturbed(&self) -> Option<Error> {
        for (name, probe) in &self.rest {
            let (text, hint) = match probe.ask(self.timeout).await {
                Ok(true) => continue,
                Ok(false) => (
                    format!("{name} went back to work before it was given back"),
                    "somebody started it: what was captured is not known to be consistent",
                ),
                Err(why) => (
                    format!("it is not known whether {name} stayed at rest: {why}"),
                    "what was captured is not known to be consistent",
                ),
            };
            return Some(Error::new(ErrorKind::Application, text).hint(hint));
        }
        None
    }
}

#[async_trait]
impl Lock for CommandedLock {
    fn held(&self) -> Option<Held> {
        Some(self.current())
    }

    /// Bringing it to rest included that.
    async fn drain(&self) -> Result<()> {
        Ok(())
    }

    async fn watch(&self) -> Error {
        let watch = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if let Some(error) = self.disturbed().await {
                    return error;
                }
            }
        };
        let until = tokio::time::Instant::from_std(self.until);
        tokio::time::timeout_at(until, watch).await.unwrap_or_else(|_| {
            Error::new(ErrorKind::TimedOut, format!("{} was at rest for longer than max-lock-time", self.name))
                .hint("raise [application] max-lock-time, or find out what takes the captures so long")
        })
    }

    async fn confirm(&self) -> Result<()> {
        self.disturbed().await.map_or(Ok(()), Err)
    }

    async fn progress(&self, _: u8) {}

    async fn release(&self, _: Outcome) -> Result<Release> {
        let mut released = self.released.lock().await;
        if let Some(release) = *released {
            return Ok(release);
        }
        let result = release::release(&self.current(), release::PATIENCE, &self.hooks).await?;
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner).stage = Stage::Released;
        *released = Some(result);
        Ok(result)
    }
}
