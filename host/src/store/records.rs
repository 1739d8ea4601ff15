//! What is told of sets beside them: that one is pinned, when it was verified, rehearsed or restored, what was found damaged.
//! `<root>/<instance>/records/<set id>.<kind>.<time>.json`, one small object each, never rewritten: a set itself stays as
//! it was published.
//!
//! What lies there under another name, or cannot be read, is nobody's business: it is told of, and never deleted.

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backend::{Entry, EntryKind};
use super::error::failed_io;
use super::open::Store;
use crate::archive::{SetId, check_name};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// The directory in an instance's, which no set can be called.
const RECORDS: &str = "records";
/// The version of the form that is written; what is newer is not read.
const VERSION: u32 = 1;
/// Larger is no record.
const MAX: u64 = 256 << 10;
/// So many of one set and kind can be made within as many milliseconds.
const TRIES: u32 = 1000;

/// What a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// The set stays until the pin is taken away.
    Pin,
    /// Every stored byte of the set was read again: `ok` tells what came of it. What looked at less records nothing.
    Verify,
    /// The set was restored into scratch space and checked there.
    Drill,
    /// The set, or parts of it, were restored.
    Restore,
    /// What was captured of a part was copied to another place of its vendor, or could not be (`ok`). One of a copy that is
    /// there outlives the set: it goes with the copy.
    Offsite,
    /// The set came from another store, and what was told of it there.
    Copy,
    /// The set cannot be trusted any more, unless a later [`RecordKind::Verify`] finds it whole.
    Damaged,
}

impl RecordKind {
    const ALL: [Self; 7] =
        [Self::Pin, Self::Verify, Self::Drill, Self::Restore, Self::Offsite, Self::Copy, Self::Damaged];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Verify => "verify",
            Self::Drill => "drill",
            Self::Restore => "restore",
            Self::Offsite => "offsite",
            Self::Copy => "copy",
            Self::Damaged => "damaged",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who wrote a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Author {
    /// The machine's name.
    pub host: String,
    /// The user's name, or their number where that is unknown.
    pub user: String,
    /// bkhost's version.
    pub bkhost: String,
}

impl Author {
    /// This process.
    #[must_use]
    pub fn own() -> Self {
        Self { host: super::host_name(), user: user(), bkhost: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// The version of this form.
    pub version: u32,
    /// What it tells.
    pub kind: RecordKind,
    /// Of which set.
    pub set: SetId,
    /// When, to the millisecond. [`Store::record`] makes it unlike that of every other record of the set and kind.
    pub at: Timestamp,
    /// Who wrote it.
    pub by: Author,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Whether it went well.
    pub ok: bool,
    /// For people: why it is pinned, what is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// More, as the kind has it: an object.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

impl Record {
    /// A record of now, by this process, that says that it went well.
    #[must_use]
    pub fn new(kind: RecordKind, set: &SetId) -> Self {
        Self {
            version: VERSION,
            kind,
            set: set.clone(),
            at: to_millis(Timestamp::now()),
            by: Author::own(),
            duration_ms: None,
            ok: true,
            note: None,
            detail: Value::Null,
        }
    }

    /// It did not go well, and why.
    #[must_use]
    pub fn failed(mut self, why: impl Into<String>) -> Self {
        self.ok = false;
        self.note(why)
    }

    /// With something for people.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// With how long it took.
    #[must_use]
    pub fn took(mut self, duration: std::time::Duration) -> Self {
        self.duration_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// With more.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    fn file(&self) -> String {
        let time = self.at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S%3fZ").to_string();
        format!("{}.{}.{time}.json", self.set, self.kind)
    }
}

/// What an instance's records tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Those that can be read, the oldest first.
    pub list: Vec<Record>,
    /// What else is there.
    pub skipped: Vec<Skipped>,
}

/// Something among the records that is none, or none that this version can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Skipped {
    /// Its path below the store's root.
    pub path: String,
    /// The set that it tells of, if its name is a record's.
    pub set: Option<SetId>,
    /// What is wrong with it.
    pub why: String,
}

impl Records {
    /// By set.
    #[must_use]
    pub fn by_set(self) -> BTreeMap<SetId, SetRecords> {
        let mut sets: BTreeMap<SetId, SetRecords> = BTreeMap::new();
        for record in self.list {
            sets.entry(record.set.clone()).or_default().list.push(record);
        }
        for skipped in self.skipped {
            if let Some(set) = skipped.set {
                sets.entry(set).or_default().unreadable.push(skipped.path);
            }
        }
        sets
    }
}

/// What the records of one set tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetRecords {
    /// The oldest first.
    pub list: Vec<Record>,
    /// Records of the set, by their names, that cannot be read: nobody knows whether one of them is a pin.
    pub unreadable: Vec<String>,
}

impl SetRecords {
    /// The newest of a kind.
    #[must_use]
    pub fn last(&self, kind: RecordKind) -> Option<&Record> {
        self.list.iter().filter(|record| record.kind == kind).max_by_key(|record| record.at)
    }

    /// What pins it: the newest pin.
    #[must_use]
    pub fn pin(&self) -> Option<&Record> {
        self.last(RecordKind::Pin)
    }

    /// What says that it is damaged, if nothing later says that it is whole. What a plugin says of what was written, which
    /// names no object, is not refuted by bytes that are as they were written.
    #[must_use]
    pub fn damage(&self) -> Option<&Record> {
        let damage = self.last(RecordKind::Damaged)?;
        let full = |record: &Record| record.detail.get("depth").is_some_and(|depth| depth == "full");
        let of_bytes = !full(damage) || damage.detail.get("object").is_some_and(Value::is_string);
        let whole = self.list.iter().filter(|record| record.kind == RecordKind::Verify && record.ok);
        let refuted = whole.into_iter().any(|record| record.at > damage.at && (of_bytes || full(record)));
        (!refuted).then_some(damage)
    }

    /// The newest measured time of restoring all of it, in milliseconds, and by what it was measured.
    #[must_use]
    pub fn restore_time(&self) -> Option<(u64, &Record)> {
        self.list
            .iter()
            .filter(|record| matches!(record.kind, RecordKind::Drill | RecordKind::Restore) && record.ok)
            .filter_map(|record| Some((record.duration_ms?, record)))
            .max_by_key(|(_, record)| record.at)
    }
}

impl Store {
    /// Writes a record; it is on disk when this returns. Gives it as it was written: its time may be some milliseconds later.
    ///
    /// # Errors
    /// `Store` if it cannot be written, `Conflict` if there are hundreds of this very moment.
    pub fn record(&self, instance: &str, record: &Record) -> Result<Record> {
        let dir = records_dir(instance)?;
        let cannot = |e| failed_io(e, format!("cannot make {dir} in the store {}", self.location()));
        self.backend.make_dir(&dir).map_err(cannot)?;
        let mut record = Record { at: to_millis(record.at), ..record.clone() };
        for _ in 0..TRIES {
            let mut bytes = serde_json::to_vec_pretty(&record)
                .or_error(ErrorKind::Internal, || "cannot express a record as JSON")?;
            bytes.push(b'\n');
            let path = format!("{dir}/{}", record.file());
            let written = self.backend.put(&path, &bytes);
            if written.map_err(|e| failed_io(e, format!("cannot write {path} in the store {}", self.location())))? {
                return Ok(record);
            }
            // Somebody was quicker.
            record.at = record.at.checked_add(1.millisecond()).or_error(ErrorKind::Internal, || "the end of time")?;
        }
        Err(Error::new(ErrorKind::Conflict, format!("there are too many records of set {} of this moment", record.set)))
    }

    /// All records of an instance.
    ///
    /// # Errors
    /// `Store` if they cannot be listed, or one cannot be read for a reason that lies with the store. What is not a record is
    /// told in the result.
    pub fn records(&self, instance: &str) -> Result<Records> {
        let dir = records_dir(instance)?;
        let entries = self.entries(&dir)?;
        let is_small = |kind: EntryKind| matches!(kind, EntryKind::File(bytes) if bytes <= MAX);
        let small = |entry: &&Entry| is_small(entry.kind) && parse_name(&entry.name).is_some();
        let paths: Vec<String> = entries.iter().filter(small).map(|entry| format!("{dir}/{}", entry.name)).collect();
        let mut contents = self.get_all(&paths, MAX).into_iter();
        let mut records = Records::default();
        for entry in &entries {
            let (name, path) = (&entry.name, format!("{dir}/{}", entry.name));
            let named = parse_name(name);
            let skipped = |why: &str| Skipped {
                path: path.clone(),
                set: named.as_ref().map(|(set, _)| set.clone()),
                why: why.to_owned(),
            };
            if named.is_none() && super::is_draft(name) {
                continue;
            }
            if named.is_none() {
                records.skipped.push(skipped("it is no record"));
                continue;
            }
            if !is_small(entry.kind) {
                records.skipped.push(skipped("it is no file, or far too large for a record"));
                continue;
            }
            let bytes = match contents.next() {
                Some(Ok(Some(bytes))) => bytes,
                // Removed meanwhile.
                Some(Ok(None)) | None => continue,
                Some(Err(e)) => {
                    return Err(failed_io(e, format!("cannot read {path} in the store {}", self.location())));
                }
            };
            match serde_json::from_slice::<Record>(&bytes) {
                Err(_) => records.skipped.push(skipped("it cannot be read")),
                Ok(record) if record.version != VERSION => {
                    records.skipped.push(skipped("a newer bkhost wrote it"));
                }
                Ok(record) if record.file() != *name => {
                    records.skipped.push(skipped("it tells of something else than its name"));
                }
                Ok(record) => records.list.push(record),
            }
        }
        records.list.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.file().cmp(&b.file())));
        Ok(records)
    }

    /// Whether there is a pin of this set, by its name.
    ///
    /// # Errors
    /// `Store` if the records cannot be listed.
    pub fn is_pinned(&self, instance: &str, set: &SetId) -> Result<bool> {
        let names = self.names(&records_dir(instance)?)?;
        Ok(names
            .iter()
            .filter_map(|(name, _)| parse_name(name))
            .any(|(of, kind)| of == *set && kind == RecordKind::Pin))
    }

    /// Removes a record, such as a pin. Idempotent.
    ///
    /// # Errors
    /// `Store` if it cannot be removed.
    pub fn remove_record(&self, instance: &str, record: &Record) -> Result<()> {
        let dir = records_dir(instance)?;
        let path = format!("{dir}/{}", record.file());
        self.backend
            .remove(&path)
            .and_then(|()| self.backend.settle(&dir))
            .map_err(|e| failed_io(e, format!("cannot delete {path} from the store {}", self.location())))
    }

    /// Removes the records of a set that is gone, but for those of its copies at other places, which are still there. What
    /// cannot be read as one stays.
    ///
    /// # Errors
    /// As [`Store::records`] and [`Store::remove_record`].
    pub(super) fn remove_records(&self, instance: &str, set: &SetId) -> Result<()> {
        let records = self.records(instance)?;
        let going = records.list.iter().filter(|r| r.set == *set && !(r.kind == RecordKind::Offsite && r.ok));
        going.into_iter().try_for_each(|record| self.remove_record(instance, record))
    }
}

fn records_dir(instance: &str) -> Result<String> {
    check_name("an instance", instance)?;
    Ok(format!("{instance}/{RECORDS}"))
}

/// The set and the kind of a record's file.
fn parse_name(name: &str) -> Option<(SetId, RecordKind)> {
    let mut fields = name.split('.');
    let (set, kind, time) = (fields.next()?, fields.next()?, fields.next()?);
    let form = time.len() == 19 && time.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'Z'));
    let known = form && fields.next() == Some("json") && fields.next().is_none();
    known.then_some((set.parse().ok()?, RecordKind::named(kind)?))
}

fn to_millis(time: Timestamp) -> Timestamp {
    // Rounding fails only at the end of time.
    time.round(jiff::TimestampRound::new().smallest(Unit::Millisecond).mode(jiff::RoundMode::Trunc)).unwrap_or(time)
}

/// The name of the user of this process.
fn user() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    named.unwrap_or(uid)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    const SET: &str = "20261121-014200-4f2a9c";

    fn set(text: &str) -> SetId {
        text.parse().unwrap()
    }

    fn store(root: &Path) -> Store {
        Store::open(root.to_str().unwrap()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_written_is_read_and_no_set() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        assert_eq!(store.records("wiki").unwrap(), Records::default());
        let pin = Record::new(RecordKind::Pin, &set(SET)).note("before the upgrade");
        let first = store.record("wiki", &pin).unwrap();
        // The same moment again: both stay.
        let second = store.record("wiki", &pin).unwrap();
        assert!(second.at > first.at);
        let drill = Record::new(RecordKind::Drill, &set("20261121-014200-4f2a9d"))
            .failed("a file differs")
            .took(std::time::Duration::from_millis(1234))
            .detail(serde_json::json!({ "parts": ["home"] }));
        let drill = store.record("wiki", &drill).unwrap();
        let records = store.records("wiki").unwrap();
        assert_eq!(records.list.len(), 3);
        assert!(records.list.contains(&first) && records.list.contains(&second) && records.list.contains(&drill));
        assert_eq!((drill.ok, drill.duration_ms), (false, Some(1234)));
        assert_eq!(records.skipped, []);
        assert_eq!(store.list("wiki").unwrap(), []);
        assert_eq!(store.newest("wiki").unwrap(), None);
        let dir = root.path().join("wiki/records");
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for entry in std::fs::read_dir(&dir).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let by_set = records.by_set();
        assert_eq!(by_set.get(&set(SET)).unwrap().pin(), Some(&second));

        store.remove_record("wiki", &second).unwrap();
        store.remove_record("wiki", &second).unwrap();
        store.remove_records("wiki", &set(SET)).unwrap();
        assert_eq!(store.records("wiki").unwrap().list, [drill]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_none_is_told_and_never_deleted() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let record = store.record("wiki", &Record::new(RecordKind::Pin, &set(SET))).unwrap();
        let dir = root.path().join("wiki/records");
        let good = std::fs::read(dir.join(record.file())).unwrap();
        let strange = [
            ("notes.txt", &b"mine"[..], None),
            // Of a later version; cut; of another set than its name; much too large; a directory.
            (&format!("{SET}.pin.20300101T000000000Z.json"), br#"{"version": 2}"#, Some(())),
            (&format!("{SET}.pin.20300101T000000001Z.json"), b"", Some(())),
            ("20261121-014200-4f2a9d.pin.20300101T000000000Z.json", &good, Some(())),
            (&format!("{SET}.pin.20300101T000000002Z.json"), &vec![b' '; 300 << 10], Some(())),
            (&format!("{SET}.love.20300101T000000000Z.json"), &good, None),
            (&format!("{SET}.pin.20300101T000000000Z.json.bak"), &good, None),
        ];
        for (name, bytes, _) in &strange {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
        std::fs::create_dir(dir.join(format!("{SET}.drill.20300101T000000000Z.json"))).unwrap();
        let records = store.records("wiki").unwrap();
        assert_eq!(records.list, [record]);
        assert_eq!(records.skipped.len(), strange.len() + 1);
        for (name, _, known) in &strange {
            let skipped = records.skipped.iter().find(|skipped| skipped.path.ends_with(name)).unwrap();
            assert_eq!(skipped.set.is_some(), known.is_some(), "{skipped:?}");
            assert!(!skipped.why.is_empty());
        }
        // Nobody knows what they say: the set is not without pins.
        assert_eq!(records.by_set().get(&set(SET)).unwrap().unreadable.len(), 4);
        store.remove_records("wiki", &set(SET)).unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), strange.len() + 1);
    }

    /// Many write at once, and nothing is lost.
    #[tokio::test(flavor = "multi_thread")]
    async fn side_by_side() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        store.record("wiki", &Record::new(RecordKind::Verify, &set(SET))).unwrap();
                    }
                });
            }
        });
        let records = store.records("wiki").unwrap();
        assert_eq!((records.list.len(), records.skipped.len()), (40, 0));
    }

    #[test]
    fn damage_lasts_until_all_was_read_again() {
        let at = |seconds: i64, kind, ok| Record {
            at: Timestamp::from_second(seconds).unwrap(),
            ok,
            ..Record::new(kind, &set(SET))
        };
        let damaged = |list: Vec<Record>| SetRecords { list, unreadable: Vec::new() }.damage().is_some();
        assert!(!damaged(vec![at(1, RecordKind::Verify, true)]));
        assert!(damaged(vec![at(1, RecordKind::Verify, true), at(2, RecordKind::Damaged, false)]));
        assert!(damaged(vec![at(2, RecordKind::Damaged, false), at(3, RecordKind::Verify, false)]));
        assert!(!damaged(vec![at(2, RecordKind::Damaged, false), at(3, RecordKind::Verify, true)]));
        assert!(damaged(vec![at(2, RecordKind::Damaged, false), at(3, RecordKind::Restore, true)]));
        // What a plugin found is not refuted by the bytes alone.
        let told = |object: Value| {
            at(2, RecordKind::Damaged, false).detail(serde_json::json!({ "depth": "full", "object": object }))
        };
        let read = |depth: &str| at(3, RecordKind::Verify, true).detail(serde_json::json!({ "depth": depth }));
        assert!(damaged(vec![told(Value::Null), read("objects")]));
        assert!(!damaged(vec![told(Value::Null), read("full")]));
        assert!(!damaged(vec![told("home.tar.zst".into()), read("objects")]));
    }
}
