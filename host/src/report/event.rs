//! What happens in a run, as data: every sink (bars, lines, JSON) renders the same events.

use serde::Serialize;

/// The phases of a run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The host reads config and grants and decides what to do.
    Plan,
    /// Plugins look for what would fail later.
    Check,
    /// Plugins do, live, all that can be done before the lock.
    Prepare,
    /// The application is locked.
    Lock,
    /// The application finishes what it was doing.
    Drain,
    /// Plugins fix the consistency points.
    Capture,
    /// The application is given back.
    Unlock,
    /// Plugins complete the snapshots, live.
    Finish,
    /// The host reads the sources and writes the objects.
    Archive,
    /// The host reads the objects back.
    Verify,
    /// The set becomes visible.
    Publish,
    /// Plugins give back what was made for reading.
    Close,
    /// What was captured is copied to other places of its vendors.
    Offsite,
    /// Retention.
    Prune,
    /// A set is restored.
    Restore,
    /// What a failed run left is undone.
    Undo,
}

impl Phase {
    /// Its name, as in the documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Check => "check",
            Self::Prepare => "prepare",
            Self::Lock => "lock",
            Self::Drain => "drain",
            Self::Capture => "capture",
            Self::Unlock => "unlock",
            Self::Finish => "finish",
            Self::Archive => "archive",
            Self::Verify => "verify",
            Self::Publish => "publish",
            Self::Close => "close",
            Self::Offsite => "offsite",
            Self::Prune => "prune",
            Self::Restore => "restore",
            Self::Undo => "undo",
        }
    }
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Only with `--verbose`.
    Debug,
    /// Worth a line.
    Info,
    /// The operator should look.
    Warning,
    /// Something failed.
    Error,
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A run, restore or verification began.
    Started {
        /// What it is: `backup`, `restore`, `verify`.
        what: &'static str,
        /// The instance.
        instance: String,
        /// The set's id.
        set: String,
    },
    /// A phase began.
    PhaseStarted {
        /// Which.
        phase: Phase,
    },
    /// A phase ended.
    PhaseEnded {
        /// Which.
        phase: Phase,
        /// How long it took, in milliseconds.
        millis: u64,
        /// Whether it ended well.
        ok: bool,
    },
    /// A long step of one part goes on.
    Progress {
        /// The part.
        part: String,
        /// The step: `archive`, `verify`, or the plugin's word.
        what: String,
        /// Bytes (or items) done.
        done: u64,
        /// Of so many, where that is known.
        total: Option<u64>,
    },
    /// Something is being waited for: sent at least every five seconds while it lasts.
    Waiting {
        /// For what, in words.
        what: String,
        /// Since how many milliseconds.
        millis: u64,
    },
    /// A command was run, or, in a dry run, would be run.
    Command {
        /// The part for which.
        part: String,
        /// The rendered argument vector; secrets are never in it.
        argv: Vec<String>,
        /// It was only recorded.
        planned: bool,
    },
    /// A call to the application or to the host's own data plane, made or planned.
    Call {
        /// What it does, with its target.
        what: String,
        /// It was only recorded.
        planned: bool,
    },
    /// The application was given back.
    Unlocked {
        /// Lock to unlock, in milliseconds.
        locked: u64,
        /// Of it, waiting for the application to drain.
        drain: u64,
    },
    /// A message.
    Message {
        /// How much it matters.
        level: Level,
        /// The part it is about.
        part: Option<String>,
        /// The text.
        text: String,
    },
}
