//! What a dump says of itself, in its comments.

use std::collections::{BTreeMap, BTreeSet};

use crate::answers::{Position, Table};
use crate::grants::identifier;

/// The last line of a complete dump.
pub(crate) const TRAILER: &str = "-- Dump completed";

/// The comments of a dump that were looked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Kind and name of what it holds, by database; of the empty name, if the dump names none.
    found: BTreeMap<String, BTreeSet<(&'static str, String)>>,
    /// The place in the binary log of the transaction.
    pub(crate) position: Option<Position>,
    /// Its last line says that it is complete.
    pub(crate) complete: bool,
}

const KINDS: [(&str, &str); 3] = [
    ("-- Table structure for table ", "table"),
    ("-- Sequence structure for ", "sequence"),
    ("-- Final view structure for view ", "view"),
];

impl Listing {
    /// From the lines that `grep` has found.
    pub(crate) fn parse(output: &str) -> Self {
        let mut listing = Self::default();
        let mut database = String::new();
        for line in output.lines() {
            listing.complete = line == TRAILER;
            if let Some((name, _)) = line.strip_prefix("-- Current Database: ").and_then(identifier) {
                database = name;
            } else if let Some(place) = line.strip_prefix("-- CHANGE MASTER TO MASTER_LOG_FILE=") {
                listing.position = place_of(place);
            } else if let Some(gtid) = line.strip_prefix("-- SET GLOBAL gtid_slave_pos='") {
                if let Some(position) = &mut listing.position {
                    position.gtid = gtid.split('\'').next().filter(|gtid| !gtid.is_empty()).map(str::to_owned);
                }
            } else {
                for (prefix, kind) in KINDS {
                    if let Some((name, _)) = line.strip_prefix(prefix).and_then(identifier) {
                        listing.found.entry(database.clone()).or_default().insert((kind, name));
                    }
                }
            }
        }
        listing
    }

    /// How many tables, views and sequences of a database it holds; a dump of one alone may not name it.
    pub(crate) fn count(&self, database: &str, alone: bool) -> usize {
        let unnamed = if alone { self.found.get("") } else { None };
        self.found.get(database).or(unnamed).map_or(0, BTreeSet::len)
    }

    /// Those of these tables that it does not hold.
    pub(crate) fn missing(&self, tables: &BTreeMap<String, Vec<Table>>) -> Vec<String> {
        let unnamed = if tables.len() == 1 { self.found.get("") } else { None };
        let mut missing = Vec::new();
        for (database, tables) in tables {
            let found = self.found.get(database).or(unnamed);
            for table in tables {
                let kind = match table.kind.as_str() {
                    "BASE TABLE" | "SYSTEM VERSIONED" => "table",
                    "VIEW" => "view",
                    "SEQUENCE" => "sequence",
                    _ => continue,
                };
                if !found.is_some_and(|found| found.contains(&(kind, table.name.clone()))) {
                    missing.push(format!("{database}.{}", table.name));
                }
            }
        }
        missing
    }
}

/// `'binlog.000001', MASTER_LOG_POS=8436229;`
fn place_of(text: &str) -> Option<Position> {
    let (file, rest) = text.strip_prefix('\'')?.split_once("', MASTER_LOG_POS=")?;
    let position = rest.trim_end().trim_end_matches(';').parse().ok()?;
    Some(Position { file: file.to_owned(), position, gtid: None, until: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000001', MASTER_LOG_POS=8436229;\n\
        -- Table structure for table `a`\n\
        -- Table structure for table `we``ird \"n'ame \\! x`\n\
        -- Final view structure for view `va`\n\
        -- SET GLOBAL gtid_slave_pos='0-1-10';\n\
        -- Dump completed\n";

    fn table(name: &str, kind: &str) -> Table {
        Table { name: name.into(), kind: kind.into(), engine: None }
    }

    #[test]
    fn of_one_database() {
        let listing = Listing::parse(ONE);
        assert!(listing.complete);
        let position = listing.position.clone().unwrap();
        assert_eq!((position.file.as_str(), position.position), ("binlog.000001", 8_436_229));
        assert_eq!(position.gtid.as_deref(), Some("0-1-10"));
        let there = [table("a", "BASE TABLE"), table("we`ird \"n'ame \\! x", "BASE TABLE"), table("va", "VIEW")];
        let mut tables = BTreeMap::from([("app".to_owned(), there.to_vec())]);
        assert_eq!(listing.missing(&tables), [""; 0]);
        tables.get_mut("app").unwrap().extend([table("va", "BASE TABLE"), table("s", "SEQUENCE")]);
        assert_eq!(listing.missing(&tables), ["app.va", "app.s"]);
    }

    #[test]
    fn of_several_databases() {
        let listing = Listing::parse(
            "-- Current Database: `x`\n-- Table structure for table `a`\n-- Current Database: `y`\n\
             -- Table structure for table `b`\n-- Current Database: `x`\n-- Final view structure for view `v`\n",
        );
        assert!(!listing.complete && listing.position.is_none());
        let of = |pairs: &[(&str, Table)]| {
            let mut all: BTreeMap<String, Vec<Table>> = BTreeMap::new();
            for (database, table) in pairs {
                all.entry((*database).to_owned()).or_default().push(table.clone());
            }
            all
        };
        let t = |name| table(name, "BASE TABLE");
        assert_eq!(listing.missing(&of(&[("x", t("a")), ("y", t("b")), ("x", table("v", "VIEW"))])), [""; 0]);
        assert_eq!(listing.missing(&of(&[("x", t("b")), ("y", t("a"))])), ["x.b", "y.a"]);
    }

    #[test]
    fn what_was_cut_off_is_not_complete() {
        assert!(!Listing::parse(ONE.trim_end_matches("-- Dump completed\n")).complete);
        assert!(!Listing::parse(&format!("{ONE}-- Table structure for table `z`\n")).complete);
        assert!(!Listing::parse("").complete);
    }
}
