//! Method physical: the files of a whole MariaDB server, by `mariadb-backup`.
//!
//! It copies live, in `prepare`, and waits there ([`hold`]). Under the lock it is let go: it blocks the server's commits,
//! copies what is left of the redo log, and that is the consistency point, of tables with transactions and without. After
//! the lock, the log is applied to the copy, which then is a data directory that a server starts from.

mod check;
mod hold;
mod proof;
mod tool;

use bkhost_sdk::exec::Process;
use bkhost_sdk::{
    Archived, ArchivedForm, Error, ErrorCode, Finding, Result, Snapshot, Source, archive, debug, info, path, staging,
    warn,
};
use serde::{Deserialize, Serialize};

pub(crate) use check::check;

use crate::answers::Position;
use crate::rows::Rows;
use crate::server::Server;
use crate::version::{self, Flavor, Version};
use crate::{Config, Method};
use hold::Hold;
use proof::Checkpoints;

/// The source's name in the archive.
pub(crate) const DATA: &str = "data";

/// What a snapshot record keeps for the later calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct State {
    method: Method,
    /// The run's label: the name of the copy in the staging area.
    label: String,
    /// The server's version, as it says it.
    server: String,
    /// Where the server has its files.
    datadir: String,
    /// The log sequence number of the consistency point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lsn: Option<u64>,
    /// The place in the binary log, where the server writes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    /// Whether the rows were counted at that very point. Without a binary log nobody can tell: they were counted in a
    /// transaction that began under the same lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows_exact: Option<bool>,
    /// Of how many tables the rows were counted; the counts are in the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tables_counted: Option<usize>,
    /// The bytes of the copy, once it is complete and the log is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// What lives from one call to the next.
#[derive(Debug, Default)]
pub(crate) struct Physical {
    tool: Option<Version>,
    server: Option<Server>,
    hold: Option<Hold>,
    backup: Option<Process>,
    /// What there was at the consistency point, to be counted.
    tables: Vec<(String, String)>,
    /// Where the binary log was in the transaction that counts rows.
    counting: Option<Position>,
}

impl Physical {
    pub(crate) fn prepare(&mut self, config: &Config) -> Result<()> {
        staging::remove_leftovers()?;
        let client = version::ask("client-version")?;
        self.tool = Some(version::ask("backup-version")?);
        self.server = Some(Server::connect(config, client.flavor)?);
        let outcome = self.copy(config);
        if outcome.is_err() {
            self.give_back()?;
        }
        outcome
    }

    /// Copy all that can be copied while everybody writes.
    fn copy(&mut self, config: &Config) -> Result<()> {
        // The tool would not wait for what begins later.
        self.hold = Hold::begin(config)?;
        let backup = tool::start(config)?;
        let held = tool::held(&backup);
        self.backup = Some(backup);
        if held? {
            info!("{} MiB are copied; the rest follows under the lock", tool::size(&staging::at(tool::NEXT)) >> 20);
        }
        Ok(())
    }

    pub(crate) fn capture(&mut self, config: &Config, label: &str) -> Result<Snapshot> {
        let (Some(tool), Some(backup)) = (&self.tool, &self.backup) else {
            return Err(Error::other("capture before prepare"));
        };
        // The server may have closed a connection that stood idle through a long drain.
        let mut server = match self.server.take().map(Server::alive) {
            Some(Ok(server)) => server,
            _ => {
                debug!("connecting again");
                Server::connect(config, Flavor::Mariadb)?
            }
        };
        if let Some(hold) = &mut self.hold {
            tool::still_held(backup)?;
            if config.count_rows {
                server.begin()?;
                self.counting = server.snapshot_position()?;
                self.tables = server.all_tables()?;
            }
            hold.release()?;
            tool::fixed(backup)?;
        }
        let state = State {
            method: Method::Physical,
            label: label.to_owned(),
            server: server.version.clone(),
            datadir: server.variable("datadir").to_owned(),
            lsn: None,
            position: None,
            rows_exact: None,
            tables_counted: None,
            bytes: None,
        };
        let snapshot = Snapshot::exported(label, &state)?
            .version("server", &state.server)
            .version("mariadb-backup", tool.to_string());
        self.server = Some(server);
        Ok(snapshot)
    }

    pub(crate) fn finish(&mut self, config: &Config, mut snapshot: Snapshot) -> Result<Snapshot> {
        let mut state: State = snapshot.state()?;
        let (Some(backup), Some(mut server)) = (self.backup.take(), self.server.take()) else {
            return Err(Error::new(ErrorCode::Unavailable, format!("the backup of {} has ended", snapshot.id))
                .hint("it lives as long as the run that started it: run again"));
        };
        let Some(hold) = self.hold.take() else {
            // A dry run, in which this is planned too.
            proof::apply(&staging::at(tool::NEXT))?;
            return Ok(snapshot);
        };
        tool::ended(&backup)?;
        drop(backup);
        hold.remove();
        let directory = copy_of(&state.label);
        std::fs::rename(path::local(&staging::at(tool::NEXT)), path::local(&directory))
            .map_err(|error| Error::io(format!("renaming {}", staging::at(tool::NEXT)), &error))?;
        if config.count_rows {
            match self.count(&mut server) {
                Ok(rows) => {
                    rows.write(&state.label)?;
                    state.tables_counted = Some(rows.tables());
                }
                Err(error) => warn!("the rows were not counted: {}", error.message),
            }
        }
        drop(server);
        Checkpoints::of(&directory)?.is_raw()?;
        state.position = proof::position(&directory)?;
        if let (Some(ours), Some(counting)) = (&state.position, &self.counting) {
            state.rows_exact = state.tables_counted.map(|_| ours.same_place(counting));
        }
        proof::apply(&directory)?;
        let checkpoints = Checkpoints::of(&directory)?;
        checkpoints.is_applied()?;
        state.lsn = Some(checkpoints.last);
        proof::leave_out_hold(&directory);
        let bytes = tool::size(&directory);
        (state.bytes, snapshot.bytes) = (Some(bytes), Some(bytes));
        info!("the copy is complete: {} MiB, log sequence number {}", bytes >> 20, checkpoints.last);
        snapshot.set_state(&state)?;
        Ok(snapshot)
    }

    fn count(&self, server: &mut Server) -> Result<Rows> {
        let mut rows = Rows::default();
        for (database, table) in &self.tables {
            rows.insert(database, table, server.count_any(database, table)?);
        }
        Ok(rows)
    }

    /// End what runs, remove what was copied and belongs to no label yet. Idempotent.
    pub(crate) fn give_back(&mut self) -> Result<()> {
        self.server = None;
        // In this order: the tool is not let go before it is dead.
        if let Some(backup) = self.backup.take() {
            backup.kill()?;
        }
        if let Some(mut hold) = self.hold.take() {
            match hold.release() {
                Ok(()) => hold.remove(),
                Err(error) => debug!("the server let go by itself: {}", error.message),
            }
        }
        staging::remove(&staging::at(tool::NEXT))
    }
}

/// The guest path of a run's copy.
fn copy_of(label: &str) -> String {
    staging::at(&format!("{label}.data"))
}

pub(crate) fn open(state: &State) -> Result<Vec<Source>> {
    let data = Source::tree(DATA, copy_of(&state.label));
    Ok(std::iter::once(data).chain(Rows::source(&state.label)).collect())
}

/// Have `mariadb-backup` read what was archived: its own record, and the log against all pages that it names.
pub(crate) fn verify(archived: &[Archived]) -> Result<Vec<Finding>> {
    if !archived.iter().any(|archived| archived.name == DATA) {
        return Ok(vec![Finding::failure("copy", "there is none in the set")]);
    }
    let directory = staging::at(DATA);
    std::fs::create_dir_all(path::local(&directory))
        .map_err(|error| Error::io(format!("making {directory}"), &error))?;
    archive::extract(DATA, &directory)?;
    let checked = Checkpoints::of(&directory).and_then(|checkpoints| {
        checkpoints.is_applied()?;
        proof::apply(&directory)?;
        Ok(checkpoints)
    });
    Ok(vec![match checked {
        Ok(checkpoints) => Finding::info("copy", format!("complete, log sequence number {}", checkpoints.last)),
        Err(error) => Finding::from_error("copy", error),
    }])
}

/// Restore into an empty directory, which the host has made sure of.
pub(crate) fn restore(state: &State, archived: &[Archived]) -> Result<()> {
    if state.bytes.is_none() || !archived.iter().any(|a| a.name == DATA && a.form == ArchivedForm::Tree) {
        return Err(Error::not_found("the set holds no copy of the server's files")
            .hint("the run that made it has not finished"));
    }
    let entries = archive::extract(DATA, path::TARGET)?;
    Checkpoints::of(path::TARGET)?.is_applied()?;
    info!(
        "{entries} entries were restored: a data directory for a server like {}. Give it to the server's user (chown -R mysql:mysql) before you start one on it",
        state.server
    );
    Ok(())
}
