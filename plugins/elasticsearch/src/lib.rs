//! Elasticsearch and OpenSearch: snapshots that stay in a repository of the cluster.
//!
//! Under the lock a snapshot is started, and its shards begin: with that the point is fixed. That their files are copied takes
//! minutes to hours, and is waited for after the unlock.

mod capture;
mod check;
mod client;
mod cluster;
mod config;
mod failure;
mod names;
mod proof;
mod rebuild;
mod repository;
mod restore;
mod shot;
mod state;
mod wait;

use std::time::Duration;

use bkhost_sdk::{Archived, Error, Finding, Result, Snapshot, Source, Strategy, Verify};

use client::Client;
use cluster::Cluster;
use config::{Config, Mode};
use repository::Repository;
use state::State;

/// The strategy for one part.
pub struct Elasticsearch {
    config: Config,
    /// What was found before the lock.
    cluster: Option<Cluster>,
}

impl Elasticsearch {
    fn client(&self) -> Result<Client> {
        Ok(Client::new(self.config.url()?))
    }

    fn repository(&self) -> Result<Repository> {
        self.config.repository().ok_or_else(|| Error::invalid_config("no repository is configured"))
    }

    fn rebuilds(&self) -> bool {
        self.config.mode == Mode::Rebuild
    }

    /// The cluster, and the indices that are to be captured.
    fn find(&self) -> Result<Cluster> {
        let client = self.client()?;
        let cluster = Cluster::find(&client)?;
        let names: Vec<_> = cluster::indices(&client)?.into_iter().map(|index| index.name).collect();
        let idle = cluster::idle(&self.config.indices, &names);
        if idle.is_empty() { Ok(cluster) } else { Err(cluster::none(&idle)) }
    }
}

impl Strategy for Elasticsearch {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self { config, cluster: None })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        if self.rebuilds() {
            let message = "nothing is captured: the indices are declared to be built anew after a restore";
            return Ok(vec![Finding::warning("search", message)]);
        }
        // Whoever looks does not want to wait for a server that is not there.
        let client = self.client()?.patience(Duration::from_secs(3));
        check::check(&self.config, &client, &self.repository()?)
    }

    fn prepare(&mut self) -> Result<()> {
        if !self.rebuilds() {
            self.cluster = Some(self.find()?);
            self.repository()?.ensure(&self.client()?, true)?;
        }
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        if self.rebuilds() {
            return rebuild::declare(&self.config, label);
        }
        let cluster = match self.cluster.take() {
            Some(cluster) => cluster,
            None => self.find()?,
        };
        capture::capture(&self.config, &self.client()?, &cluster, &self.repository()?, label)
    }

    fn finish(&mut self, snapshot: Snapshot) -> Result<Snapshot> {
        if self.rebuilds() {
            return Ok(snapshot);
        }
        wait::completed(&self.config, &self.client()?, snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        Ok(if state.name.is_empty() { Vec::new() } else { vec![Source::Held(state.name)] })
    }

    fn confirm(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.name.is_empty() || state.planned {
            return Ok(());
        }
        let found = shot::look(&self.client()?, &state.repository, &state.name)?;
        proof::usable(&state, found.as_ref()).map(drop)
    }

    fn restore(&mut self, snapshot: &Snapshot, _: &[Archived], to: Option<&str>) -> Result<()> {
        let state: State = snapshot.state()?;
        if !state.rebuild.is_empty() {
            rebuild::tell(&state);
            return Ok(());
        }
        restore::restore(&self.config, &self.client()?, &state, to)
    }

    fn list(&mut self) -> Result<Vec<Snapshot>> {
        match self.config.repository() {
            Some(repository) => shot::list(&self.client()?, &repository),
            None => Ok(Vec::new()),
        }
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.name.is_empty() {
            return Ok(());
        }
        let client = self.client()?;
        // A cluster that was made anew does not know the repository, in which the snapshot still is.
        state.repository.ensure(&client, true)?;
        shot::remove(&client, &state.repository, &state.name, self.config.delete_timeout())
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        match self.config.repository() {
            Some(repository) => shot::discard(&self.client()?, &repository, label, self.config.delete_timeout()),
            None => Ok(()),
        }
    }
}

impl Verify for Elasticsearch {
    fn verify(&mut self, snapshot: &Snapshot, _: &[Archived]) -> Result<Vec<Finding>> {
        let state: State = snapshot.state()?;
        if state.name.is_empty() {
            return Ok(proof::declared());
        }
        proof::verify(&self.client()?, &state)
    }
}

bkhost_sdk::export!(Elasticsearch: Verify);

#[cfg(test)]
mod tests;
