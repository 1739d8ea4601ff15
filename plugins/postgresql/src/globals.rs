//! What belongs to the server and to no database: roles. Archived beside the dumps, restored only where asked.

use std::time::Duration;

use bkhost_sdk::exec::{self, Session};
use bkhost_sdk::{Error, ErrorCode, Result, info, path, warn};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::explain;
use crate::dump;
use crate::session::{ANSWER, Held};
use crate::{Config, Globals, State};

/// What `pg_dumpall` wrote: for people.
pub(crate) const SQL: &str = "globals.sql";
/// The same roles, for `restore-globals`.
pub(crate) const JSON: &str = "globals.json";

/// What the line `mark` answers.
const END: &str = "bkhost:end";

/// `globals.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Roles {
    roles: Vec<Value>,
    members: Vec<Value>,
}

/// Keep the roles as they are now. Returns whether their passwords are in it; none in a dry run.
pub(crate) fn keep(config: &Config, state: &State, session: &mut Held, readable: bool) -> Result<Option<bool>> {
    let passwords = config.globals == Globals::Auto && readable;
    let dumped = exec::command("globals")
        .slot("maintenance", &config.maintenance_database)
        .slot_if("no-role-passwords", (!passwords).then_some("no-role-passwords"))
        .run()?;
    if dumped.planned {
        return Ok(None);
    }
    let sql = dumped.ok()?.stdout;
    let lines = if passwords { "roles" } else { "roles-without-passwords" };
    let roles = Roles { roles: session.all(lines)?, members: session.all("members")? };
    let json = serde_json::to_string(&roles).map_err(|error| Error::other(format!("writing {JSON}: {error}")))?;
    dump::keep(&state.label, SQL, &sql)?;
    dump::keep(&state.label, JSON, &json)?;
    Ok(Some(passwords))
}

/// The roles of a set that was extracted here.
pub(crate) fn read(file: &str) -> Result<Roles> {
    let text =
        std::fs::read_to_string(path::local(file)).map_err(|error| Error::io(format!("reading {file}"), &error))?;
    serde_json::from_str(&text).map_err(|error| Error::corrupt(format!("{JSON} of the set cannot be read: {error}")))
}

/// Roles that a restore has made. They go with it if it fails.
#[derive(Debug, Default)]
pub(crate) struct Made {
    roles: Vec<String>,
    /// The label of the restore, which is in their comments.
    label: String,
}

impl Made {
    /// Create the roles that are missing, in one transaction.
    pub(crate) fn create(roles: &Roles, maker: exec::Command, label: &str) -> Result<Self> {
        let mut made = Self { roles: Vec::new(), label: label.to_owned() };
        if roles.roles.is_empty() {
            return Ok(made);
        }
        let mut session = maker.session()?;
        session.send("begin", &[])?;
        for role in &roles.roles {
            let text = role.to_string();
            for name in answers(&mut session, "role", &[("role", &text), ("label", label)]).map_err(may)? {
                if let Ok(name) = serde_json::from_str::<String>(&name) {
                    info!("role {name} was created");
                    made.roles.push(text.clone());
                }
            }
        }
        for member in &roles.members {
            answers(&mut session, "member", &[("role", &member.to_string()), ("label", label)]).map_err(may)?;
        }
        session.send("commit", &[])?;
        session.end(ANSWER).map_err(may)?;
        Ok(made)
    }

    /// All is complete: they stay.
    pub(crate) fn complete(&self) -> Result<()> {
        self.each("complete-role")
    }

    /// All has failed: they go.
    pub(crate) fn drop(&self) {
        if let Err(error) = self.each("drop-role") {
            warn!("roles are left of the failed restore, with a comment that says so: {}", error.message);
        }
    }

    fn each(&self, line: &str) -> Result<()> {
        if self.roles.is_empty() {
            return Ok(());
        }
        let mut session = exec::command("maker").session()?;
        session.send("begin", &[])?;
        for role in &self.roles {
            answers(&mut session, line, &[("role", role), ("label", &self.label)])?;
        }
        session.send("commit", &[])?;
        session.end(ANSWER).map(drop)
    }
}

/// Drop the roles that the restore of this label has made and not completed.
pub(crate) fn abandon(label: &str) -> Result<()> {
    let mut session = exec::command("maker").session()?;
    session.send("begin", &[])?;
    answers(&mut session, "abandon-roles", &[("label", label)])?;
    session.send("commit", &[])?;
    session.end(ANSWER).map(drop)
}

/// Send a line, and read what it answers.
fn answers(session: &mut Session, line: &str, slots: &[(&str, &str)]) -> Result<Vec<String>> {
    session.send(line, slots)?;
    session.send("mark", &[])?;
    let mut answers = Vec::new();
    loop {
        let answer = session.read_line(Duration::from_secs(60))?;
        if answer == END {
            return Ok(answers);
        }
        answers.push(answer);
    }
}

fn may(error: Error) -> Error {
    let error = explain(error);
    if error.code == ErrorCode::Denied {
        return error
            .hint("roles are created by a superuser, or by one with CREATEROLE: or set restore-globals = false");
    }
    error
}
