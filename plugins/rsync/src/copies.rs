//! The copies in the staging area, and which of them are ours.
//!
//! A copy is the directory `rsync-<label>`; beside it, `rsync-<label>.json` proves whose it is and that it is good. While
//! it is made it is called `rsync-<label>.partial`, and before that, in the live pass, `rsync-live`. Whatever has such a
//! name and no such proof is somebody else's, and stays.

use std::io::ErrorKind;

use bkhost_sdk::{Consistency, Error, Result, Snapshot, config, exec, info, path, staging};
use serde::{Deserialize, Serialize};

use crate::State;

/// The live pass works here.
pub(crate) const LIVE: &str = "rsync-live";
/// What rsync leaves out.
pub(crate) const FILTER: &str = "rsync-filter";
/// What stands for a label there.
pub(crate) const LIVE_LABEL: &str = "live";
const PREFIX: &str = "rsync-";
const PARTIAL: &str = ".partial";
const RECORD: &str = ".json";
const TAG: &str = "bkhost rsync copy";

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// The application may be writing to what is copied.
    Live,
    /// The locked pass makes it, or it is not known to be on the disk yet.
    Partial,
    /// Complete, and on the disk.
    Good,
}

/// The proof beside a copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    tag: String,
    instance: String,
    part: String,
    /// Which directory it speaks of: a label, or `live`.
    pub(crate) label: String,
    pub(crate) stage: Stage,
    /// The directory that is copied.
    pub(crate) source: String,
    /// The machine's boot.
    pub(crate) boot: Option<String>,
    /// When the pass that made it began and ended: seconds since the epoch.
    pub(crate) started: u64,
    pub(crate) ended: u64,
    /// The snapshot, of a good copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<Kept>,
}

/// A snapshot as `list` gives it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    created: u64,
    bytes: Option<u64>,
    versions: Vec<(String, String)>,
    state: State,
}

impl Record {
    /// The proof for a copy that this part begins to make.
    pub(crate) fn new(label: &str, stage: Stage, source: &str, started: u64) -> Self {
        Self {
            tag: TAG.to_owned(),
            instance: config::instance(),
            part: config::part(),
            label: label.to_owned(),
            stage,
            source: source.to_owned(),
            boot: None,
            started,
            ended: started,
            snapshot: None,
        }
    }

    /// That of `rsync-<label>`; none unless it is there, and ours.
    pub(crate) fn read(label: &str) -> Result<Option<Self>> {
        let name = format!("{PREFIX}{label}{RECORD}");
        let text = match std::fs::read_to_string(path::local(&staging::at(&name))) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            // Not what this plugin writes.
            Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(Error::io(format!("reading {name} in the staging area"), &error)),
            Ok(text) => text,
        };
        Ok(serde_json::from_str::<Self>(&text).ok().filter(|record| record.is_ours(label)))
    }

    fn is_ours(&self, label: &str) -> bool {
        self.tag == TAG && self.instance == config::instance() && self.part == config::part() && self.label == label
    }

    /// Write it, whole or not at all.
    pub(crate) fn write(&self) -> Result<()> {
        let name = format!("{PREFIX}{}{RECORD}", self.label);
        let io = |error: std::io::Error| Error::io(format!("writing {name} in the staging area"), &error);
        let text = serde_json::to_string(self).map_err(|error| Error::other(format!("{name}: {error}")))?;
        let (whole, beside) = (path::local(&staging::at(&name)), path::local(&staging::at(&format!("{name}.new"))));
        std::fs::write(&beside, text).map_err(io)?;
        std::fs::rename(&beside, &whole).map_err(io)
    }

    /// The snapshot of a good copy.
    pub(crate) fn snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(Kept { created, bytes, versions, state }) = &self.snapshot else { return Ok(None) };
        let mut snapshot = Snapshot::new(&self.label, Consistency::Copied, state)?;
        snapshot.created = *created;
        snapshot.bytes = *bytes;
        snapshot.versions.clone_from(versions);
        Ok(Some(snapshot))
    }

    /// How many entries the good copy has.
    pub(crate) fn entries(&self) -> Option<u64> {
        self.snapshot.as_ref().map(|kept| kept.state.told.entries)
    }

    /// It is complete: `snapshot` is what it holds.
    pub(crate) fn good(mut self, snapshot: &Snapshot) -> Result<Self> {
        let (created, bytes, versions) = (snapshot.created, snapshot.bytes, snapshot.versions.clone());
        self.snapshot = Some(Kept { created, bytes, versions, state: snapshot.state()? });
        self.stage = Stage::Good;
        Ok(self)
    }
}

/// The guest path of a finished copy.
pub(crate) fn whole(label: &str) -> String {
    staging::at(&format!("{PREFIX}{label}"))
}

/// The guest path of a copy that is being made.
pub(crate) fn partial(label: &str) -> String {
    staging::at(&format!("{PREFIX}{label}{PARTIAL}"))
}

/// The guest path of the live pass.
pub(crate) fn live() -> String {
    staging::at(LIVE)
}

/// The good copies, the newest first.
pub(crate) fn good() -> Result<Vec<Record>> {
    let mut good = Vec::new();
    for record in ours()? {
        if record.stage == Stage::Good && is_directory(&whole(&record.label)) {
            good.push(record);
        }
    }
    // Labels end with the time of their run.
    good.sort_by(|a, b| (b.ended, &b.label).cmp(&(a.ended, &a.label)));
    Ok(good)
}

/// The newest of these that is of this directory. Of another, a file may have the name, size and time of one here and be
/// another file.
pub(crate) fn of<'a>(good: &'a [Record], source: &str) -> Option<&'a Record> {
    good.iter().find(|record| record.source == source)
}

/// The copies of this part, in whatever stage.
fn ours() -> Result<Vec<Record>> {
    let reading = |error: &std::io::Error| Error::io("reading the staging area", error);
    let listing = match std::fs::read_dir(path::local(path::STAGING)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(reading(&error)),
        Ok(listing) => listing,
    };
    let mut records = Vec::new();
    for entry in listing {
        let name = entry.map_err(|error| reading(&error))?.file_name();
        // What cannot be read as text is no name of ours.
        let label = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(RECORD));
        if let Some(label) = label
            && let Some(record) = Record::read(label)?
        {
            records.push(record);
        }
    }
    Ok(records)
}

/// Remove all but the newest `keep` good copies: the older ones, and what runs that died have left. The live pass stays.
pub(crate) fn tidy(keep: usize) -> Result<()> {
    let good = good()?;
    let kept: Vec<_> = good.iter().take(keep).map(|record| record.label.as_str()).collect();
    for record in ours()? {
        if record.stage != Stage::Live && !kept.contains(&record.label.as_str()) {
            match record.stage {
                Stage::Good => {
                    info!("the copy {} is more than keep-copies = {keep} allow: it is removed", record.label)
                }
                _ => info!("the copy {}, which an earlier run had not completed, is removed", record.label),
            }
            remove(&record.label)?;
        }
    }
    Ok(())
}

/// Remove a copy, complete or not, if it is ours. What is gone is no error.
pub(crate) fn remove(label: &str) -> Result<()> {
    if Record::read(label)?.is_none() {
        return Ok(());
    }
    remove_trees(&[partial(label), whole(label)])?;
    // Last: without it, nothing proves that the rest is ours.
    staging::remove(&staging::at(&format!("{PREFIX}{label}{RECORD}")))
}

/// Remove what the live pass has copied, if it is ours.
pub(crate) fn remove_live() -> Result<()> {
    if Record::read(LIVE_LABEL)?.is_none() {
        return Ok(());
    }
    remove_trees(&[live()])?;
    staging::remove(&staging::at(&format!("{LIVE}{RECORD}")))
}

/// Say that the copy of this record is ours, before it is there.
///
/// # Errors
/// `conflict`: something else has its name, and would be overwritten.
pub(crate) fn claim(record: &Record) -> Result<()> {
    nobody(&partial(&record.label))?;
    nobody(&whole(&record.label))?;
    record.write()
}

/// The same for the live pass, which may go on with one of ours.
///
/// # Errors
/// As [`claim`].
pub(crate) fn claim_live(record: &Record) -> Result<()> {
    if Record::read(LIVE_LABEL)?.is_none() {
        nobody(&live())?;
    }
    record.write()
}

fn nobody(guest: &str) -> Result<()> {
    match std::fs::symlink_metadata(path::local(guest)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(guest, &error)),
        Ok(_) => Err(Error::conflict(format!("there is a {guest} in the staging area that this part did not make"))
            .hint("move it out of the part's staging area")),
    }
}

/// Names may be no text: the host's `rm` removes them, from inside the sandbox it cannot be done.
pub(crate) fn remove_trees(trees: &[String]) -> Result<()> {
    let there: Vec<_> = trees.iter().filter(|tree| std::fs::symlink_metadata(path::local(tree)).is_ok()).collect();
    if there.is_empty() {
        return Ok(());
    }
    exec::command("remove").slots("copy", there).run()?.ok().map(drop)
}

/// Give a tree another name.
pub(crate) fn rename(from: &str, to: &str) -> Result<()> {
    std::fs::rename(path::local(from), path::local(to))
        .map_err(|error| Error::io(format!("renaming {from} to {to}"), &error))
}

/// Whether this is a directory, and no link to one.
pub(crate) fn is_directory(guest: &str) -> bool {
    std::fs::symlink_metadata(path::local(guest)).is_ok_and(|metadata| metadata.is_dir())
}
