//! Strategy mysql: databases of a MySQL or MariaDB server, dumped in one transaction that stands before the lock ends; or
//! the files of a whole MariaDB server ([`physical`]), copied live and completed under the lock.
//!
//! A dump starts while the application is locked. It says on stderr when it has begun to read tables, which it does
//! inside of its own `START TRANSACTION WITH CONSISTENT SNAPSHOT`: with that seen, the lock may end. It writes into the
//! staging area, so that neither the store's pace nor a pause of it can hold up the server's transaction, and so that what
//! is archived has been seen to be complete.

mod answers;
mod check;
mod dump;
mod grants;
mod listing;
mod logical;
mod physical;
mod proof;
mod rehearsal;
mod restore;
mod rows;
mod server;
mod version;

use std::fmt;

use bkhost_sdk::{Archived, Drill, Error, Finding, Identity, Result, Snapshot, Source, Strategy, Unfinished, Verify};
use serde::{Deserialize, Serialize};

use answers::Position;
use logical::Logical;
use physical::Physical;
use server::Server;
use version::Flavor;

bkhost_sdk::export!(Mysql: Verify + Drill + Identity + Unfinished);

/// `[part.config]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    method: Method,
    #[serde(default)]
    databases: Vec<String>,
    host: Option<String>,
    port: u16,
    socket: String,
    username: String,
    tls: Option<Tls>,
    tls_ca: Option<String>,
    non_transactional: NonTransactional,
    count_rows: bool,
    parallel: u32,
}

/// How to back up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    /// Statements that make the configured databases.
    #[default]
    Dump,
    /// The files of the whole server.
    Physical,
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

/// What the snapshot record of a dump keeps for the later calls.
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
    /// Of how many tables the rows were counted; the counts are in the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tables_counted: Option<usize>,
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
}

/// The strategy.
#[derive(Debug)]
struct Mysql {
    config: Config,
    logical: Logical,
    physical: Physical,
}

impl Unfinished for Mysql {
    fn abandon(&mut self, label: &str, to: Option<&str>) -> Result<bool> {
        match self.config.method {
            Method::Dump => restore::abandon(&self.config, label, to),
            // Into a directory, which the host removes.
            Method::Physical => Ok(false),
        }
    }
}

impl Strategy for Mysql {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self { config, logical: Logical::default(), physical: Physical::default() })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        match self.config.method {
            Method::Dump => check::check(&self.config),
            Method::Physical => physical::check(&self.config),
        }
    }

    fn prepare(&mut self) -> Result<()> {
        match self.config.method {
            Method::Dump => self.logical.prepare(&self.config),
            Method::Physical => self.physical.prepare(&self.config),
        }
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        match self.config.method {
            Method::Dump => self.logical.capture(&self.config, label),
            Method::Physical => self.physical.capture(&self.config, label),
        }
    }

    fn finish(&mut self, snapshot: Snapshot) -> Result<Snapshot> {
        match Method::of(&snapshot)? {
            Method::Dump => self.logical.finish(&self.config, snapshot),
            Method::Physical => self.physical.finish(&self.config, snapshot),
        }
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        match Method::of(snapshot)? {
            Method::Dump => Logical::open(&snapshot.state()?),
            Method::Physical => physical::open(&snapshot.state()?),
        }
    }

    fn close(&mut self, snapshot: &Snapshot) -> Result<()> {
        // Both states have it.
        let Labelled { label } = snapshot.state()?;
        self.discard(&label)
    }

    fn restore(&mut self, snapshot: &Snapshot, archived: &[Archived], to: Option<&str>) -> Result<()> {
        let made = Method::of(snapshot)?;
        if made != self.config.method {
            return Err(Error::invalid_config(format!(
                "the set was made with method = \"{made}\", and [part.config] says \"{}\"",
                self.config.method
            ))
            .hint(format!("restore with method = \"{made}\": it decides what --to means")));
        }
        match made {
            Method::Dump => restore::restore(&self.config, &snapshot.state()?, archived, to),
            Method::Physical => physical::restore(&snapshot.state()?, archived),
        }
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.close(snapshot)
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        self.physical.give_back()?;
        self.logical.give_back(label)
    }
}

impl Verify for Mysql {
    fn verify(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        match Method::of(snapshot)? {
            Method::Dump => proof::dump(&snapshot.state()?, archived),
            Method::Physical => physical::verify(archived),
        }
    }
}

impl Identity for Mysql {
    /// What MySQL and newer MariaDB call themselves. The files of a whole server are restored where none runs that could be
    /// asked.
    fn identity(&mut self) -> Result<Option<String>> {
        if self.config.method == Method::Physical {
            return Ok(None);
        }
        let client = version::ask("client-version")?;
        let server = Server::open(&self.config, client.flavor, "session")?;
        let ids = ["server_uuid", "server_uid"].map(|name| server.variable(name).to_owned());
        Ok(ids.into_iter().find(|id| !id.is_empty()))
    }
}

impl Drill for Mysql {
    fn rehearse(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        match Method::of(snapshot)? {
            Method::Dump => rehearsal::dump(&snapshot.state()?, archived),
            Method::Physical => rehearsal::physical(&snapshot.state()?, archived),
        }
    }

    // The throw-away server lives in the scratch space, and dies with the rehearsal.
    fn clear(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Config {
    /// What the schema does not say: settings that contradict each other.
    fn check(&self) -> Result<()> {
        if self.tls == Some(Tls::Verify) && self.host.is_none() {
            return Err(Error::invalid_config("tls = \"verify\" needs host: there is no name to verify at a socket"));
        }
        let physical = self.method == Method::Physical;
        let wrong = if !physical && self.databases.is_empty() {
            ("method = \"dump\" needs databases", "databases = [\"bitbucket\"]")
        } else if physical && !self.databases.is_empty() {
            ("method = \"physical\" is of the whole server, and databases names some", "drop databases")
        } else if physical && self.host.is_some() {
            ("method = \"physical\" reads the server's files, and host may be another machine", "use socket")
        } else if physical && self.non_transactional == NonTransactional::Lock {
            ("non-transactional is a setting of method = \"dump\"", "drop it: a physical backup covers such tables")
        } else {
            return Ok(());
        };
        Err(Error::invalid_config(wrong.0).hint(wrong.1))
    }
}

impl Method {
    /// By which method a snapshot was made.
    fn of(snapshot: &Snapshot) -> Result<Self> {
        let Made { method } = snapshot.state()?;
        Ok(method)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dump => "dump",
            Self::Physical => "physical",
        })
    }
}

/// What every state has.
#[derive(Debug, Deserialize)]
struct Labelled {
    label: String,
}

/// What a state has that says by which method it was made; that of a dump does not.
#[derive(Debug, Deserialize)]
struct Made {
    #[serde(default)]
    method: Method,
}

#[cfg(test)]
mod tests;
