//! The dump: started, seen to stand, waited for, and proved to be complete.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use bkhost_sdk::exec::{self, Command, Output, Process};
use bkhost_sdk::{Error, ErrorCode, Result, info, path, progress, staging};

use crate::Config;
use crate::answers::{Position, Table};
use crate::listing::{Listing, TRAILER};
use crate::server::{Server, connection};
use crate::version::{Flavor, Tools};

/// The stream's name in the archive.
pub(crate) const STREAM: &str = "dump";
/// How long the dump may take until its transaction stands: the application is locked meanwhile.
const STANDS: Duration = Duration::from_secs(120);
/// What `mysqldump --verbose` says once it reads tables, all of it later than START TRANSACTION … WITH CONSISTENT SNAPSHOT,
/// which ends the program if it fails.
const READS: [&str; 3] = ["-- Retrieving table structure for table ", "-- Setting savepoint", "-- Releasing savepoint"];

/// The guest path of a run's dump.
pub(crate) fn file(label: &str) -> String {
    staging::at(&format!("{label}.sql"))
}

/// A dump that was proved.
pub(crate) struct Proved {
    pub(crate) bytes: u64,
    pub(crate) position: Option<Position>,
}

/// Start it.
pub(crate) fn start(config: &Config, tools: &Tools, server: &Server, label: &str) -> Result<Process> {
    command(config, tools, server, label).spawn()
}

/// The command, as this `mysqldump` and this server take it.
pub(crate) fn command(config: &Config, tools: &Tools, server: &Server, label: &str) -> Command {
    let command = connection(config, tools.dump.flavor, exec::command("dump"))
        // MariaDB notes the place in the binary log inside of the transaction, without a lock. MySQL would lock all tables.
        .slot_if("position", (tools.dump.flavor == Flavor::Mariadb && server.logs()).then_some("2"))
        .slot_if("gtid-purged", tools.options.gtid_purged.then_some("OFF"))
        .slot_if("statistics", tools.options.column_statistics.then_some("0"))
        .slot("file", file(label));
    match config.databases.as_slice() {
        // Without the lines that name the database, so that it can be loaded into another.
        [database] => command.slot("database", database),
        databases => command.slots("databases", databases),
    }
}

/// Whether this stderr shows that the dump's transaction stands.
pub(crate) fn stands(stderr: &str) -> bool {
    stderr.lines().any(|line| READS.iter().any(|mark| line.starts_with(mark)))
}

/// Wait until the dump's transaction stands.
pub(crate) fn seen(dump: &Process) -> Result<()> {
    let start = Instant::now();
    loop {
        let standing = dump.look()?;
        match standing.status {
            // It may be over before it was looked at.
            Some(0) => return Ok(()),
            Some(status) => return Err(failure(status, &standing.stderr)),
            None if stands(&standing.stderr) => return Ok(()),
            None if start.elapsed() > STANDS => {
                return Err(Error::new(
                    ErrorCode::TimedOut,
                    format!("the dump has not begun after {} s", STANDS.as_secs()),
                )
                .hint("SHOW FULL PROCESSLIST tells what it waits for: most often a lock of somebody else's")
                .detail("stderr", standing.stderr));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Wait until the dump has ended well. False in a dry run, where there is none.
pub(crate) fn wait(dump: &Process, label: &str) -> Result<bool> {
    let mut pause = Duration::from_millis(5);
    let standing = loop {
        let standing = dump.look()?;
        if standing.status.is_some() {
            break standing;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(500));
        if let Ok(metadata) = std::fs::metadata(path::local(&file(label))) {
            progress::report("dump", metadata.len(), None);
        }
    };
    match standing.status {
        Some(0) | None => Ok(!dump.wait(1000)?.planned),
        Some(status) => Err(failure(status, &standing.stderr)),
    }
}

/// Why the dump failed: what it said besides how far it was.
pub(crate) fn failure(status: i32, stderr: &str) -> Error {
    let said: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("-- ") && !line.is_empty()).collect();
    let output = Output { command: "dump".into(), status, stderr: said.join("\n"), ..Output::default() };
    let error = output.failure();
    let says = |texts: &[&str]| texts.iter().any(|text| output.stderr.contains(text));
    if says(&["Table definition has changed", "doesn't exist", "(1412)", "(1146)"]) {
        error.code(ErrorCode::Conflict).hint(
            "a table was altered, truncated, renamed or dropped while it was dumped: run again, and not during migrations",
        )
    } else if says(&["errno 28", "No space left"]) {
        error.hint("the staging area is full: it needs room for the whole dump")
    } else if says(&["Lost connection", "gone away"]) {
        error.code(ErrorCode::Unavailable).hint("the server ended, or its administrator ended the dump")
    } else {
        error
    }
}

/// See that the dump is complete and holds all tables that were there.
pub(crate) fn prove(label: &str, tables: &BTreeMap<String, Vec<Table>>) -> Result<Proved> {
    let file = file(label);
    let (bytes, ends) = end(&file).map_err(|error| Error::io(format!("reading {file}"), &error))?;
    let incomplete = |why: String| {
        Error::corrupt(format!("the dump is not complete: {why}"))
            .hint("mysqldump said that it succeeded: is the staging area's file system sound?")
    };
    if !ends {
        return Err(incomplete(format!("it does not end with '{TRAILER}' ({bytes} bytes)")));
    }
    let listing = Listing::parse(&exec::run("contents", &[("file", &file)])?.ok()?.stdout);
    if !listing.complete {
        return Err(incomplete(format!("'{TRAILER}' is not its last comment")));
    }
    if let [first, ..] = listing.missing(tables).as_slice() {
        return Err(Error::new(
            ErrorCode::Conflict,
            format!("the dump does not hold {first}, which was there at the consistency point"),
        )
        .hint("it was dropped or renamed while the dump ran: run again, and not during migrations"));
    }
    info!("dumped {} databases, {bytes} bytes", tables.len());
    Ok(Proved { bytes, position: listing.position })
}

/// A file's size, and whether it ends as a dump does.
fn end(file: &str) -> std::io::Result<(u64, bool)> {
    let mut file = std::fs::File::open(path::local(file))?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(64)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let tail = String::from_utf8_lossy(&tail);
    Ok((bytes, tail.lines().last() == Some(TRAILER) && tail.ends_with('\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_that_the_transaction_stands() {
        let before = "-- Connecting to localhost...\n-- Starting transaction...\n";
        assert!(
            !stands("")
                && !stands(before)
                && !stands("mysqldump: Got error: 1045\n-- Disconnecting from localhost...\n")
        );
        assert!(stands(&format!("{before}-- Setting savepoint...\n")));
        assert!(stands(&format!("{before}-- Retrieving table structure for table a...\n")));
        assert!(!stands("mysqldump: table '-- Retrieving table structure for table x'"), "only at the start of a line");
    }

    #[test]
    fn a_failure_says_why_and_not_how_far_it_was() {
        let stderr = "-- Sending SELECT query...\nmysqldump: Error 1412: Table definition has changed, please retry transaction when dumping table `a` at row: 0\n-- Disconnecting from localhost...\n";
        let error = failure(3, stderr);
        assert!(error.message.contains("Error 1412") && error.code == ErrorCode::Conflict, "{error:?}");
        assert!(error.hint.unwrap().contains("migrations"));
        let full = failure(5, "mysqldump: Got errno 28 on write\n");
        assert!(full.hint.unwrap().contains("full"));
        let lost = failure(
            3,
            "mysqldump: Error 2013: Lost connection to server during query when dumping table `a` at row: 9\n",
        );
        assert_eq!(lost.code, ErrorCode::Unavailable);
        assert!(failure(137, "-- Connecting\n").message.contains("137"));
    }
}
