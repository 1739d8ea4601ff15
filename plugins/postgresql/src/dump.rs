//! The dump in the staging area. Under its own name only when it is complete and was read back.

use std::io::ErrorKind;
use std::path::Path;

use bkhost_sdk::{Error, Result, exec, info, path};
use serde::{Deserialize, Serialize};

use crate::answers::{self, tool_version};
use crate::{Config, State, staging};

/// A complete dump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Entries of its table of contents.
    pub(crate) entries: u64,
    /// Tables whose rows it holds.
    pub(crate) tables: u64,
    /// The version of the `pg_dump` that wrote it.
    pub(crate) pg_dump: String,
}

/// The guest path of a run's dump.
pub(crate) fn directory(label: &str) -> String {
    staging(label)
}

fn partial(label: &str) -> String {
    staging(&format!("{label}.partial"))
}

/// Dump the database at the snapshot, and read the result back. None in a dry run.
pub(crate) fn dump(config: &Config, state: &State) -> Result<Option<Summary>> {
    let (partial, complete) = (partial(&state.label), directory(&state.label));
    remove(&state.label)?;
    let dumped = exec::command("dump")
        .slot("jobs", config.jobs.to_string())
        .slot("level", config.compress.to_string())
        .slot("snapshot", &state.point.snapshot)
        .slot("directory", &partial)
        .run()?;
    if dumped.planned {
        return Ok(None);
    }
    dumped.ok()?;

    let version = exec::run("pg-dump-version", &[])?.ok()?;
    let contents = exec::run("contents", &[("directory", &partial)])?.ok()?;
    let listing = answers::listing(&contents.stdout);
    let (files, bytes) =
        size(&path::local(&partial)).map_err(|error| Error::io(format!("reading {partial}"), &error))?;
    if listing.entries == 0 || files <= listing.tables {
        return Err(Error::corrupt(format!(
            "the dump of database {} is not complete: {files} files for {} tables, {} entries",
            state.database, listing.tables, listing.entries
        )));
    }
    std::fs::rename(path::local(&partial), path::local(&complete))
        .map_err(|error| Error::io(format!("renaming {partial}"), &error))?;
    let summary = Summary {
        bytes,
        entries: listing.entries,
        tables: listing.tables,
        pg_dump: tool_version(&version.stdout).unwrap_or("unknown").to_owned(),
    };
    info!("dumped {}: {} tables, {} bytes", state.database, summary.tables, summary.bytes);
    Ok(Some(summary))
}

/// The number of files in a directory, and their bytes. A dump has no directories in it.
fn size(directory: &Path) -> std::io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(directory)? {
        files += 1;
        bytes += entry?.metadata()?.len();
    }
    Ok((files, bytes))
}

/// Remove what a run with this label has staged.
pub(crate) fn remove(label: &str) -> Result<()> {
    for directory in [partial(label), directory(label)] {
        remove_directory(&directory)?;
    }
    Ok(())
}

/// Remove a directory and all in it, if it is there.
pub(crate) fn remove_directory(directory: &str) -> Result<()> {
    match std::fs::remove_dir_all(path::local(directory)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(format!("removing {directory}"), &error)),
        _ => Ok(()),
    }
}

/// Remove what runs that died have left. The instance's lock is held: no other run is at work here.
pub(crate) fn remove_leftovers() -> Result<()> {
    let listing = match std::fs::read_dir(path::local(path::STAGING)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(format!("reading {}", path::STAGING), &error)),
        Ok(listing) => listing,
    };
    for entry in listing {
        let entry = entry.map_err(|error| Error::io(format!("reading {}", path::STAGING), &error))?;
        if let Some(name) = entry.file_name().to_str()
            && name.starts_with("bkhost-")
        {
            info!("removing {name}, which an earlier run has left in the staging area");
            remove_directory(&staging(name))?;
        }
    }
    Ok(())
}
