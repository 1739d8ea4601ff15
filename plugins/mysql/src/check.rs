//! What would fail later.

use std::collections::BTreeMap;

use bkhost_sdk::{Error, ErrorCode, Finding, Result, exec, path, staging};

use crate::answers::{self, Table};
use crate::server::Server;
use crate::version::{self, Flavor, Options, Version};
use crate::{Config, NonTransactional};

/// The databases of the server itself.
const SYSTEM: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];
/// A table of a database that is being restored, or that a restore has left half done.
pub(crate) const MARKER: &str = "bkhost_restore_is_not_complete";

pub(crate) fn check(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let (mut tools, mut client) = (Vec::new(), None);
    for (tool, command) in [("mysqldump", "dump-version"), ("mysql", "client-version")] {
        match version::ask(command) {
            Ok(version) => {
                client = Some(version.flavor);
                tools.push((tool, version));
            }
            Err(error) => findings.push(Finding::from_error(tool, error).or_hint(
                "newer MariaDB calls its programs mariadb-dump and mariadb: name the files in [part.programs], mysqldump = \"/usr/bin/mariadb-dump\"",
            )),
        }
    }
    let Some(client) = client.filter(|_| tools.iter().any(|(tool, _)| *tool == "mysql")) else { return Ok(findings) };
    let mut server = match Server::connect(config, client) {
        Ok(server) => server,
        Err(error) if error.code == ErrorCode::Denied && error.detail_of("stderr").is_none() => return Err(error),
        Err(error) => {
            findings.push(Finding::from_error("server", error));
            return Ok(findings);
        }
    };
    for (tool, version) in &tools {
        findings.push(tool_finding(tool, version, &server.parsed));
    }
    if tools.iter().any(|(tool, version)| *tool == "mysqldump" && version.flavor == Flavor::Mysql) {
        let help = exec::run("dump-help", &[])?.ok()?;
        if !Options::of_help(&help.stdout).gtid_purged {
            findings.push(Finding::failure("mysqldump", "it has no --set-gtid-purged: it is older than MySQL 5.6"));
        }
    }
    findings.push(Finding::info("server", format!("{}, binary log {}", server.parsed, server.variable("log_bin"))));
    if server.flavor == Flavor::Mysql && server.logs() && !server.grants.sees_binary_log() {
        findings.push(
            Finding::warning("binary log", "its position will not be recorded")
                .hint("GRANT REPLICATION CLIENT ON *.* to the user, if changes after the backup are to be replayed"),
        );
    }
    if !matches!(server.variable("max_execution_time"), "" | "0") {
        findings.push(
            Finding::warning("max_execution_time", "the server ends queries that take long, and the dump may be one")
                .hint("SET GLOBAL max_execution_time = 0, or set it for the application's sessions only"),
        );
    }
    databases(config, &mut server, &mut findings)?;
    Ok(findings)
}

/// A hint where the error has none.
trait OrHint {
    fn or_hint(self, hint: &str) -> Self;
}

impl OrHint for Finding {
    fn or_hint(self, hint: &str) -> Self {
        if self.hint.is_some() { self } else { self.hint(hint) }
    }
}

fn tool_finding(tool: &str, version: &Version, server: &Version) -> Finding {
    match version.misfit(server) {
        Some(why) => Finding::failure(tool, format!("{version}: {why}")).hint(format!(
            "install the client programs of {} {}.{} or newer, and name them in [part.programs] if they are not in the usual place",
            server.flavor, server.number.0, server.number.1
        )),
        None => Finding::info(tool, version.to_string()),
    }
}

fn databases(config: &Config, server: &mut Server, findings: &mut Vec<Finding>) -> Result<()> {
    let schemas = server.schemas()?;
    let (mut tables, mut size) = (BTreeMap::new(), 0_u64);
    for name in &config.databases {
        let subject = format!("database {name}");
        if SYSTEM.iter().any(|system| system.eq_ignore_ascii_case(name)) {
            findings.push(
                Finding::failure(subject, "it is the server's own")
                    .hint("users and rights cannot be restored from a dump of it; back up databases of your own"),
            );
            continue;
        }
        if !schemas.iter().any(|schema| schema.name == *name) {
            findings.push(
                Finding::failure(subject, "it does not exist, or the user may not see it")
                    .hint("check [part.config] databases against SHOW DATABASES; case matters"),
            );
            continue;
        }
        let found = server.tables(name)?;
        findings.extend(database(config, server, name, &found)?);
        for row in server.rows("sizes", &[("database", name)])? {
            size += row.get(1).and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
        }
        tables.insert(name.clone(), found);
    }
    findings.extend(engines(config, &answers::non_transactional(&tables)));
    findings.extend(space(size)?);
    Ok(())
}

fn database(config: &Config, server: &mut Server, name: &str, tables: &[Table]) -> Result<Vec<Finding>> {
    let subject = format!("database {name}");
    let mut findings = vec![Finding::info(subject.as_str(), format!("{} tables and views", tables.len()))];
    let lacking = server.grants.lacking(name);
    // MySQL lists the rights of roles only to those who name them.
    let unsure = server.grants.roles && server.flavor == Flavor::Mysql;
    let missing = |message: String| {
        if unsure {
            Finding::warning(subject.as_str(), format!("{message}, unless by a role that is active at login"))
        } else {
            Finding::failure(subject.as_str(), message)
        }
    };
    if !lacking.is_empty() {
        let lacking = lacking.join(", ");
        findings.push(
            missing(format!("user {} has no {lacking} on all of it: what a user may not see is missing from a dump, without an error", config.username))
                .hint(format!("GRANT {lacking} ON `{}`.* TO the user", name.replace('`', "``"))),
        );
    }
    if !server.grants.sees_routines(name) {
        let grant = match server.flavor {
            Flavor::Mariadb => {
                "GRANT SELECT ON mysql.proc TO the user (MariaDB 11.3 and newer: GRANT SHOW CREATE ROUTINE)"
            }
            Flavor::Mysql => "GRANT SHOW_ROUTINE ON *.* TO the user (MySQL 5.7: GRANT SELECT ON mysql.proc)",
        };
        findings.push(
            missing("the user does not see routines of others, which would be missing from the dump".to_owned())
                .hint(grant),
        );
    }
    if tables.iter().any(|table| table.name == MARKER) {
        findings.push(
            Finding::failure(subject.as_str(), "it is what a restore that was killed has left")
                .hint(format!("it is not complete: drop it, or drop its table {MARKER} if you know better")),
        );
    }
    if tables.iter().any(|table| table.kind == "SYSTEM VERSIONED") {
        findings.push(Finding::warning(
            subject.as_str(),
            "the history of system-versioned tables is not in a dump, only their present rows",
        ));
    }
    for row in server.rows("broken-views", &[("database", name)])? {
        if let [schema, view] = row.as_slice()
            && schema == name
        {
            findings.push(
                Finding::failure(
                    format!("view {name}.{view}"),
                    "it refers to what does not exist or may not be used; mysqldump stops at it",
                )
                .hint("drop the view, or give it what it refers to"),
            );
        }
    }
    Ok(findings)
}

fn engines(config: &Config, tables: &[String]) -> Option<Finding> {
    if tables.is_empty() {
        return None;
    }
    Some(match config.non_transactional {
        NonTransactional::Refuse => {
            let error = not_covered(tables);
            Finding::from_error("non-transactional tables", error)
        }
        NonTransactional::Lock => Finding::warning(
            "non-transactional tables",
            format!("{}: the application stays locked until the whole dump is made", few(tables)),
        )
        .hint("ALTER TABLE … ENGINE = InnoDB makes the lock short"),
    })
}

/// The failure of tables that a snapshot does not cover.
pub(crate) fn not_covered(tables: &[String]) -> Error {
    Error::unsupported(format!("no consistent snapshot covers {}", few(tables))).hint(
        "ALTER TABLE … ENGINE = InnoDB; or set [part.config] non-transactional = \"lock\", and the application stays locked for as long as the dump takes",
    )
}

fn few(tables: &[String]) -> String {
    let first: Vec<&str> = tables.iter().take(5).map(String::as_str).collect();
    let more = if tables.len() > 5 { format!(" and {} more", tables.len() - 5) } else { String::new() };
    format!("{}{more}", first.join(", "))
}

fn space(size: u64) -> Result<Option<Finding>> {
    let Some(free) = staging::free("space", path::STAGING)? else { return Ok(None) };
    Ok((free < size).then(|| {
        Finding::warning("staging", format!("{} MiB are free, the databases have {} MiB", free >> 20, size >> 20))
            .hint("the dump is written there first; it holds no indexes, but binary columns take twice their size")
    }))
}

/// Say what a failure of the server means.
pub(crate) fn explain(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    let says = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
    if says(&["ERROR 1045", "ERROR 1698", "ERROR 1044"]) {
        error.code(ErrorCode::Denied).hint(
            "give the password in [part.secrets]: password = { env = \"MYSQL_PWD\" }; a user that logs in by unix_socket needs run-as in [[part]]",
        )
    } else if says(&["ERROR 1142", "ERROR 1143", "ERROR 1227", "ERROR 1370"]) {
        error.code(ErrorCode::Denied).hint("grant it to the user")
    } else if says(&["ERROR 1049"]) {
        error.code(ErrorCode::NotFound).hint("check [part.config] databases against SHOW DATABASES")
    } else if says(&["ERROR 2026"]) {
        error.code(ErrorCode::Denied).hint("look at [part.config] tls and tls-ca, and at the server's certificate")
    } else if says(&["ERROR 2002", "ERROR 2003", "ERROR 2005", "ERROR 2006", "ERROR 2013", "ERROR 1040"]) {
        error
            .code(ErrorCode::Unavailable)
            .hint("is the server running, and are [part.config] host and port, or socket, right?")
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
    fn errors_say_what_to_do() {
        let error = |stderr: &str| {
            explain(
                Output { command: "session".into(), status: 1, stderr: stderr.into(), ..Output::default() }.failure(),
            )
        };
        let denied = error("ERROR 1045 (28000): Access denied for user 'u'@'localhost' (using password: YES)");
        assert_eq!(denied.code, ErrorCode::Denied);
        assert!(denied.hint.unwrap().contains("[part.secrets]"));
        assert_eq!(
            error("ERROR 2002 (HY000): Can't connect to local server through socket").code,
            ErrorCode::Unavailable
        );
        assert_eq!(error("ERROR 1049 (42000): Unknown database 'x'").code, ErrorCode::NotFound);
        assert_eq!(error("ERROR 2026 (HY000): TLS/SSL error").code, ErrorCode::Denied);
        assert_eq!(error("ERROR 1064 (42000) at line 1").code, ErrorCode::Other);
    }

    #[test]
    fn a_tool_that_does_not_fit_fails_the_check() {
        let server = Version::of_server("10.11.6-MariaDB", "").unwrap();
        let tool = |text: &str| tool_finding("mysqldump", &Version::of_tool(text).unwrap(), &server);
        let old = tool("mysqldump  Ver 10.19 Distrib 10.5.1-MariaDB, for Linux (x86_64)");
        assert_eq!(old.severity, Severity::Failure);
        assert!(old.hint.unwrap().contains("MariaDB 10.11"));
        assert_eq!(tool("mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)").severity, Severity::Info);
        let other = tool("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)");
        assert_eq!(other.severity, Severity::Failure);
    }

    #[test]
    fn many_tables_are_named_in_short() {
        let tables: Vec<String> = (0..9).map(|n| format!("d.t{n} (MyISAM)")).collect();
        let error = not_covered(&tables);
        assert!(error.message.contains("d.t4 (MyISAM) and 4 more") && error.hint.unwrap().contains("\"lock\""));
    }
}
