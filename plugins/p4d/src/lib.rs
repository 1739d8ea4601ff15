//! Strategy p4d: the metadata of a Perforce Helix Core server.
//!
//! p4d itself writes a checkpoint: it locks its database as long as that takes. Everything else is looking closely: at
//! what p4d says, at the counters, at the MD5 of the text, at p4d's own verification of every file of the chain.

mod capture;
mod check;
mod config;
mod files;
mod ledger;
mod proof;
mod restore;
mod server;
#[cfg(test)]
mod tests;

use bkhost_sdk::{
    Archived, Consistency, Drill, Error, Finding, Result, Snapshot, Source, Strategy, Verify, info, warn,
};
use serde::{Deserialize, Serialize};

use config::{Config, Layout, Method, Place};
use files::{File, Kind};

bkhost_sdk::export!(P4d: Verify + Drill);

/// What a snapshot record keeps for the later calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct State {
    label: String,
    method: Method,
    /// The sequence number of the live journal from then on: what the restored metadata has to have.
    sequence: u64,
    /// The number of the checkpoint; the journals with this number and higher ones come after it.
    base: u64,
    /// The checkpoint first, then the journals since, then the journal before the checkpoint and what else is archived.
    files: Vec<File>,
    /// `lastCheckpointAction`.
    action: String,
    /// How long p4d took, and kept its database locked, in milliseconds.
    took_ms: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    planned: bool,
}

impl State {
    /// What is replayed, in this order.
    fn chain(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| match file.kind {
            Kind::Checkpoint => true,
            Kind::Journal => file.sequence >= self.base,
            Kind::Md5 | Kind::Server => false,
        })
    }
}

/// The strategy.
#[derive(Debug)]
struct P4d {
    config: Config,
}

impl Drill for P4d {
    fn rehearse(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        let state: State = snapshot.state()?;
        restore::restore(&self.config, &state, archived)?;
        Ok(vec![Finding::info("p4d", format!("replayed and verified up to journal {}", state.sequence))])
    }

    /// All of it is in the target, which is the host's to remove.
    fn clear(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Strategy for P4d {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        Ok(check::check(&self.config))
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let mut captured = capture::capture(&self.config, label)?;
        // The database is as it was all the time that it was locked: what is captured after this moment is not older.
        let created = bkhost_sdk::now();
        let name = match captured.files.iter().rev().find(|file| file.made && file.kind != Kind::Md5) {
            _ if captured.planned => format!("checkpoint {}", captured.sequence),
            Some(journal) if !captured.files.iter().any(|file| file.made && file.kind == Kind::Checkpoint) => {
                journal.host(&self.config)
            }
            _ => captured.files.first().map(|file| file.host(&self.config)).unwrap_or_default(),
        };
        let base = captured.files.first().map_or(captured.sequence, |file| file.sequence);
        for name in ["server.id", "license"] {
            captured
                .files
                .extend(File::look(name.to_owned(), Kind::Server, Place::Root, 0).filter(|_| !captured.planned));
        }
        let bytes = captured.files.iter().map(|file| file.bytes).sum();
        let state = State {
            label: label.to_owned(),
            method: self.config.method,
            sequence: captured.sequence,
            base,
            files: captured.files,
            action: captured.action,
            took_ms: u64::try_from(captured.took.as_millis()).unwrap_or(u64::MAX),
            planned: captured.planned,
        };
        let mut snapshot = Snapshot::new(name, Consistency::Exported, &state)?;
        snapshot.created = created;
        snapshot.bytes = Some(bytes);
        if !state.planned {
            info!("{} in {} ms, in which p4d kept its database locked", snapshot.id, state.took_ms);
            ledger::remember(label, &snapshot)?;
        }
        Ok(snapshot)
    }

    /// The database is free: prove every file of the chain.
    fn finish(&mut self, mut snapshot: Snapshot) -> Result<Snapshot> {
        let mut state: State = snapshot.state()?;
        if state.planned {
            return Ok(snapshot);
        }
        for n in 0..state.files.len() {
            let Some(file) = state.files.get(n).filter(|file| matches!(file.kind, Kind::Checkpoint | Kind::Journal))
            else {
                continue;
            };
            let md5 = self.prove(file)?;
            if let Some(file) = state.files.get_mut(n) {
                file.md5 = Some(md5);
            }
        }
        snapshot.set_state(&state)?;
        ledger::remember(&state.label, &snapshot)?;
        if let Ok(version) = bkhost_sdk::exec::run("version", &[])
            && let Some(release) = server::release(&version.stdout)
        {
            snapshot = snapshot.version("p4d", release);
        }
        Ok(snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        Ok(state.files.iter().map(|file| Source::file(&file.name, file.guest())).collect())
    }

    fn restore(&mut self, snapshot: &Snapshot, archived: &[Archived], _: Option<&str>) -> Result<()> {
        restore::restore(&self.config, &snapshot.state()?, archived)
    }

    fn list(&mut self) -> Result<Vec<Snapshot>> {
        let mut found = Vec::new();
        for made in ledger::all()?.into_values() {
            let Ok(state) = serde_json::from_str::<State>(&made.state) else { continue };
            if state.files.iter().any(|file| file.made && file.unchanged()) {
                let mut snapshot = Snapshot::exported(made.id, &state)?;
                (snapshot.created, snapshot.bytes) = (made.created, made.bytes);
                found.push(snapshot);
            }
        }
        Ok(found)
    }

    /// Checkpoints are p4d's own, and an administrator may count on them: without `remove-checkpoints`, they stay. So do
    /// the newest one and the journals since, in any case.
    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.planned {
            return Ok(());
        }
        if self.config.remove_checkpoints {
            let made: Vec<_> = state.files.iter().filter(|file| file.made).collect();
            if let Some(first) = made.first() {
                self.remove_old(first.place, &made)?;
            }
        }
        ledger::forget(&state.label)
    }

    /// A checkpoint that p4d did not complete is removed if this part's run made it, and nobody can still be writing it.
    fn discard(&mut self, label: &str) -> Result<()> {
        if let Some(intent) = ledger::intent(label)?
            && let Some(number) = intent.checkpoint
        {
            let layout = Layout::new(&self.config, server::journal_prefix(&self.config)?.as_deref())?;
            let completed = server::counters(&self.config)?.journal >= number;
            if let Some(file) = files::checkpoint(&layout, number).filter(|_| !completed) {
                let host = file.host(&self.config);
                match intent.method {
                    Method::P4d => {
                        for file in files::md5_of(&file).iter().chain([&file]) {
                            file.remove(&self.config)?;
                        }
                        warn!("{host}, which p4d had not completed, was removed");
                    }
                    Method::P4 => warn!(
                        "{host} is not complete, and the server may still be writing it: it stays. If lastCheckpointAction \
                         says that it failed, remove it before the next run"
                    ),
                }
            }
        }
        ledger::forget(label)
    }
}

impl Verify for P4d {
    fn verify(&mut self, snapshot: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        proof::verify(&self.config, &snapshot.state()?, archived)
    }
}

impl P4d {
    /// Compare with the `.md5`, and have p4d verify it. Returns the MD5 of the text.
    fn prove(&self, file: &File) -> Result<String> {
        let host = file.host(&self.config);
        let md5 = file.compute().map_err(|error| error.context(&host))?;
        match files::md5_of(file) {
            Some(beside) => {
                let expected = files::expected(&beside)?;
                if expected != md5 {
                    return Err(Error::corrupt(format!(
                        "{host}: the MD5 of its text is {md5}, and {} says {expected}",
                        beside.name
                    ))
                    .hint("this checkpoint does not restore: look for errors of the disk, and run again"));
                }
            }
            None if file.kind == Kind::Checkpoint => {
                return Err(Error::not_found(format!("{host} has no .md5 beside it")));
            }
            None => {}
        }
        let compress = file.zipped().then_some("z");
        let command = bkhost_sdk::exec::command("validate").slot("root", &self.config.root);
        let output = command.slot_if("compress", compress).slot("file", file.guest()).run()?;
        output.ok().map_err(|error| {
            error
                .code(bkhost_sdk::ErrorCode::Corrupt)
                .context(format!("p4d -jv {host}"))
                .hint("this file does not restore: look for errors of the disk, and run again")
        })?;
        Ok(md5)
    }

    fn remove_old(&self, place: Place, made: &[&File]) -> Result<()> {
        let layout = Layout::new(&self.config, server::journal_prefix(&self.config)?.as_deref())?;
        if layout.place != place {
            warn!("journalPrefix has changed since: the files in {} stay", place.host(&self.config));
            return Ok(());
        }
        let newest = files::newest(&layout, u64::MAX).map_or(0, |(number, _)| number);
        for file in made.iter().filter(|file| file.sequence < newest && file.kind != Kind::Server) {
            if file.unchanged() {
                file.remove(&self.config)?;
                info!("{} was removed", file.host(&self.config));
            }
        }
        Ok(())
    }
}
