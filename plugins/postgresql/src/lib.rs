//! Strategy postgresql: databases of one server, at snapshots that are exported under the lock and dumped after it.
//!
//! The lock lasts for one `BEGIN` and one `SELECT pg_export_snapshot()` on connections that stand already, one for each
//! database and all at once; the transactions stay open while `pg_dump --snapshot` reads what they saw.

mod answers;
mod check;
mod drill;
mod dump;
mod globals;
mod names;
mod restore;
mod session;
mod verify;

use bkhost_sdk::{
    Archived, Error, ErrorCode, Finding, Identity, Result, Snapshot, Source, Strategy, Unfinished, debug, exec, path,
    staging, warn,
};
use serde::{Deserialize, Serialize};

use answers::{Facts, Point};
use session::{Held, Rows};

bkhost_sdk::export!(Postgresql: Verify + Drill + Identity + Unfinished);

/// The rows of all tables, beside the dumps.
const ROWS: &str = "rows.json";

/// `[part.config]`, as far as this code looks at it; the manifest puts the rest into the commands' environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    host: String,
    port: u16,
    database: Names,
    maintenance_database: String,
    format: Format,
    jobs: u32,
    compress: u8,
    count_rows: bool,
    globals: Globals,
    restore_globals: bool,
    owners: bool,
    tablespaces: bool,
}

/// One name or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl Config {
    /// The databases, in the order of the configuration.
    fn databases(&self) -> &[String] {
        match &self.database {
            Names::One(name) => std::slice::from_ref(name),
            Names::Several(names) => names,
        }
    }
}

/// The form of the dumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    /// A directory with a file for each table, written in parallel into the staging area.
    Directory,
    /// One stream, straight into the archive.
    Custom,
}

/// What to keep of roles and tablespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Globals {
    /// With the hashes of the passwords if the role may read them.
    Auto,
    WithoutPasswords,
    Off,
}

/// What a snapshot record keeps for the later calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    /// The run's label: with it begin the names in the staging area.
    label: String,
    format: Format,
    /// The databases, in the order of the configuration.
    databases: Vec<Database>,
    /// The milliseconds between the first and the last consistency point, by the server's clock.
    skew: u64,
    /// The version of the `pg_dump` that wrote the dumps, once there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pg_dump: Option<String>,
    /// Whether the roles are kept, and if so, whether with their passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role_passwords: Option<bool>,
    /// Whether the rows were counted.
    #[serde(default)]
    rows: bool,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Database {
    name: String,
    /// What the archive calls its dump.
    archive: String,
    /// What the server said at the consistency point.
    point: Point,
    /// What the server said of it, afterwards, in the same transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
    /// The dump in a directory, once it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dump: Option<dump::Summary>,
}

/// `rows.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counted {
    databases: Vec<CountedDatabase>,
}

impl Counted {
    /// What a set says, which was extracted into this directory.
    fn read(directory: &str) -> Result<Self> {
        let file = format!("{directory}/{ROWS}");
        let text = std::fs::read_to_string(path::local(&file))
            .map_err(|error| Error::io(format!("reading {file}"), &error))?;
        serde_json::from_str(&text).map_err(|error| Error::corrupt(format!("{ROWS} cannot be read: {error}")))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct CountedDatabase {
    name: String,
    /// Schema, table, rows.
    tables: Vec<Rows>,
}

/// The strategy.
#[derive(Debug)]
struct Postgresql {
    config: Config,
    /// A session for each database.
    sessions: Vec<Held>,
    /// Something may still run at the server for this run.
    busy: bool,
}

impl Identity for Postgresql {
    /// The identifier that `initdb` gave the cluster; a standby has that of its primary.
    fn identity(&mut self) -> Result<Option<String>> {
        let output = exec::run("identity", &[])?.ok().map_err(check::explain)?;
        Ok(Some(output.first_line().trim().to_owned()))
    }
}

impl Unfinished for Postgresql {
    fn abandon(&mut self, label: &str, _: Option<&str>) -> Result<bool> {
        restore::abandon(&self.config, label)
    }
}

impl Strategy for Postgresql {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config, sessions: Vec::new(), busy: false })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        check::check(&self.config)
    }

    fn prepare(&mut self) -> Result<()> {
        staging::remove_leftovers()?;
        self.sessions = self.connect()?;
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let points = match export(&mut self.sessions) {
            Ok(points) if !points.is_empty() => points,
            // The server may have closed a connection that stood idle through a long drain. New ones cost less than the
            // run does.
            other => {
                if let Err(error) = other {
                    debug!("connecting again: {}", error.message);
                }
                self.sessions = self.connect()?;
                export(&mut self.sessions)?
            }
        };
        let first = points.iter().map(|point| point.now).min().unwrap_or_default();
        let last = points.iter().map(|point| point.now).max().unwrap_or_default();
        let id = id(&points);
        let databases = self.config.databases().iter().zip(points).enumerate().map(|(n, (name, point))| Database {
            name: name.clone(),
            archive: names::archived(n, name),
            point,
            facts: None,
            dump: None,
        });
        let state = State {
            label: label.to_owned(),
            format: self.config.format,
            databases: databases.collect(),
            skew: last - first,
            pg_dump: None,
            role_passwords: None,
            rows: false,
        };
        let mut snapshot = Snapshot::exported(id, &state)?;
        snapshot.created = first;
        Ok(snapshot)
    }

    fn finish(&mut self, mut snapshot: Snapshot) -> Result<Snapshot> {
        let mut state: State = snapshot.state()?;
        if self.sessions.len() != state.databases.len() {
            return Err(Error::new(
                ErrorCode::Unavailable,
                format!("the transaction of snapshot {} has ended", snapshot.id),
            )
            .hint("an exported snapshot lives as long as the run that took it: run again"));
        }
        self.busy = true;
        staging::discard(&state.label)?;
        let application = names::application(&state.label);
        for (database, session) in state.databases.iter_mut().zip(&mut self.sessions) {
            database.facts = Some(session.facts(&application)?);
        }
        self.dump(&mut state)?;
        let facts = state.databases.iter().find_map(|database| database.facts.as_ref());
        if let Some(facts) = facts {
            snapshot = snapshot.version("server", &facts.version);
        }
        if let Some(version) = &state.pg_dump {
            snapshot = snapshot.version("pg_dump", version);
        }
        let dumps: Option<Vec<_>> = state.databases.iter().map(|database| database.dump.as_ref()).collect();
        snapshot.bytes = dumps.map(|dumps| dumps.iter().map(|dump| dump.bytes).sum());
        snapshot.set_state(&state)?;
        Ok(snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        let mut sources = Vec::new();
        let kept = [
            (state.role_passwords.is_some(), globals::SQL),
            (state.role_passwords.is_some(), globals::JSON),
            (state.rows, ROWS),
        ];
        for (kept, name) in kept {
            if kept {
                sources.push(Source::file(name, dump::staged(&state.label, name)));
            }
        }
        match state.format {
            Format::Directory => sources.push(Source::tree(dump::DUMPS, dump::staged(&state.label, dump::DUMPS))),
            Format::Custom => {
                for database in &state.databases {
                    let command = dump::command("stream", &self.config, &state, database);
                    sources.push(Source::output(&database.archive, command.spawn()?));
                }
            }
        }
        Ok(sources)
    }

    /// The sessions that are left are those of dumps that are being read.
    fn confirm(&mut self, _: &Snapshot) -> Result<()> {
        self.sessions.iter_mut().try_for_each(Held::alive)
    }

    fn close(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        // After a success this ends quietly; of a run that failed, something may go on in a container.
        let ended = std::mem::take(&mut self.sessions).into_iter().try_for_each(Held::end);
        if ended.is_ok() && state.format == Format::Custom {
            self.busy = false;
        }
        self.give_back(&state.label)
    }

    fn restore(&mut self, snapshot: &Snapshot, archived: &[Archived], to: Option<&str>) -> Result<()> {
        restore::restore(&self.config, &snapshot.state()?, archived, to)
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        self.give_back(&state.label)
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        self.busy = true;
        self.give_back(label)
    }
}

impl Postgresql {
    fn connect(&self) -> Result<Vec<Held>> {
        self.config.databases().iter().map(|database| Held::connect(database)).collect()
    }

    /// All that is made of the snapshots before they are archived: dumps, rows, roles. Nothing in a dry run.
    fn dump(&mut self, state: &mut State) -> Result<()> {
        let dry = self.config.format == Format::Directory && !dump::place(state)?;
        let readable = state.databases.iter().any(|database| database.facts.as_ref().is_some_and(|f| f.passwords));
        if let Some(session) = self.sessions.first_mut().filter(|_| self.config.globals != Globals::Off) {
            state.role_passwords = globals::keep(&self.config, state, session, readable)?;
            if state.role_passwords.is_none() && !dry {
                self.busy = false;
                return Ok(());
            }
        }
        if dry {
            self.busy = false;
            return state.databases.iter().try_for_each(|database| dump::plan(&self.config, state, database));
        }
        let mut counted = Counted::default();
        match self.config.format {
            Format::Directory => {
                let sessions = std::mem::take(&mut self.sessions);
                for (n, mut session) in sessions.into_iter().enumerate() {
                    let Some(database) = state.databases.get(n) else { break };
                    let (summary, rows) = dump::dump(&self.config, state, database, &mut session)?;
                    // The transaction was there until the end, or the snapshot was not.
                    session.end()?;
                    counted
                        .databases
                        .extend(rows.map(|tables| CountedDatabase { name: database.name.clone(), tables }));
                    if let Some(database) = state.databases.get_mut(n) {
                        database.dump = Some(summary);
                    }
                }
                self.busy = false;
            }
            Format::Custom if self.config.count_rows => {
                self.sessions.iter_mut().try_for_each(Held::count)?;
                for (database, session) in state.databases.iter().zip(&mut self.sessions) {
                    let tables = session.counted(&database.name)?;
                    counted.databases.push(CountedDatabase { name: database.name.clone(), tables });
                }
            }
            Format::Custom => {}
        }
        if self.config.count_rows {
            let json =
                serde_json::to_string(&counted).map_err(|error| Error::other(format!("writing {ROWS}: {error}")))?;
            dump::keep(&state.label, ROWS, &json)?;
            state.rows = true;
        }
        state.pg_dump = Some(check::version("pg-dump-version")?);
        Ok(())
    }

    fn give_back(&mut self, label: &str) -> Result<()> {
        for session in self.sessions.drain(..) {
            if let Err(error) = session.kill() {
                warn!("ending the session: {}", error.message);
            }
        }
        if std::mem::take(&mut self.busy) {
            // Children of ours are dead by now. What they had started in a container is not.
            let ended = exec::run("terminate", &[("application", &names::application(label))]);
            if let Err(error) = ended.and_then(exec::Output::ok) {
                debug!("nothing was ended at the server: {}", error.message);
            }
        }
        staging::discard(label)
    }
}

/// Export a snapshot in each session: all are asked before the first one answers, so that they are close together.
fn export(sessions: &mut [Held]) -> Result<Vec<Point>> {
    sessions.iter_mut().try_for_each(Held::begin)?;
    sessions.iter_mut().map(Held::point).collect()
}

/// The names of the snapshots, as far as they fit.
fn id(points: &[Point]) -> String {
    let names: Vec<_> = points.iter().take(20).map(|point| point.snapshot.as_str()).collect();
    names.join(",")
}

#[cfg(test)]
mod tests;
