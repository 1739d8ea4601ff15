//! Strategy lvm: one or more LVM volumes, classic or thin, captured by snapshots.
//!
//! Whose a snapshot is, is proven by tags that are set in the call that makes it, together with its name and its origin;
//! each of them alone proves nothing.

mod check;
mod merge;
mod names;
mod own;
mod plan;
mod read;
mod report;
mod restore;
mod take;

use std::collections::{BTreeMap, BTreeSet};

use bkhost_sdk::{Archived, Covers, Error, Finding, Place, Result, Snapshot, Source, Strategy, Unfinished, exec, warn};
use serde::{Deserialize, Serialize};

use names::{group, mount_directory, snapshot_name, source_name};
use own::each;
use plan::Plan;
use report::{Kind, Volume};

bkhost_sdk::export!(Lvm: Covers + Unfinished);

/// From this fill on the operator is told, in percent.
const NEARLY_FULL: f64 = 80.0;

/// `[part.config]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    volumes: Vec<String>,
    snapshot_size: String,
    keep_snapshots: bool,
    max_pool_use: u8,
}

/// What a snapshot record keeps for the later calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    /// What the snapshots are called after the volume's name and a hyphen.
    label: String,
    /// The volumes, in the order of the configuration.
    volumes: Vec<Captured>,
    /// The snapshots stay until the set is deleted.
    kept: bool,
    /// A dry run: nothing was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    planned: bool,
}

/// One volume's snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Captured {
    /// group/volume
    volume: String,
    /// The directory that holds it in the archive; empty: the top.
    source: String,
    /// The type of its file system.
    fstype: String,
    /// The volume's size in bytes.
    size: u64,
    /// Its thin pool; none: a classic volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    /// LVM's own identity of the snapshot, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
}

/// The strategy.
#[derive(Debug)]
struct Lvm {
    config: Config,
    /// What `prepare` found out for `capture`.
    plan: Option<Plan>,
    /// Snapshots and pools that the operator was told about, so that it is once.
    told: BTreeSet<String>,
    /// LVM's version, as `check` found it.
    version: Option<String>,
}

impl Covers for Lvm {
    /// A volume is known by the number of its device, whatever else is mounted at the same place. Several are made to stand still
    /// together only where that can be had: so each is sure of itself alone.
    fn volume_of(&mut self, place: &Place) -> Result<Option<bkhost_sdk::Volume>> {
        for volume in &self.config.volumes {
            if report::volume(volume)?.is_some_and(|found| found.device() == Some(place.device)) {
                return Ok(Some(bkhost_sdk::Volume { name: volume.clone(), instant: volume.clone() }));
            }
        }
        Ok(None)
    }
}

impl Unfinished for Lvm {
    fn abandon(&mut self, label: &str, to: Option<&str>) -> Result<bool> {
        // A merge is not undone, but gone on with by the next restore.
        to.map_or(Ok(false), |to| restore::abandon(label, to))
    }
}

impl Strategy for Lvm {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        config.volumes.iter().try_for_each(|volume| names::valid(volume))?;
        Ok(Self { config, plan: None, told: BTreeSet::new(), version: None })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        self.version = check::version()?;
        check::check(&self.config, self.version.as_deref())
    }

    /// All that can be looked up is looked up before the lock, and what is dirty is written out.
    fn prepare(&mut self) -> Result<()> {
        for (n, volume) in self.config.volumes.iter().enumerate() {
            let directory = take::directory(n);
            let flushed = exec::run("flush", &[("directory", &directory)]).and_then(exec::Output::ok);
            if let Err(error) = flushed {
                warn!("could not flush {volume} before the lock, which will take longer for it: {}", error.message);
            }
        }
        self.plan = Some(Plan::make(&self.config)?);
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => Plan::make(&self.config)?,
        };
        let taken = match take::take(&plan, label) {
            Ok(taken) => taken,
            Err(error) => {
                // The host calls `discard` as well. Doing it here too leaves nothing to a host that is in a hurry.
                if let Err(left) = self.discard(label) {
                    warn!("after a failed capture: {}", left.message);
                }
                return Err(error);
            }
        };
        let of = plan.volumes.len();
        let volumes: Vec<_> = plan
            .volumes
            .into_iter()
            .map(|volume| Captured {
                source: source_name(&volume.name, of),
                volume: volume.name,
                fstype: volume.fstype,
                size: volume.size,
                pool: volume.pool,
                uuid: None,
            })
            .collect();
        let id: Vec<_> = volumes.iter().map(|captured| snapshot_name(&captured.volume, label)).collect();
        let state =
            State { label: label.to_owned(), volumes, kept: self.config.keep_snapshots, planned: taken.planned };
        let mut snapshot = Snapshot::atomic(id.join(" "), &state)?;
        snapshot.created = taken.at;
        Ok(snapshot)
    }

    fn finish(&mut self, mut snapshot: Snapshot) -> Result<Snapshot> {
        let mut state: State = snapshot.state()?;
        if state.planned {
            return Ok(snapshot);
        }
        let mut bytes = 0_u64;
        for captured in &mut state.volumes {
            let found = own::usable(captured, &state.label)?;
            bytes = bytes.saturating_add(own::space(&found));
            captured.uuid = Some(found.uuid);
        }
        snapshot.bytes = Some(bytes);
        snapshot.set_state(&state)?;
        if let Some(version) = &self.version {
            snapshot = snapshot.version("lvm", version);
        }
        Ok(snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        let mut sources = Vec::new();
        for (n, captured) in state.volumes.iter().enumerate() {
            let directory = mount_directory("snapshot", n);
            if !state.planned {
                read::mount(n, captured, &state.label)?;
            }
            sources.push(Source::tree(&captured.source, directory));
        }
        Ok(sources)
    }

    /// A snapshot whose space ran out holds nothing any more, whatever could be read of it out of a cache.
    fn confirm(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.planned {
            return Ok(());
        }
        for captured in &state.volumes {
            let found = own::usable(captured, &state.label)?;
            match &captured.pool {
                None => self.tell_if_nearly_full(&found, &snapshot_name(&captured.volume, &state.label)),
                Some(pool) => {
                    let name = format!("{}/{pool}", group(&captured.volume));
                    if let Some(pool) = report::volume(&name)? {
                        self.tell_if_nearly_full(&pool, &name);
                    }
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.planned {
            return Ok(());
        }
        each(state.volumes.iter().enumerate(), |(n, captured)| {
            read::unmount("snapshot", n)?;
            if state.kept {
                own::put_to_rest(captured, &state.label)
            } else {
                own::remove(&captured.volume, &state.label, captured.uuid.as_deref())
            }
        })
    }

    fn restore(&mut self, snapshot: &Snapshot, archived: &[Archived], to: Option<&str>) -> Result<()> {
        let state: State = snapshot.state()?;
        match to {
            None => merge::in_place(&state),
            Some(to) => restore::into(&state, archived, to),
        }
    }

    fn list(&mut self) -> Result<Vec<Snapshot>> {
        let mut runs: BTreeMap<String, Vec<(usize, Volume)>> = BTreeMap::new();
        for (n, volume) in self.config.volumes.iter().enumerate() {
            for found in report::volumes(group(volume))?.unwrap_or_default() {
                if let Some(label) = found.label_of(volume).map(str::to_owned) {
                    runs.entry(label).or_default().push((n, found));
                }
            }
        }
        runs.into_iter().map(|(label, found)| self.record(label, found)).collect()
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.planned {
            return Ok(());
        }
        each(state.volumes.iter().enumerate(), |(n, captured)| {
            read::unmount("snapshot", n)?;
            own::remove(&captured.volume, &state.label, captured.uuid.as_deref())
        })
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        take::resume_what_was_left()?;
        each(self.config.volumes.iter().enumerate(), |(n, volume)| {
            read::unmount("snapshot", n)?;
            own::remove(volume, label, None)
        })
    }
}

impl Lvm {
    fn record(&self, label: String, found: Vec<(usize, Volume)>) -> Result<Snapshot> {
        let all = &self.config.volumes;
        let created = found.iter().map(|(_, volume)| volume.created()).min().unwrap_or(0);
        let bytes = found.iter().map(|(_, volume)| own::space(volume)).sum();
        let volumes: Vec<_> = found
            .into_iter()
            .filter_map(|(n, found)| {
                let volume = all.get(n)?;
                Some(Captured {
                    volume: volume.clone(),
                    source: source_name(volume, all.len()),
                    fstype: String::new(),
                    size: 0,
                    pool: (found.kind() == Kind::Thin).then(|| found.pool.clone()),
                    uuid: Some(found.uuid),
                })
            })
            .collect();
        let id: Vec<_> = volumes.iter().map(|captured| snapshot_name(&captured.volume, &label)).collect();
        let state = State { label, volumes, kept: true, planned: false };
        let mut snapshot = Snapshot::atomic(id.join(" "), &state)?;
        snapshot.created = created.saturating_mul(1000);
        snapshot.bytes = Some(bytes);
        Ok(snapshot)
    }

    fn tell_if_nearly_full(&mut self, volume: &Volume, name: &str) {
        let fills = [("", volume.used()), ("metadata of ", volume.metadata_used())];
        for (what, used) in fills {
            if let Some(used) = used.filter(|used| *used >= NEARLY_FULL)
                && self.told.insert(format!("{what}{name}"))
            {
                warn!("the {what}{name} is {used:.0} % full");
            }
        }
    }
}

fn gone(name: &str) -> Error {
    Error::not_found(format!("snapshot {name} is gone, or is not the one that was taken"))
        .hint("does another tool on this machine delete snapshots?")
}

#[cfg(test)]
mod tests;
