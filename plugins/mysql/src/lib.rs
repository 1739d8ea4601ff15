//! Strategy mysql: databases of a MySQL or MariaDB server, dumped in one transaction that stands before the lock ends.
//!
//! The dump starts while the application is locked. It says on stderr when it has begun to read tables, which it does
//! inside of its own `START TRANSACTION WITH CONSISTENT SNAPSHOT`: with that seen, the lock may end. It writes into the
//! staging area, so that neither the store's pace nor a pause of it can hold up the server's transaction, and so that what
//! is archived has been seen to be complete.

mod answers;
mod check;
mod dump;
mod grants;
mod listing;
mod restore;
mod server;
mod version;

use std::collections::BTreeMap;

use bkhost_sdk::{
    Archived, Consistency, Error, ErrorCode, Finding, Result, Snapshot, Source, Strategy, debug, exec, staging, warn,
};
use serde::{Deserialize, Serialize};

use answers::{Position, Table};
use server::Server;
use version::{Flavor, Tools};

bkhost_sdk::export!(Mysql);

/// `[part.config]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    databases: Vec<String>,
    host: Option<String>,
    port: u16,
    socket: String,
    username: String,
    tls: Option<Tls>,
    tls_ca: Option<String>,
    non_transactional: NonTransactional,
    count_rows: bool,
}

/// How to use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Tls {
    Off,
    Required,
    Verify,
}

/// What to do about tables that a snapshot does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NonTransactional {
    Refuse,
    Lock,
}

/// What a snapshot record keeps for the later calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct State {
    /// The run's label: the name of the dump in the staging area.
    label: String,
    /// What sort of server it is.
    flavor: Flavor,
    /// The server's version, as it says it.
    server: String,
    /// The databases, in the order of the configuration.
    databases: Vec<Database>,
    /// The place in the binary log, where the server writes one and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    /// Whether the rows were counted at the very point of the dump. Without a binary log nobody can tell: they were
    /// counted in a transaction that began under the same lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows_exact: Option<bool>,
    /// The users that views, routines, triggers and events run as.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    definers: Vec<String>,
    /// The bytes of the dump, once it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Database {
    name: String,
    charset: String,
    collation: String,
    /// How many tables and views it had at the consistency point.
    tables: usize,
    /// The rows of its tables at the consistency point, as far as they were counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rows: BTreeMap<String, u64>,
}

/// What lives from one call to the next.
#[derive(Debug)]
struct Held {
    dump: exec::Process,
    /// The tables that existed at the consistency point, by database.
    tables: BTreeMap<String, Vec<Table>>,
    /// Where the binary log was in the transaction that counts rows.
    counting: Option<Position>,
}

/// The strategy.
#[derive(Debug)]
struct Mysql {
    config: Config,
    tools: Option<Tools>,
    server: Option<Server>,
    held: Option<Held>,
}

impl Strategy for Mysql {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        if config.tls == Some(Tls::Verify) && config.host.is_none() {
            return Err(Error::invalid_config("tls = \"verify\" needs host: there is no name to verify at a socket"));
        }
        Ok(Self { config, tools: None, server: None, held: None })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        check::check(&self.config)
    }

    fn prepare(&mut self) -> Result<()> {
        staging::remove_leftovers()?;
        let tools = Tools::find()?;
        self.server = Some(Server::connect(&self.config, tools.client.flavor)?);
        self.tools = Some(tools);
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let Some(tools) = self.tools.clone() else { return Err(Error::other("capture before prepare")) };
        // The server may have closed a connection that stood idle through a long drain.
        let mut server = match self.server.take().map(Server::alive) {
            Some(Ok(server)) => server,
            other => {
                if let Some(Err(error)) = other {
                    debug!("connecting again: {}", error.message);
                }
                Server::connect(&self.config, tools.client.flavor)?
            }
        };
        let before = server.position()?;
        let dump = dump::start(&self.config, &tools, &server, label)?;
        // While it starts: everything else that has to be known of this moment.
        server.begin()?;
        let counting = server.snapshot_position()?;
        let schemas = server.schemas()?;
        let mut tables = BTreeMap::new();
        for name in &self.config.databases {
            tables.insert(name.clone(), server.tables(name)?);
        }
        let unsafe_tables = answers::non_transactional(&tables);
        let copies = self.config.non_transactional == NonTransactional::Lock && !unsafe_tables.is_empty();
        if !copies && !unsafe_tables.is_empty() {
            return Err(check::not_covered(&unsafe_tables));
        }
        let consistency = if copies {
            dump::wait(&dump, label)?;
            Consistency::Copied
        } else {
            dump::seen(&dump)?;
            Consistency::Exported
        };
        let created = bkhost_sdk::now();
        let after = server.position()?;

        let state = State {
            label: label.to_owned(),
            flavor: server.flavor,
            server: server.version.clone(),
            databases: answers::described(&self.config.databases, &schemas, &tables)?,
            position: Position::between(before, after),
            rows_exact: None,
            definers: Vec::new(),
            bytes: None,
        };
        let mut snapshot = Snapshot::new(label, consistency, &state)?;
        snapshot.created = created;
        self.server = Some(server);
        self.held = Some(Held { dump, tables, counting });
        Ok(snapshot)
    }

    fn finish(&mut self, mut snapshot: Snapshot) -> Result<Snapshot> {
        let mut state: State = snapshot.state()?;
        let (Some(mut server), Some(held), Some(tools)) = (self.server.take(), self.held.take(), self.tools.clone())
        else {
            return Err(Error::new(ErrorCode::Unavailable, format!("the dump of {} has ended", snapshot.id))
                .hint("a dump lives as long as the run that started it: run again"));
        };
        // The dump goes on meanwhile.
        if let Err(error) = self.describe(&mut server, &held, &mut state) {
            warn!("the rows were not all counted: {}", error.message);
        }
        drop(server);
        if !dump::wait(&held.dump, &state.label)? {
            return Ok(snapshot);
        }
        let proved = dump::prove(&state.label, &held.tables)?;
        if let Some(position) = proved.position {
            state.rows_exact = held.counting.as_ref().map(|counting| counting.same_place(&position));
            state.position = Some(position);
        } else if let Some(position) = &state.position {
            state.rows_exact = Some(position.until.is_none());
        }
        state.bytes = Some(proved.bytes);
        snapshot.bytes = Some(proved.bytes);
        snapshot = snapshot.version("server", &state.server).version("mysqldump", tools.dump.to_string());
        snapshot.set_state(&state)?;
        Ok(snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        let file = dump::file(&state.label);
        Ok(vec![Source::output(dump::STREAM, exec::command("read").slot("file", file).spawn()?)])
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

impl Mysql {
    fn give_back(&mut self, label: &str) -> Result<()> {
        self.server = None;
        // Dropping it would kill it too; this waits until it no longer writes.
        if let Some(held) = self.held.take() {
            held.dump.kill()?;
        }
        staging::discard(label)
    }

    /// What is not needed for the dump, but for those who use it: who owns what runs, and how many rows there were.
    fn describe(&self, server: &mut Server, held: &Held, state: &mut State) -> Result<()> {
        for name in &self.config.databases {
            state.definers.extend(server.definers(name)?);
        }
        state.definers.sort();
        state.definers.dedup();
        if !self.config.count_rows {
            return Ok(());
        }
        let all: usize = held.tables.values().flatten().map(|table| table.name.len() + 24).sum();
        if all > MAX_COUNTS {
            warn!("there are too many tables to keep the number of rows of each");
            return Ok(());
        }
        for database in &mut state.databases {
            for table in held.tables.get(&database.name).into_iter().flatten().filter(|table| table.has_rows()) {
                // A dump that has failed makes counting pointless.
                if held.dump.look()?.status.is_some_and(|status| status != 0) {
                    return Err(Error::other("the dump has failed"));
                }
                database.rows.insert(table.name.clone(), server.count(&database.name, &table.name)?);
            }
        }
        Ok(())
    }
}

/// How many bytes the counted rows may take in the state, about.
const MAX_COUNTS: usize = 120 << 10;

#[cfg(test)]
mod tests;
