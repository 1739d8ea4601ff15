//! Lock files that git left in repositories that were captured while it worked.
//!
//! A snapshot holds the locks of all git processes that ran at its instant. Nobody will ever remove them: a repository
//! with a lock on a branch takes no push to it. They are found by what git itself writes, and only in directories that are
//! git repositories; symbolic links are neither followed nor removed.

mod names;
mod walk;

use std::os::fd::OwnedFd;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::Result;

/// So many paths are named.
const MOST_NAMED: usize = 1000;

/// What was found below one or more roots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Locks {
    /// Repositories that were looked into, their linked worktrees not counted.
    pub repositories: u64,
    /// Lock files that were found.
    pub found: u64,
    /// Of them, removed.
    pub removed: u64,
    /// The paths of those that were found, from the root, the first thousand.
    pub paths: Vec<String>,
    /// What could not be looked into, or not be removed, and why, the first thousand.
    pub problems: Vec<String>,
}

impl Locks {
    fn name(&mut self, path: &[u8]) {
        self.found = self.found.saturating_add(1);
        if self.paths.len() < MOST_NAMED {
            self.paths.push(shown(path));
        }
    }

    fn problem(&mut self, path: &[u8], why: &str) {
        if self.problems.len() < MOST_NAMED {
            self.problems.push(format!("{}: {why}", shown(path)));
        }
    }

    /// Add what was found elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        self.repositories = self.repositories.saturating_add(other.repositories);
        self.found = self.found.saturating_add(other.found);
        self.removed = self.removed.saturating_add(other.removed);
        let room = |have: &Vec<String>| MOST_NAMED.saturating_sub(have.len());
        let (paths, problems) = (room(&self.paths), room(&self.problems));
        self.paths.extend(other.paths.into_iter().take(paths));
        self.problems.extend(other.problems.into_iter().take(problems));
    }

    /// What is told of them.
    #[must_use]
    pub fn told(&self) -> String {
        let repositories = self.repositories;
        if self.found == 0 {
            return format!("git left no lock file in {repositories} repositories");
        }
        let some: Vec<&str> = self.paths.iter().take(20).map(String::as_str).collect();
        let more = if self.found > 20 { ", …" } else { "" };
        let done = match self.removed {
            0 => "were not removed".to_owned(),
            removed if removed == self.found => "were removed".to_owned(),
            removed => format!("of which {removed} were removed"),
        };
        format!(
            "{} lock files that git left in {repositories} repositories {done}: {}{more}",
            self.found,
            some.join(", ")
        )
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

/// Look for locks in the repositories that are in these directories of `root`, paths from it, at any depth that is sane; and
/// remove them. What cannot be read or removed is told, and the rest is done.
///
/// # Errors
/// `Cancelled`.
pub fn clean(root: &OwnedFd, directories: &[&str], remove: bool, cancel: &CancellationToken) -> Result<Locks> {
    let mut walk = walk::Walk { remove, cancel, locks: Locks::default() };
    for directory in directories {
        walk.below(root, directory)?;
    }
    Ok(walk.locks)
}

#[cfg(test)]
mod tests;
