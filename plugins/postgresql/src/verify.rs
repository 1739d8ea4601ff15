//! The dumps of a set, read to their ends by `pg_restore`.

use bkhost_sdk::{Archived, Finding, Result, Snapshot, Verify, archive, exec};

use crate::answers::{self, Listing};
use crate::restore::Place;
use crate::restore::plan::readable;
use crate::{Counted, Database, Format, Postgresql, ROWS, State, dump};

impl Verify for Postgresql {
    fn verify(&mut self, snapshot: &Snapshot, _: &[Archived]) -> Result<Vec<Finding>> {
        let state: State = snapshot.state()?;
        readable(&state)?;
        let place = Place::new("verify", state.format)?;
        let dumps = match state.format {
            Format::Directory => Some(place.extract(dump::DUMPS)?),
            Format::Custom => None,
        };
        let mut findings = Vec::new();
        for database in &state.databases {
            let subject = format!("database {}", database.name);
            findings.push(match read(database, dumps.as_deref())? {
                Ok(listing) => finding(&subject, database, listing),
                Err(why) => Finding::failure(subject, format!("pg_restore cannot read its dump: {why}")),
            });
        }
        if state.rows {
            counted(&place, &state)?.into_iter().for_each(|finding| findings.push(finding));
        }
        Ok(findings)
    }
}

/// Read a dump's table of contents, and all the rest of it. What `pg_restore` says against it is no error of this.
fn read(database: &Database, dumps: Option<&str>) -> Result<std::result::Result<Listing, String>> {
    let run = |id: &str| match dumps {
        Some(dumps) => exec::command(id).slot("directory", format!("{dumps}/{}", database.archive)).run(),
        None => archive::feed(&database.archive, exec::command(id)),
    };
    let contents = run("contents")?;
    if contents.status != 0 {
        return Ok(Err(contents.failure().message));
    }
    let all = run("read")?;
    Ok(if all.status == 0 { Ok(answers::listing(&contents.ok()?.stdout)) } else { Err(all.failure().message) })
}

fn finding(subject: &str, database: &Database, listing: Listing) -> Finding {
    let recorded = database.dump.as_ref().map(|dump| (dump.entries, dump.tables));
    if listing.entries == 0 || recorded.is_some_and(|recorded| recorded != (listing.entries, listing.tables)) {
        let (entries, tables) = recorded.unwrap_or_default();
        return Finding::failure(
            subject,
            format!(
                "its dump has {} entries and {} tables, and had {entries} and {tables} when it was made",
                listing.entries, listing.tables
            ),
        );
    }
    Finding::info(subject, format!("pg_restore reads its dump: {} entries, {} tables", listing.entries, listing.tables))
}

/// What is said of the rows has to be of these databases.
fn counted(place: &Place, state: &State) -> Result<Option<Finding>> {
    let counted = Counted::read(&place.extract(ROWS)?)?;
    let missing = state.databases.iter().find(|d| !counted.databases.iter().any(|counted| counted.name == d.name));
    Ok(missing.map(|database| Finding::failure(ROWS, format!("it says nothing of database {}", database.name))))
}
