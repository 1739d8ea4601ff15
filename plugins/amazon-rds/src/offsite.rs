//! Copies in another region or account. Another account copies by itself, with a role that the host assumes; the snapshot is
//! shared with it for just that time.

mod share;

use std::time::Duration;

use bkhost_sdk::{Error, Finding, Result, Snapshot, info, progress, warn};
use bkhost_sdk_aws::{Backoff, Client, Deadline, Element, Failure, Parameters, Presigned};
use serde::Deserialize;

use crate::capture::{alive, prove, size};
use crate::check::stopped;
use crate::kind::Kind;
use crate::rds::{Rds, timed_out};
use crate::restore::Overrides;
use crate::{AmazonRds, State, owned};

/// The host ends a copy when the place's `timeout` is over: this is longer than any that makes sense.
const FOREVER: Duration = Duration::from_secs(30 * 86_400);
/// How long RDS may not know yet what it has just made.
const APPEARS: Duration = Duration::from_secs(30);
/// How long a place is asked that does not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// `[part.offsite.config]`; see `config.schema.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Place {
    name: String,
    region: String,
    endpoint: Option<String>,
    role: Option<String>,
    #[serde(rename = "sts-endpoint")]
    _sts_endpoint: Option<String>,
    kms_key: Option<String>,
    pub(crate) restore: Overrides,
    /// Where the database is.
    #[serde(skip)]
    origin: String,
}

impl Place {
    /// Values that contradict each other.
    pub(crate) fn check(&self, origin: &str) -> Result<()> {
        if self.region != origin || self.role.is_some() {
            return Ok(());
        }
        let text = format!("the place `{}` is {origin}, where the database is, and in the same account", self.name);
        Err(Error::invalid_config(format!("{text}: that is no other place"))
            .hint("under [part.offsite.config]: another region, or a role in another account"))
    }

    /// RDS there.
    pub(crate) fn rds(&self, poll: Duration) -> Rds {
        Rds::new(Client::rds(&self.region, self.endpoint.as_deref()).patience(PATIENCE), poll).at(&self.name)
    }

    /// The same, of a database in this region.
    pub(crate) fn from(&self, origin: &str) -> Self {
        Self { origin: origin.to_owned(), ..self.clone() }
    }

    fn account(&self) -> Option<&str> {
        self.role.as_deref()?.split(':').nth(4)
    }

    fn other_region(&self) -> bool {
        self.region != self.origin
    }

    /// What RDS does not do, for something of this kind that is encrypted or not.
    fn refuse(&self, kind: Kind, encrypted: bool) -> Result<()> {
        let crossing = self.account().is_some() && self.other_region();
        if crossing && (encrypted || kind == Kind::Cluster) {
            let what = if encrypted { "encrypted snapshots" } else { "snapshots of clusters" };
            let text = format!("RDS does not copy {what} to another region and another account in one step");
            return Err(Error::unsupported(text).hint(format!(
                "two places: one with the role and region = \"{}\", one with another region and without a role; or let \
                 the other account copy on from there",
                self.origin
            )));
        }
        if encrypted && self.kms_key.is_none() {
            let text = "what is encrypted is copied to another region or account only with a key of that place";
            return Err(Error::invalid_config(text).hint("under [part.offsite.config]: kms-key = \"alias/…\""));
        }
        Ok(())
    }
}

/// What would keep a copy from being made.
pub(crate) fn check(plugin: &AmazonRds, place: &Place, here: &Rds) -> Result<Vec<Finding>> {
    let subject = match place.account() {
        Some(account) => format!("region {} of account {account}", place.region),
        None => format!("region {}", place.region),
    };
    let mut findings = match plugin.rds.snapshots(plugin.kind) {
        Ok(snapshots) => {
            let ours = snapshots.iter().filter(|found| plugin.rds.label(plugin.kind, found).is_some()).count();
            vec![Finding::info(subject.as_str(), format!("{ours} copies of this part are there"))]
        }
        // What does not work here: a role that cannot be assumed, no right, no such region, no answer.
        Err(failure) => return stopped(subject, failure),
    };
    let names = plugin.kind.names();
    let of = format!("{} {}", names.word, plugin.source);
    match here.find(plugin.kind, &plugin.source) {
        Ok(Some(found)) => {
            if let Err(error) = place.refuse(plugin.kind, found.flag("StorageEncrypted")) {
                findings.push(Finding::from_error(of.as_str(), error));
            }
            let arn = found.get("DBInstanceArn").or_else(|| found.get("DBClusterArn")).unwrap_or_default();
            if !place.other_region() && place.account().is_some_and(|account| arn.split(':').nth(4) == Some(account)) {
                let text = format!("it is in {} of that account too: that is no other place", place.region);
                findings.push(Finding::failure(subject, text).hint("another region, or a role in another account"));
            } else if place.account().is_some() && found.flag("StorageEncrypted") {
                let key = found.text("KmsKeyId");
                let text = format!("it is encrypted with {key}, which the role has to be allowed to use");
                findings.push(Finding::warning(of, text).hint(
                    "its key policy has to allow kms:Decrypt, kms:DescribeKey and kms:CreateGrant to the role; what is \
                     encrypted with Amazon's own key (aws/rds) cannot be shared at all",
                ));
            }
        }
        Ok(None) => findings.push(Finding::from_error(of, crate::capture::missing(plugin))),
        Err(failure) => findings.extend(stopped(of, failure)?),
    }
    Ok(findings)
}

/// Copying to one place.
pub(crate) struct Copying<'a> {
    plugin: &'a AmazonRds,
    place: &'a Place,
    here: &'a Rds,
    there: &'a Rds,
}

impl<'a> Copying<'a> {
    pub(crate) fn new(plugin: &'a AmazonRds) -> Result<Self> {
        let (place, here) =
            plugin.offsite.as_ref().ok_or_else(|| Error::invalid_config("there is no place to copy to"))?;
        Ok(Self { plugin, place, here, there: &plugin.rds })
    }

    /// Copy a run's snapshot.
    pub(crate) fn copy(&self, snapshot: &Snapshot) -> Result<Snapshot> {
        let state: State = snapshot.state()?;
        if state.planned {
            return Err(Error::not_found("the set holds no snapshot"));
        }
        let id = self.there.id(&state.label);
        let deadline = Deadline::after(FOREVER);
        let found = self.there.snapshot(state.kind, &id)?;
        if let Some(found) = &found
            && self.there.label(state.kind, found) != Some(&state.label)
        {
            let text = format!("a snapshot {id} is in {} already, and it is no copy of this run", self.place.region);
            return Err(Error::already_exists(text).hint("look at who made it: it is left alone"));
        }
        match found.as_ref().map(|found| found.text("Status").to_owned()).as_deref() {
            // It needs nothing of what it was copied from: that may be gone by now.
            Some("available") => {}
            Some("creating" | "copying" | "pending") => drop(self.wait(&state, &id, &deadline)?),
            Some(failed) => {
                info!("the copy {id} is {failed}: it is deleted, and made again");
                owned::delete(self.plugin, state.kind, &id, &state.label)?;
                self.make(snapshot, &state, &id, &deadline)?;
            }
            None => self.make(snapshot, &state, &id, &deadline)?,
        }
        let done = self.wait(&state, &id, &deadline)?;
        self.proved(&state, &id, &done)?;
        self.record(snapshot, state, &id, &done)
    }

    /// Undo what a copy may have left: what is shared, and what is there.
    pub(crate) fn undo(&self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        let closed = share::close(self.here, self.place.account(), state.kind, &snapshot.id);
        owned::delete(self.plugin, state.kind, &self.there.id(&state.label), &state.label).and(closed)
    }

    /// Shared for just as long as it takes.
    fn make(&self, snapshot: &Snapshot, state: &State, id: &str, deadline: &Deadline) -> Result<()> {
        let source = self.source(snapshot, state)?;
        let account = self.place.account();
        let made = share::open(self.here, account, state.kind, &snapshot.id)
            .and_then(|()| self.start(&source, state, id, deadline))
            .and_then(|()| self.wait(state, id, deadline).map(drop));
        // In any case.
        match (made, share::close(self.here, account, state.kind, &snapshot.id)) {
            (Err(error), Err(left)) => Err(error.detail("still shared", left.message)),
            (made, closed) => made.and(closed),
        }
    }

    /// It is there, complete, and may be copied there.
    fn source(&self, snapshot: &Snapshot, state: &State) -> Result<Element> {
        let names = state.kind.names();
        let id = &snapshot.id;
        let found = self.here.snapshot(state.kind, id)?;
        let found =
            found.filter(|found| self.here.label(state.kind, found) == Some(&state.label)).ok_or_else(|| {
                Error::not_found(format!("snapshot {id} is gone, or does not carry the run's tags: nothing to copy"))
            })?;
        if found.text("Status") != "available" {
            return Err(Error::conflict(format!("snapshot {id} is {}: nothing to copy", found.text("Status"))));
        }
        let account = found.text(names.snapshot_arn).split(':').nth(4);
        if !self.place.other_region() && account == self.place.account() {
            let text = format!("snapshot {id} is in {} of that account too: that is no other place", self.place.region);
            return Err(Error::invalid_config(text)
                .hint("under [part.offsite.config]: another region, or a role in another account"));
        }
        self.place.refuse(state.kind, found.flag(names.encrypted))?;
        Ok(found)
    }

    fn start(&self, source: &Element, state: &State, id: &str, deadline: &Deadline) -> Result<()> {
        let names = state.kind.names();
        let arn = source.text(names.snapshot_arn);
        let call = Parameters::new()
            .set(names.copy_source, arn)
            .set(names.copy_target, id)
            .maybe("KmsKeyId", self.place.kms_key.as_ref())
            .tags("Tags.Tag", &self.there.tags(&state.label));
        // Of what is encrypted, RDS there asks RDS here in our name.
        let asks = call.clone().set("DestinationRegion", &self.place.region);
        let own = Some(self.here.client.endpoint()).filter(|_| self.place.origin.starts_with("cn-"));
        let origin = Client::rds(&self.place.origin, own);
        let presigned =
            self.place.other_region().then(|| Presigned::new("PreSignedUrl", &origin, names.copy_snapshot, &asks));
        let mut pauses = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        let mut told = false;
        loop {
            let failure = match self.there.client.change_with(names.copy_snapshot, &call, presigned.as_ref()) {
                Ok(_) => {
                    info!("{arn} is being copied to {} as {id}", self.place.region);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            if is_busy(&failure) && pauses.wait(deadline) {
                if !std::mem::replace(&mut told, true) {
                    info!("{} has too many copies on their way: {id} waits", self.place.region);
                }
                continue;
            }
            return self.lost(failure, state, id);
        }
    }

    /// If nobody knows whether it was begun, RDS there does: by its name and our tags.
    fn lost(&self, failure: Failure, state: &State, id: &str) -> Result<()> {
        if !failure.is_interrupted() && (failure.exists() || failure.is_uncertain()) {
            let late = Deadline::after(APPEARS);
            let found = self.there.watch(&late, |rds| Ok(rds.snapshot(state.kind, id)?))?;
            if found.is_some_and(|found| self.there.label(state.kind, &found) == Some(&state.label)) {
                warn!("the answer was lost, and the copy {id} is on its way");
                return Ok(());
            }
        }
        let missing = failure.is_missing() && self.place.account().is_some();
        let error = Error::from(failure).context(format!("copying to {}", self.place.region));
        Err(if missing {
            error.hint("was it shared with the role's account, and may the role use its key?")
        } else {
            error
        })
    }

    fn wait(&self, state: &State, id: &str, deadline: &Deadline) -> Result<Element> {
        let appears = Deadline::after(APPEARS);
        let done = self.there.watch(deadline, |rds| {
            let Some(found) = rds.snapshot(state.kind, id)? else {
                return if appears.is_over() {
                    Err(Error::not_found(format!("the copy {id} in {} is gone", self.place.region)))
                } else {
                    Ok(None)
                };
            };
            alive(state.kind, id, &found).map_err(|error| {
                error
                    .context(format!("the copy in {}", self.place.region))
                    .hint("may who copies use the key that the snapshot is encrypted with, and the one of the copy?")
            })?;
            let available = found.text("Status") == "available";
            let percent = found.number("PercentProgress").unwrap_or(0);
            progress::report("percent of the copy", if available { 100 } else { percent }, Some(100));
            Ok(Some(found).filter(|_| available))
        })?;
        done.ok_or_else(|| timed_out(format!("the copy {id} was not complete"), deadline))
    }

    fn proved(&self, state: &State, id: &str, copy: &Element) -> Result<()> {
        prove(self.there, state, id, copy)?;
        if self.place.kms_key.is_some() && !copy.flag(state.kind.names().encrypted) {
            return Err(Error::corrupt(format!("the copy {id} is not encrypted, and has to be")));
        }
        Ok(())
    }

    fn record(&self, snapshot: &Snapshot, mut state: State, id: &str, found: &Element) -> Result<Snapshot> {
        if let Some(instance) = &mut state.instance {
            instance.is_elsewhere();
        }
        if let Some(cluster) = &mut state.cluster {
            cluster.is_elsewhere();
        }
        let mut copy = Snapshot::atomic(id, &state)?;
        copy.created = snapshot.created;
        copy.bytes = size(found).or(snapshot.bytes);
        copy.versions.clone_from(&snapshot.versions);
        Ok(copy)
    }
}

/// Not now: so many copies may be on their way, and so many calls be made. Nothing was done.
fn is_busy(failure: &Failure) -> bool {
    let throttled = failure.is_transient() && !failure.is_uncertain() && !failure.is_denied();
    let in_flight = failure.code().starts_with("SnapshotQuotaExceeded")
        && Error::from(failure.clone()).message.to_lowercase().contains("in progress");
    throttled || in_flight
}

/// The complete copy of a run, as its name and tags tell.
pub(crate) fn find(plugin: &AmazonRds, label: &str) -> Result<Option<Snapshot>> {
    let id = plugin.rds.id(label);
    let complete = |found: &&Snapshot| found.id == id;
    let listed = owned::list(plugin)?;
    let Some(copy) = listed.iter().find(complete) else { return Ok(None) };
    let found = plugin.rds.snapshot(plugin.kind, &id)?;
    Ok(found.filter(|found| found.text("Status") == "available").map(|_| copy.clone()))
}
