//! The git repositories of what is restored: locks of processes that nobody will ever end.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use cap_std::fs::Dir;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::config::{GitLocks, Profile};
use crate::error::Result;
use crate::git::{self, Locks};
use crate::report::{Level, Reporter};
use crate::run::part::Part;

/// Looks for lock files in each tree of a part that is restored.
#[derive(Debug)]
pub(in crate::run) struct Repositories {
    profile: Profile,
    locks: GitLocks,
    found: Mutex<Option<Locks>>,
}

/// What is told of a part that was restored.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Aftercare {
    /// The part.
    pub part: String,
    /// Its profile.
    pub profile: &'static str,
    /// The lock files that git left in it; none: its profile has no repositories, or nobody told where it was restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_locks: Option<Locks>,
    /// What to do now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The profile of a part as it is configured here, else as the set tells it.
pub(super) fn profile_of(part: &Part, recorded: Option<&str>) -> Option<Profile> {
    part.settings.profile.or_else(|| recorded.and_then(Profile::named))
}

impl Repositories {
    /// For a part of this profile, if there are repositories in it.
    pub(super) fn of(part: &Part, profile: Profile) -> Option<Self> {
        (!profile.repositories().is_empty()).then(|| Self {
            profile,
            locks: part.settings.options.git_locks,
            found: Mutex::new(None),
        })
    }

    /// Look into a tree that was just restored. Blocks.
    ///
    /// # Errors
    /// `Cancelled`.
    pub(in crate::run) fn look(&self, tree: Dir, cancel: &CancellationToken) -> Result<()> {
        let root = OwnedFd::from(tree.into_std_file());
        let locks = git::clean(&root, self.profile.repositories(), self.locks == GitLocks::Remove, cancel)?;
        self.found.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().add(locks);
        Ok(())
    }

    fn found(&self) -> Option<Locks> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tell the operator what was found, and what to do now.
pub(super) fn tell(reporter: &Reporter, part: &Part, profile: Profile, looked: Option<&Repositories>) -> Aftercare {
    let say = |level, text: String| reporter.message(level, Some(part.name()), text);
    let locks = looked.and_then(Repositories::found);
    let mut notes = Vec::new();
    if let Some(locks) = &locks {
        let left = locks.found > locks.removed;
        say(if left { Level::Warning } else { Level::Info }, locks.told());
        for problem in locks.problems.iter().take(20) {
            say(Level::Warning, format!("lock files of git: {problem}"));
        }
    } else if looked.is_some() {
        notes.push(format!(
            "lock files that git left in the repositories were not looked for, because where they are now is not known: \
             bkhost git-locks --profile {} --remove DIRECTORY",
            profile.name()
        ));
    }
    notes.extend(profile.after_restore().map(str::to_owned));
    for note in &notes {
        say(Level::Info, note.clone());
    }
    Aftercare { part: part.name().to_owned(), profile: profile.name(), git_locks: locks, notes }
}
