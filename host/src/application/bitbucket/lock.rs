//! A locked Bitbucket, from the lock to the release.

use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::api::{Api, MAINTENANCE, Status, printable};
use super::client::{Failed, Fate};
use super::release::{because, call, note_released, release, settle};
use super::settings::Settings;
use super::waiting::{Pauses, after, told};
use crate::application::{Held, HeldState, Hooks, Lock, Outcome, Release, Stage, Token};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::Level;

const UNSURE: &str = "it is not known whether Bitbucket stayed quiet";

/// The lock that this run holds.
pub(super) struct BitbucketLock {
    api: Arc<Api>,
    hooks: Hooks,
    held: Mutex<Held>,
    token: Token,
    drain_timeout: std::time::Duration,
    max_lock_time: std::time::Duration,
    /// When the maximum lock time is over.
    until: Instant,
    percent: AtomicU8,
    /// Serialises releases: the second caller gets the first one's result.
    released: tokio::sync::Mutex<Option<Release>>,
}

impl BitbucketLock {
    /// Locks Bitbucket. On failure it is as it was found, or the error says that this is not known.
    pub(super) async fn take(api: Arc<Api>, settings: &Settings, hooks: &Hooks) -> Result<Self> {
        if hooks.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let since = Timestamp::now();
        let until = after(settings.max_lock_time);
        let mut held = Held {
            stage: Stage::Intended,
            since,
            until: SignedDuration::try_from(settings.max_lock_time)
                .and_then(|time| since.checked_add(time))
                .or_error(ErrorKind::Config, || "application.max-lock-time is too long")?,
            state: HeldState::Bitbucket {
                url: api.client.base().to_string(),
                username: settings.username.clone(),
                unlock_token: None,
                cancel_token: None,
            },
        };
        hooks.keeper.note(&held).await?;
        call(hooks, "lock Bitbucket");
        let token = match token_call(&api, hooks, "Bitbucket to lock", api.lock()).await {
            Ok(token) => token,
            Err(failed) => return Err(not_locked(&api, &held, failed, hooks).await),
        };
        held.stage = Stage::Locked;
        if let Some((unlock_token, _)) = held.state.tokens() {
            *unlock_token = Some(token.clone());
        }
        if let Err(error) = hooks.keeper.note(&held).await {
            // Nobody else could unlock it if we died now: do not go on.
            return Err(match release(&api, &held, Outcome::Cancelled, api.timing().patience, hooks).await {
                Ok(_) => error.within("Bitbucket was unlocked again"),
                Err(still) => still.because(error),
            });
        }
        Ok(Self {
            api,
            hooks: hooks.clone(),
            held: Mutex::new(held),
            token,
            drain_timeout: settings.drain_timeout,
            max_lock_time: settings.max_lock_time,
            until,
            percent: AtomicU8::new(0),
            released: tokio::sync::Mutex::new(None),
        })
    }

    /// Goes on with a lock that another process took.
    pub(super) fn adopt(
        api: Arc<Api>,
        settings: &Settings,
        held: Held,
        began: std::time::Instant,
        hooks: &Hooks,
    ) -> Result<Self> {
        let HeldState::Bitbucket { unlock_token: Some(token), .. } = &held.state else {
            return Err(Error::new(ErrorKind::Internal, "Bitbucket's lock was passed on without its token"));
        };
        Ok(Self {
            api,
            hooks: hooks.clone(),
            token: token.clone(),
            held: Mutex::new(held),
            drain_timeout: settings.drain_timeout,
            max_lock_time: settings.max_lock_time,
            until: after(settings.max_lock_time.saturating_sub(began.elapsed())),
            percent: AtomicU8::new(0),
            released: tokio::sync::Mutex::new(None),
        })
    }

    fn snapshot(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn begin(&self) -> Result<()> {
        call(&self.hooks, "begin Bitbucket's backup, which drains it");
        // It is locked already: without its reply the backup cannot be cancelled, but the lock has to end in time.
        let reply = token_call(&self.api, &self.hooks, "Bitbucket to begin", self.api.begin(&self.token));
        let begun = tokio::time::timeout_at(self.until, reply).await.map_err(|_| self.too_long())??;
        let running = begun.is_running();
        let held = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.stage = Stage::Draining;
            if let Some((_, cancel_token)) = held.state.tokens() {
                *cancel_token = Some(begun.cancel_token);
            }
            held.clone()
        };
        self.hooks.keeper.note(&held).await?;
        if running { Ok(()) } else { Err(operator_cancelled(begun.state.as_deref())) }
    }

    async fn poll_until_drained(&self) -> Result<()> {
        let end = self.until.min(after(self.drain_timeout));
        let timing = self.api.timing();
        let mut pauses = Pauses::new(timing.pause_min, timing.pause_max);
        let mut failing_since = None;
        let (mut last, mut failure) = (None, None);
        loop {
            match tokio::time::timeout_at(end, self.api.status(Some(&self.token))).await {
                Ok(Ok(status)) => {
                    (failing_since, failure) = (None, None);
                    if let Some(error) = stopped(&status) {
                        return Err(error);
                    }
                    if status.is_drained() {
                        return Ok(());
                    }
                    last = Some(status.states());
                }
                Ok(Err(failed)) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    // A refusal does not get better; a network may, for a while.
                    if matches!(failed.fate, Fate::Refused(_)) || since.elapsed() >= timing.call {
                        return Err(failed.error.within("cannot see whether Bitbucket has drained"));
                    }
                    failure = Some(failed.error);
                }
                Err(_) => {}
            }
            if Instant::now() >= self.until {
                return Err(self.too_long());
            }
            if Instant::now() >= end {
                let state = last.map(|states| format!(" ({states})")).unwrap_or_default();
                let error = Error::new(
                    ErrorKind::TimedOut,
                    format!("Bitbucket has not drained within {:?}{state}", self.drain_timeout),
                )
                .hint(
                    "long clones, pushes or merges keep it busy: raise application.drain-timeout, or run at a \
                     quieter time",
                );
                return Err(match failure {
                    Some(failure) => because(error, failure),
                    None => error,
                });
            }
            pauses.sleep(end).await;
        }
    }

    fn too_long(&self) -> Error {
        Error::new(
            ErrorKind::TimedOut,
            format!("Bitbucket has been locked for longer than max-lock-time, {:?}", self.max_lock_time),
        )
        .hint("look at what the run waited for; raise application.max-lock-time if it is always this slow")
    }
}

#[async_trait]
impl Lock for BitbucketLock {
    fn held(&self) -> Option<Held> {
        Some(self.snapshot())
    }

    async fn drain(&self) -> Result<()> {
        let cancel = &self.hooks.cancel;
        if cancel.is_cancelled() {
            return Err(cancelled());
        }
        self.begin().await?;
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(cancelled()),
            result = told(&self.hooks, "Bitbucket to drain", self.poll_until_drained()) => result,
        }
    }

    async fn watch(&self) -> Error {
        let every = self.api.timing().pause_max;
        let watch = async {
            loop {
                tokio::time::sleep(every).await;
                // No answer proves nothing; the next one, or `confirm`, tells.
                if let Ok(status) = self.api.status(Some(&self.token)).await
                    && let Some(error) = stopped(&status).or_else(|| undrained(&status))
                {
                    return error;
                }
            }
        };
        tokio::time::timeout_at(self.until, watch).await.unwrap_or_else(|_| self.too_long())
    }

    async fn confirm(&self) -> Result<()> {
        let timing = self.api.timing();
        let end = self.until.min(after(timing.call));
        let mut pauses = Pauses::new(timing.pause_min, timing.pause_max);
        let mut failure = None;
        loop {
            let result = tokio::time::timeout_at(end, self.api.status(Some(&self.token))).await;
            if Instant::now() >= self.until {
                return Err(self.too_long());
            }
            match result {
                Ok(Ok(status)) => return stopped(&status).or_else(|| undrained(&status)).map_or(Ok(()), Err),
                Ok(Err(failed)) if matches!(failed.fate, Fate::Refused(_)) || Instant::now() >= end => {
                    return Err(failed.error.within(UNSURE));
                }
                Ok(Err(failed)) => {
                    failure = Some(failed.error);
                    pauses.sleep(end).await;
                }
                Err(_) => {
                    return Err(failure.map_or_else(
                        || {
                            let url = self.api.client.url(MAINTENANCE);
                            Error::new(ErrorKind::TimedOut, format!("{UNSURE}: no reply to GET {url}"))
                                .hint("look whether Bitbucket, or a proxy before it, hangs")
                        },
                        |failure| failure.within(UNSURE),
                    ));
                }
            }
        }
    }

    async fn progress(&self, percent: u8) {
        // 100 ends the backup: only the release may say that.
        let percent = percent.min(99);
        if self.percent.fetch_max(percent, Ordering::Relaxed) >= percent {
            return;
        }
        if let Err(failed) = self.api.progress(&self.token, percent).await {
            self.hooks.reporter.message(Level::Debug, None, format!("progress was not taken: {}", failed.error));
        }
    }

    async fn release(&self, outcome: Outcome) -> Result<Release> {
        let mut released = self.released.lock().await;
        if let Some(release) = *released {
            return Ok(release);
        }
        let held = self.snapshot();
        let result = release(&self.api, &held, outcome, self.api.timing().patience, &self.hooks).await?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).stage = Stage::Released;
        *released = Some(result);
        Ok(result)
    }
}

/// Awaits a call whose reply holds a token. A cancellation only shortens the wait: a reply that arrives and is not read
/// is a lock that nobody can open.
async fn token_call<T>(
    api: &Api,
    hooks: &Hooks,
    what: &str,
    reply: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let given_up = async {
        hooks.cancel.cancelled().await;
        tokio::time::sleep(api.timing().call).await;
    };
    let reply = async {
        tokio::select! {
            biased;
            result = reply => result,
            () = given_up => Err(Failed::unknown(cancelled())),
        }
    };
    told(hooks, what, reply).await
}

/// Locking failed: finds out whether it had its effect all the same.
async fn not_locked(api: &Api, held: &Held, failed: Failed, hooks: &Hooks) -> Error {
    match failed.fate {
        Fate::Unsent => {
            note_released(held, hooks).await;
            failed.error
        }
        Fate::Refused(status) => {
            note_released(held, hooks).await;
            if matches!(status, StatusCode::CONFLICT | StatusCode::LOCKED) {
                let owner = api.owner().await.map(|owner| format!(": {owner}")).unwrap_or_default();
                let error = Error::new(
                    ErrorKind::Application,
                    format!("Bitbucket is already locked, by somebody else{owner}"),
                )
                .hint(
                    "another backup or maintenance is under way: wait for its end; after a run of bkhost that died, \
                     `bkhost recover` unlocks it",
                );
                return because(error, failed.error);
            }
            failed.error
        }
        Fate::Unknown => {
            let end = after(api.timing().call);
            match settle(api, held, end, hooks).await {
                Ok(_) => {
                    note_released(held, hooks).await;
                    failed.error.detail("state", "Bitbucket is not locked")
                }
                Err(unsettled) => unsettled.detail("first failure", failed.error.to_string()),
            }
        }
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the run was cancelled while Bitbucket was being locked")
}

/// Why the backup does not go on in Bitbucket, if it does not.
fn stopped(status: &Status) -> Option<Error> {
    (!status.is_running()).then(|| operator_cancelled(status.task_state()))
}

fn operator_cancelled(state: Option<&str>) -> Error {
    match state {
        Some(state) => Error::new(
            ErrorKind::Cancelled,
            format!("the backup was cancelled in Bitbucket (its task is {})", printable(state)),
        ),
        None => Error::new(ErrorKind::Cancelled, "Bitbucket no longer knows of this backup")
            .hint("it was restarted, or somebody unlocked it"),
    }
}

/// It had drained, and works again.
fn undrained(status: &Status) -> Option<Error> {
    (!status.is_drained()).then(|| {
        Error::new(
            ErrorKind::Application,
            format!("Bitbucket went back to work before it was unlocked ({})", status.states()),
        )
        .hint("it was restarted, or somebody unlocked it: what was captured is not known to be consistent")
    })
}
