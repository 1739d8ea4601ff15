//! What the server and its tools say.

use std::cmp::Ordering;

use bkhost_sdk::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The consistency point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// The snapshot's name, for `pg_dump --snapshot`.
    pub(crate) snapshot: String,
    /// The server's clock: milliseconds since the Unix epoch.
    pub(crate) now: u64,
    /// The position in the write-ahead log.
    pub(crate) lsn: Option<String>,
    /// The transactions that were under way: `xmin:xmax:list`.
    pub(crate) transactions: String,
}

/// What a restore has to know of the database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The server's version, as it says it.
    pub(crate) version: String,
    /// The same as a number: 150020.
    pub(crate) version_num: u32,
    /// The database's size on the server's disk, in bytes.
    pub(crate) size: u64,
    /// The encoding's name.
    pub(crate) encoding: String,
    /// The role that owns the database.
    pub(crate) owner: String,
    /// The database's row of `pg_database`: locale and provider under the names that this version gives them.
    pub(crate) database: serde_json::Value,
    /// The cluster's identity, where the role may ask.
    pub(crate) system: Option<String>,
    /// It was a standby.
    #[serde(default)]
    pub(crate) standby: bool,
    /// The role may read the hashes of passwords.
    #[serde(default)]
    pub(crate) passwords: bool,
    /// The tablespaces of its tables and indexes, other than its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tablespaces: Vec<String>,
}

impl Facts {
    fn column(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.database.get(name)?.as_str()).filter(|value| !value.is_empty())
    }

    /// `lc_collate`.
    pub(crate) fn collate(&self) -> &str {
        self.column(&["datcollate"]).unwrap_or("C")
    }

    /// `lc_ctype`.
    pub(crate) fn ctype(&self) -> &str {
        self.column(&["datctype"]).unwrap_or("C")
    }

    /// The locale provider, where it is another than libc.
    pub(crate) fn provider(&self) -> Option<&'static str> {
        match self.column(&["datlocprovider"])? {
            "i" => Some("icu"),
            "b" => Some("builtin"),
            _ => None,
        }
    }

    /// The provider's locale: `daticulocale` up to PostgreSQL 16, `datlocale` since 17.
    pub(crate) fn locale(&self) -> Option<&str> {
        self.column(&["datlocale", "daticulocale"])
    }

    /// Tailoring rules of an ICU locale.
    pub(crate) fn rules(&self) -> Option<&str> {
        self.column(&["daticurules"])
    }
}

/// Parse an answer that is one JSON object.
pub(crate) fn parse<T: DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line.trim())
        .map_err(|error| Error::other(format!("the server's answer is not understood: {error}")).detail("answer", line))
}

/// The version in what a PostgreSQL tool answers to `--version`: `pg_dump (PostgreSQL) 15.20 (Debian …)` has `15.20`.
pub(crate) fn tool_version(answer: &str) -> Option<&str> {
    let version = answer.split(") ").nth(1)?.split_whitespace().next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
}

/// A major version: 15, or 9.6 which was one before PostgreSQL 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Major(u32, u32);

impl Major {
    /// Of a server's `server_version_num`.
    pub(crate) fn of_number(number: u32) -> Self {
        if number >= 100_000 { Self(number / 10_000, 0) } else { Self(number / 10_000, number / 100 % 100) }
    }

    /// Of a version as text: `15.20`, `16beta1`, `9.6.24`.
    pub(crate) fn of_text(version: &str) -> Option<Self> {
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let first = numbers.next()?.ok()?;
        let second = if first >= 10 { 0 } else { numbers.next()?.ok()? };
        Some(Self(first, second))
    }
}

impl Major {
    /// Whether a `pg_restore` of this version, told to stop at the first error, restores into such a server: since 17, it
    /// begins with a setting that no older server knows.
    pub(crate) fn restores_into(self, server: Self) -> bool {
        self < Self(17, 0) || server >= Self(17, 0)
    }
}

impl PartialOrd for Major {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some((self.0, self.1).cmp(&(other.0, other.1)))
    }
}

impl std::fmt::Display for Major {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 >= 10 { write!(f, "{}", self.0) } else { write!(f, "{}.{}", self.0, self.1) }
    }
}

/// What `pg_restore --list` says of a dump.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Entries of its table of contents.
    pub(crate) entries: u64,
    /// Those of them that are the rows of a table.
    pub(crate) tables: u64,
}

/// Read the output of `pg_restore --list`.
pub(crate) fn listing(output: &str) -> Listing {
    let mut listing = Listing::default();
    for line in output.lines() {
        if let Some(header) = line.strip_prefix(';') {
            if let Some(number) = header.trim().strip_prefix("TOC Entries:") {
                listing.entries = number.trim().parse().unwrap_or(0);
            }
            continue;
        }
        // "3338; 0 16385 TABLE DATA public t postgres"
        if line
            .split("; ")
            .nth(1)
            .is_some_and(|rest| rest.splitn(3, ' ').nth(2).is_some_and(|rest| rest.starts_with("TABLE DATA ")))
        {
            listing.tables += 1;
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(tool_version("pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), Some("15.20"));
        assert_eq!(tool_version("psql (PostgreSQL) 16beta1"), Some("16beta1"));
        assert_eq!(tool_version("bash: pg_dump: not found"), None);
        let major = |text| Major::of_text(text).unwrap();
        assert_eq!(major("15.20"), Major::of_number(150_020));
        assert_eq!(major("9.6.24"), Major::of_number(90_624));
        assert!(major("9.5") < major("9.6") && major("9.6") < major("10.1") && major("16beta1") > major("15.20"));
        assert_eq!((major("15.20").to_string(), major("9.6.1").to_string()), ("15".into(), "9.6".into()));
        assert_eq!(Major::of_text("devel"), None);
    }

    #[test]
    fn a_listing() {
        let output = ";\n; Archive created at 2026-11-21 02:24:28 UTC\n;     TOC Entries: 6\n;\n\
            214; 1259 16385 TABLE public t postgres\n\
            3338; 0 16385 TABLE DATA public t postgres\n\
            3339; 0 0 COMMENT public TABLE DATA postgres\n";
        assert_eq!(listing(output), Listing { entries: 6, tables: 1 });
        assert_eq!(listing(""), Listing::default());
    }

    #[test]
    fn locales_of_all_versions() {
        let facts = |row: &str| Facts {
            version: "15".into(),
            version_num: 150_000,
            size: 0,
            encoding: "UTF8".into(),
            owner: "o".into(),
            database: serde_json::from_str(row).unwrap(),
            system: None,
            standby: false,
            passwords: false,
            tablespaces: Vec::new(),
        };
        let libc = facts(r#"{"datlocprovider":"c","datcollate":"C.UTF-8","datctype":"C.UTF-8","daticulocale":null}"#);
        assert_eq!((libc.collate(), libc.provider(), libc.locale()), ("C.UTF-8", None, None));
        let icu = facts(r#"{"datlocprovider":"i","datcollate":"C","datctype":"C","daticulocale":"de-DE"}"#);
        assert_eq!((icu.provider(), icu.locale()), (Some("icu"), Some("de-DE")));
        let builtin = facts(r#"{"datlocprovider":"b","datcollate":"C","datctype":"C","datlocale":"C.UTF-8"}"#);
        assert_eq!((builtin.provider(), builtin.locale()), (Some("builtin"), Some("C.UTF-8")));
        let old = facts(r#"{"datcollate":"en_US.UTF-8","datctype":"en_US.UTF-8"}"#);
        assert_eq!((old.ctype(), old.provider()), ("en_US.UTF-8", None));
    }
}
