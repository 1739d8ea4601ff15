//! Strategy postgresql: one database, at a snapshot that is exported under the lock and dumped after it.
//!
//! The lock lasts for one `BEGIN` and one `SELECT pg_export_snapshot()` on a connection that stands already; the
//! transaction stays open while `pg_dump --snapshot` reads what it saw.

mod answers;
mod check;
mod dump;
mod restore;

use std::time::Duration;

use bkhost_sdk::exec::Session;
use bkhost_sdk::{Archived, Error, ErrorCode, Finding, Result, Snapshot, Source, Strategy, debug, exec, staging, warn};
use serde::{Deserialize, Serialize};

use answers::{Facts, Point};

bkhost_sdk::export!(Postgresql);

/// How long the server may take to answer a question that costs it nothing.
const ANSWER: Duration = Duration::from_secs(30);

/// `[part.config]`, as far as this code looks at it; the manifest puts the rest into the commands' environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    host: String,
    port: u16,
    database: String,
    maintenance_database: String,
    jobs: u32,
    compress: u8,
    owners: bool,
}

/// What a snapshot record keeps for the later calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    /// The run's label: the name of the dump's directory in the staging area.
    label: String,
    /// The database.
    database: String,
    /// What the server said at the consistency point.
    point: Point,
    /// What the server said of the database, afterwards, in the same transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
    /// The dump, once it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dump: Option<dump::Summary>,
}

/// The strategy.
#[derive(Debug)]
struct Postgresql {
    config: Config,
    session: Option<Session>,
}

impl Strategy for Postgresql {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config, session: None })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        check::check(&self.config)
    }

    fn prepare(&mut self) -> Result<()> {
        staging::remove_leftovers()?;
        self.session = Some(connect()?);
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let point = match self.session.as_mut().map(export) {
            Some(Ok(point)) => point,
            // The server may have closed a connection that stood idle through a long drain. A new one costs less than
            // the run does.
            other => {
                if let Some(Err(error)) = other {
                    debug!("connecting again: {}", error.message);
                }
                let session = self.session.insert(connect()?);
                export(session)?
            }
        };
        let state =
            State { label: label.to_owned(), database: self.config.database.clone(), point, facts: None, dump: None };
        let mut snapshot = Snapshot::exported(&state.point.snapshot, &state)?;
        snapshot.created = state.point.now;
        Ok(snapshot)
    }

    fn finish(&mut self, mut snapshot: Snapshot) -> Result<Snapshot> {
        let mut state: State = snapshot.state()?;
        let Some(mut session) = self.session.take() else {
            return Err(Error::new(
                ErrorCode::Unavailable,
                format!("the transaction of snapshot {} has ended", snapshot.id),
            )
            .hint("an exported snapshot lives as long as the run that took it: run again"));
        };
        let facts: Facts = answers::parse(&session.ask("facts", ANSWER).map_err(check::explain)?)?;
        let summary = dump::dump(&self.config, &state)?;
        // The transaction was there until the end, or the snapshot was not.
        session.send("end", &[])?;
        session.end(ANSWER)?;

        snapshot = snapshot.version("server", &facts.version);
        state.facts = Some(facts);
        if let Some(summary) = summary {
            snapshot.bytes = Some(summary.bytes);
            snapshot = snapshot.version("pg_dump", &summary.pg_dump);
            state.dump = Some(summary);
        }
        snapshot.set_state(&state)?;
        Ok(snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        Ok(vec![Source::tree("", dump::directory(&state.label))])
    }

    fn close(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        self.give_back(&state.label)
    }

    fn restore(&mut self, snapshot: &Snapshot, archived: &[Archived], to: Option<&str>) -> Result<()> {
        restore::restore(&self.config, &snapshot.state()?, archived, to)
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.close(snapshot)
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        self.give_back(label)
    }
}

impl Postgresql {
    fn give_back(&mut self, label: &str) -> Result<()> {
        if let Some(session) = self.session.take()
            && let Err(error) = session.kill()
        {
            warn!("ending the session: {}", error.message);
        }
        staging::discard(label)
    }
}

/// Connect, and see to it that the server keeps an idle transaction.
fn connect() -> Result<Session> {
    let mut session = exec::command("session").session()?;
    let version: u32 = session.ask("version", ANSWER).map_err(check::explain)?.trim().parse().unwrap_or(0);
    session.send("keep", &[])?;
    for (since, line) in [(140_000, "keep-14"), (170_000, "keep-17")] {
        if version >= since {
            session.send(line, &[])?;
        }
    }
    // An answer to this one says that the others were accepted.
    session.ask("version", ANSWER)?;
    Ok(session)
}

fn export(session: &mut Session) -> Result<Point> {
    session.send("begin", &[])?;
    answers::parse(&session.ask("point", ANSWER)?)
}

#[cfg(test)]
mod tests;
