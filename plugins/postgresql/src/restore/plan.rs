//! What is restored as what, and whether that can be.

use bkhost_sdk::{Error, ErrorCode, Result, exec, warn};
use serde::Deserialize;

use crate::answers::{self, Facts, Major};
use crate::check::{explain, version};
use crate::{Config, Database, State, names};

/// What the server says of itself.
#[derive(Debug, Deserialize)]
struct Server {
    version_num: u32,
    databases: Vec<String>,
    roles: Vec<String>,
    tablespaces: Vec<String>,
    may_create: bool,
    may_create_roles: bool,
}

impl Server {
    fn ask() -> Result<Self> {
        answers::parse(exec::run("server", &[])?.ok().map_err(explain)?.first_line())
    }
}

/// The databases that the restore of this label has made and not given their names.
pub(super) fn unnamed(label: &str) -> Result<Vec<String>> {
    let mut databases = Server::ask()?.databases;
    databases.retain(|name| name.starts_with(&names::temporaries(label)));
    Ok(databases)
}

/// What the directory in the staging area is called into which the restore of this label extracts.
pub(super) fn files(label: &str) -> String {
    format!("{}files", names::temporaries(label))
}

/// One database to make.
pub(super) struct Target<'a> {
    pub(super) from: &'a Database,
    pub(super) facts: &'a Facts,
    /// Its name once it is complete.
    pub(super) name: String,
    /// That name comes from the operator's `--to`, not from the configuration.
    pub(super) new: bool,
    /// Its name until then.
    pub(super) temporary: String,
    /// Who is to own it, if not the role that restores.
    pub(super) owner: Option<&'a str>,
}

/// What a restore makes.
pub(super) struct Plan<'a> {
    pub(super) targets: Vec<Target<'a>>,
    server: Server,
    /// Where it extracts.
    pub(super) files: String,
}

impl<'a> Plan<'a> {
    /// Decide what becomes what. Asks the server what there is, and changes nothing.
    pub(super) fn new(config: &Config, state: &'a State, to: Option<&str>, label: &str) -> Result<Self> {
        let chosen = chosen(config.databases(), &state.databases)?;
        let server = Server::ask()?;
        let mut targets = Vec::new();
        for (n, (name, from)) in chosen.iter().enumerate() {
            let facts = from.facts.as_ref().filter(|_| state.pg_dump.is_some()).ok_or_else(|| {
                Error::corrupt(format!("the set does not say what database {} was like", from.name))
                    .hint("the run that made it has not finished")
            })?;
            targets.push(Target {
                from,
                facts,
                name: target_name(name, chosen.len(), to)?,
                new: to.is_some(),
                temporary: names::temporary(label, n),
                owner: owner(config, &server, facts),
            });
        }
        Ok(Self { targets, server, files: files(label) })
    }

    /// Whether it can be done.
    pub(super) fn may(&self, config: &Config, state: &State) -> Result<()> {
        let server = &self.server;
        for target in &self.targets {
            if server.databases.contains(&target.name) {
                return Err(Error::already_exists(format!("database {} exists", target.name))
                    .hint("restore into a new name with --to, or rename the existing one first"));
            }
        }
        if !server.may_create {
            return Err(Error::new(ErrorCode::Denied, "the role may not create a database")
                .hint("ALTER ROLE … CREATEDB, or set [part.config] username to one that may"));
        }
        if config.restore_globals && !server.may_create_roles {
            return Err(Error::new(ErrorCode::Denied, "the role may not create roles")
                .hint("restore as a superuser or a role with CREATEROLE, or set restore-globals = false"));
        }
        if config.tablespaces {
            self.tablespaces()?;
        }
        let theirs = Major::of_number(server.version_num);
        if let Some(ours) = self.targets.iter().map(|target| Major::of_number(target.facts.version_num)).next()
            && theirs < ours
        {
            warn!(
                "the server is PostgreSQL {theirs}, the dump is of {ours}: it may hold what this server does not know"
            );
        }
        let reads = readable(state)?;
        if reads.is_some_and(|reads| !reads.restores_into(theirs)) {
            let reads = reads.map(|reads| reads.to_string()).unwrap_or_default();
            return Err(Error::unsupported(format!("pg_restore {reads} cannot restore into PostgreSQL {theirs}")).hint(
                "since version 17 it begins with a setting that no older server knows: restore into PostgreSQL 17 or newer, or by a pg_restore of 16 if pg_dump was that old",
            ));
        }
        Ok(())
    }

    fn tablespaces(&self) -> Result<()> {
        for target in &self.targets {
            let missing: Vec<_> =
                target.facts.tablespaces.iter().filter(|name| !self.server.tablespaces.contains(name)).collect();
            if let Some(first) = missing.first() {
                return Err(Error::not_found(format!(
                    "database {} has tables or indexes in tablespace {first}, which the server does not have",
                    target.from.name
                ))
                .hint("CREATE TABLESPACE … LOCATION … (globals.sql in the archive has the statement), or set [part.config] tablespaces = false"));
            }
        }
        Ok(())
    }
}

/// Whether this `pg_restore` reads what the set's `pg_dump` wrote. Returns its version.
pub(crate) fn readable(state: &State) -> Result<Option<Major>> {
    let written = state.pg_dump.as_deref().and_then(Major::of_text);
    let reads = Major::of_text(&version("pg-restore-version")?);
    match (written, reads) {
        (Some(written), Some(reads)) if reads < written => {
            Err(Error::unsupported(format!("pg_restore {reads} cannot read a dump that pg_dump {written} wrote"))
                .hint(format!("install the client programs of PostgreSQL {written}")))
        }
        _ => Ok(reads),
    }
}

/// The databases of the set that are to be restored, each with the name that the configuration has for it: those that it
/// names now. One alone may have another name now.
fn chosen<'a>(configured: &[String], databases: &'a [Database]) -> Result<Vec<(String, &'a Database)>> {
    if let ([name], [database]) = (configured, databases) {
        return Ok(vec![(name.clone(), database)]);
    }
    configured
        .iter()
        .map(|name| match databases.iter().find(|database| database.name == *name) {
            Some(database) => Ok((name.clone(), database)),
            None => {
                let there: Vec<_> = databases.iter().map(|database| database.name.as_str()).collect();
                Err(Error::not_found(format!("the set holds no database {name}"))
                    .hint(format!("it holds {}: name what to restore in [part.config] database", there.join(", "))))
            }
        })
        .collect()
}

/// What a database is called once it is restored: as it was configured; as `--to` says; or, if there are several, what
/// `--to` says followed by that.
fn target_name(configured: &str, count: usize, to: Option<&str>) -> Result<String> {
    let name = match to {
        None => configured.to_owned(),
        Some(to) if count == 1 => to.to_owned(),
        Some(to) => format!("{to}{configured}"),
    };
    if name.len() > 63 {
        return Err(Error::invalid_config(format!("'{name}' is longer than the 63 bytes of a database's name")));
    }
    if name.starts_with('-') || name.chars().any(char::is_control) {
        return Err(Error::invalid_config(format!(
            "'{}' starts with '-' or holds control characters",
            name.escape_debug()
        )));
    }
    Ok(name)
}

/// The original's owner, if it is to own the new one and is there, or will be.
fn owner<'a>(config: &Config, server: &Server, facts: &'a Facts) -> Option<&'a str> {
    let exists = server.roles.contains(&facts.owner) || config.restore_globals;
    if config.owners && !exists {
        warn!("role {} does not exist here: the database will belong to the role that restores it", facts.owner);
    }
    (config.owners && exists).then_some(facts.owner.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_what_is_restored() {
        let name = |count, to: Option<&str>| target_name("app", count, to);
        assert_eq!(name(1, None).unwrap(), "app");
        assert_eq!(name(2, None).unwrap(), "app");
        assert_eq!(name(1, Some("new")).unwrap(), "new");
        assert_eq!(name(2, Some("new-")).unwrap(), "new-app");
        let long = "x".repeat(61);
        for bad in ["-x", "a\nb", &format!("{long}yyy")] {
            assert!(name(1, Some(bad)).is_err(), "{bad}");
        }
        assert!(name(2, Some(&long)).is_err());
    }
}
