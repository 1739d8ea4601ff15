//! How many rows each table had at the consistency point: counted after the lock, archived as a file beside the data, for
//! whoever restores it. There may be more tables than a snapshot's state has room for.

use std::collections::BTreeMap;

use bkhost_sdk::{Error, Result, Source, path, staging};
use serde::{Deserialize, Serialize};

/// The source's name in the archive.
pub(crate) const SOURCE: &str = "rows";
/// The file in it.
const FILE: &str = "rows.json";

/// Rows by database and table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rows(pub(crate) BTreeMap<String, BTreeMap<String, u64>>);

/// The guest path of a run's directory for them.
fn directory(label: &str) -> String {
    staging::at(&format!("{label}.rows"))
}

impl Rows {
    pub(crate) fn insert(&mut self, database: &str, table: &str, rows: u64) {
        self.0.entry(database.to_owned()).or_default().insert(table.to_owned(), rows);
    }

    /// How many tables were counted.
    pub(crate) fn tables(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Write them where `source` offers them.
    pub(crate) fn write(&self, label: &str) -> Result<()> {
        let directory = directory(label);
        let failed = |error: &std::io::Error| Error::io(format!("writing {directory}/{FILE}"), error);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::other(format!("the counted rows cannot be written: {error}")))?;
        std::fs::create_dir_all(path::local(&directory)).map_err(|error| failed(&error))?;
        std::fs::write(path::local(&format!("{directory}/{FILE}")), text).map_err(|error| failed(&error))
    }

    /// Those that were archived, extracted into this directory.
    pub(crate) fn read(directory: &str) -> Result<Self> {
        let file = format!("{directory}/{FILE}");
        let text = std::fs::read_to_string(path::local(&file))
            .map_err(|error| Error::io(format!("reading {file}"), &error))?;
        serde_json::from_str(&text).map_err(|error| Error::corrupt(format!("{file} is not understood: {error}")))
    }

    /// The source that holds them, if the run has counted any.
    pub(crate) fn source(label: &str) -> Option<Source> {
        let directory = directory(label);
        path::local(&directory).is_dir().then(|| Source::tree(SOURCE, directory))
    }
}
