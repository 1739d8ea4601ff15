//! The dumps: into the staging area, or straight into the archive.

use std::path::Path;
use std::time::Duration;

use bkhost_sdk::exec::{self, Command};
use bkhost_sdk::{Error, Result, info, path, progress, staging};
use serde::{Deserialize, Serialize};

use crate::answers;
use crate::session::{Held, Rows};
use crate::{Config, Database, State, names};

/// The tree that holds the dumps, in the format `directory`.
pub(crate) const DUMPS: &str = "dumps";

/// A complete dump in a directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Entries of its table of contents.
    pub(crate) entries: u64,
    /// Tables whose rows it holds.
    pub(crate) tables: u64,
}

/// The guest path of something that a run stages.
pub(crate) fn staged(label: &str, name: &str) -> String {
    staging::at(&format!("{label}.{name}"))
}

/// The command that dumps a database at its snapshot; the form is filled in by the caller.
pub(crate) fn command(id: &str, config: &Config, state: &State, database: &Database) -> Command {
    exec::command(id)
        .slot("database", &database.name)
        .slot("level", config.compress.to_string())
        .slot("snapshot", &database.point.snapshot)
        .slot("application", names::application(&state.label))
}

/// Make the directory for the dumps. It has to belong to whom the programs run as, maybe in a container. False in a dry
/// run.
pub(crate) fn place(state: &State) -> Result<bool> {
    let made = exec::run("place", &[("directory", &staged(&state.label, DUMPS))])?;
    Ok(!made.ok()?.planned)
}

fn into_directory(config: &Config, state: &State, database: &Database, directory: &str) -> Command {
    command("dump", config, state, database).slot("jobs", config.jobs.to_string()).slot("directory", directory)
}

/// Tell how a database would be dumped, in a dry run.
pub(crate) fn plan(config: &Config, state: &State, database: &Database) -> Result<()> {
    // The directory of all dumps stands for that of this one, whose place was not made.
    let planned = into_directory(config, state, database, &staged(&state.label, DUMPS)).run()?;
    planned.ok().map(|_| ())
}

/// Dump a database into the staging area while its rows are counted, and read the result back.
pub(crate) fn dump(
    config: &Config,
    state: &State,
    database: &Database,
    session: &mut Held,
) -> Result<(Summary, Option<Vec<Rows>>)> {
    let directory = format!("{}/{}", staged(&state.label, DUMPS), database.archive);
    let mut dumping = into_directory(config, state, database, &directory).session()?;
    if config.count_rows {
        session.count()?;
    }
    let what = format!("dump of {}", database.name);
    let output = loop {
        if let Some(output) = dumping.wait(Duration::from_secs(1))? {
            break output;
        }
        // What is being written may not be readable at every moment.
        let written = size(&path::local(&directory)).map_or(0, |(_, bytes)| bytes);
        progress::report(&what, written, None);
    };
    output.ok()?;
    let summary = read_back(database, &directory)?;
    let rows = if config.count_rows { Some(session.counted(&database.name)?) } else { None };
    Ok((summary, rows))
}

fn read_back(database: &Database, directory: &str) -> Result<Summary> {
    let contents = exec::run("contents", &[("directory", directory)])?.ok()?;
    let listing = answers::listing(&contents.stdout);
    let (files, bytes) =
        size(&path::local(directory)).map_err(|error| Error::io(format!("reading {directory}"), &error))?;
    if listing.entries == 0 || files <= listing.tables {
        return Err(Error::corrupt(format!(
            "the dump of database {} is not complete: {files} files for {} tables, {} entries",
            database.name, listing.tables, listing.entries
        )));
    }
    info!("dumped {}: {} tables, {bytes} bytes", database.name, listing.tables);
    Ok(Summary { bytes, entries: listing.entries, tables: listing.tables })
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

/// Keep something beside the dumps.
pub(crate) fn keep(label: &str, name: &str, text: &str) -> Result<()> {
    let file = staged(label, name);
    std::fs::write(path::local(&file), text).map_err(|error| Error::io(format!("writing {file}"), &error))
}
