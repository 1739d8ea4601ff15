//! Restoring metadata into an empty root: the checkpoint is replayed, then the journals since.

use bkhost_sdk::{Archived, Error, ErrorCode, Result, exec, info, path, warn};

use crate::State;
use crate::config::Config;
use crate::files::{Kind, extract};
use crate::server::parse_counters;

/// Where the archived files are while they are replayed.
const WORK: &str = "/target/bkhost-restore";

/// Restore into `/target`, which is empty. Nothing is left there by a failure.
pub(crate) fn restore(config: &Config, state: &State, archived: &[Archived]) -> Result<()> {
    if state.planned {
        return Err(Error::not_found("this was a dry run: there is nothing to restore"));
    }
    for file in state.chain() {
        if !archived.iter().any(|archived| archived.name == file.name) {
            return Err(Error::not_found(format!("{} is not in the set", file.name)));
        }
    }
    if exec::run("target-writable", &[("target", path::TARGET)])?.status != 0 {
        return Err(Error::new(ErrorCode::Denied, "p4d may not write into the target").hint(
            "make the directory first, owned by the user that [[part]] run-as names: install -d -o perforce DIR",
        ));
    }
    let result = replay(config, state, archived);
    if let Err(error) = std::fs::remove_dir_all(path::local(WORK))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warn!("{WORK} could not be removed: {error}");
    }
    if result.is_err() {
        empty();
    }
    result
}

fn replay(config: &Config, state: &State, archived: &[Archived]) -> Result<()> {
    for (n, file) in state.chain().enumerate() {
        let place = extract(file, &format!("{WORK}/{n}"))?;
        info!("replaying {}", file.name);
        let command = exec::command("replay").slot("target", path::TARGET).slot_if("case", config.case());
        let output = command.slot_if("compress", file.zipped().then_some("z")).slot("file", &place).run()?;
        output.ok().map_err(|error| error.context(format!("p4d -jr {}", file.name)))?;
        // The next one needs the space.
        std::fs::remove_file(path::local(&place)).map_err(|error| Error::io(&place, &error))?;
    }
    let replayed = exec::command("replayed").slot("target", path::TARGET).slot_if("case", config.case()).run()?.ok()?;
    let journal = parse_counters(&replayed.stdout).map(|counters| counters.journal);
    if journal != Some(state.sequence) {
        return Err(Error::corrupt(format!(
            "the restored metadata ends at journal {}, and has to end at {}",
            journal.map_or("?".to_owned(), |number| number.to_string()),
            state.sequence
        )));
    }
    let verify = exec::command("verify").slot("target", path::TARGET).slot_if("case", config.case());
    verify.run()?.ok().map_err(|error| error.code(ErrorCode::Corrupt).context("p4d -xv of the restored database"))?;
    let server = state.files.iter().filter(|file| file.kind == Kind::Server);
    for (n, file) in server.enumerate().filter(|(_, file)| archived.iter().any(|a| a.name == file.name)) {
        let place = extract(file, &format!("{WORK}/server-{n}"))?;
        let to = path::local(&format!("{}/{}", path::TARGET, file.name));
        std::fs::rename(path::local(&place), to).map_err(|error| Error::io(&file.name, &error))?;
    }
    Ok(())
}

/// The target was empty: all that is in it, this restore made.
fn empty() {
    let Ok(entries) = std::fs::read_dir(path::local(path::TARGET)) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed {
            warn!("{} could not be removed: {error}", path.display());
        }
    }
}
