//! The dump in the staging area. Under its own name only when it is complete and was read back.

use std::path::Path;

use bkhost_sdk::{Error, Result, exec, info, path, staging};
use serde::{Deserialize, Serialize};

use crate::answers::{self, tool_version};
use crate::{Config, State};

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
    staging::at(label)
}

fn partial(label: &str) -> String {
    staging::at(&format!("{label}.partial"))
}

/// Dump the database at the snapshot, and read the result back. None in a dry run.
pub(crate) fn dump(config: &Config, state: &State) -> Result<Option<Summary>> {
    let (partial, complete) = (partial(&state.label), directory(&state.label));
    staging::discard(&state.label)?;
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
