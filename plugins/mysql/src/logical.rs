//! Method dump: configured databases, by `mysqldump`.

use std::collections::BTreeMap;

use bkhost_sdk::{Consistency, Error, ErrorCode, Result, Snapshot, Source, debug, exec, staging, warn};

use crate::answers::{self, Position, Table};
use crate::rows::Rows;
use crate::server::Server;
use crate::version::Tools;
use crate::{Config, NonTransactional, State, check, dump};

/// What lives from one call to the next.
#[derive(Debug, Default)]
pub(crate) struct Logical {
    tools: Option<Tools>,
    server: Option<Server>,
    held: Option<Held>,
}

/// A dump that was started.
#[derive(Debug)]
struct Held {
    dump: exec::Process,
    /// The tables that existed at the consistency point, by database.
    tables: BTreeMap<String, Vec<Table>>,
    /// Where the binary log was in the transaction that counts rows.
    counting: Option<Position>,
}

impl Logical {
    pub(crate) fn prepare(&mut self, config: &Config) -> Result<()> {
        staging::remove_leftovers()?;
        let tools = Tools::find()?;
        self.server = Some(Server::connect(config, tools.client.flavor)?);
        self.tools = Some(tools);
        Ok(())
    }

    pub(crate) fn capture(&mut self, config: &Config, label: &str) -> Result<Snapshot> {
        let Some(tools) = self.tools.clone() else { return Err(Error::other("capture before prepare")) };
        // The server may have closed a connection that stood idle through a long drain.
        let mut server = match self.server.take().map(Server::alive) {
            Some(Ok(server)) => server,
            other => {
                if let Some(Err(error)) = other {
                    debug!("connecting again: {}", error.message);
                }
                Server::connect(config, tools.client.flavor)?
            }
        };
        let before = server.position()?;
        let dump = dump::start(config, &tools, &server, label)?;
        // While it starts: everything else that has to be known of this moment.
        server.begin()?;
        let counting = server.snapshot_position()?;
        let schemas = server.schemas()?;
        let mut tables = BTreeMap::new();
        for name in &config.databases {
            tables.insert(name.clone(), server.tables(name)?);
        }
        let unsafe_tables = answers::non_transactional(&tables);
        let copies = config.non_transactional == NonTransactional::Lock && !unsafe_tables.is_empty();
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
            databases: answers::described(&config.databases, &schemas, &tables)?,
            position: Position::between(before, after),
            rows_exact: None,
            tables_counted: None,
            definers: Vec::new(),
            bytes: None,
        };
        let mut snapshot = Snapshot::new(label, consistency, &state)?;
        snapshot.created = created;
        self.server = Some(server);
        self.held = Some(Held { dump, tables, counting });
        Ok(snapshot)
    }

    pub(crate) fn finish(&mut self, config: &Config, mut snapshot: Snapshot) -> Result<Snapshot> {
        let mut state: State = snapshot.state()?;
        let (Some(mut server), Some(held), Some(tools)) = (self.server.take(), self.held.take(), self.tools.clone())
        else {
            return Err(Error::new(ErrorCode::Unavailable, format!("the dump of {} has ended", snapshot.id))
                .hint("a dump lives as long as the run that started it: run again"));
        };
        // The dump goes on meanwhile.
        if let Err(error) = describe(config, &mut server, &held, &mut state) {
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

    pub(crate) fn open(state: &State) -> Result<Vec<Source>> {
        let file = dump::file(&state.label);
        let dump = Source::output(dump::STREAM, exec::command("read").slot("file", file).spawn()?);
        Ok(std::iter::once(dump).chain(Rows::source(&state.label)).collect())
    }

    /// End what runs, remove what was staged.
    pub(crate) fn give_back(&mut self, label: &str) -> Result<()> {
        self.server = None;
        // Dropping it would kill it too; this waits until it no longer writes.
        if let Some(held) = self.held.take() {
            held.dump.kill()?;
        }
        staging::discard(label)
    }
}

/// What is not needed for the dump, but for those who use it: who owns what runs, and how many rows there were.
fn describe(config: &Config, server: &mut Server, held: &Held, state: &mut State) -> Result<()> {
    for name in &config.databases {
        state.definers.extend(server.definers(name)?);
    }
    state.definers.sort();
    state.definers.dedup();
    if !config.count_rows {
        return Ok(());
    }
    let mut rows = Rows::default();
    for (database, tables) in &held.tables {
        for table in tables.iter().filter(|table| table.has_rows()) {
            // A dump that has failed makes counting pointless.
            if held.dump.look()?.status.is_some_and(|status| status != 0) {
                return Err(Error::other("the dump has failed"));
            }
            rows.insert(database, &table.name, server.count(database, &table.name)?);
        }
    }
    rows.write(&state.label)?;
    state.tables_counted = Some(rows.tables());
    Ok(())
}
