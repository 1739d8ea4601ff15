//! A session with the server: fixed statements of the manifest, rows in answer.

use std::collections::BTreeMap;
use std::time::Duration;

use bkhost_sdk::exec::{self, Command, Session};
use bkhost_sdk::{Error, ErrorCode, Result};

use crate::answers::{self, Position, Schema, Table};
use crate::check::explain;
use crate::grants::Grants;
use crate::version::{Flavor, Version};
use crate::{Config, Tls};

/// How long the server may take to answer a question that costs it little.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it may take to count the rows of a table.
const COUNT: Duration = Duration::from_secs(12 * 3600);
/// The row that ends every answer.
const END: &str = "bkhost:end";

/// Tell a command where the server is.
pub(crate) fn connection(config: &Config, client: Flavor, command: Command) -> Command {
    let command = match &config.host {
        None => command.slot("protocol", "socket").slot("socket", &config.socket),
        Some(host) => command.slot("protocol", "tcp").slot("host", host).slot("port", config.port.to_string()),
    };
    let (mode, ssl, verify) = match (config.tls, client) {
        (None, _) => (None, None, None),
        (Some(Tls::Off), Flavor::Mysql) => (Some("DISABLED"), None, None),
        (Some(Tls::Required), Flavor::Mysql) => (Some("REQUIRED"), None, None),
        (Some(Tls::Verify), Flavor::Mysql) => (Some("VERIFY_IDENTITY"), None, None),
        (Some(Tls::Off), Flavor::Mariadb) => (None, Some("0"), None),
        (Some(Tls::Required), Flavor::Mariadb) => (None, Some("1"), Some("0")),
        (Some(Tls::Verify), Flavor::Mariadb) => (None, Some("1"), Some("1")),
    };
    command
        .slot("username", &config.username)
        .slot_if("ca", config.tls_ca.as_deref())
        .slot_if("ssl-mode", mode)
        .slot_if("ssl", ssl)
        .slot_if("verify", verify)
}

/// The rows that answer a line of a session with fixed statements.
pub(crate) fn answer(
    session: &mut Session,
    line: &str,
    slots: &[(&str, &str)],
    limit: Duration,
) -> Result<Vec<Vec<String>>> {
    match session.send(line, slots) {
        // A pipe that is closed says nothing; what the program said says why.
        Err(error) if error.code == ErrorCode::Denied => return Err(error),
        _ => {}
    }
    let mut rows = Vec::new();
    loop {
        let text = session.read_line(limit)?;
        if text == END {
            return Ok(rows);
        }
        rows.push(answers::columns(&text));
    }
}

/// A connection, and what is known of the server behind it.
#[derive(Debug)]
pub(crate) struct Server {
    session: Session,
    /// Its version, as it says it.
    pub(crate) version: String,
    pub(crate) flavor: Flavor,
    /// The same, understood.
    pub(crate) parsed: Version,
    /// Its settings.
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) grants: Grants,
}

impl Server {
    /// Connect to look and to hold a transaction.
    ///
    /// # Errors
    /// The server's; TLS was required and is not there.
    pub(crate) fn connect(config: &Config, client: Flavor) -> Result<Self> {
        let mut server = Self::open(config, client, "session")?;
        server.rows("keep", &[])?;
        server.grants =
            Grants::parse(server.rows("grants", &[])?.iter().filter_map(|row| row.first()).map(String::as_str));
        Ok(server)
    }

    /// Connect by this command of the manifest.
    pub(crate) fn open(config: &Config, client: Flavor, command: &str) -> Result<Self> {
        let session = connection(config, client, exec::command(command)).session()?;
        let mut server = Self {
            session,
            version: String::new(),
            flavor: client,
            parsed: Version { flavor: client, number: (0, 0), patch: 0, text: String::new() },
            variables: BTreeMap::new(),
            grants: Grants::default(),
        };
        for row in server.rows("variables", &[]).map_err(explain)? {
            if let [name, value] = row.as_slice() {
                server.variables.insert(name.to_ascii_lowercase(), value.clone());
            }
        }
        let version = server.variable("version").to_owned();
        server.parsed = Version::of_server(&version, server.variable("version_comment"))
            .ok_or_else(|| Error::unsupported(format!("the server's version '{version}' is not understood")))?;
        (server.flavor, server.version) = (server.parsed.flavor, version);
        // MariaDB's client goes on without TLS where the server has none.
        if matches!(config.tls, Some(Tls::Required | Tls::Verify)) && server.variable("ssl_cipher").is_empty() {
            return Err(Error::unsupported("the connection to the server is not encrypted, and tls requires it")
                .hint("configure TLS on the server, or set [part.config] tls = \"off\""));
        }
        Ok(server)
    }

    /// A setting of the server; empty if it has none of that name.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// Whether it writes a binary log.
    pub(crate) fn logs(&self) -> bool {
        matches!(self.variable("log_bin"), "ON" | "1")
    }

    /// The rows that answer a line of the manifest.
    pub(crate) fn rows(&mut self, line: &str, slots: &[(&str, &str)]) -> Result<Vec<Vec<String>>> {
        self.rows_within(line, slots, ANSWER)
    }

    fn rows_within(&mut self, line: &str, slots: &[(&str, &str)], limit: Duration) -> Result<Vec<Vec<String>>> {
        answer(&mut self.session, line, slots, limit)
    }

    /// Itself, if the connection stands.
    pub(crate) fn alive(mut self) -> Result<Self> {
        self.rows("ping", &[])?;
        Ok(self)
    }

    /// Begin the transaction in which rows are counted.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.rows("begin", &[]).map(drop)
    }

    /// Where the binary log is now. None if there is none, or the user may not ask, or the dump itself will tell.
    pub(crate) fn position(&mut self) -> Result<Option<Position>> {
        if !self.logs() || self.flavor == Flavor::Mariadb || !self.grants.sees_binary_log() {
            return Ok(None);
        }
        let line = if self.parsed.number >= (8, 2) { "position-84" } else { "position" };
        Ok(self.rows(line, &[])?.first().and_then(|row| Position::of_row(row)))
    }

    /// Where the binary log was when this session's transaction began: MariaDB tells.
    pub(crate) fn snapshot_position(&mut self) -> Result<Option<Position>> {
        if !self.logs() || self.flavor != Flavor::Mariadb {
            return Ok(None);
        }
        let (mut file, mut position) = (None, None);
        for row in self.rows("snapshot-position", &[])? {
            match row.as_slice() {
                [name, value] if name.eq_ignore_ascii_case("binlog_snapshot_file") => file = Some(value.clone()),
                [name, value] if name.eq_ignore_ascii_case("binlog_snapshot_position") => position = value.parse().ok(),
                _ => {}
            }
        }
        Ok(file.zip(position).map(|(file, position)| Position { file, position, gtid: None, until: None }))
    }

    /// All databases that the user sees.
    pub(crate) fn schemas(&mut self) -> Result<Vec<Schema>> {
        Ok(self.rows("schemas", &[])?.iter().filter_map(|row| Schema::of_row(row)).collect())
    }

    /// The tables and views of a database.
    pub(crate) fn tables(&mut self, database: &str) -> Result<Vec<Table>> {
        self.tables_by("tables", "database", database)
    }

    pub(crate) fn tables_by(&mut self, line: &str, slot: &str, database: &str) -> Result<Vec<Table>> {
        let rows = self.rows(line, &[(slot, database)])?;
        Ok(rows.iter().filter_map(|row| Table::of_row(row, database)).collect())
    }

    /// Who the views, routines, triggers and events of a database run as.
    pub(crate) fn definers(&mut self, database: &str) -> Result<Vec<String>> {
        Ok(self
            .rows("definers", &[("database", database)])?
            .into_iter()
            .filter_map(|row| row.into_iter().next())
            .collect())
    }

    /// All tables with rows of the whole server but its own: database and name.
    pub(crate) fn all_tables(&mut self) -> Result<Vec<(String, String)>> {
        let pair = |row: Vec<String>| match <[String; 2]>::try_from(row) {
            Ok([database, table]) => Some((database, table)),
            Err(_) => None,
        };
        Ok(self.rows("all-tables", &[])?.into_iter().filter_map(pair).collect())
    }

    /// The rows of a table in this session's transaction: of one of the configured databases.
    pub(crate) fn count(&mut self, database: &str, table: &str) -> Result<u64> {
        self.count_by("count", "database", database, table)
    }

    /// The rows of a table in this session's transaction: of any database.
    pub(crate) fn count_any(&mut self, database: &str, table: &str) -> Result<u64> {
        self.count_by("count-any", "schema", database, table)
    }

    fn count_by(&mut self, line: &str, slot: &str, database: &str, table: &str) -> Result<u64> {
        let rows = self.rows_within(line, &[(slot, database), ("table", table)], COUNT)?;
        let count = rows.first().and_then(|row| row.first()).and_then(|count| count.parse().ok());
        count.ok_or_else(|| Error::other(format!("the server does not count the rows of {database}.{table}")))
    }
}
