//! The session that holds a database's snapshot.

use std::time::Duration;

use bkhost_sdk::exec::{self, Session};
use bkhost_sdk::{Result, progress};

use crate::answers::{self, Facts, Point};
use crate::check::explain;

/// How long the server may take to answer a question that costs it nothing.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to count the rows of one table.
const COUNT: Duration = Duration::from_secs(12 * 3600);
/// What the line `mark` answers.
const END: &str = "bkhost:end";

/// The rows of a table: its schema, its name, their number.
pub(crate) type Rows = (String, String, u64);

/// A session in a database.
#[derive(Debug)]
pub(crate) struct Held {
    session: Session,
}

impl Held {
    /// Connect, and see to it that the server keeps an idle transaction.
    pub(crate) fn connect(database: &str) -> Result<Self> {
        let mut session = exec::command("session").slot("database", database).session()?;
        let version: u32 = session.ask("version", ANSWER).map_err(explain)?.trim().parse().unwrap_or(0);
        session.send("keep", &[])?;
        for (since, line) in [(140_000, "keep-14"), (170_000, "keep-17")] {
            if version >= since {
                session.send(line, &[])?;
            }
        }
        // An answer to this one says that the others were accepted.
        session.ask("version", ANSWER)?;
        Ok(Self { session })
    }

    /// A session of a rehearsal, in a database that it has restored.
    pub(crate) fn scratch(server: &str, database: &str) -> Result<Self> {
        let command = exec::command("scratch-session").slot("server", server).slot("temporary", database);
        Ok(Self { session: command.session()? })
    }

    /// Ask for the consistency point; do not wait for it.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.session.send("begin", &[])?;
        self.session.send("point", &[])
    }

    /// The consistency point.
    pub(crate) fn point(&mut self) -> Result<Point> {
        answers::parse(&self.session.read_line(ANSWER)?)
    }

    /// Take the name by which what this run has started is found, and say what the database is like.
    pub(crate) fn facts(&mut self, application: &str) -> Result<Facts> {
        self.session.send("name", &[("application", application)])?;
        answers::parse(&self.session.ask("facts", ANSWER).map_err(explain)?)
    }

    /// Is the transaction still there?
    pub(crate) fn alive(&mut self) -> Result<()> {
        self.session.ask("mark", ANSWER).map(drop).map_err(explain)
    }

    /// Have the rows of all tables counted. The server begins at once.
    pub(crate) fn count(&mut self) -> Result<()> {
        self.session.send("count", &[])?;
        self.session.send("mark", &[])
    }

    /// What it has counted.
    pub(crate) fn counted(&mut self, database: &str) -> Result<Vec<Rows>> {
        let mut rows = Vec::new();
        self.lines(COUNT, |line| {
            rows.push(answers::parse(line)?);
            progress::report(&format!("rows of {database}: tables"), rows.len() as u64, None);
            Ok(())
        })
        .map_err(|error| error.context(format!("counting the rows of database {database}")))?;
        Ok(rows)
    }

    /// The answers to a line, which are JSON.
    pub(crate) fn all(&mut self, line: &str) -> Result<Vec<serde_json::Value>> {
        self.session.send(line, &[])?;
        self.session.send("mark", &[])?;
        let mut values = Vec::new();
        self.lines(ANSWER, |line| {
            values.push(answers::parse(line)?);
            Ok(())
        })?;
        Ok(values)
    }

    fn lines(&mut self, timeout: Duration, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
        loop {
            let line = self.session.read_line(timeout)?;
            if line == END {
                return Ok(());
            }
            each(&line)?;
        }
    }

    /// End the transaction. The snapshot was there until now, or this fails.
    pub(crate) fn end(mut self) -> Result<()> {
        self.session.send("end", &[])?;
        self.session.end(ANSWER).map(drop)
    }

    /// End it at once.
    pub(crate) fn kill(self) -> Result<()> {
        self.session.kill()
    }
}
