//! Which tools there are, and whether they fit the server. Neither mysqldump nor mysql asks that itself.

use std::fmt;

use bkhost_sdk::{Error, Result, exec};
use serde::{Deserialize, Serialize};

/// Whose server or tool it is. The two have gone separate ways: a tool of the one does not understand the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flavor {
    /// MySQL, and what is built from it, such as Percona Server.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
        })
    }
}

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) flavor: Flavor,
    /// Major and minor number.
    pub(crate) number: (u32, u32),
    /// The number after these.
    pub(crate) patch: u32,
    /// All of it, as it was said.
    pub(crate) text: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flavor, self.text)
    }
}

impl Version {
    /// Of a server: `version` and `version_comment`.
    pub(crate) fn of_server(version: &str, comment: &str) -> Option<Self> {
        let mariadb = [version, comment].iter().any(|text| text.to_ascii_lowercase().contains("mariadb"));
        // What MariaDB says to clients that know no two-digit versions.
        let version = version.strip_prefix("5.5.5-").filter(|_| mariadb).unwrap_or(version);
        Self::parse(version, mariadb)
    }

    /// Of a tool: what it answers to `--version`.
    pub(crate) fn of_tool(answer: &str) -> Option<Self> {
        let line = answer.lines().find(|line| !line.trim().is_empty())?;
        let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest.trim_start());
        // "Ver 10.19 Distrib 10.11.6-MariaDB, for …", "mariadb-dump from 11.4.2-MariaDB, client 10.19 for …",
        // "Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)",
        // "mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)"
        let rest = after("Distrib ")
            .or_else(|| after(" from "))
            .or_else(|| after("based on MariaDB server "))
            .or_else(|| after("Ver "))?;
        let text = rest.split([' ', ',']).next()?;
        Self::parse(text, line.contains("MariaDB"))
    }

    fn parse(text: &str, mariadb: bool) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let number = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
        let flavor = if mariadb { Flavor::Mariadb } else { Flavor::Mysql };
        Some(Self { flavor, number, patch, text: text.to_owned() })
    }

    /// Why this tool may not work with that server.
    pub(crate) fn misfit(&self, server: &Self) -> Option<String> {
        if self.flavor != server.flavor {
            return Some(format!("it is a tool of {}, and the server is {server}", self.flavor));
        }
        let ((major, minor), (theirs, their_minor)) = (self.number, server.number);
        (self.number < server.number).then(|| {
            format!("version {major}.{minor} is older than the server, which is {theirs}.{their_minor}: what it does not know it leaves out")
        })
    }
}

/// The programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tools {
    pub(crate) client: Version,
    pub(crate) dump: Version,
    /// Which options of `mysqldump` there are.
    pub(crate) options: Options,
}

/// Options that not every `mysqldump` has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `--set-gtid-purged`: MySQL. Without it the dump would change the server that it is loaded into.
    pub(crate) gtid_purged: bool,
    /// `--column-statistics`: MySQL 8. It asks for what older servers do not have.
    pub(crate) column_statistics: bool,
}

impl Options {
    /// From `mysqldump --help`.
    pub(crate) fn of_help(help: &str) -> Self {
        let has = |option: &str| help.lines().any(|line| line.trim_start().starts_with(option));
        Self { gtid_purged: has("--set-gtid-purged"), column_statistics: has("--column-statistics") }
    }
}

impl Tools {
    /// Ask the programs.
    ///
    /// # Errors
    /// One cannot be run, or is something else.
    pub(crate) fn find() -> Result<Self> {
        let help = exec::run("dump-help", &[])?.ok()?;
        Ok(Self { client: ask("client-version")?, dump: ask("dump-version")?, options: Options::of_help(&help.stdout) })
    }
}

/// The version of a program.
pub(crate) fn ask(command: &str) -> Result<Version> {
    let output = exec::run(command, &[])?.ok()?;
    // mariadb-backup says it on stderr.
    Version::of_tool(&output.stdout).or_else(|| Version::of_tool(&output.stderr)).ok_or_else(|| {
        Error::unsupported(format!("'{}' is no version of a MySQL or MariaDB tool", output.first_line()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_the_tools_say_them() {
        for (answer, expected) in [
            (
                "mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)\n",
                "MariaDB 10.11.19-MariaDB",
            ),
            (
                "mysql  Ver 15.1 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64) using  EditLine wrapper",
                "MariaDB 10.11.19-MariaDB",
            ),
            ("mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)", "MariaDB 11.4.2-MariaDB"),
            ("mariadb from 11.8.1-MariaDB, client 15.2 for debian-linux-gnu (x86_64)", "MariaDB 11.8.1-MariaDB"),
            (
                "mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)",
                "MariaDB 10.11.19-MariaDB",
            ),
            ("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", "MySQL 8.0.36"),
            ("mysqldump  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)", "MySQL 8.4.3"),
            ("mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)", "MySQL 5.7.44"),
            ("mysql  Ver 14.14 Distrib 5.7.44, for Linux (x86_64) using  EditLine wrapper", "MySQL 5.7.44"),
            (
                "mysqldump  Ver 8.0.35-27 for Linux on x86_64 (Percona Server (GPL), Release 27, Revision 1)",
                "MySQL 8.0.35-27",
            ),
        ] {
            assert_eq!(Version::of_tool(answer).unwrap().to_string(), expected, "{answer}");
        }
        for answer in ["", "bash: mysqldump: not found", "mysqldump  Ver x"] {
            assert_eq!(Version::of_tool(answer), None, "{answer}");
        }
    }

    #[test]
    fn a_tool_of_the_other_family_or_an_older_one_does_not_fit() {
        let server = |version: &str, comment: &str| Version::of_server(version, comment).unwrap();
        let tool = |text: &str| Version::of_tool(text).unwrap();
        let maria = server("10.11.19-MariaDB-0+deb12u1-log", "Debian 12");
        assert_eq!(maria.number, (10, 11));
        assert_eq!(server("5.5.5-10.6.1-MariaDB", "x").number, (10, 6));
        assert_eq!(server("8.0.36", "MySQL Community Server - GPL").flavor, Flavor::Mysql);
        assert_eq!(server("11.4.2", "mariadb.org binary distribution").flavor, Flavor::Mariadb);
        let of = |number: &str| tool(&format!("mysqldump  Ver 10.19 Distrib {number}-MariaDB, for Linux (x86_64)"));
        assert_eq!(of("10.11.2").misfit(&maria), None);
        assert_eq!(of("11.4.2").misfit(&maria), None);
        assert!(of("10.6.20").misfit(&maria).unwrap().contains("older than the server"));
        let mysql = tool("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)");
        assert!(mysql.misfit(&maria).unwrap().contains("a tool of MySQL"));
        assert_eq!(mysql.misfit(&server("5.7.44-log", "MySQL Community Server (GPL)")), None);
        assert!(mysql.misfit(&server("8.4.3", "MySQL Community Server - GPL")).is_some());
    }

    #[test]
    fn options_are_looked_for_in_the_help() {
        let mysql8 = "  --set-gtid-purged[=name] \n                      Add 'SET @@GLOBAL.GTID_PURGED'\n  --column-statistics Add an ANALYZE TABLE\n";
        assert_eq!(Options::of_help(mysql8), Options { gtid_purged: true, column_statistics: true });
        let mysql57 = "  --set-gtid-purged[=name] \n                      Add\n";
        assert_eq!(Options::of_help(mysql57), Options { gtid_purged: true, column_statistics: false });
        let maria = "  --master-data[=#]   This causes the binary log position\n  --gtid  Used together with --set-gtid-purged? no\n";
        assert_eq!(Options::of_help(maria), Options::default());
    }
}
