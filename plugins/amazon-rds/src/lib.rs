//! Amazon RDS instances and Aurora clusters: a snapshot at the consistency point, and a restore that only ever makes
//! something new. The plugin's README explains the guarantees.

mod capture;
mod check;
mod kind;
mod names;
mod offsite;
mod owned;
mod rds;
mod restore;
mod settings;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bkhost_sdk::{Archived, Drill, Error, Finding, Offsite, Result, Snapshot, Source, Strategy, Verify};
use bkhost_sdk_aws::Client;
use serde::{Deserialize, Serialize};

use kind::Kind;
use offsite::Place;
use rds::Rds;
use restore::Overrides;

/// `[part.config]`; see `config.schema.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Config {
    region: String,
    endpoint: Option<String>,
    instance: Option<String>,
    cluster: Option<String>,
    point_timeout_seconds: f64,
    timeout_minutes: f64,
    poll_seconds: f64,
    restore: Overrides,
    #[serde(default)]
    drill: bool,
    offsite: Option<Place>,
}

/// What a snapshot's state holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct State {
    kind: Kind,
    /// The label of the run.
    label: String,
    /// The database that was captured.
    source: String,
    /// Amazon's own id of it, which a later database of the same name does not have.
    #[serde(default)]
    resource: Option<String>,
    /// How it was set up; none if only the snapshot itself is known.
    #[serde(default)]
    instance: Option<settings::Instance>,
    #[serde(default)]
    cluster: Option<settings::Cluster>,
    /// A dry run: there is no such snapshot.
    #[serde(default)]
    planned: bool,
}

impl State {
    /// For a database that is looked at and deleted: alone, out of reach, and not protected.
    fn throw_away(&mut self) {
        let instances = self.instance.iter_mut();
        if let Some(cluster) = &mut self.cluster {
            (cluster.deletion_protection, cluster.backup_days) = (false, None);
            cluster.public = cluster.public.map(|_| false);
            cluster.members.truncate(1);
        }
        let members = self.cluster.iter_mut().flat_map(|cluster| &mut cluster.members);
        for instance in instances.chain(members) {
            (instance.deletion_protection, instance.multi_az) = (false, false);
            (instance.public, instance.backup_days) = (instance.public.map(|_| false), None);
        }
    }
}

/// Snapshots of one RDS instance or Aurora cluster.
struct AmazonRds {
    kind: Kind,
    source: String,
    /// Where it works: in the database's region, or at the place of its copies.
    rds: Rds,
    /// The place of the copies, and RDS where the database is.
    offsite: Option<(Place, Rds)>,
    /// How long the snapshot may take to be taken, under the lock.
    point: Duration,
    /// How long it may take to be complete.
    complete: Duration,
    overrides: Overrides,
    /// A drill may make a database.
    drill: bool,
    /// How the database is set up, looked at before the lock.
    known: Option<State>,
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX)
}

impl Strategy for AmazonRds {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let (kind, source) = match (config.instance, config.cluster) {
            (Some(instance), None) => (Kind::Instance, instance),
            (None, Some(cluster)) => (Kind::Cluster, cluster),
            (None, None) => {
                return Err(Error::invalid_config("part.config names no database")
                    .hint("write instance = \"<identifier>\" or cluster = \"<identifier>\""));
            }
            (Some(_), Some(_)) => {
                return Err(Error::invalid_config("part.config names an instance and a cluster")
                    .hint("a part is one of them: an instance of an Aurora cluster is captured with its cluster"));
            }
        };
        let poll = seconds(config.poll_seconds);
        let here = Rds::new(Client::rds(&config.region, config.endpoint.as_deref()), poll);
        let (rds, offsite, overrides) = match config.offsite {
            Some(place) => {
                place.check(&config.region)?;
                (place.rds(poll), Some((place.from(&config.region), here)), place.restore)
            }
            None => (here, None, config.restore),
        };
        overrides.fit(kind)?;
        Ok(Self {
            kind,
            source: names::target(&source)?,
            rds,
            offsite,
            point: seconds(config.point_timeout_seconds),
            complete: seconds(config.timeout_minutes * 60.0),
            overrides,
            drill: config.drill,
            known: None,
        })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        match &self.offsite {
            Some((place, here)) => offsite::check(self, place, here),
            None => check::all(self),
        }
    }

    fn prepare(&mut self) -> Result<()> {
        self.known = None;
        capture::ready(self)?;
        self.known = Some(capture::look(self)?);
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        capture::capture(self, label)
    }

    fn finish(&mut self, snapshot: Snapshot) -> Result<Snapshot> {
        capture::finish(self, snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        Ok(vec![Source::Held(snapshot.id.clone())])
    }

    fn restore(&mut self, snapshot: &Snapshot, _: &[Archived], to: Option<&str>) -> Result<()> {
        restore::restore(self, snapshot, to)
    }

    fn list(&mut self) -> Result<Vec<Snapshot>> {
        owned::list(self)
    }

    fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        if state.planned {
            return Ok(());
        }
        owned::delete(self, state.kind, &snapshot.id, &state.label)
    }

    fn discard(&mut self, label: &str) -> Result<()> {
        owned::delete(self, self.kind, &self.rds.id(label), label)
    }
}

impl Verify for AmazonRds {
    /// What can be seen from here: that the snapshot exists, is this part's and run's, is complete, and is encrypted if the
    /// database was.
    fn verify(&mut self, snapshot: &Snapshot, _: &[Archived]) -> Result<Vec<Finding>> {
        let state: State = snapshot.state()?;
        let subject = format!("snapshot {}", snapshot.id);
        Ok(vec![match self.rds.snapshot(state.kind, &snapshot.id)? {
            None => Finding::failure(subject, "is not there"),
            Some(found) if found.text("Status") != "available" => {
                Finding::failure(subject, format!("is {}", found.text("Status")))
            }
            Some(found) => match capture::prove(&self.rds, &state, &snapshot.id, &found) {
                Err(error) => Finding::from_error(subject, error),
                Ok(()) => Finding::info(subject, "is available"),
            },
        }])
    }
}

impl Drill for AmazonRds {
    fn rehearse(&mut self, snapshot: &Snapshot, _: &[Archived]) -> Result<Vec<Finding>> {
        restore::rehearse(self, snapshot)
    }

    fn clear(&mut self) -> Result<()> {
        restore::clear(self)
    }
}

impl Offsite for AmazonRds {
    fn copy(&mut self, snapshot: &Snapshot) -> Result<Snapshot> {
        offsite::Copying::new(self)?.copy(snapshot)
    }

    fn undo(&mut self, snapshot: &Snapshot) -> Result<()> {
        offsite::Copying::new(self)?.undo(snapshot)
    }

    fn find(&mut self, label: &str) -> Result<Option<Snapshot>> {
        offsite::find(self, label)
    }
}

bkhost_sdk::export!(AmazonRds: Verify + Drill + Offsite);
