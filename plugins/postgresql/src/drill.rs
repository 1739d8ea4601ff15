//! A rehearsal: a throw-away server in the scratch space, on a socket that nobody else can reach. Production is not asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bkhost_sdk::exec::{self, Output, Session};
use bkhost_sdk::{
    Archived, Drill, Error, ErrorCode, Finding, Result, Snapshot, archive, info, path, progress, staging, warn,
};

use crate::restore::plan::readable;
use crate::restore::{Place, created_where, like};
use crate::session::Held;
use crate::{Config, Counted, Database, Format, Postgresql, ROWS, State, dump, globals, names};

/// The server's directory, which holds its socket too. The path of a socket has to be short.
const SERVER: &str = "pg";
/// How long the server may take to start.
const STARTS: Duration = Duration::from_secs(120);
/// So many tables are named.
const NAMED: usize = 10;

impl Drill for Postgresql {
    fn rehearse(&mut self, snapshot: &Snapshot, _: &[Archived]) -> Result<Vec<Finding>> {
        let state: State = snapshot.state()?;
        readable(&state)?;
        let place = Place::new("drill", state.format)?;
        let server = Server::start()?;
        let outcome = rehearse(&self.config, &state, &place, &server);
        let stopped = server.stop();
        let findings = outcome?;
        stopped?;
        Ok(findings)
    }

    /// What a rehearsal makes is in its scratch space, and a server there ends with it: unless it runs in a container.
    fn clear(&mut self) -> Result<()> {
        let server = staging::at(SERVER);
        if std::fs::symlink_metadata(path::local(&server)).is_ok() {
            stop(&server);
        }
        staging::remove(&server)
    }
}

/// The throw-away server. Dropping it kills it.
struct Server {
    directory: String,
    process: Session,
}

impl Server {
    fn start() -> Result<Self> {
        let directory = staging::at(SERVER);
        staging::remove(&directory)?;
        pass(&directory)?;
        exec::run("initdb", &[("server", &directory)])?.ok()?;
        let process = exec::command("scratch-server").slot("server", &directory).session()?;
        let mut server = Self { directory, process };
        server.wait()?;
        Ok(server)
    }

    /// Wait until it answers.
    fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(output) = self.process.wait(Duration::from_millis(100))? {
                return Err(not_started(&output));
            }
            let asked = exec::run("scratch-version", &[("server", &self.directory)])?;
            if asked.status == 0 {
                info!("the throw-away server has started");
                return Ok(());
            }
            if start.elapsed() > STARTS {
                return Err(Error::new(ErrorCode::TimedOut, "the throw-away server does not answer")
                    .detail("stderr", asked.stderr));
            }
            progress::report("start of the throw-away server", start.elapsed().as_secs(), None);
        }
    }

    fn stop(mut self) -> Result<()> {
        stop(&self.directory);
        // Gone by now; else killed.
        if self.process.wait(Duration::from_secs(10))?.is_none() {
            self.process.kill()?;
        }
        staging::remove(&self.directory)
    }
}

fn stop(directory: &str) {
    if let Err(error) = exec::run("scratch-stop", &[("server", directory)]).and_then(Output::ok) {
        warn!("the throw-away server: {}", error.message);
    }
}

/// Make the server's directory, for whom it runs as: that is `postgres` if these commands run as root.
fn pass(directory: &str) -> Result<()> {
    exec::run("scratch-pass", &[("server", path::STAGING)])?.ok()?;
    let ours = exec::command("scratch-place").slot("owner", "postgres").slot("server", directory).run()?;
    if ours.status == 0 {
        return Ok(());
    }
    exec::command("scratch-place").slot("server", directory).run()?.ok().map(drop)
}

fn not_started(output: &Output) -> Error {
    let error = output.failure();
    if output.stderr.contains("is too long") {
        return error.hint("the path of a socket has at most 107 bytes: set [drill] scratch to a shorter one");
    }
    if output.stderr.contains("ermission denied") {
        return error.hint(
            "the user that the server runs as has to get through to the scratch space: chmod o+x what is above it",
        );
    }
    error
}

fn rehearse(config: &Config, state: &State, place: &Place, server: &Server) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let owners = state.role_passwords.is_some();
    if owners {
        let maker = exec::command("scratch-maker").slot("server", &server.directory);
        globals::Made::create(&place.roles()?, maker, "bkhost-drill")?;
    }
    let dumps = match state.format {
        Format::Directory => Some(place.extract(dump::DUMPS)?),
        Format::Custom => None,
    };
    let counted = if state.rows { Some(Counted::read(&place.extract(ROWS)?)?) } else { None };
    for (n, database) in state.databases.iter().enumerate() {
        let subject = format!("database {}", database.name);
        let name = names::temporary(&state.label, n);
        restore(config, server, database, &name, dumps.as_deref(), owners)
            .map_err(|error| error.context(format!("database {} cannot be restored", database.name)))?;
        let recorded = counted.iter().flat_map(|all| &all.databases).find(|counted| counted.name == database.name);
        let Some(recorded) = recorded else {
            findings.push(
                Finding::warning(subject, "it can be restored; whether all rows are there is not known")
                    .hint("[part.config] count-rows = true counts them when a set is made"),
            );
            continue;
        };
        let mut session = Held::scratch(&server.directory, &name)?;
        session.count()?;
        let found = session.counted(&database.name)?;
        session.kill()?;
        findings.push(compare(&subject, &recorded.tables, &found));
    }
    Ok(findings)
}

fn restore(
    config: &Config,
    server: &Server,
    database: &Database,
    name: &str,
    dumps: Option<&str>,
    owners: bool,
) -> Result<()> {
    let facts = database.facts.as_ref().ok_or_else(|| Error::corrupt("the set does not say what it was like"))?;
    let owner = owners.then_some(facts.owner.as_str());
    like(exec::command("scratch-create").slot("server", &server.directory), facts)
        .slot_if("owner", owner)
        .slot("temporary", name)
        .run()?
        .ok()
        .map_err(|error| created_where(error, facts))?;
    let command = exec::command("scratch-restore")
        .slot("server", &server.directory)
        .slot("temporary", name)
        .slot_if("no-owner", (!owners).then_some("no-owner"))
        .slot_if("no-privileges", (!owners).then_some("no-privileges"))
        .slot("no-tablespaces", "no-tablespaces");
    let output = match dumps {
        Some(dumps) => command
            .slot("jobs", config.jobs.to_string())
            .slot("directory", format!("{dumps}/{}", database.archive))
            .run()?,
        None => archive::feed(&database.archive, command)?,
    };
    output.ok().map(drop)
}

/// The rows that are there against those that were.
fn compare(subject: &str, recorded: &[crate::Rows], found: &[crate::Rows]) -> Finding {
    let by_name = |rows: &[crate::Rows]| -> BTreeMap<(String, String), u64> {
        rows.iter().map(|(schema, table, rows)| ((schema.clone(), table.clone()), *rows)).collect()
    };
    let (recorded, found) = (by_name(recorded), by_name(found));
    let differing: Vec<_> = recorded
        .iter()
        .filter(|(name, rows)| found.get(*name) != Some(*rows))
        .map(|((schema, table), rows)| match found.get(&(schema.clone(), table.clone())) {
            Some(now) => format!("{schema}.{table} has {now} rows, and had {rows}"),
            None => format!("{schema}.{table} is not there, and had {rows} rows"),
        })
        .collect();
    if differing.is_empty() {
        let rows: u64 = recorded.values().sum();
        return Finding::info(subject, format!("{} tables, {rows} rows: as recorded", recorded.len()));
    }
    let more = differing.len().saturating_sub(NAMED);
    let mut text = differing.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    if more > 0 {
        text = format!("{text}; and {more} more");
    }
    Finding::failure(subject, format!("{} tables differ from what was recorded: {text}", differing.len()))
}

#[cfg(test)]
mod tests {
    use bkhost_sdk::Severity;

    use super::*;

    #[test]
    fn tables_that_differ_are_named() {
        let row = |table: &str, rows| ("s".to_owned(), table.to_owned(), rows);
        let recorded = [row("a", 1), row("b", 2), row("c", 0)];
        let same = compare("d", &recorded, &[row("c", 0), row("a", 1), row("b", 2), row("new", 9)]);
        assert_eq!((same.severity, same.message.as_str()), (Severity::Info, "3 tables, 3 rows: as recorded"));
        let other = compare("d", &recorded, &[row("a", 1), row("b", 3)]);
        assert_eq!(other.severity, Severity::Failure);
        assert_eq!(
            other.message,
            "2 tables differ from what was recorded: s.b has 3 rows, and had 2; s.c is not there, and had 0 rows"
        );
        let many: Vec<_> = (0..20).map(|n| row(&n.to_string(), 1)).collect();
        assert!(compare("d", &many, &[]).message.ends_with("; and 10 more"));
    }
}
