//! Strategy zfs: one or more ZFS datasets, captured by snapshots, archived as files or as send streams.
//!
//! Whose a snapshot is, is proven by user properties that are set in the call that makes it and are local to it; its
//! name proves nothing, and neither does a value inherited from the dataset.

mod check;
mod drill;
mod holds;
mod names;
mod own;
mod properties;
mod reading;
mod receive;
mod restore;
mod stream;
mod tool;
mod tree;
mod unfinished;
mod verify;

use std::collections::BTreeMap;

use bkhost_sdk::{
    Archived, Covers, Drill, Error, Finding, Place, Result, Snapshot, Source, Strategy, Unfinished, Verify, Volume,
    archive, config, exec, info, warn,
};
use serde::{Deserialize, Serialize};

use names::{pool, snapshot_name, source_name};
use own::{LATE, destroy_bookmark, destroy_snapshot, mine, own};
use properties::{Properties, absent};
use reading::{destroy_clone, make_clone, snapshot_directory};
use stream::{Piece, Stream};

bkhost_sdk::export!(Zfs: Verify + Drill + Covers + Unfinished);

/// What is archived of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Archive {
    #[default]
    Files,
    Stream,
}

/// `[part.config]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Config {
    datasets: Vec<String>,
    archive: Archive,
    recursive: bool,
    exclude: Vec<String>,
    full_every: u32,
    properties: bool,
    keep_snapshots: bool,
    drill_dataset: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            datasets: Vec::new(),
            archive: Archive::Files,
            recursive: false,
            exclude: Vec::new(),
            full_every: 7,
            properties: true,
            keep_snapshots: true,
            drill_dataset: None,
        }
    }
}

/// What a snapshot record keeps for the later calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    /// What the snapshots are called after the `@`.
    label: String,
    /// The datasets, in the order of the configuration, each with what is below it.
    datasets: Vec<Captured>,
    /// Whether one call took the snapshots of each pool. If not, they were taken one after the other.
    #[serde(default)]
    together: bool,
    /// Whether what is below the configured datasets is in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    recursive: bool,
    /// A dry run: nothing was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    planned: bool,
}

/// One dataset's snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Captured {
    dataset: String,
    /// The directory that holds it in the archive; empty: the top.
    source: String,
    /// ZFS's own identity of the snapshot, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guid: Option<String>,
    /// A volume, and not a file system.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    volume: bool,
    /// There is a bookmark of the snapshot too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bookmark: bool,
    /// Its send stream; none: it is archived as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<Stream>,
}

impl Captured {
    /// The streams that a restore of it receives, the oldest first.
    fn pieces(&self) -> &[Piece] {
        self.stream.as_ref().map(|stream| stream.pieces.as_slice()).unwrap_or_default()
    }
}

impl State {
    fn has_streams(&self) -> bool {
        self.datasets.iter().any(|captured| captured.stream.is_some())
    }
}

/// The strategy.
#[derive(Debug)]
struct Zfs {
    config: Config,
}

impl Verify for Zfs {
    fn verify(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        verify::verify(&snapshot.state()?, archived)
    }
}

impl Drill for Zfs {
    fn rehearse(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        drill::rehearse(&self.config, &snapshot.state()?, archived)
    }

    fn clear(&mut self) -> Result<()> {
        drill::clear(&self.config)
    }
}

impl Covers for Zfs {
    /// What is mounted is called by the dataset's name. Only what is below one dataset is sure to be captured with it at one
    /// instant: not every ZFS takes several together.
    fn volume_of(&mut self, place: &Place) -> Result<Option<Volume>> {
        let found = tree::datasets(&self.config)?
            .into_iter()
            .find(|dataset| dataset.name == place.source && !dataset.volume && !self.config.excluded(&dataset.name));
        Ok(found.map(|dataset| {
            let root = self.config.datasets.iter().find(|root| tree::below(&dataset.name, root));
            Volume { instant: root.unwrap_or(&dataset.name).clone(), name: dataset.name }
        }))
    }
}

impl Unfinished for Zfs {
    fn abandon(&mut self, label: &str, to: Option<&str>) -> Result<bool> {
        // A rollback is one step: it was taken, or is taken by the next restore.
        to.map_or(Ok(false), |to| unfinished::abandon(label, to))
    }
}

impl Strategy for Zfs {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        match config.contradiction() {
            Some(error) => Err(error),
            None => Ok(Self { config }),
        }
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        check::check(&self.config)
    }

    /// A snapshot commits a transaction group, with all that was written since the last one. So does any change of a
    /// property: forgetting one that was never set changes nothing else, and takes that time before the lock.
    fn prepare(&mut self) -> Result<()> {
        for dataset in &self.config.datasets {
            if let Err(error) = exec::command("flush").slot("dataset", dataset).run().and_then(exec::Output::ok) {
                warn!("could not flush {dataset} before the lock, which will take longer for it: {}", error.message);
            }
        }
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let created = bkhost_sdk::now();
        let taken = self.take(label);
        let (together, planned) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                // The host calls `discard` as well. Doing it here too leaves nothing to a host that is in a hurry.
                if let Err(left) = self.discard(label) {
                    warn!("after a failed capture: {}", left.message);
                }
                return Err(error);
            }
        };
        let datasets = &self.config.datasets;
        let state = State {
            label: label.to_owned(),
            // What is below them is found when the application is free again.
            datasets: datasets.iter().map(|dataset| self.captured(dataset)).collect(),
            together,
            recursive: self.config.recursive,
            planned,
        };
        let id: Vec<_> = datasets.iter().map(|dataset| snapshot_name(dataset, label)).collect();
        let mut snapshot = Snapshot::atomic(id.join(" "), &state)?;
        snapshot.created = created;
        Ok(snapshot)
    }

    fn finish(&mut self, mut snapshot: Snapshot) -> Result<Snapshot> {
        let mut state: State = snapshot.state()?;
        snapshot.bytes = self.survey(&mut state)?;
        if self.config.archive == Archive::Stream {
            stream::plan(&self.config, &mut snapshot, &mut state)?;
            // Held until the set is deleted, or the next increment is made: it starts from here.
            for captured in &state.datasets {
                holds::hold(&captured.dataset, &state.label)?;
            }
            stream::bookmark(&mut state)?;
        }
        snapshot.set_state(&state)?;
        if state.planned {
            return Ok(snapshot);
        }
        let version = exec::run("version", &[])?;
        if version.status == 0 {
            snapshot = snapshot.version("zfs", version.first_line());
        }
        Ok(snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        if state.has_streams() {
            return stream::open(&state);
        }
        let mut sources = Vec::new();
        for (n, captured) in state.datasets.iter().enumerate() {
            holds::hold(&captured.dataset, &state.label)?;
            let root = match snapshot_directory(&self.config, captured, &state) {
                Some(directory) => directory,
                None => make_clone(n, captured, &state)?,
            };
            sources.push(Source::tree(&captured.source, root));
        }
        Ok(sources)
    }

    fn close(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.has_streams() {
            return stream::let_go(&self.config, &state);
        }
        each(state.datasets.iter().enumerate(), |(n, captured)| {
            destroy_clone(n, &captured.dataset, &state.label)?;
            holds::release(&captured.dataset, &state.label)
        })
    }

    fn restore(&mut self, snapshot: &Snapshot, archived: &[Archived], to: Option<&str>) -> Result<()> {
        let state: State = snapshot.state()?;
        match to {
            None => restore::in_place(&self.config, &state),
            Some(to) if state.has_streams() => receive::into(&state, archived, to, &archive::label()?),
            Some(to) => restore::into(&state, archived, to, &archive::label()?),
        }
    }

    fn list(&mut self) -> Result<Vec<Snapshot>> {
        let mut runs: BTreeMap<String, Vec<(String, Properties)>> = BTreeMap::new();
        for dataset in tree::datasets(&self.config)? {
            let output = exec::run("snapshots", &[("dataset", &dataset.name)])?;
            if absent(&output) {
                continue;
            }
            for found in properties::parse(&output.ok()?.stdout) {
                let label = found.label(&dataset.name).filter(|label| mine(&found, label)).map(str::to_owned);
                if let Some(label) = label {
                    runs.entry(label).or_default().push((dataset.name.clone(), found));
                }
            }
        }
        runs.into_iter().map(|(label, found)| self.record(label, &found)).collect()
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.planned {
            return Ok(());
        }
        let recorded = each(state.datasets.iter().enumerate(), |(n, captured)| {
            destroy_clone(n, &captured.dataset, &state.label)?;
            // What a run that died left in its journal does not know its streams yet.
            if captured.stream.is_some() || self.config.archive == Archive::Stream {
                destroy_bookmark(&captured.dataset, &state.label, captured.guid.as_deref())?;
            }
            destroy_snapshot(&captured.dataset, &state.label, captured.guid.as_deref()).map(drop)
        });
        // What was renamed since, and what a run that was interrupted did not come to record.
        let others = if state.recursive { self.remove(&state.label).map(drop) } else { Ok(()) };
        recorded.and(others)
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        if !self.remove(label)? {
            std::thread::sleep(LATE);
            self.remove(label)?;
        }
        Ok(())
    }
}

impl Zfs {
    /// Remove all of a run. Whether each dataset had a snapshot of it.
    fn remove(&self, label: &str) -> Result<bool> {
        // Not what a listing says alone: a configured dataset that cannot be listed has to be told.
        let mut names = self.config.datasets.clone();
        if self.config.recursive {
            names.extend(tree::datasets(&self.config)?.into_iter().map(|dataset| dataset.name));
            names.sort();
            names.dedup();
        }
        let mut all = true;
        each(names.iter().enumerate(), |(n, dataset)| {
            destroy_clone(n, dataset, label)?;
            if self.config.archive == Archive::Stream {
                destroy_bookmark(dataset, label, None)?;
            }
            all &= destroy_snapshot(dataset, label, None)?;
            Ok(())
        })?;
        Ok(all)
    }

    /// Take the snapshots: all of a pool in one call, which OpenZFS makes one atomic step of; one call for each where the
    /// tool takes one only. Returns whether it was one call per pool, and whether it was only planned.
    fn take(&self, label: &str) -> Result<(bool, bool)> {
        let mut pools: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for dataset in &self.config.datasets {
            pools.entry(pool(dataset)).or_default().push(snapshot_name(dataset, label));
        }
        let (mut together, mut planned) = (true, false);
        for names in pools.values() {
            let output = self.snapshot_command(label, names).run()?;
            // A usage error: nothing was made, because this tool takes one snapshot in a call (zfs-fuse).
            if output.status == 2 && names.len() > 1 {
                together = false;
                for name in names {
                    self.snapshot_command(label, std::slice::from_ref(name)).run()?.ok().map_err(explain)?;
                }
            } else {
                planned = output.planned;
                output.ok().map_err(explain)?;
            }
        }
        if !together {
            info!(
                "this ZFS takes one snapshot in a call: those of part {} were taken one after the other",
                config::part()
            );
        }
        Ok((together, planned))
    }

    fn snapshot_command(&self, label: &str, names: &[String]) -> exec::Command {
        exec::command(if self.config.recursive { "snapshot-tree" } else { "snapshot" })
            .slot("instance", config::instance())
            .slot("part", config::part())
            .slot("label", label)
            .slots("snapshot", names.iter().map(String::as_str))
    }

    fn captured(&self, dataset: &str) -> Captured {
        let alone = self.config.datasets.len() == 1 && !self.config.recursive;
        Captured { dataset: dataset.to_owned(), source: source_name(dataset, alone), ..Captured::default() }
    }

    /// Find out what was captured, and let go of what is left out. Gives its size.
    fn survey(&self, state: &mut State) -> Result<Option<u64>> {
        let existing = tree::datasets(&self.config)?;
        let missing = self.config.datasets.iter().find(|name| !existing.iter().any(|found| found.name == **name));
        if let Some(missing) = missing {
            return Err(Error::not_found(format!("dataset {missing} is gone")));
        }
        let (mut captured, mut bytes) = (Vec::new(), 0_u64);
        for dataset in existing {
            let name = snapshot_name(&dataset.name, &state.label);
            if self.config.excluded(&dataset.name) {
                // It goes with the set, at the latest.
                let gone = if state.planned { Ok(true) } else { destroy_snapshot(&dataset.name, &state.label, None) };
                if let Err(error) = gone {
                    warn!("{} is left out, and its part of the snapshot stays: {}", dataset.name, error.message);
                }
                continue;
            }
            if dataset.volume && self.config.archive == Archive::Files {
                return Err(Error::unsupported(format!("{} is a volume, which holds no files", dataset.name))
                    .hint("set archive = \"stream\", or leave it out"));
            }
            let mut one = Captured { volume: dataset.volume, ..self.captured(&dataset.name) };
            if !state.planned {
                let Some(found) = own(&name)?.filter(|found| mine(found, &state.label)) else {
                    if self.config.datasets.contains(&dataset.name) {
                        return Err(Error::not_found(format!(
                            "snapshot {name} is gone, or is not the one that was taken"
                        ))
                        .hint("does another tool on this machine delete snapshots?"));
                    }
                    info!("{} was created after the snapshot, and is not in it", dataset.name);
                    continue;
                };
                one.guid = found.value("guid").map(str::to_owned);
                bytes = bytes.saturating_add(found.number("referenced").unwrap_or(0));
            }
            captured.push(one);
        }
        state.datasets = captured;
        Ok((!state.planned).then_some(bytes))
    }

    fn record(&self, label: String, found: &[(String, Properties)]) -> Result<Snapshot> {
        let datasets: Vec<_> = found
            .iter()
            .map(|(dataset, properties)| Captured {
                guid: properties.value("guid").map(str::to_owned),
                ..self.captured(dataset)
            })
            .collect();
        let id: Vec<_> = datasets.iter().map(|captured| snapshot_name(&captured.dataset, &label)).collect();
        // Of many, the first tell enough.
        let id = id.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(" ");
        let sum = |name| found.iter().filter_map(|(_, properties)| properties.number(name)).sum::<u64>();
        let created = found.iter().filter_map(|(_, properties)| properties.number("creation")).min().unwrap_or(0);
        let state = State { label, datasets, together: false, recursive: self.config.recursive, planned: false };
        let mut snapshot = Snapshot::atomic(id, &state)?;
        snapshot.created = created.saturating_mul(1000);
        snapshot.bytes = Some(sum("referenced"));
        Ok(snapshot)
    }
}

/// Say what a refusal of `zfs snapshot` means.
fn explain(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    if stderr.contains("does not exist") {
        error.code(bkhost_sdk::ErrorCode::NotFound).hint("check [part.config] datasets against `zfs list`")
    } else if stderr.contains("ermission denied") {
        error
            .code(bkhost_sdk::ErrorCode::Denied)
            .hint("run bkhost as root, or delegate: zfs allow <user> snapshot,destroy,mount,userprop <dataset>")
    } else if stderr.contains("already exists") {
        error.code(bkhost_sdk::ErrorCode::AlreadyExists).hint("do two parts name the same dataset?")
    } else {
        error
    }
}

/// Do it for each, and then return the first failure.
fn each<T>(items: impl IntoIterator<Item = T>, mut step: impl FnMut(T) -> Result<()>) -> Result<()> {
    let mut first = Ok(());
    for item in items {
        let outcome = step(item);
        if first.is_ok() {
            first = outcome;
        }
    }
    first
}

#[cfg(test)]
mod tests;
