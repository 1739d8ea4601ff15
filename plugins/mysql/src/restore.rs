//! Restore into databases that this creates.
//!
//! A database cannot be renamed. So it gets its name at once, together with a table that says that it is not complete;
//! the table goes when the database is complete. The one statement here that drops a database asks for that table first.

use bkhost_sdk::{Archived, ArchivedForm, Error, ErrorCode, Result, archive, exec, info, unfinished, warn};

use crate::check::{MARKER, explain};
use crate::dump::STREAM;
use crate::server::{Server, connection};
use crate::version::{self, Version};
use crate::{Config, Database, State};

/// One database to make.
struct Target<'a> {
    from: &'a Database,
    name: &'a str,
    /// Which lines and slots of the manifest name it: `new` for the operator's target, `original` for the configured name.
    slot: &'static str,
}

impl Target<'_> {
    fn line(&self, what: &str) -> String {
        format!("{what}-{}", self.slot)
    }
}

pub(crate) fn restore(config: &Config, state: &State, archived: &[Archived], to: Option<&str>) -> Result<()> {
    if state.bytes.is_none() || !archived.iter().any(|a| a.name == STREAM && a.form == ArchivedForm::Stream) {
        return Err(Error::not_found("the set holds no dump").hint("the run that made it has not finished"));
    }
    let targets = targets(state, to)?;
    let client = version::ask("client-version")?;
    let mut server = Server::open(config, client.flavor, "maker")?;
    may_restore(state, &client, &mut server, &targets)?;

    let label = archive::label()?;
    let mut made = Vec::new();
    let outcome = make(config, state, &mut server, &client, (&targets, &label), &mut made);
    if outcome.is_err() {
        // What failed may have been this very session.
        drop(server);
        unfinished::forget_complete()?;
        drop_made(config, &client, &label, &made);
    }
    outcome?;
    for target in &targets {
        info!("database {} was restored as {}", target.from.name, target.name);
    }
    Ok(())
}

fn targets<'a>(state: &'a State, to: Option<&'a str>) -> Result<Vec<Target<'a>>> {
    match (to, state.databases.as_slice()) {
        (Some(to), [database]) => {
            if to.starts_with('-') || to.ends_with(' ') || to.chars().count() > 64 || to.chars().any(char::is_control) {
                return Err(Error::invalid_config(format!(
                    "'{}' cannot be a database's name: at most 64 characters, no '-' at the start, no space at the end",
                    to.escape_debug()
                )));
            }
            Ok(vec![Target { from: database, name: to, slot: "new" }])
        }
        (Some(_), databases) => Err(Error::unsupported(format!(
            "the set holds {} databases in one dump, which names them: they cannot be restored under another name",
            databases.len()
        ))
        .hint("restore without --to, into a server where they do not exist; or make a part for each database")),
        (None, databases) => {
            Ok(databases.iter().map(|from| Target { from, name: from.name.as_str(), slot: "original" }).collect())
        }
    }
}

fn may_restore(state: &State, client: &Version, server: &mut Server, targets: &[Target<'_>]) -> Result<()> {
    if let Some(why) = client.misfit(&server.parsed) {
        return Err(Error::unsupported(format!("mysql is {client}: {why}")));
    }
    if server.flavor != state.flavor {
        return Err(Error::unsupported(format!(
            "the dump is of {}, and the server is {}",
            state.flavor, server.parsed
        ))
        .hint("restore into a server of the same family"));
    }
    let loose = server.variable("lower_case_table_names") != "0";
    let schemas = server.schemas()?;
    for target in targets {
        let taken = schemas.iter().find(|schema| {
            schema.name == target.name || (loose && schema.name.to_lowercase() == target.name.to_lowercase())
        });
        if let Some(schema) = taken {
            return Err(Error::already_exists(format!("database {} exists", schema.name))
                .hint("restore into a new name with --to, or drop or rename the existing one first"));
        }
    }
    if Version::of_server(&state.server, &state.flavor.to_string())
        .is_some_and(|then| server.parsed.number < then.number)
    {
        warn!(
            "the server is {}, the dump is of {}: it may hold what this server does not know",
            server.parsed, state.server
        );
    }
    let known: Vec<String> = server.rows("grantees", &[])?.into_iter().flatten().collect();
    for definer in &state.definers {
        let quoted = definer.rsplit_once('@').map(|(user, host)| format!("'{user}'@'{host}'"));
        if quoted.is_some_and(|quoted| !known.contains(&quoted)) {
            warn!(
                "user {definer}, as whom a view, routine, trigger or event runs, does not exist here or may not be seen: create it, or what runs as it will fail"
            );
        }
    }
    Ok(())
}

fn make<'a>(
    config: &Config,
    state: &State,
    server: &mut Server,
    client: &Version,
    (targets, label): (&'a [Target<'a>], &str),
    made: &mut Vec<&'a Target<'a>>,
) -> Result<()> {
    for target in targets {
        // Noted first: the answer may be lost. What is not marked as ours is not dropped.
        made.push(target);
        let slots = [
            (target.slot, target.name),
            ("label", label),
            ("charset", target.from.charset.as_str()),
            ("collation", target.from.collation.as_str()),
        ];
        server.rows(&target.line("create"), &slots).map_err(|error| created(error, state))?;
    }
    let load = connection(config, client.flavor, exec::command("load"));
    let load = match targets {
        [target] => load.slot(target.slot, target.name),
        // The dump says which database follows.
        _ => load,
    };
    archive::feed(STREAM, load)?.ok().map_err(loaded)?;
    for target in targets {
        let mut tables = server.tables_by(&target.line("tables"), target.slot, target.name)?;
        tables.retain(|table| table.name != MARKER);
        if tables.len() < target.from.tables {
            return Err(Error::corrupt(format!(
                "database {} has {} tables and views after it was loaded, and had {}",
                target.name,
                tables.len(),
                target.from.tables
            )));
        }
    }
    unfinished::note_complete(label)?;
    for target in targets {
        server.rows(&target.line("complete"), &[(target.slot, target.name)])?;
    }
    Ok(())
}

/// Drop the databases that the restore of this label has made, unless all of them were complete. Whether they were.
pub(crate) fn abandon(config: &Config, label: &str, to: Option<&str>) -> Result<bool> {
    let targets: Vec<(&str, &str)> = match to {
        Some(to) => vec![("new", to)],
        None => config.databases.iter().map(|name| ("original", name.as_str())).collect(),
    };
    let complete = unfinished::is_complete(label)?;
    let mut server = Server::open(config, version::ask("client-version")?.flavor, "maker")?;
    for (slot, name) in targets {
        // What has no table of this restore is left alone.
        match complete {
            true => server.rows(&format!("complete-{slot}"), &[(slot, name)])?,
            false => server.rows(&format!("drop-{slot}"), &[(slot, name), ("label", label)])?,
        };
    }
    Ok(complete)
}

/// Drop what a failed restore has made, on a connection of its own.
fn drop_made(config: &Config, client: &Version, label: &str, made: &[&Target<'_>]) {
    if made.is_empty() {
        return;
    }
    let dropped = Server::open(config, client.flavor, "maker").and_then(|mut server| {
        for target in made {
            server.rows(&target.line("drop"), &[(target.slot, target.name), ("label", label)])?;
        }
        Ok(())
    });
    if let Err(error) = dropped {
        let names: Vec<_> = made.iter().map(|target| target.name).collect();
        warn!(
            "of the failed restore may be left, with a table {MARKER} in each: {}: {}",
            names.join(", "),
            error.message
        );
    }
}

fn created(error: Error, state: &State) -> Error {
    let error = explain(error);
    let says = |text: &str| error.detail_of("stderr").is_some_and(|stderr| stderr.contains(text));
    if says("ERROR 1007") {
        error.code(ErrorCode::AlreadyExists).hint("it was created while the restore began, or is hidden from the user")
    } else if says("ERROR 1115") || says("ERROR 1273") {
        error.hint(format!("the dump is of {}: this server does not know its character set or collation", state.server))
    } else {
        error
    }
}

fn loaded(error: Error) -> Error {
    let error = explain(error);
    let says = |text: &str| error.detail_of("stderr").is_some_and(|stderr| stderr.contains(text));
    if says("ERROR 1153") || says("ERROR 2006") || says("ERROR 2013") {
        error.hint(
            "a row is larger than the server's max_allowed_packet, or the server has ended: raise it, look at its log",
        )
    } else if says("SET USER") || says("SUPER") || says("SET_USER_ID") || says("SET_ANY_DEFINER") {
        error.hint("objects that run as other users need a right to be created: SET USER (MariaDB), SET_USER_ID or SET_ANY_DEFINER (MySQL)")
    } else if says("ERROR 1115") || says("ERROR 1273") {
        error.hint(
            "the server does not know a character set or collation of the dump: it is older, or of the other family",
        )
    } else {
        error
    }
}
