//! Back in place: the live subvolume is set aside, and a writable snapshot of the set's comes into its place.
//!
//! All of a part's subvolumes are looked at before the first is touched; if one fails then, those before it are undone. What
//! was set aside is never deleted here.

use bkhost_sdk::{Error, ErrorCode, Result, exec, info, warn};

use crate::State;
use crate::check::{all_mounts, is_mount_of, mount_of};
use crate::config::Config;
use crate::inside::told;
use crate::own;
use crate::show::{Found, Subvolume, explain, nested, show};

/// One subvolume to swap.
struct Step {
    live: String,
    snapshot: String,
    /// The identity of the snapshot.
    uuid: String,
    /// Where the live one goes; none: there is none.
    aside: Option<String>,
}

/// Restore every subvolume of the part.
pub(crate) fn in_place(config: &Config, state: &State) -> Result<()> {
    if state.snapshots != config.snapshots {
        return Err(Error::conflict(format!("the snapshots of this set are in {}", state.snapshots))
            .hint("set [part.config] snapshots to that directory, or restore into a new subvolume with --to"));
    }
    let now = bkhost_sdk::now();
    let mut steps = Vec::new();
    for n in 0..state.subvolumes.len() {
        steps.push(plan(state, n, now)?);
    }
    for (n, step) in steps.iter().enumerate() {
        if let Err(error) = swap(step) {
            undo(steps.get(..n).unwrap_or_default());
            return Err(match n {
                0 => error,
                _ => error
                    .context(format!("{n} of {} subvolumes had been swapped and were swapped back, then", steps.len())),
            });
        }
    }
    for step in &steps {
        info!("{} is what it was in {}", step.live, step.snapshot);
        if let Some(aside) = &step.aside {
            warn!(
                "what was at {} before is kept as {aside}: delete it when it is not needed any more (btrfs subvolume delete)",
                step.live
            );
        }
    }
    Ok(())
}

/// See that it can be done.
fn plan(state: &State, n: usize, now: u64) -> Result<Step> {
    let captured = state.subvolumes.get(n).ok_or_else(|| Error::other("no such subvolume"))?;
    let (live, snapshot) = (captured.marked.path.clone(), state.path(n));
    let gone = |what: &str| {
        Error::new(ErrorCode::NotFound, format!("snapshot {snapshot} {what}"))
            .hint("restore from the archive into a new subvolume: --to <path>")
    };
    let uuid = match own::own(&snapshot)? {
        Found::Subvolume(found) if own::is(&found, &captured.marked) && found.readonly => found.uuid,
        Found::Absent => return Err(gone("no longer exists")),
        _ => return Err(gone("is not the one that was taken for this set")),
    };
    let aside = match show("show", "subvolume", &live)? {
        Found::Absent => None,
        Found::Other(why) => {
            return Err(Error::conflict(format!("{live} is no subvolume now: {why}"))
                .hint("move it away, and restore again; or restore into a new subvolume with --to"));
        }
        Found::Subvolume(found) => {
            may_be_set_aside(&live, &found)?;
            Some(format!("{live}.bkhost-aside-{now}"))
        }
    };
    Ok(Step { live, snapshot, uuid, aside })
}

fn may_be_set_aside(live: &str, found: &Subvolume) -> Result<()> {
    let to = "or restore into a new subvolume with --to";
    if live == "/" || found.id == 5 {
        return Err(Error::conflict(format!("{live} is the top of its file system, which cannot be renamed"))
            .hint("restore into a new subvolume with --to"));
    }
    let kind = exec::run("kind", &[("subvolume", live)])?.ok()?;
    if kind.first_line() == "symbolic link" {
        return Err(Error::conflict(format!("{live} is a symbolic link: it would be renamed, and not the subvolume"))
            .hint(format!("name the subvolume itself in [part.config], {to}")));
    }
    let inside: Vec<String> = nested("nested", "subvolume", live)?.into_iter().map(|found| found.path).collect();
    if !inside.is_empty() {
        return Err(Error::conflict(format!(
            "{live} has subvolumes inside, which would go aside with it: {}",
            told(&inside)
        ))
        .hint(format!("move them out of it, {to}")));
    }
    if let Some(mount) = mount_of("mount-of", "subvolume", live)? {
        let mounted: Vec<String> = all_mounts()?
            .into_iter()
            .filter(|other| is_mount_of(other, &mount.device, found.id))
            .map(|other| other.target)
            .collect();
        if !mounted.is_empty() {
            return Err(Error::conflict(format!(
                "{live} is mounted at {}: what is mounted would go on to be the old one",
                mounted.join(", ")
            ))
            .hint(format!(
                "unmount it, and mount it again afterwards ([restore] before and after can do both), {to}"
            )));
        }
    }
    match exec::run("users", &[("subvolume", live)]) {
        Ok(output) if output.status == 0 => {
            let pids = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            Err(Error::conflict(format!("processes work in {live}: {pids}"))
                .hint(format!("stop them first ([restore] before can do that), {to}")))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            warn!("whether a process still works in {live} is not known: {}", error.message);
            Ok(())
        }
    }
}

fn swap(step: &Step) -> Result<()> {
    if let Some(aside) = &step.aside {
        // First: of one that dies now, it is all that tells of it.
        info!("{} is set aside as {aside}", step.live);
        rename(&step.live, aside)?;
    }
    let slots = [("snapshot", step.snapshot.as_str()), ("subvolume", &step.live)];
    let outcome = exec::run("swap-in", &slots).and_then(exec::Output::ok).map_err(explain);
    if let Err(error) = outcome {
        undo(std::slice::from_ref(step));
        return Err(error);
    }
    Ok(())
}

/// Rename without ever replacing anything. `mv -n` says nothing when something is in the way.
fn rename(from: &str, to: &str) -> Result<()> {
    exec::run("aside", &[("from", from), ("to", to)])?.ok().map_err(|error| match own::busy(&error) {
        true => error.code(ErrorCode::Conflict).hint("it is mounted, or holds a mount: unmount that first"),
        false => explain(error),
    })?;
    // Both kinds of path are the operator's own and what this part derives from it.
    let output = exec::run("kind", &[("subvolume", to)]);
    let left = exec::run("kind", &[("subvolume", from)]);
    let there = |output: &Result<exec::Output>| output.as_ref().is_ok_and(|output| output.status == 0);
    if there(&left) || !there(&output) {
        return Err(Error::conflict(format!("{from} could not be renamed to {to}: something is in the way")));
    }
    Ok(())
}

/// Bring what was set aside back. What this restore has put into its place is deleted, nothing else.
fn undo(steps: &[Step]) {
    for step in steps.iter().rev() {
        if let Err(error) = undo_one(step) {
            let aside = step.aside.as_deref().unwrap_or("nowhere");
            warn!("{} is not as it was: {}; what was there is kept as {aside}", step.live, error.message);
        }
    }
}

fn undo_one(step: &Step) -> Result<()> {
    if let Some(found) = show("show", "subvolume", &step.live)?.subvolume() {
        if found.parent.as_ref() != Some(&step.uuid) {
            return Err(Error::conflict(format!("{} is something else now", step.live)));
        }
        own::destroy("swap-out", "subvolume", &step.live)?;
    }
    step.aside.as_ref().map_or(Ok(()), |aside| rename(aside, &step.live))
}
