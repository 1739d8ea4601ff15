//! Giving Bitbucket back, from what was noted.
//!
//! Only two things end the retries well. A 2xx says that the lock is released. A 404 (or 410) says that no such lock
//! exists: the operator removed it, Bitbucket was restarted, or an earlier unlock did its work and only its reply was
//! lost. Since a proxy says 404 as easily, it counts only if it is no page of HTML, Bitbucket's own status, asked right
//! after, comes back without a running task, and it is said three times in a row. Everything else (5xx, time-outs, 401 after a changed password, 409) is tried
//! again until the patience is over: giving up helps nobody. It is safe to repeat, because our token opens only our lock.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::api::Api;
use super::client::{Failed, Fate};
use super::waiting::{Pauses, after, told};
use crate::application::{Held, HeldState, Hooks, Outcome, Release, Stage, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, Level};

/// So many times in a row Bitbucket has to say that no such lock exists. After a reply that was lost this costs some
/// milliseconds; a proxy that was wrong for a moment has come to its senses.
const SAID_GONE: u32 = 3;

/// Releases what is held, and notes it.
pub(super) async fn release(
    api: &Api,
    held: &Held,
    outcome: Outcome,
    patience: Duration,
    hooks: &Hooks,
) -> Result<Release> {
    let HeldState::Bitbucket { unlock_token, cancel_token, .. } = &held.state else {
        return Err(foreign(held));
    };
    let end = after(patience);
    let release = match unlock_token {
        Some(token) => {
            let farewell = match (outcome, cancel_token) {
                (Outcome::Completed, _) => Some(Farewell::Done(token)),
                (Outcome::Cancelled, Some(token)) => Some(Farewell::Cancel(token)),
                (Outcome::Cancelled, None) => None,
            };
            unlock(api, token, farewell, end, hooks).await?
        }
        None => settle(api, held, end, hooks).await?,
    };
    note_released(held, hooks).await;
    Ok(release)
}

/// Notes that nothing is held any more. A failure is only told: the application is free, and a recovery that does not
/// know it will be told by Bitbucket that no such lock exists.
pub(super) async fn note_released(held: &Held, hooks: &Hooks) {
    let released = Held { stage: Stage::Released, ..held.clone() };
    if let Err(error) = hooks.keeper.note(&released).await {
        hooks.reporter.message(Level::Warning, None, format!("Bitbucket is unlocked, but {error}"));
    }
}

/// What Bitbucket is told before the lock is released.
#[derive(Clone, Copy)]
enum Farewell<'a> {
    Done(&'a Token),
    Cancel(&'a Token),
}

impl Farewell<'_> {
    /// Best effort: the unlock follows in any case.
    async fn say(self, api: &Api, hooks: &Hooks) -> bool {
        let result = match self {
            Self::Done(token) => api.progress(token, 100).await,
            Self::Cancel(token) => api.cancel(token).await,
        };
        if let Err(Failed { error, .. }) = &result {
            hooks.reporter.message(Level::Debug, None, format!("before the unlock: {error}"));
        }
        result.is_ok()
    }
}

async fn unlock(
    api: &Api,
    token: &Token,
    farewell: Option<Farewell<'_>>,
    end: Instant,
    hooks: &Hooks,
) -> Result<Release> {
    call(hooks, "unlock Bitbucket");
    let mut said = match farewell {
        Some(farewell) => farewell.say(api, hooks).await,
        None => true,
    };
    let mut pauses = Pauses::new(api.timing().pause_min, api.timing().pause_max);
    let mut told_failure = false;
    let mut gone = 0;
    loop {
        let failed = match told(hooks, "Bitbucket to confirm the unlock", api.unlock(token)).await {
            Ok(()) => return Ok(Release::Confirmed),
            Err(failed) => failed,
        };
        let says_gone = matches!(failed.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE)) && !failed.html;
        if says_gone && api.status(Some(token)).await.is_ok_and(|status| !status.is_running()) {
            gone += 1;
        } else {
            gone = 0;
        }
        if gone >= SAID_GONE {
            return Ok(Release::Gone);
        }
        if Instant::now() >= end && gone == 0 {
            return Err(failed
                .error
                .within("Bitbucket is still locked")
                .hint("run `bkhost recover` as soon as Bitbucket answers; it unlocks with the token in the journal"));
        }
        if !told_failure {
            hooks.reporter.message(Level::Warning, None, format!("cannot unlock yet, trying again: {}", failed.error));
            told_failure = true;
        }
        pauses.sleep(end).await;
        // A refusal may mean that the backup has to end first.
        if let (Some(farewell), false, Some(_)) = (farewell, said, failed.status()) {
            said = farewell.say(api, hooks).await;
        }
    }
}

/// The lock was asked for, and the reply is not known. Asks for it again: if we get it, it was free, and it is released
/// at once. If not, it is held by a token that nobody here knows: perhaps ours, perhaps another person's. It is never
/// touched then.
pub(super) async fn settle(api: &Api, held: &Held, end: Instant, hooks: &Hooks) -> Result<Release> {
    call(hooks, "find out whether Bitbucket is locked");
    let mut pauses = Pauses::new(api.timing().pause_min, api.timing().pause_max);
    loop {
        let failed = match told(hooks, "Bitbucket to say whether it is locked", api.lock()).await {
            Ok(token) => {
                let mut held = held.clone();
                held.stage = Stage::Locked;
                if let Some((unlock_token, _)) = held.state.tokens() {
                    *unlock_token = Some(token.clone());
                }
                // Noted for the case that we die right now; unlocked in any case.
                let noted = hooks.keeper.note(&held).await;
                unlock(api, &token, None, end, hooks).await?;
                return noted.map(|()| Release::NeverTaken);
            }
            Err(failed) => failed,
        };
        if matches!(failed.status(), Some(StatusCode::CONFLICT | StatusCode::LOCKED)) {
            let owner = api.owner().await.map(|owner| format!(" (the lock is {owner}'s)")).unwrap_or_default();
            let error = Error::new(
                ErrorKind::Application,
                format!(
                    "Bitbucket is locked, and the token is not known: the reply to our lock was lost, or somebody else \
                     locked it{owner}"
                ),
            )
            .hint(
                "look at Bitbucket's page as a system administrator; if nobody else maintains it, restart Bitbucket, \
                 which ends the lock; then run `bkhost recover`",
            );
            return Err(because(error, failed.error));
        }
        let final_answer = matches!(failed.fate, Fate::Refused(_));
        if final_answer || Instant::now() >= end {
            return Err(failed
                .error
                .within("it is not known whether Bitbucket is locked")
                .hint("run `bkhost recover` as soon as Bitbucket answers"));
        }
        pauses.sleep(end).await;
    }
}

/// What another application is held by.
pub(super) fn foreign(held: &Held) -> Error {
    let text =
        format!("an application of type {:?} is held, and the configuration names Bitbucket", held.kind().name());
    Error::new(ErrorKind::Config, text)
        .hint("put the [application] section back as it was when the run began, then run `bkhost recover`")
}

/// `error`, because of this one, whose details it keeps: they are what Bitbucket itself says.
pub(super) fn because(error: Error, cause: Error) -> Error {
    let error = cause.details().iter().fold(error, |error, (name, value)| error.detail(name, value));
    error.because(cause)
}

pub(super) fn call(hooks: &Hooks, what: &str) {
    hooks.reporter.event(&Event::Call { what: what.to_owned(), planned: false });
}
