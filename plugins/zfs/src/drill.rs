//! Rehearsing a restore: into a dataset that is made for it below the one that the operator named, and destroyed again.

use bkhost_sdk::{Archived, Error, Finding, Result, config, exec, warn};

use crate::own::{destroy, mine};
use crate::properties::{self, Properties, absent};
use crate::{Config, State, receive, restore};

/// What takes the place of a run in the properties of what a rehearsal makes.
const RUN: &str = "drill";
/// What takes the place of a restore's label.
const LABEL: &str = "bkhost-drill";

/// The dataset that holds everything of a rehearsal.
fn scratch(config: &Config) -> Option<String> {
    let parent = config.drill_dataset.as_ref()?;
    Some(format!("{parent}/bkhost-drill-{}-{}", config::instance(), config::part()))
}

/// Restore into it, and destroy it.
pub(crate) fn rehearse(config: &Config, state: &State, archived: &[Archived]) -> Result<Vec<Finding>> {
    let scratch = scratch(config).ok_or_else(|| {
        Error::unsupported("this part names no dataset to rehearse in")
            .hint("[part.config] drill-dataset = \"pool/scratch\", a dataset that exists")
    })?;
    make(&scratch)?;
    // As the manifest's `restore.rehearsal` has it: nothing else may be restored into.
    let to = format!("{scratch}/data");
    let outcome = match state.has_streams() {
        true => receive::into(state, archived, &to, LABEL),
        false => restore::into(state, archived, &to, LABEL),
    };
    let cleared = clear(config);
    outcome?;
    cleared?;
    let how = if state.has_streams() { "received, each with the identity of the snapshot sent" } else { "restored" };
    Ok(vec![Finding::info("zfs", format!("{} datasets {how}", state.datasets.len()))])
}

fn make(scratch: &str) -> Result<()> {
    let (instance, part) = (config::instance(), config::part());
    let slots = [("instance", instance.as_str()), ("part", part.as_str()), ("dataset", scratch)];
    exec::run("create-drill", &slots)?.ok().map(drop).map_err(|error| {
        let stderr = error.detail_of("stderr").unwrap_or_default();
        if stderr.contains("parent does not exist") || stderr.contains("no such pool") {
            return error.hint("drill-dataset names a dataset that exists: `zfs create` it once");
        }
        error
    })
}

/// Destroy what a rehearsal of this part has made, and nothing else.
pub(crate) fn clear(config: &Config) -> Result<()> {
    let Some(scratch) = scratch(config) else { return Ok(()) };
    let Some(found) = look(&scratch)? else { return Ok(()) };
    if !mine(&found, RUN) {
        warn!("{scratch} was not made by a drill of this part: left alone");
        return Err(Error::conflict(format!("{scratch} exists, and was not made by a drill of this part"))
            .hint("rename or remove it, or name another drill-dataset"));
    }
    destroy("destroy-drill", "dataset", &scratch)
}

fn look(scratch: &str) -> Result<Option<Properties>> {
    let output = exec::run("drill-own", &[("dataset", scratch)])?;
    if absent(&output) {
        return Ok(None);
    }
    Ok(properties::parse(&output.ok()?.stdout).into_iter().next())
}
