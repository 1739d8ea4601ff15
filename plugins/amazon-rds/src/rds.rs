//! Looking at RDS.

use std::time::Duration;

use bkhost_sdk::{Error, ErrorCode, Result, config};
use bkhost_sdk_aws::{Backoff, Client, Deadline, Element, Failure, Parameters};

use crate::kind::Kind;
use crate::names;

/// The tags that tell whose a snapshot is.
const TAGS: [&str; 3] = ["bkhost:instance", "bkhost:part", "bkhost:run"];
/// At which place a copy is: what has none is no copy.
const PLACE: &str = "bkhost:offsite";
/// The name of the place's servers in the manifest.
const ENTRY: &str = "offsite";

/// The RDS API, and how often to look.
#[derive(Debug, Clone)]
pub(crate) struct Rds {
    pub(crate) client: Client,
    poll: Duration,
    /// The place's name: only copies that are there are ours, and without one only what is no copy.
    pub(crate) place: Option<String>,
}

impl Rds {
    pub(crate) fn new(client: Client, poll: Duration) -> Self {
        Self { client, poll, place: None }
    }

    /// At a place for copies.
    pub(crate) fn at(self, place: &str) -> Self {
        Self { client: self.client.entry(ENTRY), place: Some(place.to_owned()), ..self }
    }

    /// The same with another client.
    pub(crate) fn with(&self, client: Client, poll: Duration) -> Self {
        Self { client, poll, ..self.clone() }
    }

    /// The identifier of this part's snapshot (or copy) of a run.
    pub(crate) fn id(&self, label: &str) -> String {
        match &self.place {
            Some(place) => names::snapshot(label, &format!("{}-{place}", config::part())),
            None => names::snapshot(label, &config::part()),
        }
    }

    /// The tags of this part's snapshots (or copies), of a run.
    pub(crate) fn tags(&self, label: &str) -> Vec<(String, String)> {
        let values = [config::instance(), config::part(), label.to_owned()];
        let tags = TAGS.iter().map(|tag| (*tag).to_owned()).zip(values);
        tags.chain(self.place.clone().map(|place| (PLACE.to_owned(), place))).collect()
    }

    /// The label of the run that made a snapshot, if it was this part of this instance. The tags tell; but a copy of a
    /// snapshot may take them along, and is not ours: so the identifier has to be the one that follows from them.
    pub(crate) fn label<'a>(&self, kind: Kind, snapshot: &'a Element) -> Option<&'a str> {
        let [instance, part, run] = TAGS.map(|tag| snapshot.tag("TagList", tag));
        let run = run?;
        let ours = instance == Some(&config::instance())
            && part == Some(&config::part())
            && snapshot.tag("TagList", PLACE) == self.place.as_deref()
            && snapshot.text("SnapshotType") == "manual"
            && snapshot.text(kind.names().snapshot_id) == self.id(run);
        ours.then_some(run)
    }

    /// Calls that go on for so long, but not beyond this deadline.
    pub(crate) fn within(&self, longest: Duration, deadline: &Deadline) -> Client {
        self.client.patience(longest.min(deadline.left()))
    }

    /// Pauses between looks.
    pub(crate) fn pauses(&self) -> Backoff {
        Backoff::new(Duration::from_millis(250), self.poll)
    }

    /// The instance or cluster of this identifier.
    pub(crate) fn find(&self, kind: Kind, id: &str) -> Result<Option<Element>, Failure> {
        let api = kind.names();
        exactly(self.client.list(api.describe, &Parameters::new().set(api.id, id), api.list), api.id, id)
    }

    /// The snapshot of this identifier.
    pub(crate) fn snapshot(&self, kind: Kind, id: &str) -> Result<Option<Element>, Failure> {
        let api = kind.names();
        let parameters = Parameters::new().set(api.snapshot_id, id);
        exactly(self.client.list(api.describe_snapshots, &parameters, api.snapshots), api.snapshot_id, id)
    }

    /// The manual snapshots of the account.
    pub(crate) fn snapshots(&self, kind: Kind) -> Result<Vec<Element>, Failure> {
        let api = kind.names();
        let parameters = Parameters::new().set("SnapshotType", "manual").set("MaxRecords", 100);
        self.client.list(api.describe_snapshots, &parameters, api.snapshots)
    }

    /// Look until there is an answer; none when the time is over.
    pub(crate) fn watch<T>(
        &self,
        deadline: &Deadline,
        mut look: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut pauses = self.pauses();
        loop {
            // An outage of some minutes does not end what takes hours.
            let patient = Self { client: self.within(Duration::from_secs(600), deadline), ..self.clone() };
            if let Some(found) = look(&patient)? {
                return Ok(Some(found));
            }
            if !pauses.wait(deadline) {
                return Ok(None);
            }
        }
    }
}

/// What was found, if it is what was asked for: RDS reads an empty identifier as none, and answers with everything.
fn exactly(found: Result<Vec<Element>, Failure>, key: &str, id: &str) -> Result<Option<Element>, Failure> {
    match found {
        Ok(found) => Ok(found.into_iter().find(|one| one.text(key).eq_ignore_ascii_case(id))),
        Err(failure) if failure.is_missing() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A wait that was too long.
pub(crate) fn timed_out(what: impl std::fmt::Display, deadline: &Deadline) -> Error {
    Error::new(ErrorCode::TimedOut, format!("{what} within {}", told(deadline.limit())))
}

fn told(limit: Duration) -> String {
    match limit.as_secs() {
        0..120 => format!("{:.1} s", limit.as_secs_f64()),
        seconds => format!("{} min", seconds / 60),
    }
}
