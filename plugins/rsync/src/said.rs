//! What rsync says.

use bkhost_sdk::exec::Output;
use bkhost_sdk::{Error, ErrorCode};

/// rsync's exit codes.
const PARTIAL: i32 = 23;
const VANISHED: i32 = 24;
/// Names that are kept in a state: bytes.
const ROOM: usize = 64 << 10;
/// What is kept of stderr: its first line may be half a line.
const TAIL: usize = 64 << 10;

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All was copied.
    Complete,
    /// All but what vanished meanwhile.
    Vanished,
    /// Files changed so much while they were read that rsync gave them up, or vanished where it counts that for an error;
    /// nothing else was wrong.
    Unsteady,
    /// Something else was wrong.
    Failed,
}

impl Ending {
    pub(crate) fn of(output: &Output) -> Self {
        match output.status {
            0 => Self::Complete,
            VANISHED => Self::Vanished,
            PARTIAL
                if !output.stderr.is_empty() && lines(&output.stderr).all(|line| unsteady(line) || summary(line)) =>
            {
                Self::Unsteady
            }
            _ => Self::Failed,
        }
    }
}

fn lines(stderr: &str) -> impl Iterator<Item = &str> {
    let cut = usize::from(stderr.len() >= TAIL);
    stderr.lines().skip(cut).filter(|line| !line.trim().is_empty())
}

/// A file that was there when rsync listed its directory, and is not any more, or not as it was.
fn unsteady(line: &str) -> bool {
    vanished(line).is_some()
        || line.contains("failed verification -- update discarded")
        || (line.contains("read errors mapping ") && line.ends_with("No data available (61)"))
        || (line.contains("[sender]") && line.ends_with("No such file or directory (2)"))
}

/// What sums the others up, or follows from them.
fn summary(line: &str) -> bool {
    line.starts_with("rsync error: some files/attrs were not transferred")
        || line.starts_with("rsync warning: some files vanished")
        || line.starts_with("IO error encountered -- skipping file deletion")
}

/// The path in `file has vanished: "/srv/a"`.
fn vanished(line: &str) -> Option<&str> {
    line.split_once("has vanished: ").map(|(_, name)| name.trim_matches('"'))
}

/// The error for a pass that failed: what rsync says first, not how it sums that up.
pub(crate) fn failure(output: &Output) -> Error {
    let failed = output.failure();
    let first = lines(&output.stderr).find(|line| !summary(line) && !line.starts_with("rsync error: "));
    let error = match first {
        Some(line) => Error { message: format!("rsync failed with status {}: {line}", output.status), ..failed },
        None => failed,
    };
    let said = |text: &str| output.stderr.contains(text);
    if is_full(&error) {
        error.hint("make room in the staging area, or put it elsewhere with `staging` of the [[part]]")
    } else if said("Permission denied (13)") || said("Operation not permitted (1)") {
        error.hint("run bkhost as root, or as a user who may read all of it")
    } else if said("Operation not supported (95)") {
        error.hint("the file system of the staging area does not keep this: put `staging` of the [[part]] on ext4, XFS or btrfs, or set acls or xattrs = false under [part.config]")
    } else if Ending::of(output) == Ending::Unsteady {
        error.code(ErrorCode::Conflict).hint(UNLOCKED)
    } else {
        error.hint("what rsync said is in the details; the last good copy is as it was")
    }
}

const UNLOCKED: &str = "find out who writes there while the application is locked; if nothing locks this tree, set \
                        changes = \"warn\" under [part.config]";

/// Whether a pass failed because there was no room for the copy.
pub(crate) fn is_full(error: &Error) -> bool {
    let full = ["No space left on device", "Disk quota exceeded"];
    error.detail_of("stderr").is_some_and(|text| full.iter().any(|full| text.contains(full)))
}

/// What changed in the tree while it was locked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    names: Vec<String>,
    /// There are more than are named.
    more: bool,
}

impl Changes {
    /// What is gone, by what rsync complained of.
    pub(crate) fn vanished(stderr: &str) -> Self {
        let names = lines(stderr).filter_map(vanished).map(str::to_owned).collect();
        Self { names, more: stderr.len() >= TAIL }.at_least_one()
    }

    /// What rsync would do to the copy now: `>f.st...... name`, `*deleting   name`.
    pub(crate) fn itemized(stdout: &str, truncated: bool) -> Self {
        let name = |line: &str| line.split_once(' ').map(|(_, name)| name.trim_start().to_owned());
        Self { names: stdout.lines().filter_map(name).collect(), more: truncated }
    }

    /// rsync has counted one, whether or not it can be named.
    fn at_least_one(mut self) -> Self {
        self.more |= self.names.is_empty();
        self
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.names.extend(other.names);
        self.more |= other.more;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.more
    }

    /// For the operator.
    pub(crate) fn message(&self, source: &str) -> String {
        let some: Vec<_> = self.names.iter().take(5).map(String::as_str).collect();
        let count = format!("{}{}", self.names.len(), if self.more { " or more" } else { "" });
        format!("{source} changed while it was copied at the consistency point ({count} entries): {}", some.join(", "))
    }

    /// They are not allowed.
    pub(crate) fn failure(&self, source: &str) -> Error {
        Error::conflict(self.message(source)).hint(UNLOCKED)
    }

    /// As many of the names as a state has room for.
    pub(crate) fn fit(self) -> Vec<String> {
        let mut room = ROOM;
        let fits = |name: &String| {
            // A character may take six bytes in JSON.
            let size = name.len().saturating_mul(6).saturating_add(3);
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        };
        self.names.into_iter().take_while(fits).collect()
    }
}
