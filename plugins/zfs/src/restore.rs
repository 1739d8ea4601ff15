//! Back in place by rollback, or into a new dataset from the archive.

use bkhost_sdk::{Archived, Error, ErrorCode, Result, archive, config, exec, info, path, retry, warn};

use crate::names::{last_component, mount_directory, snapshot_name};
use crate::own::{BUSY, mine};
use crate::properties::{self, Properties, absent, busy};
use crate::tree::below;
use crate::{Captured, Config, State, unfinished};

/// Roll every dataset back, after all of them were seen to allow it.
pub(crate) fn in_place(config: &Config, state: &State) -> Result<()> {
    for captured in &state.datasets {
        may_roll_back(captured, &state.label)?;
    }
    for (n, captured) in state.datasets.iter().enumerate() {
        let name = snapshot_name(&captured.dataset, &state.label);
        retry(BUSY, busy, || exec::run("rollback", &[("snapshot", &name)])?.ok().map(drop)).map_err(|error| {
            let error = if error.detail_of("stderr").is_some_and(|stderr| stderr.contains("more recent")) {
                error.code(ErrorCode::Conflict)
            } else {
                error
            };
            match n {
                0 => error,
                // Each rollback is final: what was done has to be said.
                _ => error.context(format!("{n} of {} datasets were rolled back, then", state.datasets.len())),
            }
        })?;
        info!("{} was rolled back to {name}", captured.dataset);
    }
    // What is below them is mounted in them.
    for (n, dataset) in config.datasets.iter().enumerate() {
        if let Err(error) = archive::restored(&format!("/source/dataset/{n}")) {
            warn!("{dataset} was rolled back, and could not be looked into: {}", error.message);
        }
    }
    Ok(())
}

fn may_roll_back(captured: &Captured, label: &str) -> Result<()> {
    let dataset = &captured.dataset;
    let name = snapshot_name(dataset, label);
    let gone = || {
        Error::not_found(format!("snapshot {name} no longer exists"))
            .hint("restore from the archive into a new dataset: --to <pool>/<new name>")
    };
    let output = exec::run("snapshots", &[("dataset", dataset)])?;
    if absent(&output) {
        return Err(gone());
    }
    let all = properties::parse(&output.ok()?.stdout);
    let found = all.iter().find(|found| found.label(dataset) == Some(label)).ok_or_else(gone)?;
    if !mine(found, label) || (captured.guid.is_some() && captured.guid.as_deref() != found.value("guid")) {
        return Err(Error::conflict(format!("snapshot {name} is not the one that was taken for this set"))
            .hint("restore from the archive into a new dataset: --to <pool>/<new name>"));
    }
    let newer = newer(&all, found, dataset);
    if newer.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!("{dataset} has snapshots that are newer than {name}: {}", newer.join(", ")))
        .hint("a rollback would destroy them: delete them yourself, or restore into a new dataset with --to"))
}

/// The dataset's snapshots that were made after this one.
fn newer<'a>(all: &'a [Properties], than: &Properties, dataset: &str) -> Vec<&'a str> {
    let txg = than.number("createtxg");
    all.iter()
        .filter(|found| found.label(dataset).is_some() && found.name != than.name)
        .filter(|found| match (found.number("createtxg"), txg) {
            (Some(theirs), Some(ours)) => theirs > ours,
            // Without transaction numbers, seconds have to do; zfs itself refuses what they let through.
            _ => found.number("creation") > than.number("creation"),
        })
        .map(|found| found.name.as_str())
        .collect()
}

/// Create `to` (several datasets: `to` and one below it for each) and fill it from the archive.
pub(crate) fn into(state: &State, archived: &[Archived], to: &str, label: &str) -> Result<()> {
    let plan = plan(state, archived, to)?;
    for target in std::iter::once(to).chain(plan.iter().map(|step| step.target.as_str())) {
        refuse_existing(target)?;
    }
    let mut made = Vec::new();
    let outcome = fill(&plan, to, label, &mut made).and_then(|()| unfinished::note_restored(to, label));
    if outcome.is_err() {
        for target in made.iter().rev() {
            let destroyed = retry(BUSY, busy, || exec::run("destroy-target", &[("dataset", target)])?.ok().map(drop));
            if let Err(error) = destroyed {
                warn!("{target} is left of the failed restore: {}", error.message);
            }
        }
    }
    for n in 0..plan.len() {
        // Only when it is empty, which is to say: only when nothing is mounted there any more.
        let _ = std::fs::remove_dir(path::local(&mount_directory("restore", n)));
    }
    outcome
}

/// An existing dataset is never written to.
pub(crate) fn refuse_existing(target: &str) -> Result<()> {
    let output = exec::run("target", &[("dataset", target)])?;
    if absent(&output) {
        return Ok(());
    }
    output.ok().map_err(explain)?;
    Err(Error::already_exists(format!("dataset {target} exists"))
        .hint("restore into a new name: an existing dataset is never written to"))
}

/// One dataset to restore.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    source: String,
    target: String,
}

fn plan(state: &State, archived: &[Archived], to: &str) -> Result<Vec<Step>> {
    let missing = |captured: &&Captured| !archived.iter().any(|archived| archived.name == captured.source);
    if let Some(captured) = state.datasets.iter().find(missing) {
        return Err(Error::not_found(format!("the set holds no archive of dataset {}", captured.dataset)));
    }
    let targets = targets(state, to)?;
    Ok(state
        .datasets
        .iter()
        .zip(targets)
        .map(|(captured, target)| Step { source: captured.source.clone(), target })
        .collect())
}

/// What each dataset becomes: the only one `to` itself, several `to/<last component>`; what is below one stays below it.
pub(crate) fn targets(state: &State, to: &str) -> Result<Vec<String>> {
    // The topmost one that this one came with: itself, unless the set is recursive.
    let root = |name: &str| {
        let above = |captured: &&Captured| below(name, &captured.dataset);
        let topmost = state.datasets.iter().filter(|_| state.recursive).filter(above).map(|c| c.dataset.as_str()).min();
        topmost.unwrap_or(name).to_owned()
    };
    let roots = state.datasets.iter().filter(|captured| root(&captured.dataset) == captured.dataset).count();
    let mut targets: Vec<String> = Vec::new();
    for captured in &state.datasets {
        let root = root(&captured.dataset);
        let rest = captured.dataset.strip_prefix(&root).unwrap_or_default();
        let target = match roots {
            1 => format!("{to}{rest}"),
            _ => format!("{to}/{}{rest}", last_component(&root)),
        };
        if targets.contains(&target) {
            return Err(Error::conflict(format!("two datasets of this set would both become {target}"))
                .hint("give them different parts, so that each can be restored by itself"));
        }
        targets.push(target);
    }
    Ok(targets)
}

fn fill(plan: &[Step], to: &str, label: &str, made: &mut Vec<String>) -> Result<()> {
    if !plan.iter().any(|step| step.target == to) {
        let create = exec::command("create-parent").slot("part", config::part()).slot("label", label);
        create.slot("dataset", to).run()?.ok().map_err(explain)?;
        made.push(to.to_owned());
    }
    for (n, step) in plan.iter().enumerate() {
        let directory = mount_directory("restore", n);
        std::fs::create_dir_all(path::local(&directory))
            .map_err(|error| Error::io(format!("creating {directory}"), &error))?;
        let created = exec::command("create")
            .slot("mountpoint", &directory)
            .slot("part", config::part())
            .slot("label", label)
            .slot("dataset", &step.target)
            .run()?;
        // It exists even when only its mounting failed; not when it was there before.
        if created.status == 0 || created.stderr.contains("successfully created") {
            made.push(step.target.clone());
        }
        created.ok().map_err(explain)?;
        let entries = archive::extract(&step.source, &directory)?;
        info!("{}: {entries} entries", step.target);
    }
    for step in plan {
        retry(BUSY, busy, || exec::run("settle", &[("dataset", &step.target)])?.ok().map(drop))?;
        let output = exec::run("target", &[("dataset", &step.target)])?.ok()?;
        let settled = properties::parse(&output.stdout).into_iter().next();
        let mounted = settled.as_ref().is_some_and(|found| found.value("mounted") == Some("yes"));
        let mountpoint = settled.as_ref().and_then(|found| found.value("mountpoint")).unwrap_or("none");
        if mounted {
            info!("{} is mounted at {mountpoint}", step.target);
        } else {
            warn!("{} is complete and not mounted: the mountpoint it inherits is {mountpoint}", step.target);
        }
    }
    Ok(())
}

pub(crate) fn explain(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    if stderr.contains("parent does not exist") || stderr.contains("no such pool") {
        error.code(ErrorCode::NotFound).hint("--to names a dataset to be created: its parent has to exist")
    } else if stderr.contains("already exists") {
        error.code(ErrorCode::AlreadyExists)
    } else if (stderr.contains("invalid") && !stderr.contains("stream")) || stderr.contains("delimiter") {
        error.code(ErrorCode::InvalidConfig).hint("--to names a dataset: pool/name")
    } else {
        error
    }
}
