//! Strategy btrfs: one or more subvolumes, captured by read-only snapshots, archived as files or as send streams.
//!
//! Whose a snapshot is, is proven by a mark beside it and by the identity that btrfs itself gives each subvolume; its name
//! proves nothing.

mod check;
mod config;
mod drill;
mod inside;
mod mark;
mod names;
mod own;
mod place;
mod show;
mod space;
mod stream;
mod swap;
mod verify;

use bkhost_sdk::{
    Archived, Covers, Drill, Error, Finding, Place, Result, Snapshot, Source, Strategy, Unfinished, Verify, Volume,
    archive, exec, info, warn,
};
use serde::{Deserialize, Serialize};

use config::{Archive, Config};
use mark::{Mark, Marked};
use names::{snapshot_path, snapshot_source, source_name};
use show::{Found, explain, show};
use stream::Stream;

bkhost_sdk::export!(Btrfs: Verify + Drill + Covers + Unfinished);

/// What a snapshot record keeps for the later calls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// What the names of the snapshots begin with.
    label: String,
    /// The directory that they are in.
    snapshots: String,
    /// The subvolumes, in the order of the configuration.
    subvolumes: Vec<Captured>,
    /// Between the beginning of the first snapshot and the end of the last, in milliseconds; none if there is only one. btrfs
    /// cannot take several at one instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skew_ms: Option<u64>,
    /// A dry run: nothing was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    planned: bool,
}

/// One subvolume's snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Captured {
    /// The path of the subvolume, its identity, and that of its snapshot.
    #[serde(flatten)]
    marked: Marked,
    /// The directory that holds it in the archive; empty: the top.
    archive: String,
    /// The identity by which a stream calls the snapshot, where that is another: it was taken of a received one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent_as: Option<String>,
    /// Its send stream; none: it is archived as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<Stream>,
}

impl State {
    fn has_streams(&self) -> bool {
        self.subvolumes.iter().any(|captured| captured.stream.is_some())
    }

    fn marked(&self) -> Vec<Marked> {
        self.subvolumes.iter().map(|captured| captured.marked.clone()).collect()
    }

    fn path(&self, n: usize) -> String {
        snapshot_path(&self.snapshots, &self.label, n)
    }

    fn ids(&self) -> String {
        let all: Vec<_> = (0..self.subvolumes.len()).map(|n| self.path(n)).take(4).collect();
        all.join(" ")
    }
}

/// The strategy.
#[derive(Debug)]
struct Btrfs {
    config: Config,
    /// Commands that change something are only recorded: so must the marks be.
    dry: Option<bool>,
}

impl Verify for Btrfs {
    fn verify(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        verify::verify(&snapshot.state()?, archived)
    }
}

impl Drill for Btrfs {
    fn rehearse(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        drill::rehearse(&self.config, &snapshot.state()?, archived)
    }

    fn clear(&mut self) -> Result<()> {
        drill::clear(&self.config)
    }
}

impl Covers for Btrfs {
    /// Each subvolume is a device of its own to whoever asks for the number of a file's.
    fn volume_of(&mut self, place: &Place) -> Result<Option<Volume>> {
        for path in &self.config.subvolumes {
            let output = exec::run("device", &[("subvolume", path)])?;
            if !show::absent(&output) && output.ok()?.first_line() == place.device.to_string() {
                return Ok(Some(Volume { name: path.clone(), instant: path.clone() }));
            }
        }
        Ok(None)
    }
}

impl Unfinished for Btrfs {
    fn abandon(&mut self, label: &str, to: Option<&str>) -> Result<bool> {
        // A swap that was interrupted is gone on with by the next restore: what was set aside is not there then.
        to.map_or(Ok(false), |to| place::abandon(label, to))
    }
}

impl Strategy for Btrfs {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        match config.contradiction() {
            Some(error) => Err(error),
            None => Ok(Self { config, dry: None }),
        }
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        check::check(&self.config)
    }

    /// A snapshot writes out what is dirty in the subvolume: most of that is done before the lock.
    fn prepare(&mut self) -> Result<()> {
        for subvolume in &self.config.subvolumes {
            match exec::run("flush", &[("subvolume", subvolume)]).and_then(exec::Output::ok) {
                Ok(output) => self.dry = Some(output.planned),
                Err(error) => {
                    warn!("could not flush {subvolume} before the lock, which will take longer: {}", error.message);
                }
            }
        }
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let created = bkhost_sdk::now();
        let state = match self.take(label, created) {
            Ok(state) => state,
            Err(error) => {
                // The host calls `discard` as well. Doing it here too leaves nothing to a host that is in a hurry.
                if let Err(left) = self.discard(label) {
                    warn!("after a failed capture: {}", left.message);
                }
                return Err(error);
            }
        };
        let mut snapshot = Snapshot::atomic(state.ids(), &state)?;
        snapshot.created = created;
        Ok(snapshot)
    }

    fn finish(&mut self, mut snapshot: Snapshot) -> Result<Snapshot> {
        let mut state: State = snapshot.state()?;
        inside::refuse(&self.config)?;
        if !state.planned {
            self.identify(&mut state)?;
        }
        if self.config.archive == Archive::Stream {
            stream::plan(&self.config, &mut snapshot, &mut state)?;
        }
        snapshot.set_state(&state)?;
        if let Some(skew) = state.skew_ms {
            info!(
                "the snapshots of {} subvolumes were taken one after the other within {skew} ms",
                state.subvolumes.len()
            );
        }
        let version = exec::run("version", &[])?;
        if version.status == 0 {
            snapshot = snapshot.version("btrfs-progs", version.first_line().trim_start_matches("btrfs-progs v"));
        }
        Ok(snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        if state.has_streams() {
            return stream::open(&state);
        }
        let sources = state.subvolumes.iter().enumerate();
        Ok(sources.map(|(n, captured)| Source::tree(&captured.archive, snapshot_source(&state.label, n))).collect())
    }

    /// A snapshot that somebody deletes, or makes writable, while it is read is no consistency point any more.
    fn confirm(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        for (n, captured) in state.subvolumes.iter().enumerate().filter(|_| !state.planned) {
            let path = state.path(n);
            let found = own::own(&path)?.subvolume().filter(|found| own::is(found, &captured.marked));
            match found {
                Some(found) if found.readonly => {}
                Some(_) => return Err(Error::corrupt(format!("snapshot {path} was made writable while it was read"))),
                None => return Err(gone(&path)),
            }
        }
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot, archived: &[Archived], to: Option<&str>) -> Result<()> {
        let state: State = snapshot.state()?;
        match to {
            None => swap::in_place(&self.config, &state),
            Some(to) => place::into(&state, archived, to, &archive::label()?),
        }
    }

    fn list(&mut self) -> Result<Vec<Snapshot>> {
        let mut listed = Vec::new();
        for mark in mark::all()? {
            let mut state =
                State { label: mark.run.clone(), snapshots: self.config.snapshots.clone(), ..State::default() };
            let mut there = false;
            for (n, marked) in mark.subvolumes.iter().enumerate() {
                let found = own::own(&state.path(n))?.subvolume();
                there |= found.is_some_and(|found| own::is(&found, marked));
                let archive = source_name(&marked.path, mark.subvolumes.len());
                state.subvolumes.push(Captured { marked: marked.clone(), archive, ..Captured::default() });
            }
            if there {
                let mut snapshot = Snapshot::atomic(state.ids(), &state)?;
                snapshot.created = mark.created;
                listed.push(snapshot);
            }
        }
        Ok(listed)
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.planned {
            return Ok(());
        }
        if state.snapshots != self.config.snapshots {
            return Err(Error::conflict(format!(
                "its snapshots are in {}, and not in {}",
                state.snapshots, self.config.snapshots
            ))
            .hint("set [part.config] snapshots to that directory until its sets are gone"));
        }
        own::delete_run(&self.config.snapshots, &state.label, &state.marked())
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        own::delete_run(&self.config.snapshots, label, &[])
    }
}

impl Btrfs {
    /// Write the mark, and take the snapshots one after the other.
    fn take(&self, label: &str, created: u64) -> Result<State> {
        let config = &self.config;
        let mut marked = Vec::new();
        for path in &config.subvolumes {
            match show("show", "subvolume", path)? {
                Found::Subvolume(found) => {
                    marked.push(Marked { path: path.clone(), source: found.uuid, snapshot: None })
                }
                Found::Absent => return Err(Error::not_found(format!("subvolume {path} does not exist"))),
                Found::Other(why) => return Err(Error::invalid_config(format!("{path} is no subvolume: {why}"))),
            }
        }
        let of = marked.len();
        if self.dry != Some(true) {
            Mark::new(label, created, marked.clone()).write(&mark::file(label), false)?;
        }
        let begun = bkhost_sdk::now();
        let mut planned = false;
        for (n, marked) in marked.iter().enumerate() {
            let path = snapshot_path(&config.snapshots, label, n);
            let slots = [("subvolume", marked.path.as_str()), ("snapshot", &path)];
            let output = exec::run("snapshot", &slots)?;
            planned |= output.planned;
            output.ok().map_err(explain)?;
        }
        let skew = bkhost_sdk::now().saturating_sub(begun);
        let captured =
            |marked: Marked| Captured { archive: source_name(&marked.path, of), marked, ..Captured::default() };
        Ok(State {
            label: label.to_owned(),
            snapshots: config.snapshots.clone(),
            subvolumes: marked.into_iter().map(captured).collect(),
            skew_ms: (of > 1 && !planned).then_some(skew),
            planned,
        })
    }

    /// Find out what each snapshot is called by btrfs, and write that down where the snapshots are.
    fn identify(&self, state: &mut State) -> Result<()> {
        let Some(mut mark) = mark::of(&state.label)? else {
            return Err(Error::not_found(format!("the mark {} is gone", mark::file(&state.label)))
                .hint("does another tool tidy up in the directory for the snapshots?"));
        };
        for n in 0..state.subvolumes.len() {
            let path = state.path(n);
            let Some(captured) = state.subvolumes.get_mut(n) else { continue };
            let Some(found) = own::own(&path)?.subvolume().filter(|found| own::is(found, &captured.marked)) else {
                return Err(gone(&path));
            };
            captured.sent_as = found.received;
            captured.marked.snapshot = Some(found.uuid);
        }
        mark.subvolumes = state.marked();
        mark.write(&mark::file(&state.label), true)
    }
}

fn gone(path: &str) -> Error {
    Error::not_found(format!("snapshot {path} is gone, or is not the one that was taken"))
        .hint("does another tool on this machine delete snapshots?")
}

#[cfg(test)]
mod tests;
