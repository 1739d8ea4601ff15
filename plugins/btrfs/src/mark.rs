//! Whose a snapshot is. btrfs has no properties of one's own on a snapshot, and a read-only one takes none afterwards: so a
//! mark lies beside the snapshots of each run. It is written before them, and says which subvolumes they are to be of; then
//! it is written again with the identity of each.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use bkhost_sdk::{Error, Result, config, exec, path};
use serde::{Deserialize, Serialize};

use crate::names::mark_name;

/// The directories of the manifest that hold marks.
pub(crate) const SNAPSHOTS: &str = "/source/snapshots";

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    instance: String,
    part: String,
    pub(crate) run: String,
    /// When the first snapshot was begun: milliseconds since 1970.
    pub(crate) created: u64,
    pub(crate) subvolumes: Vec<Marked>,
}

/// One snapshot of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marked {
    /// The subvolume, as it is configured.
    pub(crate) path: String,
    /// Its identity.
    pub(crate) source: String,
    /// The identity of the snapshot, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<String>,
}

impl Mark {
    /// A mark of this part for a run.
    pub(crate) fn new(run: &str, created: u64, subvolumes: Vec<Marked>) -> Self {
        Self { instance: config::instance(), part: config::part(), run: run.to_owned(), created, subvolumes }
    }

    fn is_ours(&self) -> bool {
        self.instance == config::instance() && self.part == config::part()
    }

    /// Write it, on the disk when this returns.
    ///
    /// # Errors
    /// It cannot be written; `already-exists` if there is one and it is not to be replaced.
    pub(crate) fn write(&self, file: &str, replace: bool) -> Result<()> {
        let (place, new) = (path::local(file), path::local(&format!("{file}.new")));
        if !replace && place.symlink_metadata().is_ok() {
            return Err(Error::already_exists(format!("the mark {file} exists")).hint("do two parts share a name?"));
        }
        let failed = |error| Error::io(format!("writing the mark {file}"), &error);
        let text = serde_json::to_vec(self).map_err(|error| Error::other(error.to_string()))?;
        let mut out = std::fs::File::create(&new).map_err(failed)?;
        out.write_all(&text).and_then(|()| out.sync_all()).map_err(failed)?;
        drop(out);
        std::fs::rename(&new, &place).map_err(failed)
    }

    /// The mark in a file, if there is one and it is this part's.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(crate) fn read(file: &str) -> Result<Option<Self>> {
        let text = match std::fs::read(path::local(file)) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => return Ok(None),
            Err(error) => return Err(Error::io(format!("reading the mark {file}"), &error)),
        };
        // Whatever else has such a name is somebody else's.
        Ok(serde_json::from_slice::<Self>(&text).ok().filter(Self::is_ours))
    }

    /// Remove a mark, and what an interrupted writing of it has left. Idempotent.
    ///
    /// # Errors
    /// It is still there.
    pub(crate) fn remove(file: &str) -> Result<()> {
        for file in [format!("{file}.new"), file.to_owned()] {
            match std::fs::remove_file(path::local(&file)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io(format!("removing the mark {file}"), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The file of a run's mark.
pub(crate) fn file(label: &str) -> String {
    format!("{SNAPSHOTS}/{}", mark_name(label))
}

/// The mark of a run, if it is this part's.
///
/// # Errors
/// It is there and cannot be read.
pub(crate) fn of(label: &str) -> Result<Option<Mark>> {
    Ok(Mark::read(&file(label))?.filter(|mark| mark.run == label))
}

/// All marks of this part, oldest first. What is in the directory is listed by a tool: names that are not UTF-8 would stop
/// a listing from inside the sandbox.
///
/// # Errors
/// The directory cannot be listed.
pub(crate) fn all() -> Result<Vec<Mark>> {
    if !there() {
        return Ok(Vec::new());
    }
    let output = exec::run("marks", &[("directory", SNAPSHOTS)])?.ok()?;
    let suffix = format!(".{}.json", config::part());
    let mut marks = Vec::new();
    for label in output.stdout.lines().filter_map(|name| name.strip_suffix(&suffix)) {
        marks.extend(of(label)?);
    }
    marks.sort_by_key(|mark| mark.created);
    Ok(marks)
}

/// Whether the directory for the snapshots is there.
pub(crate) fn there() -> bool {
    let place: PathBuf = path::local(SNAPSHOTS);
    std::fs::metadata(place).is_ok_and(|found| found.is_dir())
}
