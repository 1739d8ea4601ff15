//! Thawing what a run has left frozen.

use std::path::Path;

use super::journal::{self, FrozenRecord};
use super::leftovers::Leftovers;
use crate::capability::thaw;
use crate::error::{Error, ErrorKind};
use crate::report::{Level, Reporter};

/// What became of the freezes of a run.
#[derive(Default)]
pub(super) struct Thawed {
    /// The numbers of those that are over.
    pub(super) over: Vec<u32>,
    /// What may still be frozen.
    pub(super) failed: Vec<Error>,
}

/// Thaw what is left frozen by a run of this boot; with the machine, what it had frozen is gone. Told if something was.
pub(super) async fn thaw_left(left: &Leftovers, reporter: Option<&Reporter>) -> Thawed {
    let mut thawed = Thawed::default();
    let rebooted = left.host.as_ref().is_some_and(|host| !host.is_of_this_boot());
    // The last first, as in the run.
    for FrozenRecord { freeze, place } in left.frozen.iter().rev() {
        match if rebooted { Ok(false) } else { thaw(place).await } {
            Ok(was) => {
                thawed.over.push(*freeze);
                if let Some(reporter) = reporter.filter(|_| was) {
                    reporter.message(Level::Warning, None, format!("the file system {place} was frozen: thawed"));
                }
            }
            Err(e) => {
                let error = Error::new(ErrorKind::Io, e.message);
                thawed.failed.push(e.hint.into_iter().fold(error, Error::hint));
            }
        }
    }
    thawed
}

/// As [`thaw_left`], by the journal, or by memory where that cannot be read.
pub(super) async fn thaw_of(journal: &Path, memory: &[FrozenRecord], reporter: Option<&Reporter>) -> Thawed {
    let left = match journal::read(journal) {
        Ok(entries) => Leftovers::of(&entries),
        Err(_) => Leftovers { frozen: memory.to_vec(), ..Leftovers::default() },
    };
    thaw_left(&left, reporter).await
}
