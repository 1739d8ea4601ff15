//! Strategy rsync: a plain tree, copied into the staging area by rsync in two passes.
//!
//! The live pass copies almost everything before the lock, the locked pass what has changed since. A copy is made beside
//! the last good one and never in its place: a run that fails at any point leaves that one as it was.

mod check;
mod copies;
mod filter;
mod glob;
mod pass;
mod said;
mod settled;

use bkhost_sdk::{
    Archived, Error, Finding, Result, Snapshot, Source, Strategy, archive, exec, info, path, staging, warn,
};
use serde::{Deserialize, Serialize};

use copies::{Record, Stage};
use pass::{Only, Pass, Told};

bkhost_sdk::export!(Rsync);

const SOURCE: &str = "/source/tree";

/// `[part.config]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    path: String,
    exclude: Vec<String>,
    keep_copies: usize,
    sharing: Sharing,
    checksum: Checksum,
    verify_pass: bool,
    changes: OnChange,
    one_file_system: bool,
    hard_links: bool,
    acls: bool,
    xattrs: bool,
}

/// What copies share with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sharing {
    Auto,
    Reflink,
    HardLinks,
}

/// Which passes read everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Checksum {
    Off,
    Live,
    Always,
}

/// What becomes of a run whose tree changed under the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnChange {
    Fail,
    Warn,
}

/// What a snapshot record keeps: what the locked pass did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    path: String,
    exclude: Vec<String>,
    sharing: Sharing,
    #[serde(flatten)]
    told: Told,
    /// What vanished or was found changed under the lock, as far as it is named.
    #[serde(default)]
    changed: Vec<String>,
}

/// What the live pass leaves to the locked one.
#[derive(Debug, Clone, Copy)]
struct Staged {
    sharing: Sharing,
    /// Files of the live pass are also files of the last good copy: nothing of them may be changed in place.
    shared: bool,
    /// A dry run: there is nothing.
    planned: bool,
}

/// The strategy.
#[derive(Debug)]
struct Rsync {
    config: Config,
    staged: Option<Staged>,
}

impl Strategy for Rsync {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config, staged: None })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        check::findings(&self.config)
    }

    fn prepare(&mut self) -> Result<()> {
        let filter = filter::rules(&filter::excludes(&self.config))?;
        let started = seconds();
        let synced = exec::run("sync-source", &[("source", SOURCE)])?;
        let planned = synced.planned;
        if synced.status != 0 {
            warn!(
                "{}: the file system could not be written out ({}): a change that a program makes through a mapping during \
                 the run may be missed",
                self.config.path,
                synced.failure().message
            );
        }
        if !planned {
            copies::tidy(self.config.keep_copies)?;
            filter::write(&filter)?;
        }
        let good = copies::good()?;
        let base = copies::of(&good, &self.config.path);
        let sharing = self.sharing(planned)?;
        let mut live = Pass::new(&self.config, copies::live())?;
        live.checksum = self.config.checksum != Checksum::Off;
        let mut record = Record::new(copies::LIVE_LABEL, Stage::Live, &self.config.path, started);
        record.boot = if planned { None } else { pass::boot()? };
        if !planned {
            match base {
                None => self.go_on(&record)?,
                Some(_) => copies::remove_live()?,
            }
            copies::claim_live(&record)?;
        }
        if let Some(base) = base {
            let last = copies::whole(&base.label);
            if sharing == Sharing::Reflink {
                pass::clone(&last, &copies::live())?;
                settled::distrust(&copies::live(), base.started)?;
                // New files have a pass of their own, which makes their holes.
                let mut update = live.clone();
                (update.inplace, update.only) = (true, Some(Only::Old));
                self.live(&update)?;
                live.only = Some(Only::New);
            } else {
                live.base = Some(last);
            }
        }
        let shared = live.base.is_some();
        let told = self.live(&live)?;
        if planned {
            self.staged = Some(Staged { sharing, shared, planned });
            return Ok(());
        }
        if let Some(before) = base.and_then(Record::entries)
            && told.entries <= 1
            && before > 1
        {
            copies::remove_live()?;
            return Err(Error::conflict(format!(
                "{} is empty, or all of it is excluded; the last copy had {before} entries",
                self.config.path
            ))
            .hint("is the file system that belongs there mounted? If it is meant to be empty, put a file into it"));
        }
        let again = match base.filter(|_| shared) {
            Some(base) => settled::forget(&copies::live(), started, base)?,
            None => settled::distrust(&copies::live(), started)?,
        };
        info!(
            "{}: {} entries, {} bytes are copied; {again} files have changed too shortly before to be trusted to be as they were",
            self.config.path, told.entries, told.bytes
        );
        self.staged = Some(Staged { sharing, shared: shared || pass::any_linked(&copies::live())?, planned });
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let staged = self.staged.ok_or_else(|| Error::other("capture was called without prepare"))?;
        let mut record = Record::new(label, Stage::Partial, &self.config.path, seconds());
        let copy = copies::partial(label);
        let mut locked = Pass::new(&self.config, copy.clone())?;
        locked.checksum = self.config.checksum == Checksum::Always;
        if staged.shared {
            locked.base = Some(copies::live());
        } else {
            locked.inplace = staged.sharing == Sharing::Reflink;
        }
        if !staged.planned {
            copies::claim(&record)?;
            if !staged.shared {
                copies::rename(&copies::live(), &copy)?;
            }
        }
        let (told, mut changes) = locked.run_locked(self.config.changes)?;
        if self.config.verify_pass {
            changes.add(locked.compare()?);
        }
        if !changes.is_empty() {
            if self.config.changes == OnChange::Fail {
                return Err(changes.failure(&self.config.path));
            }
            warn!("{}", changes.message(&self.config.path));
        }
        let Told { entries, bytes, transferred, .. } = told;
        info!("{}: {entries} entries, {bytes} bytes; {transferred} files were copied under the lock", self.config.path);
        let state = State {
            path: self.config.path.clone(),
            exclude: filter::excludes(&self.config),
            sharing: staged.sharing,
            told,
            changed: changes.fit(),
        };
        let mut snapshot = Snapshot::copied(label, &state)?;
        snapshot.bytes = Some(bytes);
        record.ended = seconds();
        if !staged.planned {
            record.write()?;
        }
        Ok(snapshot)
    }

    fn finish(&mut self, snapshot: Snapshot) -> Result<Snapshot> {
        let label = &snapshot.id;
        let snapshot = snapshot.clone().version("rsync", check::version()?.number);
        let copy = copies::partial(label);
        let synced = exec::run("sync-copy", &[("copy", &copy)])?;
        if synced.planned {
            return Ok(snapshot);
        }
        synced.ok()?;
        let record = Record::read(label)?.ok_or_else(|| {
            Error::conflict(format!("the copy {label} is gone")).hint("who removed it from the staging area?")
        })?;
        copies::rename(&copy, &copies::whole(label))?;
        record.good(&snapshot)?.write()?;
        copies::remove_live()?;
        Ok(snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        // What is excluded is not in the copy.
        Ok(vec![Source::tree("", copies::whole(&snapshot.id))])
    }

    fn confirm(&mut self, snapshot: &Snapshot) -> Result<()> {
        let there = Record::read(&snapshot.id)?.is_some() && copies::is_directory(&copies::whole(&snapshot.id));
        if there {
            return Ok(());
        }
        Err(Error::conflict(format!("the copy {} is gone", snapshot.id)).hint("who removed it from the staging area?"))
    }

    fn restore(&mut self, _: &Snapshot, archived: &[Archived], _: Option<&str>) -> Result<()> {
        if !archived.iter().any(|archived| archived.name.is_empty()) {
            return Err(Error::not_found("the set holds no archive of this directory"));
        }
        let entries = archive::extract("", path::TARGET)?;
        info!("{entries} entries were restored");
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Snapshot>> {
        let mut snapshots = Vec::new();
        for record in copies::good()? {
            snapshots.extend(record.snapshot()?);
        }
        Ok(snapshots)
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        copies::remove(&snapshot.id)
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        copies::remove(label)?;
        staging::discard(pass::TRY)?;
        // The live pass of a run that has failed under the lock, or never came to it.
        copies::remove_live()
    }
}

impl Rsync {
    /// Whether copies share blocks or files.
    fn sharing(&self, planned: bool) -> Result<Sharing> {
        if planned || self.config.sharing == Sharing::HardLinks {
            return Ok(Sharing::HardLinks);
        }
        match (pass::can_reflink()?, self.config.sharing) {
            (Ok(()), _) => Ok(Sharing::Reflink),
            (Err(_), Sharing::Auto) => Ok(Sharing::HardLinks),
            (Err(why), _) => Err(why
                .failure()
                .hint("put [[part]] staging on XFS or btrfs, or set sharing = \"auto\" under [part.config]")),
        }
    }

    fn live(&self, pass: &Pass<'_>) -> Result<Told> {
        let outcome = pass.run_live();
        if outcome.as_ref().is_err_and(said::is_full) {
            // What fills the staging area helps nobody.
            copies::remove_live()?;
        }
        outcome
    }

    /// A first copy that was broken off may be gone on with: what a pass has finished is as it was, as long as the machine
    /// did not restart and lose what was not on the disk yet.
    fn go_on(&self, new: &Record) -> Result<()> {
        let goes_on = |old: &Record| {
            old.boot.is_some()
                && old.boot == new.boot
                && old.source == new.source
                && copies::is_directory(&copies::live())
        };
        match Record::read(copies::LIVE_LABEL)?.filter(goes_on) {
            None => copies::remove_live(),
            Some(old) => {
                info!("{}: the first copy, which an earlier run had begun, is gone on with", self.config.path);
                settled::distrust(&copies::live(), old.started).map(drop)
            }
        }
    }
}

/// Seconds since the Unix epoch.
fn seconds() -> u64 {
    bkhost_sdk::now() / 1000
}

#[cfg(test)]
mod tests;
