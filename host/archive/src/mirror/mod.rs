//! Makes one directory equal to another, the second time only what changed.
//!
//! A strategy that copies does it twice: a live pass while the application writes, and a final pass at the consistency
//! point, whose time is downtime. The final pass must be quick, and it must not miss a change: whether a file is as it
//! was when it was copied is decided by its inode number, size, modification time **and change time**, as recorded when
//! it was copied. The change time cannot be set back by programs, but two things could still hide a change behind it, and
//! for both the record is not kept, so that the next pass copies the file again:
//!
//! * Clocks of file systems tick slowly: a file that changed within [`SETTLE`] before it was copied may have changed
//!   again in the same tick.
//! * A program that has a file mapped into memory changes the times only with its first write to each page after that
//!   page was last written to disk. So a live pass first has the source's file systems write everything out, and only
//!   files that have not changed since are recorded. (Files copied in a final pass are not: it does not wait for disks.
//!   Nor are those of file systems in memory, which have no disk.)
//!
//! The copy is trusted only where it is the very file that the pass left (inode number and times again). Records are
//! only good within one boot of the machine: a power cut may have taken what was written to the copy.

mod copy;
mod job;
mod pass;
mod pool;
mod state;
mod sync;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::control::Control;
use super::exclude::Exclude;
use super::fs::dirs::{open_dir, reopen};
use super::fs::failed;
use super::fs::status::Status;
use super::names::Named;
use crate::error::{Error, ErrorKind, Result};

/// Longer than the tick of any file system's clock (2 s on FAT).
const SETTLE: Duration = Duration::from_secs(3);
/// A live pass that took longer than this is repeated, so that what changed meanwhile is not left to the final pass…
const LONG_PASS: Duration = Duration::from_secs(5);
/// … but not without end.
const MAX_ROUNDS: u32 = 3;

/// Which pass this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The application is writing: what vanishes or changes meanwhile is left to the final pass.
    Live,
    /// The consistency point: the copy ends equal to the source, and what changes meanwhile is an alarm.
    Final,
}

/// How to mirror.
#[derive(Debug, Clone)]
pub struct MirrorOptions {
    /// What to leave out; if it is in the copy, it is removed there.
    pub exclude: Exclude,
    /// Which pass this is.
    pub pass: Pass,
    /// A file that remembers what was copied, for the next pass. One for each destination; its directory has to exist,
    /// and nobody else may write to it. If it is lost or damaged, everything is copied again.
    pub state: PathBuf,
    /// Files copied at once; 0 chooses by the number of processors.
    pub threads: usize,
    /// Whether to leave out what is mounted below the source.
    pub one_file_system: bool,
    settle: Duration,
}

impl MirrorOptions {
    /// A pass that leaves nothing out.
    pub fn new(pass: Pass, state: impl AsRef<Path>) -> Self {
        let state = state.as_ref().to_owned();
        Self { exclude: Exclude::default(), pass, state, threads: 0, one_file_system: false, settle: SETTLE }
    }

    /// Leaves these out.
    #[must_use]
    pub fn exclude(self, exclude: Exclude) -> Self {
        Self { exclude, ..self }
    }

    #[cfg(test)]
    pub(super) fn settle(self, settle: Duration) -> Self {
        Self { settle, ..self }
    }
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Entries in the tree, its top included.
    pub entries: u64,
    /// Bytes of file content in the tree, holes included.
    pub bytes: u64,
    /// Files and links that had to be copied or made again.
    pub updated: u64,
    /// Bytes that were written or reflinked.
    pub written: u64,
    /// Entries that were removed from the copy.
    pub removed: u64,
    /// Files and directories that changed while they were read, and, in a final pass, what vanished: the copy of these
    /// may be torn.
    pub changed: Named,
    /// Entries whose copy could not be given its owner.
    pub owners_not_set: Named,
    /// Entries whose copy could not be given all of its extended attributes and ACLs.
    pub attributes_not_set: Named,
    /// Device nodes that this user may not make.
    pub not_made: Named,
}

/// Makes the directory `to` equal to the directory `from`: content (reflinked where the file system can), holes, owners,
/// modes, times, links, attributes, ACLs, pipes and devices; sockets are left out. Files are never changed in place: a
/// file that has to be copied again becomes a new one.
///
/// # Errors
/// `Conflict` if one directory lies in the other; `Io` if something cannot be read or written; `Cancelled`. After an
/// error the copy is incomplete, and the next pass sets it right.
pub fn mirror(from: impl AsFd, to: impl AsFd, options: &MirrorOptions, control: &Control) -> Result<Copied> {
    let from = reopen(from).map_err(|e| failed("open the source directory", b"", e))?;
    let to = reopen(to).map_err(|e| failed("open the destination directory", b"", e))?;
    refuse_if_below(&from, &to)?;
    let mut total = Copied::default();
    for round in 1.. {
        let started = Instant::now();
        let (copied, unsettled) = pass::run(&from, &to, options, control)?;
        let (updated, written, removed) = (total.updated, total.written, total.removed);
        total = copied;
        total.updated = total.updated.saturating_add(updated);
        total.written = total.written.saturating_add(written);
        total.removed = total.removed.saturating_add(removed);
        let again = options.pass == Pass::Live && unsettled > 0 && started.elapsed() > LONG_PASS;
        if !again || round >= MAX_ROUNDS {
            break;
        }
    }
    control.finished();
    Ok(total)
}

/// What is not in the source is removed from the destination: the source itself must not be in it. (A destination in the
/// source is found when the walk comes to it.)
fn refuse_if_below(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let look = |e: Errno| failed("look for the source's parents from", b"", e);
    let forbidden = Status::of(to).map_err(look)?.identity();
    let mut at = reopen(from).map_err(look)?;
    let mut identity = Status::of(&at).map_err(look)?.identity();
    loop {
        if identity == forbidden {
            return Err(Error::new(ErrorKind::Conflict, "the source of the copy lies in its destination")
                .hint("choose a destination outside of the source, and the other way round"));
        }
        at = match open_dir(&at, b"..") {
            Ok(above) => above,
            // What we may not look at is not where we may write.
            Err(Errno::ACCESS) => return Ok(()),
            Err(e) => return Err(look(e)),
        };
        let above = Status::of(&at).map_err(look)?.identity();
        if above == identity {
            return Ok(());
        }
        identity = above;
    }
}
