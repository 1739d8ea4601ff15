//! Restore into a new database.
//!
//! It is filled under a name of its own and renamed when it is complete: the name that was asked for never shows half a
//! database, and what a failure removes is never anything but what this call made.

use std::time::Duration;

use bkhost_sdk::{Archived, Error, ErrorCode, Result, archive, exec, info, path, retry, staging, warn};
use serde::Deserialize;

use crate::answers::{self, Facts, Major, tool_version};
use crate::check::explain;
use crate::{ANSWER, Config, State};

/// How long to wait until the server has noticed that a client has gone.
const GONE: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
struct Server {
    version_num: u32,
    databases: Vec<String>,
    roles: Vec<String>,
    may_create: bool,
}

pub(crate) fn restore(config: &Config, state: &State, archived: &[Archived], to: Option<&str>) -> Result<()> {
    let target = to.unwrap_or(&config.database);
    let facts = state.facts.as_ref().ok_or_else(|| {
        Error::corrupt(format!("the set does not say what database {} was like", state.database))
            .hint("the run that made it has not finished")
    })?;
    if !archived.iter().any(|archived| archived.name.is_empty()) {
        return Err(Error::not_found(format!("the set holds no dump of database {}", state.database)));
    }
    let server: Server = answers::parse(exec::run("server", &[])?.ok().map_err(explain)?.first_line())?;
    may_restore(&server, facts, state, target)?;
    let owner = owner(config, &server, facts);

    let temporary = temporary(&state.label);
    let directory = staging::at(&temporary);
    staging::remove(&directory)?;
    std::fs::create_dir_all(path::local(&directory))
        .map_err(|error| Error::io(format!("creating {directory}"), &error))?;
    let outcome = archive::extract("", &directory).and_then(|_| make(config, facts, owner, &temporary, &directory, to));
    if let Err(error) = staging::remove(&directory) {
        warn!("{}", error.message);
    }
    outcome?;
    info!("database {target} was restored");
    Ok(())
}

fn may_restore(server: &Server, facts: &Facts, state: &State, target: &str) -> Result<()> {
    if target.len() > 63 {
        return Err(Error::invalid_config(format!("'{target}' is longer than the 63 bytes of a database's name")));
    }
    if server.databases.iter().any(|name| name == target) {
        return Err(Error::already_exists(format!("database {target} exists"))
            .hint("restore into a new name with --to, or rename the existing one first"));
    }
    if !server.may_create {
        return Err(Error::new(ErrorCode::Denied, "the role may not create a database")
            .hint("ALTER ROLE … CREATEDB, or set [part.config] username to one that may"));
    }
    let (theirs, ours) = (Major::of_number(server.version_num), Major::of_number(facts.version_num));
    if theirs < ours {
        warn!("the server is PostgreSQL {theirs}, the dump is of {ours}: it may hold what this server does not know");
    }
    let written = state.dump.as_ref().and_then(|dump| Major::of_text(&dump.pg_dump));
    let output = exec::run("pg-restore-version", &[])?.ok()?;
    let reads = tool_version(&output.stdout).and_then(Major::of_text);
    match (written, reads) {
        (Some(written), Some(reads)) if reads < written => {
            Err(Error::unsupported(format!("pg_restore {reads} cannot read a dump that pg_dump {written} wrote"))
                .hint(format!("install the client programs of PostgreSQL {written}")))
        }
        _ => Ok(()),
    }
}

/// The original's owner, if it is to own the new one and exists here.
fn owner<'a>(config: &Config, server: &Server, facts: &'a Facts) -> Option<&'a str> {
    let exists = server.roles.contains(&facts.owner);
    if config.owners && !exists {
        warn!("role {} does not exist here: the database will belong to the role that restores it", facts.owner);
    }
    (config.owners && exists).then_some(facts.owner.as_str())
}

/// The name while it is filled: of our own, and as unique as the run.
fn temporary(label: &str) -> String {
    let unique: String = label.chars().rev().filter(char::is_ascii_alphanumeric).take(20).collect();
    format!("bkhost-restore-{}{:x}", unique.chars().rev().collect::<String>().to_ascii_lowercase(), bkhost_sdk::now())
        .chars()
        .take(47)
        .collect()
}

fn make(
    config: &Config,
    facts: &Facts,
    owner: Option<&str>,
    temporary: &str,
    directory: &str,
    to: Option<&str>,
) -> Result<()> {
    create_command(config, facts, owner, temporary).run()?.ok().map_err(|error| {
        if error
            .detail_of("stderr")
            .is_some_and(|stderr| stderr.contains("invalid locale name") || stderr.contains("locale"))
        {
            error.hint(format!("the original's locale is {}: install it on the server's machine", facts.collate()))
        } else {
            explain(error)
        }
    })?;
    let outcome = fill(config, temporary, directory).and_then(|()| rename(config, temporary, to));
    if outcome.is_err() {
        let dropped = retry(GONE, in_use, || {
            exec::command("drop")
                .slot("maintenance", &config.maintenance_database)
                .slot("temporary", temporary)
                .run()?
                .ok()
                .map(drop)
        });
        if let Err(error) = dropped {
            warn!("database {temporary} is left of the failed restore: {}", error.message);
        }
    }
    outcome
}

fn create_command(config: &Config, facts: &Facts, owner: Option<&str>, temporary: &str) -> exec::Command {
    let provider = facts.provider();
    let locale_of = |wanted: &str| facts.locale().filter(|_| provider == Some(wanted));
    exec::command("create")
        .slot("maintenance", &config.maintenance_database)
        .slot("encoding", &facts.encoding)
        .slot("collate", facts.collate())
        .slot("ctype", facts.ctype())
        .slot_if("provider", provider)
        .slot_if("icu", locale_of("icu"))
        .slot_if("rules", facts.rules().filter(|_| provider == Some("icu")))
        .slot_if("builtin", locale_of("builtin"))
        .slot_if("owner", owner)
        .slot("temporary", temporary)
}

fn fill(config: &Config, temporary: &str, directory: &str) -> Result<()> {
    let jobs = config.jobs.to_string();
    let command = if config.owners { "restore" } else { "restore-without-owners" };
    exec::run(command, &[("jobs", &jobs), ("temporary", temporary), ("directory", directory)])?.ok().map_err(
        |error| {
            if error.detail_of("stderr").is_some_and(|stderr| stderr.contains("role \"")) {
                error.hint("create the roles first, or set [part.config] owners = false")
            } else {
                error
            }
        },
    )?;
    // Without statistics the database is slow, not wrong.
    let analyzed = exec::run("analyze", &[("jobs", &jobs), ("temporary", temporary)]).and_then(exec::Output::ok);
    if let Err(error) = analyzed {
        warn!("run ANALYZE in the restored database: {}", error.message);
    }
    Ok(())
}

fn rename(config: &Config, temporary: &str, to: Option<&str>) -> Result<()> {
    retry(GONE, in_use, || {
        let command = exec::command("rename").slot("temporary", temporary);
        let command = match to {
            Some(to) => command.slot("new", to),
            None => command.slot("original", &config.database),
        };
        let mut session = command.session()?;
        session.send("rename", &[])?;
        session.end(ANSWER).map(drop)
    })
    .map_err(|error| {
        if error.detail_of("stderr").is_some_and(|stderr| stderr.contains("already exists")) {
            error.code(ErrorCode::AlreadyExists).hint("it was created while the restore ran")
        } else {
            error
        }
    })
}

/// Whether a client that has gone is still counted.
fn in_use(error: &Error) -> bool {
    error.detail_of("stderr").is_some_and(|stderr| stderr.contains("being accessed by other users"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_fits_its_slot() {
        let name = temporary("bkhost-bitbucket-20261121-014200-4f2a9c");
        let rest = name.strip_prefix("bkhost-restore-").unwrap();
        assert!(rest.starts_with("0261121014200") || rest.contains("0142004f2a9c"), "{name}");
        assert!((1..=32).contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
        assert!(temporary("x").len() > "bkhost-restore-".len());
    }
}
