//! What would fail later.

use bkhost_sdk::{ErrorCode, Finding, Result, exec, path, staging};

use crate::Config;
use crate::grants::Grants;
use crate::server::Server;
use crate::version::{self, Flavor, Version};

/// The database of the table that holds the tool.
const OURS: &str = "bkhost_physical_backup";

pub(crate) fn check(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let client = match version::ask("client-version") {
        Ok(version) => version,
        Err(error) => {
            findings.push(
                Finding::from_error("mysql", error)
                    .hint("name the file in [part.programs]: mysql = \"/usr/bin/mariadb\""),
            );
            return Ok(findings);
        }
    };
    let mut server = match Server::connect(config, client.flavor) {
        Ok(server) => server,
        Err(error) if error.code == ErrorCode::Denied && error.detail_of("stderr").is_none() => return Err(error),
        Err(error) => {
            findings.push(Finding::from_error("server", error));
            return Ok(findings);
        }
    };
    if server.flavor != Flavor::Mariadb {
        findings.push(
            Finding::failure("server", format!("it is {}: method = \"physical\" is for MariaDB", server.parsed))
                .hint("use method = \"dump\""),
        );
        return Ok(findings);
    }
    findings.push(Finding::info("server", format!("{}, binary log {}", server.parsed, server.variable("log_bin"))));
    findings.push(match version::ask("backup-version") {
        Ok(tool) => fits(&tool, &server.parsed),
        Err(error) => {
            Finding::from_error("mariadb-backup", error).hint("install mariadb-backup of the server's version")
        }
    });
    findings.extend(rights(config, &server.grants));
    let read_only = matches!(server.variable("read_only"), "ON" | "1");
    if read_only && !server.grants.everywhere(&["SUPER", "READ_ONLY ADMIN", "READ ONLY ADMIN"]) {
        findings.push(
            Finding::failure("server", "it is read-only, and the backup is held by a statement on a table of its own")
                .hint("GRANT READ_ONLY ADMIN ON *.* TO the user"),
        );
    }
    findings.push(files(&server)?);
    // The size of the tablespaces takes PROCESS, whose lack was found above.
    if server.grants.everywhere(&["PROCESS"]) {
        findings.extend(space(&mut server)?);
    }
    Ok(findings)
}

/// The tool reads the server's files, whose form changes from one series to the next; and it waits where this needs it
/// since the releases of May 2024.
fn fits(tool: &Version, server: &Version) -> Finding {
    let number = |version: &Version| (version.number, version.patch);
    let hint = format!(
        "install mariadb-backup of {}.{}, not older than the server, and name it in [part.programs] if it is not in the usual place",
        server.number.0, server.number.1
    );
    if tool.flavor != Flavor::Mariadb || tool.number != server.number {
        let why = format!("{tool}: it cannot copy the files of {server}, which is another series");
        return Finding::failure("mariadb-backup", why).hint(hint);
    }
    let waits = match tool.number {
        (10, 11) => tool.patch >= 8,
        (11, 0) => tool.patch >= 6,
        (11, 1) => tool.patch >= 5,
        (11, 2) => tool.patch >= 4,
        (11, 4) => tool.patch >= 2,
        series => series > (11, 4),
    };
    if !waits {
        let why = format!("{tool}: it takes its locks at once, so the application would be locked while it copies");
        return Finding::failure("mariadb-backup", why).hint(hint);
    }
    if number(tool) < number(server) {
        let why = format!("{tool} is older than the server, which is {server}");
        return Finding::warning("mariadb-backup", why).hint(hint);
    }
    Finding::info("mariadb-backup", tool.to_string())
}

fn rights(config: &Config, grants: &Grants) -> Vec<Finding> {
    let mut missing: Vec<&str> =
        ["RELOAD", "PROCESS", "LOCK TABLES"].into_iter().filter(|right| !grants.everywhere(&[right])).collect();
    if !grants.sees_binary_log() {
        missing.push("BINLOG MONITOR");
    }
    let mut findings = Vec::new();
    let user = &config.username;
    if !missing.is_empty() {
        let missing = missing.join(", ");
        findings.push(
            Finding::failure("rights", format!("user {user} has no {missing}, which mariadb-backup needs"))
                .hint(format!("GRANT {missing} ON *.* TO the user")),
        );
    }
    let missing: Vec<&str> = ["CREATE", "INSERT", "DROP"].into_iter().filter(|right| !grants.on(right, OURS)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        findings.push(
            Finding::failure(
                "rights",
                format!("user {user} has no {missing} on {OURS}: a table there holds the backup until the lock"),
            )
            .hint(format!("GRANT {missing} ON {OURS}.* TO the user")),
        );
    }
    if config.count_rows && !grants.everywhere(&["SELECT"]) {
        findings.push(
            Finding::warning(
                "rights",
                format!("user {user} has no SELECT on everything: rows of what it does not see are not counted"),
            )
            .hint("GRANT SELECT ON *.* TO the user, or set [part.config] count-rows = false"),
        );
    }
    findings
}

/// Whether the user that the commands run as reads the server's files: one that every server has.
fn files(server: &Server) -> Result<Finding> {
    let directory = server.variable("datadir").trim_end_matches('/');
    let subject = format!("data directory {directory}");
    let output = exec::run("readable", &[("file", &format!("{directory}/aria_log_control"))])?;
    Ok(if output.status == 0 {
        Finding::info(subject, "is readable")
    } else {
        Finding::failure(subject, "its files cannot be read from here: mariadb-backup reads them itself")
            .hint("run the part on the server's machine, as root or as the server's user (run-as)")
    })
}

/// Whether the staging area has room for a copy.
fn space(server: &mut Server) -> Result<Option<Finding>> {
    // What the tablespaces are allocated, and what the other engines say.
    let needs: u64 = server.rows("all-sizes", &[])?.iter().flatten().filter_map(|size| size.parse::<u64>().ok()).sum();
    let Some(free) = staging::free("space", path::STAGING)? else { return Ok(None) };
    let message = format!("{} MiB are free, the server's tables have {} MiB", free >> 20, needs >> 20);
    Ok(Some(if free < needs {
        Finding::failure("staging", message).hint("all files are copied there; [instance] state says where it is")
    } else {
        Finding::info("staging", message)
    }))
}

#[cfg(test)]
mod tests {
    use bkhost_sdk::Severity;

    use super::*;

    fn of(tool: &str, server: &str) -> Finding {
        let tool = Version::of_tool(&format!("mariadb-backup based on MariaDB server {tool}-MariaDB Linux (x86_64)"));
        fits(&tool.unwrap(), &Version::of_server(&format!("{server}-MariaDB"), "").unwrap())
    }

    #[test]
    fn the_tool_is_of_the_servers_series_and_can_wait() {
        for (tool, server, expected) in [
            ("10.11.19", "10.11.19", Severity::Info),
            ("10.11.20", "10.11.8", Severity::Info),
            ("10.11.8", "10.11.19", Severity::Warning),
            ("10.11.7", "10.11.7", Severity::Failure),
            ("10.11.19", "10.6.19", Severity::Failure),
            ("10.6.19", "10.11.19", Severity::Failure),
            ("10.6.19", "10.6.19", Severity::Failure),
            ("11.4.1", "11.4.1", Severity::Failure),
            ("11.3.9", "11.3.9", Severity::Failure),
            ("11.8.1", "11.8.1", Severity::Info),
            ("12.0.1", "12.0.1", Severity::Info),
        ] {
            assert_eq!(of(tool, server).severity, expected, "{tool} {server}");
        }
        assert!(of("10.6.19", "10.11.19").hint.unwrap().contains("10.11"));
    }

    #[test]
    fn rights_that_are_missing_are_named() {
        let config: Config = serde_json::from_str(
            r#"{"method":"physical","port":3306,"socket":"/s","username":"u","non-transactional":"refuse","count-rows":true,"parallel":1}"#,
        )
        .unwrap();
        let of = |grants: &[&str]| {
            rights(&config, &Grants::parse(grants.iter().copied())).into_iter().map(|f| f.message).collect::<Vec<_>>()
        };
        assert!(of(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`"]).is_empty());
        let some = of(&[
            "GRANT SELECT, RELOAD, PROCESS, BINLOG MONITOR ON *.* TO `u`@`localhost`",
            "GRANT CREATE, DROP ON `bkhost\\_physical\\_backup`.* TO `u`@`localhost`",
        ]);
        assert!(some.len() == 2 && some[0].contains("no LOCK TABLES,") && some[1].contains("no INSERT on"), "{some:?}");
    }
}
