//! What is locked while the consistency points are fixed.
//!
//! An [`Application`] is told to lock, which gives a [`Lock`]. The lock drains, is watched while it lasts, and is
//! released. Whatever it does to the application is noted through a [`Keeper`] *before* it happens where that can be,
//! and as soon as it is known otherwise. What is noted, a [`Held`], is all that another process (a guard, or
//! `bkhost recover` after a power cut) needs besides the configuration to give the application back.

pub mod bitbucket;
pub mod commanded;
mod held;
mod none;
pub mod simulator;
mod token;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use held::{Held, HeldState, Stage};
pub use none::{NoApplication, Unlocked};
pub use token::Token;

use crate::error::{Error, Result};
use crate::report::Reporter;
pub use crate::report::{Finding, Severity};

/// The sorts of applications, as the configuration names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ApplicationKind {
    /// Bitbucket Server or Data Center, by its maintenance API.
    Bitbucket,
    /// Services that are stopped for the time.
    Service,
    /// An application that commands of the operator's bring to rest and back.
    Command,
    /// Nothing to lock.
    None,
}

impl ApplicationKind {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bitbucket => "bitbucket",
            Self::Service => "service",
            Self::Command => "command",
            Self::None => "none",
        }
    }
}

/// How the locked part of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All consistency points are fixed: the application may take its backup as done.
    Completed,
    /// Anything else: the application is told to cancel its side first.
    Cancelled,
}

/// How it is known that the application is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// The application confirmed that it released the lock.
    Confirmed,
    /// The application said that no such lock exists.
    Gone,
    /// It was never locked by this run.
    NeverTaken,
}

/// Keeps what is needed to give the application back, safe from this process' death.
#[async_trait]
pub trait Keeper: Send + Sync {
    /// Make `held` durable; it replaces what was noted before. When this returns, it is on disk.
    ///
    /// # Errors
    /// If it could not be made durable: what comes next must not happen then.
    async fn note(&self, held: &Held) -> Result<()>;
}

/// What an application works with during a run. Cheap to clone.
#[derive(Clone)]
pub struct Hooks {
    /// The run: what it starts and does not outlive it is found by its name.
    pub run: String,
    /// Where everything that must be undone is noted.
    pub keeper: Arc<dyn Keeper>,
    /// Where waiting and calls are told.
    pub reporter: Reporter,
    /// The run's cancellation. Locking and draining end early with it; a release never does.
    pub cancel: CancellationToken,
}

/// The calls that a run would make, in words, for `plan`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlannedCalls {
    /// In the phases lock and drain.
    pub lock: Vec<String>,
    /// In the phase unlock, when all went well.
    pub unlock: Vec<String>,
}

/// Something that can be locked for the time in which consistency points are fixed.
#[async_trait]
pub trait Application: Send + Sync {
    /// Which sort.
    fn kind(&self) -> ApplicationKind;

    /// For people: `Bitbucket at http://127.0.0.1:7990`. Holds no secret.
    fn describe(&self) -> String;

    /// Whether a run makes the application unavailable. False for [`NoApplication`], and with zero downtime.
    fn locks(&self) -> bool;

    /// From lock to unlock, at most. A guard releases the application when it has passed.
    fn max_lock_time(&self) -> Option<Duration>;

    /// Looks for what would fail later: address, credentials, version. Changes nothing and never fails: what is wrong
    /// is a finding.
    async fn check(&self) -> Vec<Finding>;

    /// The version of the application, where it has one.
    ///
    /// # Errors
    /// If the application cannot be asked, or answers something else.
    async fn version(&self) -> Result<Option<String>>;

    /// Whether it runs: its data must not be replaced under it.
    ///
    /// # Errors
    /// If that cannot be told for certain.
    async fn is_running(&self) -> Result<bool>;

    /// The calls that a run would make.
    fn planned_calls(&self) -> PlannedCalls;

    /// Locks the application. To be awaited to its end, which comes soon after a cancellation: a dropped future may leave
    /// a lock behind whose token nobody knows.
    ///
    /// # Errors
    /// If it could not be locked; the application is then as it was found, or the error says that this is not known.
    async fn lock(&self, hooks: &Hooks) -> Result<Arc<dyn Lock>>;

    /// Goes on with a lock that another process of this run took, and that was asked for at `began`: of the two clocks,
    /// the one that nobody sets.
    ///
    /// # Errors
    /// If `held` is not this application's, or not locked.
    fn adopt(&self, held: Held, began: Instant, hooks: &Hooks) -> Result<Arc<dyn Lock>>;

    /// Gives the application back, knowing only what was noted, from any process. Retries until the application
    /// confirms it, says that no such lock exists, or `patience` is over. Idempotent. Ignores the cancellation.
    ///
    /// # Errors
    /// If it could not be confirmed; it may be called again.
    async fn release(&self, held: &Held, outcome: Outcome, patience: Duration, hooks: &Hooks) -> Result<Release>;
}

/// A locked application. All methods may be called side by side.
#[async_trait]
pub trait Lock: Send + Sync {
    /// What releases it now; `None` if nothing is locked.
    fn held(&self) -> Option<Held>;

    /// Waits until the application has finished what it was doing and starts nothing new. Obeys the run's cancellation
    /// by itself: better awaited than dropped, since the reply to its first call helps to cancel.
    ///
    /// # Errors
    /// If that does not happen in time, or somebody cancels it, here or in the application.
    async fn drain(&self) -> Result<()>;

    /// Watches the drained application. Returns the reason why the run must stop, when there is one: the operator
    /// cancelled in the application, the lock was lost, the maximum lock time is over. Else never. May be dropped.
    async fn watch(&self) -> Error;

    /// Asks, after the last capture and before the release: was the application quiet until now? One call.
    ///
    /// # Errors
    /// If it was not, or does not say: what was captured is then not known to be consistent.
    async fn confirm(&self) -> Result<()>;

    /// Tells the application how far the run is, in percent. Best effort, bounded by a short deadline; never goes back.
    async fn progress(&self, percent: u8);

    /// Gives the application back; see [`Application::release`]. Idempotent. Not to be dropped.
    ///
    /// # Errors
    /// If it could not be confirmed; it may be called again.
    async fn release(&self, outcome: Outcome) -> Result<Release>;
}
