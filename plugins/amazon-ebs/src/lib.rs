//! Amazon EBS: snapshots that stay with Amazon.
//!
//! Under the lock there is one call: the point is fixed when `CreateSnapshots` (or `CreateSnapshot`) returns. That the blocks
//! reach their place takes minutes to hours, and is waited for after the unlock.

mod capture;
mod check;
mod config;
mod ec2;
mod offsite;
mod owned;
mod proof;
mod restore;
mod state;
mod wait;

use bkhost_sdk::{Archived, Drill, Finding, Offsite, Result, Snapshot, Source, Strategy, Verify};

use config::Config;
use ec2::Ec2;
use state::{State, Target};

/// The strategy for one part.
pub struct AmazonEbs {
    config: Config,
    /// Where it works: at the volumes' region, or at the place of their copies.
    ec2: Ec2,
    /// What was found before the lock.
    target: Option<Target>,
}

impl Strategy for AmazonEbs {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        config.check()?;
        let ec2 = config.offsite.as_ref().map_or_else(|| Ec2::new(&config), Ec2::there);
        Ok(Self { config: config.there(), ec2, target: None })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        match &self.config.offsite {
            Some(place) => Ok(offsite::check(&self.config, place, &Ec2::new(&self.config), &self.ec2)),
            None => check::check(&self.config, &self.ec2),
        }
    }

    fn prepare(&mut self) -> Result<()> {
        self.target = Some(Target::find(&self.config, &self.ec2)?);
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let target = match &self.target {
            Some(target) => target,
            None => self.target.insert(Target::find(&self.config, &self.ec2)?),
        };
        capture::capture(&self.ec2, target, &self.config.mounts(), label)
    }

    fn finish(&mut self, snapshot: Snapshot) -> Result<Snapshot> {
        wait::completed(&self.config, &self.ec2, snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        Ok(state.volumes.into_iter().map(|captured| Source::Held(captured.snapshot)).collect())
    }

    fn restore(&mut self, snapshot: &Snapshot, _: &[Archived], to: Option<&str>) -> Result<()> {
        restore::restore(&self.config, &self.ec2, &snapshot.state()?, to)
    }

    fn list(&mut self) -> Result<Vec<Snapshot>> {
        owned::list(&self.ec2)
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        owned::delete(&self.ec2, &snapshot.state()?)
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        owned::discard(&self.ec2, label)
    }
}

impl Verify for AmazonEbs {
    fn verify(&mut self, snapshot: &Snapshot, _: &[Archived]) -> Result<Vec<Finding>> {
        proof::verify(&self.ec2, &snapshot.state()?)
    }
}

impl Drill for AmazonEbs {
    fn rehearse(&mut self, snapshot: &Snapshot, _: &[Archived]) -> Result<Vec<Finding>> {
        restore::rehearse(&self.config, &self.ec2, &snapshot.state()?)
    }

    fn clear(&mut self) -> Result<()> {
        restore::clear(&self.config, &self.ec2)
    }
}

impl Offsite for AmazonEbs {
    fn copy(&mut self, snapshot: &Snapshot) -> Result<Snapshot> {
        offsite::Copying::new(&self.config, &self.ec2)?.copy(snapshot)
    }

    fn undo(&mut self, snapshot: &Snapshot) -> Result<()> {
        offsite::Copying::new(&self.config, &self.ec2)?.undo(snapshot)
    }

    fn find(&mut self, label: &str) -> Result<Option<Snapshot>> {
        offsite::find(&self.ec2, label)
    }
}

bkhost_sdk::export!(AmazonEbs: Verify + Drill + Offsite);

#[cfg(test)]
mod tests;
