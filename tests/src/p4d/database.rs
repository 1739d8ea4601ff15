//! The `db.*` files, the journal and the lock.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Result, io, now, record};

/// The tables, with the number of columns that are their key.
const TABLES: &[(&str, usize)] =
    &[("db.change", 1), ("db.config", 3), ("db.counters", 1), ("db.depot", 1), ("db.rev", 2), ("db.user", 1)];

/// A record's columns by its key.
pub(super) type Table = BTreeMap<Vec<String>, Vec<String>>;

/// A server's metadata, locked as long as this lives.
pub struct Database {
    pub(super) root: PathBuf,
    journal: Option<PathBuf>,
    tables: BTreeMap<&'static str, Table>,
    _lock: File,
}

impl Database {
    /// Lock and read the metadata in this root. `journal` overrides where the journal is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(root: &Path, journal: Option<&str>) -> Result<Self> {
        let lock_path = root.join("server.locks");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(io("open for write", &lock_path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| io("lock", &lock_path)(e.into()))?;
        let mut this = Self { root: root.to_owned(), journal: None, tables: BTreeMap::new(), _lock: lock };
        for (name, _) in TABLES {
            this.tables.insert(name, Table::new());
            let path = root.join(name);
            if path.exists() {
                let text = std::fs::read_to_string(&path).map_err(io("open for read", &path))?;
                for line in text.lines() {
                    let fields = record::parse(line).ok_or(format!("Database is corrupt: {name}"))?;
                    this.remember(&fields)?;
                }
            }
        }
        let name = journal.map(str::to_owned).or_else(|| this.config("P4JOURNAL")).unwrap_or("journal".into());
        this.journal = (name != "off").then(|| root.join(name));
        Ok(this)
    }

    /// Whether this root holds a database.
    pub(super) fn exists(root: &Path) -> bool {
        root.join("db.counters").exists()
    }

    fn remember(&mut self, fields: &[String]) -> Result<()> {
        let corrupt = || format!("bad record: {}", fields.join(" "));
        let [operation, _version, table, columns @ ..] = fields else { return Err(corrupt()) };
        let (name, keys) = TABLES.iter().find(|(name, _)| name == table).ok_or_else(corrupt)?;
        let key = columns.get(..*keys).ok_or_else(corrupt)?.to_vec();
        let table = self.tables.entry(name).or_default();
        match operation.as_str() {
            "pv" | "rv" => drop(table.insert(key, columns.to_vec())),
            "dv" => drop(table.remove(&key)),
            _ => return Err(corrupt()),
        }
        Ok(())
    }

    /// Apply a record of a journal or checkpoint that is replayed: it is not journaled.
    pub(super) fn replay(&mut self, fields: &[String]) -> Result<()> {
        self.remember(fields)?;
        self.append(&fields[2], &record::line(&fields[0], &fields[1..].iter().map(String::as_str).collect::<Vec<_>>()))
    }

    fn append(&self, table: &str, line: &str) -> Result<()> {
        let path = self.root.join(table);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(io("write", &path))
    }

    /// One transaction: to the journal first, then to the tables.
    pub(super) fn commit(&mut self, records: &[(&str, &[&str])]) -> Result<()> {
        let mut lines = Vec::new();
        for (table, columns) in records {
            let fields: Vec<&str> = ["1", table].into_iter().chain(columns.iter().copied()).collect();
            lines.push((*table, record::line("rv", &fields)));
        }
        if let Some(journal) = &self.journal {
            let mut text: String = lines.iter().map(|(_, line)| line.as_str()).collect();
            text.push_str(&record::line("ex", &[&std::process::id().to_string(), &now().to_string()]));
            if !journal.exists() {
                text = record::note(2, self.sequence(), &self.root.to_string_lossy()) + &text;
            }
            let file = OpenOptions::new().create(true).append(true).open(journal);
            file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(io("write", journal))?;
        }
        for (table, line) in lines {
            let fields = record::parse(&line).ok_or("bad record")?;
            self.remember(&fields)?;
            self.append(table, &line)?;
        }
        Ok(())
    }

    /// Where the journal is.
    pub(super) fn journal(&self) -> Option<&Path> {
        self.journal.as_deref()
    }

    pub(super) fn table(&self, name: &str) -> &Table {
        &self.tables[name]
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &Table)> {
        self.tables.iter().map(|(name, table)| (*name, table))
    }

    /// A counter; 0 if it is not set.
    #[must_use]
    pub fn counter(&self, name: &str) -> String {
        self.table("db.counters").get(&vec![name.to_owned()]).map_or("0".into(), |columns| columns[1].clone())
    }

    /// The journal's sequence number.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.counter("journal").parse().unwrap_or(0)
    }

    /// A configurable.
    #[must_use]
    pub fn config(&self, name: &str) -> Option<String> {
        self.table("db.config").values().find(|columns| columns[2] == name).map(|columns| columns[3].clone())
    }

    pub(super) fn fault(&self) -> String {
        std::fs::read_to_string(self.root.join("standin-fault")).unwrap_or_default().trim().to_owned()
    }

    pub(super) fn option(&self, name: &str) -> bool {
        std::fs::read_to_string(self.root.join("standin-options")).unwrap_or_default().lines().any(|line| line == name)
    }
}
