//! Checking what was archived: the MD5 of the text of each checkpoint and journal, and p4d's own verification.

use bkhost_sdk::digest::{self, Algorithm};
use bkhost_sdk::{Archived, Error, ErrorCode, Finding, Result, exec, path, staging};

use crate::State;
use crate::config::Config;
use crate::files::{File, Kind, extract, parse_md5};

pub(crate) fn verify(config: &Config, state: &State, archived: &[Archived]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let files = || state.files.iter().filter(|file| matches!(file.kind, Kind::Checkpoint | Kind::Journal));
    for (n, file) in files().enumerate() {
        if !archived.iter().any(|archived| archived.name == file.name) {
            findings.push(Finding::failure(&file.name, "is not in the set"));
            continue;
        }
        let directory = staging::at(&format!("verify/{n}"));
        let place = extract(file, &directory)?;
        findings.push(match whole(config, state, file, &place, &format!("{directory}.md5")) {
            Ok(md5) => Finding::info(&file.name, format!("MD5 {md5}, and p4d -jv is content")),
            // Another code means that the check itself did not work.
            Err(error) if error.code == ErrorCode::Corrupt => Finding::from_error(&file.name, error),
            Err(error) => return Err(error),
        });
        // The next one needs the space.
        staging::remove(&directory)?;
    }
    Ok(findings)
}

/// The MD5 of its text, if that is what was recorded and what its `.md5` says, and p4d finds nothing wrong with it.
fn whole(config: &Config, state: &State, file: &File, place: &str, beside: &str) -> Result<String> {
    let md5 = digest::file(place, Algorithm::Md5, file.zipped())?;
    let stem = file.name.trim_end_matches(".gz");
    let sidecar = state.files.iter().find(|other| {
        other.kind == Kind::Md5 && [format!("{stem}.md5"), format!("{}.md5", file.name)].contains(&other.name)
    });
    let says = match sidecar {
        Some(sidecar) => {
            let place = extract(sidecar, beside)?;
            let text =
                std::fs::read_to_string(path::local(&place)).map_err(|error| Error::io(&sidecar.name, &error))?;
            Some(parse_md5(&text).ok_or_else(|| Error::corrupt(format!("{} holds no MD5", sidecar.name)))?)
        }
        None => None,
    };
    for (whose, expected) in [("was recorded", &file.md5), ("is in the .md5", &says)] {
        if let Some(expected) = expected.as_ref().filter(|expected| **expected != md5) {
            return Err(Error::corrupt(format!("the MD5 of its text is {md5}, and {expected} {whose}")));
        }
    }
    let command = exec::command("validate-archived").slot("root", &config.root).slot("file", place);
    let output = command.slot_if("compress", file.zipped().then_some("z")).run()?;
    output.ok().map_err(|error| error.code(ErrorCode::Corrupt).context("p4d -jv"))?;
    Ok(md5)
}
