//! Names of users and groups.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{ErrorKind, Result, ResultExt as _};

/// The users and groups of this machine, from `/etc/passwd` and `/etc/group`. Names that only a directory service knows
/// are not found: their files are kept by number.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: Table,
    groups: Table,
}

#[derive(Debug, Default)]
struct Table {
    names: HashMap<u32, String>,
    ids: HashMap<String, u32>,
}

impl Owners {
    /// Reads this machine's tables. A table that does not exist is empty.
    pub(crate) fn load() -> Result<Self> {
        Ok(Self { users: Table::load(Path::new("/etc/passwd"))?, groups: Table::load(Path::new("/etc/group"))? })
    }

    pub(crate) fn user(&self, uid: u32) -> Option<&str> {
        self.users.names.get(&uid).map(String::as_str)
    }

    pub(crate) fn group(&self, gid: u32) -> Option<&str> {
        self.groups.names.get(&gid).map(String::as_str)
    }

    pub(crate) fn uid(&self, user: &str) -> Option<u32> {
        self.users.ids.get(user).copied()
    }

    pub(crate) fn gid(&self, group: &str) -> Option<u32> {
        self.groups.ids.get(group).copied()
    }
}

impl Table {
    fn load(path: &Path) -> Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).or_error(ErrorKind::Io, || format!("could not read `{}`", path.display())),
        }
    }

    /// Both tables have name and id as their first and third field. The first line of an id or name counts.
    fn parse(text: &str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            let mut fields = line.split(':');
            let (name, id) = (fields.next().unwrap_or_default(), fields.nth(1).and_then(|id| id.parse::<u32>().ok()));
            if let (false, Some(id)) = (name.is_empty() || name.contains(char::REPLACEMENT_CHARACTER), id) {
                table.names.entry(id).or_insert_with(|| name.to_owned());
                table.ids.entry(name.to_owned()).or_insert(id);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts_and_nonsense_is_skipped() {
        let table = Table::parse("root:x:0:0::/:/bin/sh\ntoor:x:0:0:::\n+::::::\nroot:x:7::::\nbad\nana:x:1000:1:::\n");
        assert_eq!(table.names.get(&0).map(String::as_str), Some("root"));
        assert_eq!(table.ids.get("toor"), Some(&0));
        assert_eq!(table.ids.get("root"), Some(&0));
        assert_eq!(table.names.len(), 2 + 1);
    }
}
