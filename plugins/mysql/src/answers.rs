//! What the server says.

use std::collections::BTreeMap;

use bkhost_sdk::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::Database;

/// A place in the binary log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The log's file.
    pub(crate) file: String,
    /// The offset in it.
    pub(crate) position: u64,
    /// The same as global transaction ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gtid: Option<String>,
    /// Somebody wrote while the dump's transaction began: its point lies between the place above and this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<(String, u64)>,
}

impl Position {
    /// From a row of `SHOW MASTER STATUS`: file, position, two filters, and with MySQL the set of transactions.
    pub(crate) fn of_row(row: &[String]) -> Option<Self> {
        let [file, position, rest @ ..] = row else { return None };
        let gtid = rest.get(2).map(|set| set.replace('\n', "")).filter(|set| !set.is_empty());
        Some(Self { file: file.clone(), position: position.parse().ok()?, gtid, until: None })
    }

    /// What is known of a point between two questions.
    pub(crate) fn between(before: Option<Self>, after: Option<Self>) -> Option<Self> {
        let (mut before, after) = (before?, after?);
        if !before.same_place(&after) {
            before.until = Some((after.file, after.position));
        }
        Some(before)
    }

    pub(crate) fn same_place(&self, other: &Self) -> bool {
        (&self.file, self.position) == (&other.file, other.position)
    }
}

/// A table, view or sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// `BASE TABLE`, `VIEW`, `SYSTEM VERSIONED`, `SEQUENCE`, …
    pub(crate) kind: String,
    pub(crate) engine: Option<String>,
}

impl Table {
    /// From a row: database, name, kind, engine. None if it is of another database, which the server compared loosely.
    pub(crate) fn of_row(row: &[String], database: &str) -> Option<Self> {
        let [schema, name, kind, engine] = row else { return None };
        let engine = (engine != "NULL").then(|| engine.clone());
        (schema == database).then(|| Self { name: name.clone(), kind: kind.clone(), engine })
    }

    /// Whether it keeps rows of its own.
    pub(crate) fn has_rows(&self) -> bool {
        matches!(self.kind.as_str(), "BASE TABLE" | "SYSTEM VERSIONED")
    }

    /// Whether a consistent snapshot covers it.
    fn covered(&self) -> bool {
        const COVERED: &[&str] = &["innodb", "rocksdb", "tokudb", "blackhole"];
        let engine = self.engine.as_deref().unwrap_or("unknown").to_ascii_lowercase();
        self.kind == "VIEW" || self.kind == "SYSTEM VIEW" || COVERED.contains(&engine.as_str())
    }
}

/// The tables that no consistent snapshot covers, with their engines.
pub(crate) fn non_transactional(tables: &BTreeMap<String, Vec<Table>>) -> Vec<String> {
    let mut found = Vec::new();
    for (database, tables) in tables {
        for table in tables.iter().filter(|table| !table.covered()) {
            let engine = table.engine.as_deref().unwrap_or("no engine: it cannot be opened");
            found.push(format!("{database}.{} ({engine})", table.name));
        }
    }
    found
}

/// A database's name and defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schema {
    pub(crate) name: String,
    pub(crate) charset: String,
    pub(crate) collation: String,
}

impl Schema {
    pub(crate) fn of_row(row: &[String]) -> Option<Self> {
        let [name, charset, collation] = row else { return None };
        Some(Self { name: name.clone(), charset: charset.clone(), collation: collation.clone() })
    }
}

/// The databases as a restore has to make them.
pub(crate) fn described(
    names: &[String],
    schemas: &[Schema],
    tables: &BTreeMap<String, Vec<Table>>,
) -> Result<Vec<Database>> {
    let describe = |name: &String| {
        let schema = schemas.iter().find(|schema| schema.name == *name);
        let schema = schema.ok_or_else(|| Error::not_found(format!("there is no database {name}")))?;
        Ok(Database {
            name: name.clone(),
            charset: schema.charset.clone(),
            collation: schema.collation.clone(),
            tables: tables.get(name).map_or(0, Vec::len),
        })
    };
    names.iter().map(describe).collect()
}

/// The columns of a row as `mysql --batch` writes them.
pub(crate) fn columns(line: &str) -> Vec<String> {
    line.split('\t').map(unescape).collect()
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('0') => plain.push('\0'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        assert_eq!(columns("app\twe`ird \"n'ame \\\\! x\tVIEW\tNULL"), ["app", "we`ird \"n'ame \\! x", "VIEW", "NULL"]);
        assert_eq!(columns("a\\nb\\tc\\"), ["a\nb\tc\\"]);
    }

    #[test]
    fn positions() {
        let at =
            |position: &str| Position::of_row(&columns(&format!("binlog.000003\t{position}\t\t\tuuid:1-5,\\nother:1")));
        let exact = Position::between(at("7"), at("7")).unwrap();
        assert_eq!((exact.position, exact.gtid.as_deref(), exact.until.clone()), (7, Some("uuid:1-5,other:1"), None));
        let between = Position::between(at("7"), at("9")).unwrap();
        assert_eq!((between.position, between.until), (7, Some(("binlog.000003".to_owned(), 9))));
        assert_eq!(Position::between(None, at("9")), None);
        assert_eq!(Position::of_row(&columns("mariadb-bin.000001\t330\t\t")).unwrap().gtid, None);
    }

    #[test]
    fn tables_that_a_snapshot_does_not_cover() {
        let table = |name: &str, kind: &str, engine: &str| {
            Table::of_row(&["d", name, kind, engine].map(str::to_owned), "d").unwrap()
        };
        let tables = vec![
            table("i", "BASE TABLE", "InnoDB"),
            table("v", "VIEW", "NULL"),
            table("r", "BASE TABLE", "ROCKSDB"),
            table("s", "SEQUENCE", "InnoDB"),
            table("m", "BASE TABLE", "MyISAM"),
            table("a", "BASE TABLE", "Aria"),
            table("h", "BASE TABLE", "MEMORY"),
            table("x", "BASE TABLE", "NULL"),
        ];
        let found = non_transactional(&BTreeMap::from([("d".to_owned(), tables)]));
        let expected = ["d.m (MyISAM)", "d.a (Aria)", "d.h (MEMORY)", "d.x (no engine: it cannot be opened)"];
        assert_eq!(found, expected);
        assert_eq!(Table::of_row(&["D", "t", "VIEW", "NULL"].map(str::to_owned), "d"), None);
    }
}
