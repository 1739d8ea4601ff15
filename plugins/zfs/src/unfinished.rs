//! What a restore that did not come to its end has left.
//!
//! What is filled from files carries a property that is set in the call that makes it; what is received from streams is in a
//! name that only that restore has.

use bkhost_sdk::{Result, config, exec, path};

use crate::names::partial;
use crate::own::destroy;
use crate::properties::{self, absent};

/// Note that all of what the restore of this label makes is there.
pub(crate) fn note_restored(dataset: &str, label: &str) -> Result<()> {
    let command = exec::command("restored").slot("part", config::part()).slot("label", label);
    command.slot("dataset", dataset).run()?.ok().map(drop)
}

/// Destroy what the restore of this label to `to` has made, unless all of it is there. Whether it is.
pub(crate) fn abandon(label: &str, to: &str) -> Result<bool> {
    destroy("destroy-partial", "dataset", &partial(to, label))?;
    let output = exec::run("made", &[("dataset", to)])?;
    if absent(&output) {
        return Ok(false);
    }
    let all = properties::parse(&output.ok()?.stdout);
    let mark = format!("{}/{label}", config::part());
    if all.iter().any(|found| found.name == to && found.is_local("bkhost:restored", &mark)) {
        return Ok(true);
    }
    let mut made: Vec<_> = all.iter().filter(|found| found.is_local("bkhost:restore", &mark)).collect();
    // What is below another goes before it.
    made.sort_by(|one, other| other.name.cmp(&one.name));
    made.iter().try_for_each(|found| destroy("destroy-target", "dataset", &found.name))?;
    // Only those that are empty, which is to say: on which nothing is mounted any more.
    for entry in std::fs::read_dir(path::local(path::STAGING)).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("restore-") {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
    Ok(false)
}
