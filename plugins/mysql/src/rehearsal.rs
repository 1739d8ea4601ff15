//! The rehearsal of a restore: a throw-away MariaDB server of its own, in the scratch space, on a socket only, in a
//! directory that nobody else may enter.

use std::time::{Duration, Instant};

use bkhost_sdk::exec::{self, Process, Session};
use bkhost_sdk::{Archived, ArchivedForm, Error, Finding, Result, archive, info, path, staging};

use crate::rows::{self, Rows};
use crate::server::answer;
use crate::{State, dump, physical};

/// The data directory, below `/staging`; the socket is in it.
const DATA: &str = "data";
/// How long the server may take to answer: after a crash it would apply its log first.
const STARTS: Duration = Duration::from_secs(600);
const ANSWER: Duration = Duration::from_secs(60);
/// How long counting the rows of a table may take.
const COUNT: Duration = Duration::from_secs(12 * 3600);

/// The throw-away server. Dropping it kills it.
struct Scratch {
    server: Process,
    session: Session,
}

impl Scratch {
    /// Start a server on the data directory. `open`: without asking anybody who they are, for files that bring users with
    /// them.
    fn start(root: Option<&str>, open: bool) -> Result<Self> {
        let server = exec::command("scratch-server")
            .slot("directory", staging::at(DATA))
            .slot_if("root", root)
            .slot_if("open", open.then_some("skip-grant-tables"))
            .spawn()?;
        let start = Instant::now();
        loop {
            let standing = server.look()?;
            if let Some(status) = standing.status {
                return Err(Error::other(format!("the throw-away server ended with status {status}"))
                    .hint("its last words tell why; a server whose files are encrypted needs its keys")
                    .detail("stderr", standing.stderr));
            }
            let mut session = exec::command("scratch-session").session()?;
            if answer(&mut session, "ping", &[], ANSWER).is_ok() {
                return Ok(Self { server, session });
            }
            session.kill()?;
            if start.elapsed() > STARTS {
                return Err(Error::new(bkhost_sdk::ErrorCode::TimedOut, "the throw-away server does not answer")
                    .detail("stderr", standing.stderr));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn end(self) -> Result<()> {
        let Self { server, session } = self;
        session.kill()?;
        server.kill()
    }

    /// Compare with what was counted at the consistency point.
    fn compare(&mut self, archived: &[Archived], exact: Option<bool>) -> Result<Vec<Finding>> {
        if !archived.iter().any(|a| a.name == rows::SOURCE && a.form == ArchivedForm::Tree) {
            return Ok(vec![Finding::info(
                "rows",
                "were not counted when the backup was made: nothing to compare with",
            )]);
        }
        let directory = staging::at(rows::SOURCE);
        std::fs::create_dir_all(path::local(&directory))
            .map_err(|error| Error::io(format!("making {directory}"), &error))?;
        archive::extract(rows::SOURCE, &directory)?;
        let (mut tables, mut all, mut differ) = (0_u64, 0_u64, Vec::new());
        for (database, counts) in Rows::read(&directory)?.0 {
            for (table, then) in counts {
                let slots = [("database", database.as_str()), ("table", table.as_str())];
                let answer = answer(&mut self.session, "count", &slots, COUNT)
                    .map_err(|error| error.context(format!("table {database}.{table}")))?;
                let now = answer.first().and_then(|row| row.first()).and_then(|n| n.parse::<u64>().ok());
                (tables, all) = (tables + 1, all + now.unwrap_or(0));
                if now != Some(then) {
                    let now = now.map_or_else(|| "none".to_owned(), |now| now.to_string());
                    differ.push((
                        format!("table {database}.{table}"),
                        format!("{now} rows, and {then} were counted when it was backed up"),
                    ));
                }
            }
        }
        // Somebody wrote between the point of the data and that of the counts: they cannot be equal.
        let finding = if exact == Some(false) { Finding::info } else { Finding::failure };
        let same = if differ.is_empty() { "as recorded" } else { "not all as recorded" };
        let mut findings = vec![Finding::info("rows", format!("{tables} tables, {all} rows: {same}"))];
        findings.extend(differ.into_iter().take(20).map(|(subject, message)| finding(subject, message)));
        Ok(findings)
    }
}

/// `Some("root")` where commands run as root: the server and its installer want to be told that this is meant.
fn root() -> Result<Option<&'static str>> {
    Ok((exec::run("who", &[])?.ok()?.first_line() == "0").then_some("root"))
}

fn make_directory() -> Result<()> {
    exec::run("scratch-directory", &[("directory", &staging::at(DATA))])?.ok().map(drop)
}

/// Load the dump into a new server.
pub(crate) fn dump(state: &State, archived: &[Archived]) -> Result<Vec<Finding>> {
    let root = root()?;
    make_directory()?;
    info!("making a throw-away server");
    exec::command("scratch-install").slot("directory", staging::at(DATA)).slot_if("root", root).run()?.ok()?;
    let mut scratch = Scratch::start(root, false)?;
    let outcome = load(&mut scratch, state).and_then(|mut findings| {
        findings.extend(scratch.compare(archived, state.rows_exact)?);
        Ok(findings)
    });
    scratch.end()?;
    outcome
}

fn load(scratch: &mut Scratch, state: &State) -> Result<Vec<Finding>> {
    let load = exec::command("scratch-load");
    let load = match state.databases.as_slice() {
        [one] => {
            let slots = [("database", &*one.name), ("charset", &*one.charset), ("collation", &*one.collation)];
            answer(&mut scratch.session, "create", &slots, ANSWER)?;
            load.slot("database", &one.name)
        }
        // The dump says which database follows.
        _ => load,
    };
    archive::feed(dump::STREAM, load)?.ok()?;
    let mut findings = Vec::new();
    for database in &state.databases {
        let rows = answer(&mut scratch.session, "tables", &[("database", &database.name)], ANSWER)?;
        let now = rows.first().and_then(|row| row.first()).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        let subject = format!("database {}", database.name);
        findings.push(if now < database.tables {
            Finding::failure(subject, format!("{now} tables and views after loading, and it had {}", database.tables))
        } else {
            Finding::info(subject, format!("was loaded: {now} tables and views"))
        });
    }
    Ok(findings)
}

/// Start a server from the copied files.
pub(crate) fn physical(state: &physical::State, archived: &[Archived]) -> Result<Vec<Finding>> {
    let root = root()?;
    make_directory()?;
    archive::extract(physical::DATA, &staging::at(DATA))?;
    if root.is_none() {
        // Another user may have made the backup.
        info!("the files are started from as they were restored, by the user of run-as");
    }
    let mut scratch = Scratch::start(root, true)?;
    let outcome = scratch.compare(archived, state.rows_exact);
    scratch.end()?;
    let mut findings = vec![Finding::info("server", "a server started from the restored files")];
    findings.extend(outcome?);
    Ok(findings)
}
