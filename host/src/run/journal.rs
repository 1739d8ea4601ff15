//! The journal of a run: what was done to the outside world, and so what has to be undone.
//!
//! One file of JSON lines per run, mode 0600 (it holds lock tokens), each record synced to disk before its side effect
//! happens. A torn last line is what a power cut leaves and is tolerated; damage anywhere else is an error.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fault::{self, When};
use super::identity::ProcessId;
use super::restore::Partial;
use crate::application::Held;
use crate::archive::id::SetId;
use crate::archive::set::SnapshotRecord;
use crate::capability::Place;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Nothing happens to an application that could not be undone.
const NO_JOURNAL: &str = "without a journal nothing is locked or made: make room where it is, make it writable, or choose \
                          another place with `[instance] state`";

/// What a guard calls itself in the journal that it took over.
pub(super) const GUARD: &str = "guard";

/// One step of a run that changes something outside this process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Record {
    /// The run began.
    Begun {
        /// The instance.
        instance: String,
        /// The process that runs it. After another boot, none of the run's processes lives.
        #[serde(flatten)]
        host: ProcessId,
    },
    /// The run's process is dead, and another one goes on with its journal.
    TakenOver {
        /// What it is: `guard`, `recovery`.
        by: String,
        /// Its process.
        #[serde(flatten)]
        process: ProcessId,
    },
    /// The application is about to be, or is, held (or was released). Undone by releasing it.
    Application {
        /// What releases it.
        held: Held,
    },
    /// A strategy is about to make a snapshot. Undone by the plugin's `discard`.
    Capturing {
        /// The part.
        part: String,
        /// What the snapshot's name contains.
        label: String,
    },
    /// A strategy made a snapshot. Undone by the plugin's `delete`.
    Captured {
        /// The part.
        part: String,
        /// What was made.
        snapshot: SnapshotRecord,
    },
    /// A file system is about to be frozen. Undone by thawing it.
    Freezing {
        /// The file system.
        #[serde(flatten)]
        frozen: FrozenRecord,
    },
    /// A file system is thawed, or was not frozen by this run after all.
    Thawed {
        /// The number of the freeze.
        freeze: u32,
    },
    /// A child process (the leader of its process group) was started. Undone by killing the group.
    ChildStarted {
        /// The process.
        #[serde(flatten)]
        child: ChildRecord,
    },
    /// A child process and its group are gone.
    ChildEnded {
        /// The process group.
        pgid: u32,
    },
    /// Objects are about to be written to a store. Undone by removing the unpublished set.
    Storing {
        /// The store.
        store: String,
    },
    /// The set is about to become visible: from here on nothing of it is undone by the run.
    Publishing,
    /// The set is published.
    Published,
    /// A part's snapshot was undone.
    Undone {
        /// The part.
        part: String,
    },
    /// The unpublished set was removed from a store.
    Abandoned {
        /// The store.
        store: String,
    },
    /// A part is no longer configured: nobody can undo what it left, and the operator was told.
    GivenUp {
        /// The part.
        part: String,
    },
    /// This is the journal of a restore.
    Restore {
        /// Of this set.
        set: SetId,
    },
    /// A part is about to be restored. Undone by removing the directory that is written to meanwhile; without one by the
    /// plugin's `abandon`.
    Restoring {
        /// The part.
        part: String,
        /// Where to, as the plan shows it.
        to: String,
        /// The directory that is written to meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partial: Option<Partial>,
        /// The operator's target, as a strategy that restores to a name gets it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// All of a part is in that directory, and comes into its place now: this is gone on with, not undone.
    Settling {
        /// The part.
        part: String,
        /// When what is restored last changed at its top, in decimal seconds since 1970.
        changed: String,
    },
    /// A part is restored.
    Restored {
        /// The part.
        part: String,
    },
    /// What was made of a part is removed.
    Cleared {
        /// The part.
        part: String,
    },
    /// What a run captured of a part is about to be copied to another place at its vendor. Undone by the plugin's `undo`.
    CopyingOffsite {
        /// The copy.
        #[serde(flatten)]
        copy: CopyRecord,
    },
    /// That is over: the copy is recorded in the stores, or nothing of it is left.
    CopiedOffsite {
        /// The set.
        set: SetId,
        /// The part.
        part: String,
        /// The place.
        place: String,
    },
    /// The run is over and left nothing to undo.
    Ended {
        /// Whether it published a set, or restored all that it was to.
        ok: bool,
    },
}

/// A child process, the leader of its process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChildRecord {
    /// The process group, and its leader.
    pub pgid: u32,
    /// When it was started, in clock ticks since the boot: the number alone may be another's later.
    pub start: u64,
}

/// A copy at another place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CopyRecord {
    /// The set.
    pub set: SetId,
    /// The part.
    pub part: String,
    /// The place.
    pub place: String,
    /// What is copied.
    pub snapshot: SnapshotRecord,
}

/// A file system that is, or may be, frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FrozenRecord {
    /// The number of the freeze in its run.
    pub freeze: u32,
    /// The file system.
    #[serde(flatten)]
    pub place: Place,
}

impl Record {
    /// The names of all sorts of records.
    pub const KINDS: [&'static str; 23] = [
        "begun",
        "taken-over",
        "application",
        "capturing",
        "captured",
        "freezing",
        "thawed",
        "child-started",
        "child-ended",
        "storing",
        "publishing",
        "published",
        "undone",
        "abandoned",
        "given-up",
        "restore",
        "restoring",
        "settling",
        "restored",
        "cleared",
        "copying-offsite",
        "copied-offsite",
        "ended",
    ];

    /// Which sort it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Begun { .. } => "begun",
            Self::TakenOver { .. } => "taken-over",
            Self::Application { .. } => "application",
            Self::Capturing { .. } => "capturing",
            Self::Captured { .. } => "captured",
            Self::Freezing { .. } => "freezing",
            Self::Thawed { .. } => "thawed",
            Self::ChildStarted { .. } => "child-started",
            Self::ChildEnded { .. } => "child-ended",
            Self::Storing { .. } => "storing",
            Self::Publishing => "publishing",
            Self::Published => "published",
            Self::Undone { .. } => "undone",
            Self::Abandoned { .. } => "abandoned",
            Self::GivenUp { .. } => "given-up",
            Self::Restore { .. } => "restore",
            Self::Restoring { .. } => "restoring",
            Self::Settling { .. } => "settling",
            Self::Restored { .. } => "restored",
            Self::Cleared { .. } => "cleared",
            Self::CopyingOffsite { .. } => "copying-offsite",
            Self::CopiedOffsite { .. } => "copied-offsite",
            Self::Ended { .. } => "ended",
        }
    }
}

/// A record with its place and time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// From 0, without gaps.
    pub seq: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub record: Record,
}

/// The journal of the run under way.
pub struct Journal {
    path: PathBuf,
    state: Mutex<Writer>,
}

struct Writer {
    file: File,
    next: u64,
    /// The length of all whole records.
    len: u64,
}

impl Journal {
    /// Start the journal of run `id` in the directory `runs`, which must exist.
    ///
    /// # Errors
    /// If the file exists or cannot be made durable.
    pub fn create(runs: &Path, id: &SetId) -> Result<Self> {
        let path = runs.join(format!("{id}.jsonl"));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .or_error(ErrorKind::Io, || format!("cannot create the run's journal {}", path.display()))
            .map_err(|e| e.hint(NO_JOURNAL))?;
        // The file's name has to survive a power cut too.
        File::open(runs)
            .and_then(|dir| dir.sync_all())
            .or_error(ErrorKind::Io, || format!("cannot sync {}", runs.display()))?;
        Ok(Self { path, state: Mutex::new(Writer { file, next: 0, len: 0 }) })
    }

    /// Go on with the journal of a run that did not end. A torn last record is cut off.
    ///
    /// # Errors
    /// As [`read`], or if it cannot be written to.
    pub fn reopen(path: &Path) -> Result<Self> {
        let entries = read(path)?;
        let whole = whole_records(path, entries.len())?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|file| file.set_len(whole).map(|()| file))
            .or_error(ErrorKind::Io, || format!("cannot go on with the journal {}", path.display()))?;
        Ok(Self { path: path.to_owned(), state: Mutex::new(Writer { file, next: entries.len() as u64, len: whole }) })
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Append a record; when this returns it is on disk.
    ///
    /// # Errors
    /// If it could not be written and synced: the side effect must not happen then.
    pub fn write(&self, record: Record) -> Result<()> {
        let kind = record.kind();
        let mut writer = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if fault::is_here(When::Before, kind) {
            fault::strike();
        }
        let entry = Entry { seq: writer.next, time: Timestamp::now(), record };
        let mut line =
            serde_json::to_vec(&entry).or_error(ErrorKind::Internal, || "cannot express a journal record as JSON")?;
        line.push(b'\n');
        let torn = if fault::is_here(When::Torn, kind) { line.len() / 2 } else { 0 };
        writer
            .append(&line, torn)
            .or_error(ErrorKind::Io, || format!("cannot write to the run's journal {}", self.path.display()))
            .map_err(|e| e.hint(NO_JOURNAL))?;
        if fault::is_here(When::After, kind) {
            fault::strike();
        }
        Ok(())
    }
}

impl Writer {
    /// Write a record and sync it. With `torn`, a fault strikes when so much of it is written.
    fn append(&mut self, line: &[u8], torn: usize) -> std::io::Result<()> {
        let (first, rest) = line.split_at(torn.min(line.len()));
        let mut write = || {
            self.file.write_all(first)?;
            if torn > 0 {
                fault::strike();
            }
            self.file.write_all(rest)?;
            self.file.sync_data()
        };
        if let Err(error) = write() {
            // A full disk may have taken half of it: the next record must not follow that half.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.next += 1;
        self.len += line.len() as u64;
        Ok(())
    }
}

/// The length of the first `count` lines of a file.
fn whole_records(path: &Path, count: usize) -> Result<u64> {
    let bytes =
        std::fs::read(path).or_error(ErrorKind::Io, || format!("cannot read the journal {}", path.display()))?;
    Ok(bytes.split_inclusive(|byte| *byte == b'\n').take(count).map(|line| line.len() as u64).sum())
}

/// Read a journal back. A torn last line is left out.
///
/// # Errors
/// If the file cannot be read, or a record other than the last is damaged or missing.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let unreadable = || format!("cannot read the journal {}", path.display());
    let mut reader = BufReader::new(File::open(path).or_error(ErrorKind::Io, unreadable)?);
    let mut entries: Vec<Entry> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).or_error(ErrorKind::Io, unreadable)? == 0 {
            return Ok(entries);
        }
        let number = entries.len() as u64;
        match serde_json::from_slice::<Entry>(&line) {
            Ok(entry) if entry.seq == number && line.ends_with(b"\n") => entries.push(entry),
            // Only the end can be torn: records are synced one after the other.
            _ if reader.fill_buf().or_error(ErrorKind::Io, unreadable)?.is_empty() && !line.ends_with(b"\n") => {
                return Ok(entries);
            }
            other => {
                let error = Error::new(
                    ErrorKind::Damaged,
                    format!("the journal {} is damaged at its record {number}", path.display()),
                )
                .hint("keep the file: it may hold the token that unlocks the application");
                return Err(match other {
                    Err(cause) => error.because(cause),
                    Ok(_) => error,
                });
            }
        }
    }
}

/// Put a damaged journal aside as `<run>.jsonl.damaged`, and go on with what can still be read of it. Gives where it is.
///
/// # Errors
/// If a file cannot be written.
pub fn salvage(path: &Path) -> Result<PathBuf> {
    let cannot = || format!("cannot put the damaged journal {} aside", path.display());
    let aside = path.with_extension("jsonl.damaged");
    let fresh = path.with_extension("jsonl.new");
    let bytes = std::fs::read(path).or_error(ErrorKind::Io, cannot)?;
    let put = |to: &Path, bytes: &[u8]| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    put(&aside, &bytes).or_error(ErrorKind::Io, cannot)?;
    let mut lines = Vec::new();
    let readable = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Entry>(line).ok());
    for (seq, entry) in readable.enumerate() {
        let entry = Entry { seq: seq as u64, ..entry };
        serde_json::to_writer(&mut lines, &entry).or_error(ErrorKind::Internal, cannot)?;
        lines.push(b'\n');
    }
    put(&fresh, &lines).and_then(|()| std::fs::rename(&fresh, path)).or_error(ErrorKind::Io, cannot)?;
    let runs = path.parent().unwrap_or(path);
    File::open(runs).and_then(|dir| dir.sync_all()).or_error(ErrorKind::Io, cannot)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn sample() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let id = SetId::generate().unwrap();
        let journal = Journal::create(dir.path(), &id).unwrap();
        let host = ProcessId { pid: 1, start: 2, boot_id: "b".into() };
        journal.write(Record::Begun { instance: "i".into(), host }).unwrap();
        journal.write(Record::Capturing { part: "home".into(), label: "l".into() }).unwrap();
        journal.write(Record::Ended { ok: true }).unwrap();
        let path = dir.path().join(format!("{id}.jsonl"));
        (dir, path)
    }

    #[test]
    fn what_is_written_is_read_back_and_private() {
        let (_dir, path) = sample();
        let entries = read(&path).unwrap();
        assert_eq!(entries.len(), 3);
        assert!(matches!(entries[1].record, Record::Capturing { ref part, .. } if part == "home"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// Each sort of record has its fault points, since `write` has; the crash tests learn the sorts from this list.
    #[test]
    fn the_list_of_kinds_is_complete() {
        let unknown = serde_json::from_str::<Record>(r#"{"record":"?"}"#).unwrap_err().to_string();
        let (_, listed) = unknown.split_once("expected one of ").unwrap();
        let (listed, _) = listed.split_once(" at ").unwrap_or((listed, ""));
        let known: Vec<&str> = listed.split(", ").map(|name| name.trim_matches('`')).collect();
        let mut kinds = Record::KINDS.to_vec();
        kinds.sort_unstable();
        let mut sorted = known;
        sorted.sort_unstable();
        assert_eq!(sorted, kinds);
        let entry = serde_json::to_value(Record::ChildStarted { child: ChildRecord { pgid: 1, start: 2 } }).unwrap();
        assert_eq!(entry["record"], "child-started");
    }

    #[test]
    fn a_journal_goes_on_after_a_torn_record() {
        let (_dir, path) = sample();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let journal = Journal::reopen(&path).unwrap();
        journal.write(Record::Publishing).unwrap();
        let entries = read(&path).unwrap();
        assert!(matches!(entries[2].record, Record::Publishing));
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn a_torn_last_record_is_left_out_at_every_length() {
        let (_dir, path) = sample();
        let whole = std::fs::read(&path).unwrap();
        let second_ends = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1).unwrap().0 + 1;
        for cut in second_ends..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(read(&path).unwrap().len(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn damage_before_the_end_is_an_error() {
        let (_dir, path) = sample();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] = b'\x07';
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::Damaged);
    }

    #[test]
    fn what_can_be_read_of_a_damaged_journal_is_used_and_the_rest_kept_aside() {
        let (_dir, path) = sample();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] = b'\x07';
        std::fs::write(&path, &bytes).unwrap();
        let aside = salvage(&path).unwrap();
        assert_eq!(std::fs::read(&aside).unwrap(), bytes);
        assert_eq!(std::fs::metadata(&aside).unwrap().permissions().mode() & 0o777, 0o600);
        let entries = read(&path).unwrap();
        assert_eq!(entries.len(), 2);
        assert!(matches!(entries[0].record, Record::Capturing { .. }));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_missing_record_is_an_error() {
        let (_dir, path) = sample();
        let text = std::fs::read_to_string(&path).unwrap();
        let without_second: Vec<&str> =
            text.lines().enumerate().filter(|(n, _)| *n != 1).map(|(_, line)| line).collect();
        std::fs::write(&path, without_second.join("\n") + "\n").unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::Damaged);
    }
}
