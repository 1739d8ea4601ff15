//! Restore into new databases.
//!
//! Each is filled under a name of its own, and all are renamed together when they are complete: the names that were asked
//! for never show half a database, and what a failure removes is never anything but what this call made.

pub(crate) mod plan;

use std::time::Duration;

use bkhost_sdk::{
    Archived, ArchivedForm, Error, ErrorCode, Result, archive, exec, info, path, retry, staging, unfinished, warn,
};

use crate::answers::Facts;
use crate::check::explain;
use crate::session::ANSWER;
use crate::{Config, Format, State, dump, globals};
use plan::{Plan, Target};

/// How long to wait until the server has noticed that a client has gone.
const GONE: Duration = Duration::from_secs(30);

pub(crate) fn restore(config: &Config, state: &State, archived: &[Archived], to: Option<&str>) -> Result<()> {
    let label = archive::label()?;
    let plan = Plan::new(config, state, to, &label)?;
    for target in &plan.targets {
        let (name, form) = match state.format {
            Format::Directory => (dump::DUMPS, ArchivedForm::Tree),
            Format::Custom => (target.from.archive.as_str(), ArchivedForm::Stream),
        };
        if !archived.iter().any(|archived| archived.name == name && archived.form == form) {
            return Err(Error::not_found(format!("the set holds no dump of database {}", target.from.name)));
        }
    }
    if config.restore_globals && state.role_passwords.is_none() {
        return Err(Error::not_found("the set holds no roles").hint("restore-globals needs a set made with globals on"));
    }
    plan.may(config, state)?;

    let place = Place::new(&plan.files, state.format)?;
    let roles = if config.restore_globals { place.roles()? } else { globals::Roles::default() };
    // Nothing was changed so far.
    let made = globals::Made::create(&roles, exec::command("maker"), &label)?;
    let mut created = Vec::new();
    let outcome = make(config, state, &plan, &place, &mut created)
        .and_then(|()| unfinished::note_complete(&label))
        .and_then(|()| rename(&plan.targets))
        .and_then(|()| made.complete());
    if outcome.is_err() {
        unfinished::forget_complete()?;
        for temporary in &created {
            if let Err(error) = remove(config, temporary) {
                warn!("database {temporary} is left of the failed restore: {}", error.message);
            }
        }
        made.drop();
    }
    outcome?;
    for target in &plan.targets {
        info!("database {} was restored as {}", target.from.name, target.name);
    }
    Ok(())
}

/// A directory of this restore in the staging area. It goes with it.
pub(crate) struct Place(String);

impl Place {
    /// With dumps in it, it has to belong to whom the programs run as.
    pub(crate) fn new(name: &str, format: Format) -> Result<Self> {
        let place = Self(staging::at(name));
        staging::remove(&place.0)?;
        match format {
            Format::Directory => exec::run("place", &[("directory", &place.0)])?.ok().map(drop)?,
            Format::Custom => place.make(&place.0)?,
        }
        Ok(place)
    }

    fn make(&self, directory: &str) -> Result<()> {
        std::fs::create_dir_all(path::local(directory))
            .map_err(|error| Error::io(format!("creating {directory}"), &error))
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// Write an archived tree or file into a directory of its own here.
    pub(crate) fn extract(&self, name: &str) -> Result<String> {
        let directory = self.at(name);
        self.make(&directory)?;
        archive::extract(name, &directory)?;
        Ok(directory)
    }

    pub(crate) fn roles(&self) -> Result<globals::Roles> {
        globals::read(&format!("{}/{}", self.extract(globals::JSON)?, globals::JSON))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = staging::remove(&self.0) {
            warn!("{}", error.message);
        }
    }
}

/// Create and fill the databases under names of their own, which are noted in `created` before there is anything.
fn make<'a>(
    config: &Config,
    state: &State,
    plan: &'a Plan<'_>,
    place: &Place,
    created: &mut Vec<&'a str>,
) -> Result<()> {
    let dumps = match state.format {
        Format::Directory => Some(place.extract(dump::DUMPS)?),
        Format::Custom => None,
    };
    for target in &plan.targets {
        created.push(&target.temporary);
        create(config, target).map_err(|error| created_where(error, target.facts))?;
        fill(config, target, dumps.as_deref())?;
    }
    Ok(())
}

fn create(config: &Config, target: &Target<'_>) -> Result<()> {
    let command = exec::command("create").slot("maintenance", &config.maintenance_database);
    like(command, target.facts)
        .slot_if("owner", target.owner)
        .slot("temporary", &target.temporary)
        .run()?
        .ok()
        .map(drop)
}

/// The command that creates a database, with the encoding and the locale of the original.
pub(crate) fn like(command: exec::Command, facts: &Facts) -> exec::Command {
    let provider = facts.provider();
    let locale_of = |wanted: &str| facts.locale().filter(|_| provider == Some(wanted));
    command
        .slot("encoding", &facts.encoding)
        .slot("collate", facts.collate())
        .slot("ctype", facts.ctype())
        .slot_if("provider", provider)
        .slot_if("icu", locale_of("icu"))
        .slot_if("rules", facts.rules().filter(|_| provider == Some("icu")))
        .slot_if("builtin", locale_of("builtin"))
}

pub(crate) fn created_where(error: Error, facts: &Facts) -> Error {
    if error.detail_of("stderr").is_some_and(|stderr| stderr.contains("locale")) {
        error.hint(format!("the original's locale is {}: install it on the server's machine", facts.collate()))
    } else {
        explain(error)
    }
}

fn fill(config: &Config, target: &Target<'_>, dumps: Option<&str>) -> Result<()> {
    let jobs = config.jobs.to_string();
    let command = exec::command("restore")
        .slot("temporary", &target.temporary)
        .slot_if("no-owner", (!config.owners).then_some("no-owner"))
        .slot_if("no-privileges", (!config.owners).then_some("no-privileges"))
        .slot_if("no-tablespaces", (!config.tablespaces).then_some("no-tablespaces"));
    let output = match dumps {
        Some(dumps) => {
            command.slot("jobs", &jobs).slot("directory", format!("{dumps}/{}", target.from.archive)).run()?
        }
        None => archive::feed(&target.from.archive, command)?,
    };
    output.ok().map_err(|error| {
        if error.detail_of("stderr").is_some_and(|stderr| stderr.contains("role \"")) {
            error.hint("create the roles first (restore-globals = true), or set [part.config] owners = false")
        } else {
            error
        }
    })?;
    // Without statistics the database is slow, not wrong.
    let analyzed =
        exec::run("analyze", &[("jobs", &jobs), ("temporary", &target.temporary)]).and_then(exec::Output::ok);
    if let Err(error) = analyzed {
        warn!("run ANALYZE in database {}: {}", target.name, error.message);
    }
    Ok(())
}

/// Give the databases their names: all, or none of them.
fn rename(targets: &[Target<'_>]) -> Result<()> {
    retry(GONE, in_use, || {
        let mut session = exec::command("maker").session()?;
        session.send("begin", &[])?;
        for target in targets {
            let (line, slot) = if target.new { ("rename-new", "new") } else { ("rename-original", "original") };
            session.send(line, &[("temporary", &target.temporary), (slot, &target.name)])?;
        }
        session.send("commit", &[])?;
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

/// Drop what the restore of this label has made, unless the databases have their names. Whether they do.
pub(crate) fn abandon(config: &Config, label: &str) -> Result<bool> {
    staging::remove(&staging::at(&plan::files(label)))?;
    let unnamed = plan::unnamed(label)?;
    let complete = unfinished::is_complete(label)? && unnamed.is_empty();
    unnamed.iter().try_for_each(|temporary| remove(config, temporary))?;
    if !complete {
        globals::abandon(label)?;
    }
    Ok(complete)
}

/// Drop a database that has no name but that of its restore.
fn remove(config: &Config, temporary: &str) -> Result<()> {
    retry(GONE, in_use, || {
        exec::command("drop")
            .slot("maintenance", &config.maintenance_database)
            .slot("temporary", temporary)
            .run()?
            .ok()
            .map(drop)
    })
}

/// Whether a client that has gone is still counted.
fn in_use(error: &Error) -> bool {
    error.detail_of("stderr").is_some_and(|stderr| stderr.contains("being accessed by other users"))
}
