//! Into a new dataset from send streams: received beside the target, which exists only when all of it is complete.

use bkhost_sdk::{Archived, Error, Result, archive, exec, info, retry, warn};

use crate::names::{partial, snapshot_name};
use crate::own::{BUSY, destroy};
use crate::properties::{self, busy};
use crate::restore::{explain, refuse_existing, targets};
use crate::{Captured, State, stream, tool, unfinished};

/// One dataset to receive.
struct Step<'a> {
    captured: &'a Captured,
    /// Where it is received.
    partial: String,
    /// What it becomes.
    target: String,
    /// The streams, the oldest first.
    items: Vec<&'a Archived>,
}

/// Receive all streams into a dataset beside `to`, see that they are what was sent, and rename it to `to`.
pub(crate) fn into(state: &State, archived: &[Archived], to: &str, label: &str) -> Result<()> {
    let partial = partial(to, label);
    let steps = plan(state, archived, to, &partial)?;
    refuse_existing(to)?;
    refuse_existing(&partial)?;
    let without = tool::receives_without()?;
    let outcome = receive(state, &steps, &partial, without).and_then(|()| {
        // From here on it is complete: what has this and the name is not destroyed any more.
        unfinished::note_restored(&partial, label)?;
        let named = || exec::run("complete", &[("partial", &partial), ("dataset", to)])?.ok().map(drop);
        retry(BUSY, busy, named).map_err(explain)
    });
    if outcome.is_err() {
        if let Err(error) = destroy("destroy-partial", "dataset", &partial) {
            warn!("{partial} is left of the failed restore: {}", error.message);
        }
        return outcome;
    }
    for step in &steps {
        mount(step);
    }
    outcome
}

/// Everything that is needed is there, before anything is made.
fn plan<'a>(state: &'a State, archived: &'a [Archived], to: &str, partial: &str) -> Result<Vec<Step<'a>>> {
    let mut steps = Vec::new();
    for (captured, target) in state.datasets.iter().zip(targets(state, to)?) {
        let items = stream::find(&captured.dataset, captured.pieces(), archived)?;
        let rest = target.strip_prefix(to).unwrap_or_default();
        steps.push(Step { captured, partial: format!("{partial}{rest}"), target: target.clone(), items });
    }
    Ok(steps)
}

fn receive(state: &State, steps: &[Step<'_>], partial: &str, without: bool) -> Result<()> {
    if !steps.iter().any(|step| step.partial == partial) {
        exec::run("create-partial", &[("dataset", partial)])?.ok().map_err(explain)?;
    }
    for step in steps {
        for item in &step.items {
            let command = exec::command("receive")
                .slot_if("without", (without && !step.captured.volume).then_some("mountpoint"))
                .slot("dataset", &step.partial);
            archive::feed_from(item, command)?
                .ok()
                .map_err(|error| explain(error).context(format!("stream {} of set {}", item.name, item.set)))?;
        }
        let name = snapshot_name(&step.partial, &state.label);
        let output = exec::run("received", &[("snapshot", &name)])?.ok()?;
        let found = properties::parse(&output.stdout).into_iter().next();
        let guid = found.as_ref().and_then(|found| found.value("guid"));
        if guid != step.captured.guid.as_deref() {
            return Err(Error::corrupt(format!("what was received of {} is another snapshot", step.captured.dataset)));
        }
        if !step.captured.volume {
            settle(step)?;
        }
        info!("{}: {} streams received", step.target, step.items.len());
    }
    Ok(())
}

/// Before it has its name: nothing must ever be mounted over the original's place.
fn settle(step: &Step<'_>) -> Result<()> {
    exec::run("settle", &[("dataset", &step.partial)])?.ok()?;
    let output = exec::run("target", &[("dataset", &step.partial)])?.ok()?;
    let found = properties::parse(&output.stdout).into_iter().next();
    // zfs-fuse does not inherit over what came with the stream.
    if found.is_some_and(|found| found.is_received("mountpoint")) {
        exec::run("unplace", &[("dataset", &step.partial)])?.ok()?;
        warn!("{} has no mountpoint: that of its original came with the stream (`zfs set mountpoint=…`)", step.target);
    }
    Ok(())
}

/// It is complete in any case: what is not mounted is told.
fn mount(step: &Step<'_>) {
    let target = &step.target;
    if step.captured.volume {
        return;
    }
    let told = exec::run("target", &[("dataset", target)]).and_then(exec::Output::ok);
    let found = told.ok().and_then(|output| properties::parse(&output.stdout).into_iter().next());
    let value = |name| found.as_ref().and_then(|found| found.value(name)).unwrap_or_default().to_owned();
    if value("mounted") == "yes" {
        return;
    }
    if value("canmount") != "on" || ["none", "legacy"].contains(&value("mountpoint").as_str()) {
        info!(
            "{target} is complete and not mounted: canmount={} mountpoint={}",
            value("canmount"),
            value("mountpoint")
        );
        return;
    }
    match exec::run("mount", &[("dataset", target)]).and_then(exec::Output::ok) {
        Ok(_) => info!("{target} is mounted at {}", value("mountpoint")),
        Err(error) => warn!("{target} is complete and could not be mounted (`zfs mount`): {}", error.message),
    }
}
