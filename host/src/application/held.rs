//! What a run holds of an application, as it is written to the journal.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::commanded::Resume;
use super::{ApplicationKind, Token};

/// How far locking got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// About to be locked. If nothing follows, it may be locked or not: the process died, or the reply was lost.
    Intended,
    /// Locked.
    Locked,
    /// Locked, and told to drain.
    Draining,
    /// Given back, known for certain: nothing is left to do.
    Released,
}

/// What is held of an application: with the configuration, enough for any process to give it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How far it got.
    pub stage: Stage,
    /// When locking began, by this machine's clock.
    pub since: Timestamp,
    /// When the maximum lock time is over, by this machine's clock.
    pub until: Timestamp,
    /// What releases it.
    #[serde(flatten)]
    pub state: HeldState,
}

impl Held {
    /// Whether there is (or may be) something to release.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage != Stage::Released
    }

    /// Which sort of application it is.
    #[must_use]
    pub fn kind(&self) -> ApplicationKind {
        match self.state {
            HeldState::Bitbucket { .. } => ApplicationKind::Bitbucket,
            HeldState::Commanded { kind, .. } => kind,
        }
    }
}

/// What releases each sort of application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "application", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum HeldState {
    /// Bitbucket's maintenance lock.
    Bitbucket {
        /// The address at which it was locked.
        url: String,
        /// The user who locked it.
        username: String,
        /// Unlocks it. Unknown while the stage is [`Stage::Intended`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unlock_token: Option<Token>,
        /// Cancels the backup. Unknown until it has begun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancel_token: Option<Token>,
    },
    /// What programs of this machine brought to rest.
    Commanded {
        /// Services, or an application with commands of its own.
        kind: ApplicationKind,
        /// For people.
        name: String,
        /// What brings it back, in this order.
        resume: Vec<Resume>,
        /// How long each program may take.
        timeout: Duration,
    },
}

impl HeldState {
    /// What Bitbucket unlocks with, as it gets known.
    pub(super) fn tokens(&mut self) -> Option<(&mut Option<Token>, &mut Option<Token>)> {
        match self {
            Self::Bitbucket { unlock_token, cancel_token, .. } => Some((unlock_token, cancel_token)),
            Self::Commanded { .. } => None,
        }
    }

    /// Where it is held, for people: an address, or a name.
    #[must_use]
    pub fn place(&self) -> &str {
        match self {
            Self::Bitbucket { url, .. } => url,
            Self::Commanded { name, .. } => name,
        }
    }
}
