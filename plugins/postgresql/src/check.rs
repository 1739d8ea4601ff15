//! What would fail later.

use bkhost_sdk::{Error, ErrorCode, Finding, Result, exec, path, staging};
use serde::Deserialize;

use crate::answers::{self, Major, tool_version};
use crate::{Config, Format, Globals};

/// What the server says of the database.
#[derive(Debug, Deserialize)]
struct Database {
    version_num: u32,
    version: String,
    size: u64,
    standby: bool,
    max_standby_delay: String,
    hot_standby_feedback: String,
    passwords: bool,
    /// How many are free.
    connections: i64,
    row_security: u64,
    unlogged: u64,
    prepared: u64,
    unreadable: Vec<String>,
}

pub(crate) fn check(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut tools = Vec::new();
    for (tool, command) in [
        ("psql", "psql-version"),
        ("pg_dump", "pg-dump-version"),
        ("pg_restore", "pg-restore-version"),
        ("pg_dumpall", "pg-dumpall-version"),
    ] {
        if tool == "pg_dumpall" && config.globals == Globals::Off {
            continue;
        }
        match version(command) {
            Ok(version) => tools.push((tool, version)),
            Err(error) => findings.push(Finding::from_error(tool, error)),
        }
    }
    if !tools.iter().any(|(tool, _)| *tool == "psql") {
        return Ok(findings);
    }
    findings.extend(tools_findings(&tools));
    let mut first = true;
    let mut size = 0;
    for name in config.databases() {
        let subject = format!("database {name}");
        let database: Database = match ask(name) {
            Ok(database) => database,
            Err(error) if error.code == ErrorCode::Denied && error.detail_of("stderr").is_none() => return Err(error),
            Err(error) => {
                findings.push(Finding::from_error(subject, explain(error)));
                continue;
            }
        };
        if std::mem::take(&mut first) {
            let server = Major::of_number(database.version_num);
            findings.extend(tools.iter().map(|(tool, version)| tool_finding(tool, version, server)));
            findings.push(Finding::info(
                "server",
                format!("PostgreSQL {} at {}:{}", database.version, config.host, config.port),
            ));
            findings.extend(server_findings(config, &database));
        }
        findings.push(Finding::info(subject.as_str(), format!("{} MiB", database.size >> 20)));
        findings.extend(database_findings(&subject, &database));
        size += database.size;
    }
    if config.format == Format::Directory {
        findings.extend(place(size)?);
    }
    Ok(findings)
}

/// What a tool of PostgreSQL says to `--version`.
pub(crate) fn version(command: &str) -> Result<String> {
    let output = exec::run(command, &[])?.ok()?;
    tool_version(&output.stdout)
        .map(str::to_owned)
        .ok_or_else(|| Error::unsupported(format!("'{}' is no version of a PostgreSQL tool", output.first_line())))
}

fn ask(database: &str) -> Result<Database> {
    answers::parse(exec::run("database", &[("database", database)])?.ok()?.first_line())
}

/// Whether the tools fit each other.
fn tools_findings(tools: &[(&str, String)]) -> Option<Finding> {
    let major =
        |wanted: &str| tools.iter().find(|(tool, _)| *tool == wanted).and_then(|(_, version)| Major::of_text(version));
    let (writes, reads) = (major("pg_dump")?, major("pg_restore")?);
    (reads < writes).then(|| {
        Finding::failure("pg_restore", format!("version {reads} cannot read what pg_dump {writes} writes"))
            .hint("name programs of the same version in [part.programs]")
    })
}

fn tool_finding(tool: &str, version: &str, server: Major) -> Finding {
    match Major::of_text(version) {
        // psql talks to servers of any version; a dump has to be written, and read, by tools as new as the server.
        Some(major) if tool != "psql" && major < server => {
            Finding::failure(tool, format!("version {version} is older than the server, which is {server}")).hint(format!(
                "install the client programs of PostgreSQL {server}, and name them in [part.programs] if they are not in the usual place"
            ))
        }
        Some(major) if tool == "pg_dump" && !major.restores_into(server) => Finding::warning(
            tool,
            format!(
                "{version}, newer than the server, which is {server}: what it writes cannot be restored into this server"
            ),
        )
        .hint(format!("pg_restore {major} restores into PostgreSQL 17 and newer: name programs of PostgreSQL {server} in [part.programs]")),
        Some(major) if tool == "pg_dump" && major > server => Finding::info(
            tool,
            format!(
                "{version}, newer than the server, which is {server}: pg_restore {major} or newer reads what it writes"
            ),
        ),
        Some(_) => Finding::info(tool, version),
        None => Finding::warning(tool, format!("version {version} is not understood")),
    }
}

fn server_findings(config: &Config, database: &Database) -> Vec<Finding> {
    let mut findings = Vec::new();
    match config.globals {
        Globals::Auto if !database.passwords => findings.push(
            Finding::info("globals", "roles are kept without their passwords, which only a superuser may read")
                .hint("globals = \"without-passwords\" says that this is meant"),
        ),
        Globals::Auto => findings.push(Finding::info("globals", "roles are kept with the hashes of their passwords")),
        Globals::WithoutPasswords | Globals::Off => {}
    }
    let count = config.databases().len() as i64;
    let needed = match config.format {
        Format::Directory => count + 1 + i64::from(config.jobs),
        Format::Custom => 2 * count + 1,
    };
    if database.connections < needed {
        findings.push(
            Finding::warning(
                "server",
                format!("{} connections are free, and this part needs up to {needed}", database.connections),
            )
            .hint("raise max_connections, or lower jobs"),
        );
    }
    findings
}

fn database_findings(subject: &str, database: &Database) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !database.unreadable.is_empty() {
        findings.push(
            Finding::failure(subject, format!("the role may not read {}", database.unreadable.join(", ")))
                .hint("GRANT pg_read_all_data TO the role (PostgreSQL 14 and newer), or use another one"),
        );
    }
    if database.row_security > 0 {
        findings.push(
            Finding::failure(
                subject,
                format!("{} tables have row security, and the role is bound by it", database.row_security),
            )
            .hint("pg_dump refuses to dump half a table: ALTER ROLE … BYPASSRLS, or use another role"),
        );
    }
    if database.prepared > 0 {
        findings.push(
            Finding::warning(subject, format!("{} prepared transactions are open", database.prepared))
                .hint("what they did is not in a dump until they are committed"),
        );
    }
    if database.standby && database.unlogged > 0 {
        findings.push(Finding::warning(subject, "unlogged tables are empty on a standby, and so in its dump"));
    }
    if database.standby && database.max_standby_delay != "-1" && database.hot_standby_feedback != "on" {
        findings.push(
            Finding::warning(
                subject,
                format!(
                    "this is a standby that cancels queries after {} to go on replaying",
                    database.max_standby_delay
                ),
            )
            .hint("a dump that takes longer may be cancelled: set hot_standby_feedback = on, or max_standby_streaming_delay = -1"),
        );
    }
    findings
}

/// Whether the programs see the staging area that we see, and whether there is room.
fn place(size: u64) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let directory = staging::at("seen");
    staging::remove(&directory)?;
    let made = exec::run("seen", &[("directory", &directory)])?;
    let seen = std::fs::symlink_metadata(path::local(&directory)).is_ok();
    staging::remove(&directory)?;
    if made.status != 0 || !seen {
        let why = if made.status == 0 { "what they write is not there".to_owned() } else { made.failure().message };
        findings.push(
            Finding::failure("staging", format!("the programs do not see the staging area, or may not write there: {why}"))
                .hint("mount it at the same path in the container, or set [part.config] format = \"custom\", which needs none"),
        );
        return Ok(findings);
    }
    if let Some(free) = staging::free("space", path::STAGING)?.filter(|free| *free < size) {
        findings.push(
            Finding::warning("staging", format!("{} MiB are free, the databases have {} MiB", free >> 20, size >> 20))
                .hint("dumps have no indexes and may be smaller; compress = 1 makes them smaller still; format = \"custom\" needs no room"),
        );
    }
    Ok(findings)
}

/// Say what a failure to connect means.
pub(crate) fn explain(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    let says = |text: &str| stderr.contains(text);
    if says("database \"") && says("does not exist") {
        error.code(ErrorCode::NotFound).hint("check [part.config] database against `psql --list`")
    } else if says("no password supplied") || says("password authentication failed") {
        error.code(ErrorCode::Denied).hint("give the password in [part.secrets]: password = { env = \"PGPASSWORD\" }")
    } else if says("Peer authentication failed") {
        error
            .code(ErrorCode::Denied)
            .hint("the socket takes a role's own system user only: set run-as in [[part]], or use host = \"127.0.0.1\"")
    } else if says("pg_hba.conf") || says("ermission denied") {
        error.code(ErrorCode::Denied)
    } else if says("certificate verify failed") || says("root certificate") || says("server certificate for") {
        error
            .code(ErrorCode::Denied)
            .hint("the server is not the one that [part.config] sslrootcert and host say: nothing was sent to it")
    } else if says("could not connect") || says("connection to server") {
        error.code(ErrorCode::Unavailable).hint("is the server running, and are [part.config] host and port right?")
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use bkhost_sdk::Severity;
    use bkhost_sdk::exec::Output;

    use super::*;

    #[test]
    fn an_older_dump_tool_fails_and_an_older_psql_does_not() {
        let server = Major::of_number(160_001);
        assert_eq!(tool_finding("pg_dump", "15.20", server).severity, Severity::Failure);
        assert_eq!(tool_finding("psql", "15.20", server).severity, Severity::Info);
        assert_eq!(tool_finding("pg_dump", "16.1", server).severity, Severity::Info);
        assert_eq!(tool_finding("pg_dump", "17.0", Major::of_number(170_000)).severity, Severity::Info);
        assert_eq!(tool_finding("pg_dump", "16.0", Major::of_number(150_000)).severity, Severity::Info);
        assert_eq!(tool_finding("pg_dump", "17.0", server).severity, Severity::Warning);
        assert_eq!(tool_finding("pg_dump", "18.0", Major::of_number(170_000)).severity, Severity::Info);
        assert_eq!(tool_finding("pg_restore", "devel", server).severity, Severity::Warning);
    }

    #[test]
    fn failures_to_connect() {
        let code =
            |stderr: &str| explain(Output { status: 2, stderr: stderr.into(), ..Output::default() }.failure()).code;
        let prefix = "psql: error: connection to server on socket \"/s/.s.PGSQL.5432\" failed: ";
        assert_eq!(code(&format!("{prefix}FATAL:  database \"nope\" does not exist")), ErrorCode::NotFound);
        assert_eq!(code(&format!("{prefix}No such file or directory")), ErrorCode::Unavailable);
        assert_eq!(code(&format!("{prefix}fe_sendauth: no password supplied")), ErrorCode::Denied);
        assert_eq!(code(&format!("{prefix}FATAL:  Peer authentication failed for user \"x\"")), ErrorCode::Denied);
        assert_eq!(code("psql: error: out of memory"), ErrorCode::Other);
    }
}
