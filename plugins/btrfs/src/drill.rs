//! Rehearsing a restore: into a subvolume that is made for it in the directory that the operator named, and deleted again.

use bkhost_sdk::{Archived, Error, Finding, Result, config, path};

use crate::config::Config;
use crate::mark::Mark;
use crate::names::{last_component, partial};
use crate::own::destroy;
use crate::show::{nested, show};
use crate::{State, place};

/// What takes the place of a run in the mark of what a rehearsal makes.
const RUN: &str = "drill";
/// What takes the place of a restore's label.
const LABEL: &str = "bkhost-drill";

fn name() -> String {
    format!("bkhost-drill-{}-{}", config::instance(), config::part())
}

/// As the manifest's `restore.rehearsal` has it: nothing else may be restored into.
fn scratch(config: &Config) -> Option<String> {
    config.drill_directory.as_ref().map(|directory| format!("{directory}/{}", name()))
}

fn mark() -> String {
    format!("/source/drill/{}.json", name())
}

fn unsupported() -> Error {
    Error::unsupported("this part names no directory to rehearse in")
        .hint("[part.config] drill-directory = \"/mnt/pool/scratch\", a directory on a btrfs")
}

/// Restore into it, and delete it.
pub(crate) fn rehearse(config: &Config, state: &State, archived: &[Archived]) -> Result<Vec<Finding>> {
    let scratch = scratch(config).ok_or_else(unsupported)?;
    for path in [scratch.clone(), partial(&scratch, LABEL)] {
        if show("drill-show", "target", &path)? != crate::show::Found::Absent {
            return Err(Error::conflict(format!("{path} exists, and was not made by a drill of this part"))
                .hint("rename or remove it, or name another drill-directory"));
        }
    }
    Mark::new(RUN, bkhost_sdk::now(), Vec::new()).write(&mark(), true)?;
    let outcome = place::into(state, archived, &scratch, LABEL);
    let cleared = clear(config);
    outcome?;
    cleared?;
    let how = if state.has_streams() { "received, each with the identity of the snapshot sent" } else { "restored" };
    Ok(vec![Finding::info("btrfs", format!("{} subvolumes {how}", state.subvolumes.len()))])
}

/// Delete what a rehearsal of this part has made, and nothing else.
pub(crate) fn clear(config: &Config) -> Result<()> {
    let Some(scratch) = scratch(config) else { return Ok(()) };
    // Without the directory there is nothing in it.
    if std::fs::metadata(path::local("/source/drill")).is_err() {
        return Ok(());
    }
    if Mark::read(&mark())?.is_none_or(|mark| mark.run != RUN) {
        return Ok(());
    }
    for path in [scratch.clone(), partial(&scratch, LABEL)] {
        if show("drill-show", "target", &path)?.subvolume().is_none() {
            continue;
        }
        for inner in nested("drill-nested", "target", &path)? {
            destroy("drill-delete", "target", &format!("{path}/{}", last_component(&inner.path)))?;
        }
        destroy("drill-delete", "target", &path)?;
    }
    Mark::remove(&mark())
}
