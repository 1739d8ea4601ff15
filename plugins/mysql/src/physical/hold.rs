//! What makes `mariadb-backup` wait between its copying and its last stage.
//!
//! The tool copies while everybody writes; then `BACKUP STAGE BLOCK_DDL` waits until nobody writes to tables without
//! transactions, and what follows fixes the consistency point. So a session begins such a write before the tool starts,
//! and ends it under the lock: an `INSERT … SELECT` into an empty table of ours whose condition waits for a user lock
//! that a second session has. It inserts nothing. When either session ends, for whatever reason, the server lets go: no
//! wait survives the run.

use std::time::{Duration, Instant};

use bkhost_sdk::exec::{self, Session};
use bkhost_sdk::{Error, ErrorCode, Result, info, warn};

use crate::Config;
use crate::check::explain;
use crate::server::{answer, connection};
use crate::version::Flavor;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(60);
/// How long to wait for another physical backup of the same server by bkhost.
const TURN: Duration = Duration::from_secs(3600);

/// The tool waits while this lives.
#[derive(Debug)]
pub(super) struct Hold {
    /// Has the locks.
    control: Session,
    /// Runs the statement that waits.
    waiting: Session,
}

impl Hold {
    /// Begin. None in a dry run.
    pub(super) fn begin(config: &Config) -> Result<Option<Self>> {
        let connect = || connection(config, Flavor::Mariadb, exec::command("holder")).session();
        let mut control = connect()?;
        if control.wait(Duration::ZERO)?.is_some_and(|output| output.planned) {
            return Ok(None);
        }
        rows(&mut control, "keep", &[])?;
        turn(&mut control)?;
        rows(&mut control, "make", &[])?;
        let id = number(&mut control, "lock")?;
        let mut waiting = connect()?;
        rows(&mut waiting, "keep", &[])?;
        let ours = number(&mut waiting, "me")?;
        waiting.send("wait", &[("id", &id)])?;
        let start = Instant::now();
        loop {
            if number_of(&rows(&mut control, "waits", &[("id", &ours)])?) == Some("1") {
                return Ok(Some(Self { control, waiting }));
            }
            if let Some(output) = waiting.wait(Duration::from_millis(10))? {
                let error = explain(output.failure());
                return Err(if output.stderr.contains("ERROR 1205") { another(error) } else { error });
            }
            if start.elapsed() > ANSWER {
                return Err(another(Error::new(
                    ErrorCode::TimedOut,
                    "the statement that holds the backup does not begin",
                )));
            }
        }
    }

    /// Let the tool go on.
    pub(super) fn release(&mut self) -> Result<()> {
        rows(&mut self.control, "release", &[])?;
        // The statement has ended well, so it had stood until now.
        self.waiting.read_line(ANSWER).map(drop).map_err(explain)
    }

    /// Remove the table, if nobody else uses it. What is left is empty, and is used and removed by the next run.
    pub(super) fn remove(mut self) {
        if let Err(error) = self.waiting.end(ANSWER).and_then(|_| rows(&mut self.control, "remove", &[])) {
            warn!("the empty table bkhost_physical_backup.hold was not removed: {}", error.message);
        }
    }
}

fn rows(session: &mut Session, line: &str, slots: &[(&str, &str)]) -> Result<Vec<Vec<String>>> {
    answer(session, line, slots, ANSWER).map_err(explain)
}

fn number_of(rows: &[Vec<String>]) -> Option<&str> {
    rows.first().and_then(|row| row.first()).map(String::as_str)
}

/// What a line answers: one number.
fn number(session: &mut Session, line: &str) -> Result<String> {
    let rows = rows(session, line, &[])?;
    number_of(&rows)
        .filter(|number| number.bytes().all(|b| b.is_ascii_digit()))
        .map(str::to_owned)
        .ok_or_else(|| Error::other(format!("the server does not answer '{line}'")))
}

/// Wait until no other bkhost makes a physical backup of this server: two would wait for each other.
fn turn(control: &mut Session) -> Result<()> {
    let start = Instant::now();
    while number(control, "turn")? != "1" {
        if start.elapsed() < Duration::from_secs(6) {
            info!("another bkhost makes a physical backup of this server: waiting for its end");
        }
        if start.elapsed() > TURN {
            return Err(Error::new(
                ErrorCode::TimedOut,
                "another physical backup of this server did not end within an hour",
            ));
        }
    }
    Ok(())
}

fn another(error: Error) -> Error {
    error
        .code(ErrorCode::Conflict)
        .hint("another backup of this server may be running (SHOW FULL PROCESSLIST): one at a time is possible")
}
