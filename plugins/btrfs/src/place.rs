//! Into a new subvolume: filled from the archive, or received from streams, beside the target, which exists only when all of
//! it is complete.

use bkhost_sdk::{Archived, ArchivedForm, Error, ErrorCode, Result, archive, exec, info, path, unfinished, warn};

use crate::config::Config;
use crate::names::{last_component, mount_directory, partial};
use crate::own::destroy;
use crate::show::{absent, explain, nested, show};
use crate::stream::Piece;
use crate::{Captured, State};

/// Restore into what `to` names.
pub(crate) fn into(state: &State, archived: &[Archived], to: &str, label: &str) -> Result<()> {
    plain(to)?;
    let of = Target::new(state, to, label)?;
    let items = of.items(archived)?;
    of.refuse_existing()?;
    let outcome = match state.has_streams() {
        true => of.receive(&items),
        false => of.fill(),
    };
    if let Err(error) = outcome {
        unfinished::forget_complete()?;
        if let Err(left) = clear(&of.partial) {
            warn!("{} is left of the failed restore: {}", of.partial, left.message);
        }
        return Err(explain_target(error));
    }
    info!("{to} is complete");
    Ok(())
}

/// Remove what the restore of this label to `to` has made, unless it had come to its end. Whether it had.
pub(crate) fn abandon(label: &str, to: &str) -> Result<bool> {
    let there = || exec::run("target-kind", &[("target", to)]).map(|output| output.status == 0);
    // Nothing was there when it began.
    let complete = unfinished::is_complete(label)? && there()?;
    clear(&partial(to, label))?;
    Ok(complete)
}

/// A path that means what it says.
fn plain(to: &str) -> Result<()> {
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if to.strip_prefix('/').is_some_and(|rest| !rest.split('/').any(odd)) {
        return Ok(());
    }
    Err(Error::invalid_config(format!("the target {to} is no plain path"))
        .hint("--to names a subvolume to be created: its whole path, from /, without a slash at its end"))
}

struct Target<'a> {
    to: &'a str,
    /// The label of the restore.
    label: &'a str,
    /// What becomes `to`.
    partial: String,
    state: &'a State,
}

/// What is archived of one subvolume: its streams, the oldest first.
type Items<'a> = Vec<Vec<&'a Archived>>;

impl<'a> Target<'a> {
    fn new(state: &'a State, to: &'a str, label: &'a str) -> Result<Self> {
        let paths: Vec<&str> = state.subvolumes.iter().map(|captured| captured.marked.path.as_str()).collect();
        if let Some(same) = Config::same_last(&paths) {
            return Err(Error::conflict(format!("two subvolumes of this set would both become {to}/{same}"))
                .hint("give them different parts, so that each can be restored by itself"));
        }
        Ok(Self { to, label, partial: partial(to, label), state })
    }

    fn several(&self) -> bool {
        self.state.subvolumes.len() > 1
    }

    /// Where a subvolume is made when there are several.
    fn beside(&self, captured: &Captured) -> String {
        format!("{}/{}", self.partial, last_component(&captured.marked.path))
    }

    /// Everything that is needed is there, before anything is made.
    fn items<'b>(&self, archived: &'b [Archived]) -> Result<Items<'b>> {
        // The items of the set that is restored come last.
        let own = archived.last().map(|item| item.set.as_str()).unwrap_or_default();
        let find = |set: &str, name: &str, form: ArchivedForm, path: &str| {
            let named = |item: &&Archived| item.form == form && item.set == set && item.name == name;
            archived
                .iter()
                .find(named)
                .ok_or_else(|| Error::not_found(format!("set {set} holds no archive {name:?} of subvolume {path}")))
        };
        let each = |captured: &Captured| match &captured.stream {
            None => Ok(vec![find(own, &captured.archive, ArchivedForm::Tree, &captured.marked.path)?]),
            Some(stream) => stream
                .pieces
                .iter()
                .map(|piece| {
                    let set = piece.set.as_deref().unwrap_or(own);
                    find(set, &piece.stream, ArchivedForm::Stream, &captured.marked.path)
                })
                .collect(),
        };
        self.state.subvolumes.iter().map(each).collect()
    }

    /// What exists is never written to.
    fn refuse_existing(&self) -> Result<()> {
        for path in [self.to, &self.partial] {
            let output = exec::run("target-kind", &[("target", path)])?;
            if !absent(&output) {
                output.ok().map_err(explain_target)?;
                return Err(Error::already_exists(format!("{path} exists"))
                    .hint("restore into a new name: what exists is never written to"));
            }
        }
        Ok(())
    }

    fn create(&self, target: &str) -> Result<()> {
        exec::run("create", &[("target", target)])?.ok().map(drop)
    }

    /// From files: the new subvolume is mounted where the host can write to it.
    fn fill(&self) -> Result<()> {
        self.create(&self.partial)?;
        for (n, captured) in self.state.subvolumes.iter().enumerate() {
            let target = if self.several() { self.beside(captured) } else { self.partial.clone() };
            if self.several() {
                self.create(&target)?;
            }
            let directory = mount_directory(n);
            // One that died may have left it mounted.
            unmount(&directory)?;
            std::fs::create_dir_all(path::local(&directory))
                .map_err(|error| Error::io(format!("creating {directory}"), &error))?;
            exec::run("bind", &[("target", &target), ("directory", &directory)])?.ok()?;
            let extracted = archive::extract(&captured.archive, &directory);
            let unmounted = unmount(&directory);
            info!("{}: {} entries", captured.marked.path, extracted?);
            unmounted?;
        }
        self.complete()
    }

    /// From streams: received, compared with what was sent, and made writable.
    fn receive(&self, items: &Items<'_>) -> Result<()> {
        self.create(&self.partial)?;
        let mut received = Vec::new();
        for (captured, items) in self.state.subvolumes.iter().zip(items) {
            let pieces = captured.stream.as_ref().map(|stream| stream.pieces.as_slice()).unwrap_or_default();
            for (item, piece) in items.iter().zip(pieces) {
                let command = exec::command("receive").slot("target", &self.partial);
                archive::feed_from(item, command)?
                    .ok()
                    .map_err(|error| error.context(format!("stream {} of set {}", item.name, item.set)))?;
                received.push(self.inner(piece));
            }
            let last = pieces.last().ok_or_else(|| Error::not_found("the set holds no stream"))?;
            self.compare(captured, &self.inner(last))?;
            let to = if self.several() { self.beside(captured) } else { self.to.to_owned() };
            if self.several() {
                self.writable(&self.inner(last), &to)?;
            }
            info!("{}: {} streams received", captured.marked.path, items.len());
        }
        if !self.several() {
            // Last, so that the target is there only when all is well: in one step.
            let last = received.last().cloned().unwrap_or_default();
            unfinished::note_complete(self.label)?;
            self.writable(&last, self.to)?;
        }
        let rest = |path: &String| destroy("delete-partial", "target", path);
        let cleared = received.iter().try_for_each(rest);
        if self.several() {
            cleared?;
            return self.complete();
        }
        if let Err(error) = cleared.and_then(|()| rest(&self.partial)) {
            warn!("{} is complete; {} is left of its making: {}", self.to, self.partial, error.message);
        }
        Ok(())
    }

    fn inner(&self, piece: &Piece) -> String {
        format!("{}/{}", self.partial, piece.snapshot)
    }

    fn compare(&self, captured: &Captured, path: &str) -> Result<()> {
        let found = show("target-show", "target", path)?.subvolume();
        let sent = captured.sent_as.as_ref().or(captured.marked.snapshot.as_ref());
        if found.and_then(|found| found.received).as_ref() != sent {
            return Err(Error::corrupt(format!("what was received of {} is not what was sent", captured.marked.path)));
        }
        Ok(())
    }

    fn writable(&self, from: &str, to: &str) -> Result<()> {
        exec::run("writable", &[("from", from), ("to", to)])?.ok().map(drop)
    }

    fn complete(&self) -> Result<()> {
        unfinished::note_complete(self.label)?;
        exec::run("complete", &[("partial", &self.partial), ("target", self.to)])?.ok()?;
        // `mv -n` says nothing when something is in the way.
        if absent(&exec::run("target-kind", &[("target", &self.partial)])?) {
            return Ok(());
        }
        Err(Error::already_exists(format!("{} has come into being while it was restored", self.to)))
    }
}

/// Remove what a restore has made here. Idempotent.
fn clear(partial: &str) -> Result<()> {
    for entry in std::fs::read_dir(path::local(path::STAGING)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(n) = name.to_str().and_then(|name| name.strip_prefix("restore-")?.parse().ok()) {
            unmount(&mount_directory(n))?;
        }
    }
    if show("target-show", "target", partial)?.subvolume().is_none() {
        return Ok(());
    }
    for inner in nested("target-nested", "target", partial)? {
        destroy("delete-partial", "target", &format!("{partial}/{}", last_component(&inner.path)))?;
    }
    destroy("delete-partial", "target", partial)
}

/// Take away what is mounted in the staging area, and its directory. Idempotent.
fn unmount(directory: &str) -> Result<()> {
    let local = path::local(directory);
    if std::fs::symlink_metadata(&local).is_err() {
        return Ok(());
    }
    let output = exec::run("unbind", &[("directory", directory)])?;
    if output.status != 0 && !output.stderr.contains("not mounted") {
        return output.ok().map(drop);
    }
    // Only when it is empty, which is to say: only when nothing is mounted there any more.
    let _ = std::fs::remove_dir(local);
    Ok(())
}

fn explain_target(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    if stderr.contains("not a btrfs filesystem") {
        error.code(ErrorCode::Conflict).hint("--to names a new subvolume on a btrfs")
    } else if stderr.contains("No such file or directory") {
        error
            .code(ErrorCode::NotFound)
            .hint("--to names a subvolume to be created: the directory it is in has to exist")
    } else {
        explain(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert!(plain("/m/new one").is_ok());
        for odd in ["m/new", "/m/new/", "/m/../new", "/", "", "/m//new", "/m/./new"] {
            assert_eq!(plain(odd).unwrap_err().code, ErrorCode::InvalidConfig, "{odd}");
        }
    }
}
