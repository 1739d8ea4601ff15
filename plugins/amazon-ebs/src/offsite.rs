//! Copies in another region or account. Where they are, they are whole: their tags alone are enough to restore from them.
//!
//! Another account copies by itself, with a role that the host assumes, and has to be allowed to see what it copies: the
//! snapshots are shared with it for just that time.

mod share;

use std::time::{Duration, Instant};

use bkhost_sdk::{Error, ErrorCode, Finding, Result, Snapshot, config, info, progress, warn};
use bkhost_sdk_aws::{Backoff, Client, Deadline, Failure, Parameters, Presigned};

use crate::check::allowed;
use crate::config::{Config, Place};
use crate::ec2::{Ec2, Shot, filter};
use crate::owned;
use crate::state::{Captured, State};
use crate::wait::{is_passing, pauses};

/// The host ends a copy when the place's `timeout` is over: this is longer than any that makes sense.
const FOREVER: Duration = Duration::from_secs(30 * 86_400);
/// How long EC2 may not yet know what it has just made.
const UNKNOWN: Duration = Duration::from_secs(60);

/// What would keep a copy from being made.
pub(crate) fn check(config: &Config, place: &Place, here: &Ec2, there: &Ec2) -> Vec<Finding> {
    let subject = match place.account() {
        Some(account) => format!("region {} of account {account}", place.region),
        None => format!("region {}", place.region),
    };
    // What does not work here: a role that cannot be assumed, no right, no such region, no answer.
    let copies = match owned::list(there) {
        Ok(copies) => copies,
        Err(error) => return vec![Finding::from_error(subject, error)],
    };
    let mut findings = vec![Finding::info(subject.as_str(), format!("{} runs of this part are there", copies.len()))];
    let call =
        copy_call(&Captured { snapshot: "snap-00000000000000000".to_owned(), ..Captured::default() }, config, place);
    let denied = allowed(there, "CopySnapshot", &call);
    findings.extend(denied.map(|why| {
        Finding::failure(subject.as_str(), why).hint("allow it, and ec2:CreateTags, there: see the plugin's README")
    }));
    match origin(config, here) {
        Ok(origin) => findings.extend(of_origin(place, &config.region, &origin)),
        Err(error) => findings.push(Finding::from_error("volumes", error)),
    }
    findings
}

/// What is known of what will be copied.
struct Origin {
    account: Option<String>,
    /// Encrypted volumes, with their keys.
    encrypted: Vec<(String, String)>,
}

fn origin(config: &Config, here: &Ec2) -> Result<Origin> {
    let volumes = crate::state::Target::find(config, here)?.volumes;
    let shots = here.shots([filter(&format!("tag:{}", owned::INSTANCE), [config::instance()])])?;
    let account = shots.into_iter().map(|shot| shot.owner).find(|owner| !owner.is_empty());
    let encrypted = volumes.into_iter().filter(|volume| volume.encrypted);
    Ok(Origin { account, encrypted: encrypted.map(|v| (v.id, v.kms_key.unwrap_or_default())).collect() })
}

fn of_origin(place: &Place, region: &str, origin: &Origin) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(account) = place.account() else { return findings };
    if place.region == region && origin.account.as_deref() == Some(account) {
        let text = format!("the volumes are in {region} of account {account} too: that is no other place");
        findings.push(
            Finding::failure(format!("account {account}"), text).hint("another region, or another account's role"),
        );
    }
    for (volume, key) in &origin.encrypted {
        let subject = format!("volume {volume}");
        findings.push(if key.ends_with("alias/aws/ebs") {
            Finding::failure(subject, "it is encrypted with Amazon's own key, and what is so cannot be shared with another account")
                .hint("encrypt the volume with a key of your own")
        } else {
            Finding::warning(subject, format!("it is encrypted with {key}, which account {account} has to be allowed to use"))
                .hint("its key policy has to allow kms:Decrypt, kms:DescribeKey and kms:CreateGrant to the role; Amazon's own key (aws/ebs) cannot be shared at all")
        });
    }
    findings
}

fn copy_call(captured: &Captured, config: &Config, place: &Place) -> Parameters {
    Parameters::new()
        .set("SourceRegion", &config.region)
        .set("SourceSnapshotId", &captured.snapshot)
        .set("DestinationRegion", &place.region)
        .maybe("Encrypted", place.kms_key.as_ref().map(|_| true))
        .maybe("KmsKeyId", place.kms_key.as_ref())
}

/// Copying to one place.
pub(crate) struct Copying<'a> {
    config: &'a Config,
    place: &'a Place,
    here: Ec2,
    there: &'a Ec2,
}

impl<'a> Copying<'a> {
    pub(crate) fn new(config: &'a Config, there: &'a Ec2) -> Result<Self> {
        let place = config.offsite.as_ref().ok_or_else(|| Error::invalid_config("there is no place to copy to"))?;
        Ok(Self { config, place, here: Ec2::new(config), there })
    }

    /// Copy a run's snapshots.
    pub(crate) fn copy(&self, snapshot: &Snapshot) -> Result<Snapshot> {
        let state: State = snapshot.state()?;
        if state.planned || state.volumes.is_empty() {
            return Err(Error::not_found("the set holds no snapshot of a volume"));
        }
        // What is there and good needs nothing of what it was copied from: that may be gone by now.
        if let Some(copies) = self.good(&state)? {
            return self.record(snapshot, &state, &copies);
        }
        self.sources(&state)?;
        let copies = share::open(&self.here, self.place.account(), &state).and_then(|()| self.all(&state));
        // In any case: also of those that were shared before one could not be.
        let closed = share::close(&self.here, self.place.account(), &state);
        match (copies, closed) {
            (Ok(copies), Ok(())) => self.record(snapshot, &state, &copies),
            (Ok(_), Err(left)) => Err(left),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(left)) => Err(error.detail("still shared", left.message)),
        }
    }

    /// Undo what a copy may have left: what is shared, and what is there.
    pub(crate) fn undo(&self, snapshot: &Snapshot) -> Result<()> {
        let state: State = snapshot.state()?;
        let closed = share::close(&self.here, self.place.account(), &state);
        owned::discard(self.there, &state.label).and(closed)
    }

    /// The copies, if all of them are there and good.
    fn good(&self, state: &State) -> Result<Option<Vec<Shot>>> {
        let found = owned::of_run(self.there, &state.label)?;
        let of = |captured: &Captured| found.iter().find(|shot| self.is_good(captured, shot)).cloned();
        Ok(state.volumes.iter().map(of).collect())
    }

    fn is_good(&self, captured: &Captured, shot: &Shot) -> bool {
        is_copy(captured, shot) && shot.status == "completed" && self.wrong(captured, shot).is_none()
    }

    /// What is wrong with a complete copy.
    fn wrong(&self, captured: &Captured, shot: &Shot) -> Option<String> {
        if shot.gib != captured.gib {
            return Some(format!("has {} GiB, and {} has {}", shot.gib, captured.snapshot, captured.gib));
        }
        if (captured.encrypted || self.place.kms_key.is_some()) && !shot.encrypted {
            return Some("is not encrypted, and has to be".to_owned());
        }
        None
    }

    /// They are still there, and complete.
    fn sources(&self, state: &State) -> Result<()> {
        let found = owned::of_run(&self.here, &state.label)?;
        for captured in &state.volumes {
            let id = &captured.snapshot;
            match found.iter().find(|shot| shot.id == *id) {
                Some(shot) if shot.status != "completed" => {
                    return Err(Error::conflict(format!(
                        "{id} of {} is {}: nothing to copy",
                        captured.volume, shot.status
                    )));
                }
                Some(shot) if self.place.region == self.config.region && self.place.account() == Some(&shot.owner) => {
                    return Err(Error::invalid_config(format!(
                        "{id} is in {} of account {} too: that is no other place",
                        self.place.region, shot.owner
                    ))
                    .hint("under [part.offsite.config]: another region, or a role in another account"));
                }
                Some(_) => {}
                None => {
                    return Err(Error::not_found(format!(
                        "{id} of {} is gone, or does not carry the run's tags",
                        captured.volume
                    )));
                }
            }
        }
        Ok(())
    }

    /// Start those that are not there, and wait for all.
    fn all(&self, state: &State) -> Result<Vec<Shot>> {
        let deadline = Deadline::after(FOREVER);
        let found = owned::of_run(self.there, &state.label)?;
        // What has failed there only takes the place of a good one.
        let failed = found.iter().filter(|shot| !["pending", "completed"].contains(&shot.status.as_str()));
        owned::remove(self.there, failed)?;
        let mut ids = Vec::new();
        for captured in &state.volumes {
            let there = found
                .iter()
                .find(|shot| is_copy(captured, shot) && (shot.status == "pending" || self.is_good(captured, shot)));
            ids.push(match there {
                Some(shot) => shot.id.clone(),
                None => self.start(state, captured, &deadline)?,
            });
        }
        self.wait(state, &ids, &deadline)
    }

    fn start(&self, state: &State, captured: &Captured, deadline: &Deadline) -> Result<String> {
        let tags = owned::tags_of_copy(&state.label, &self.place.name, captured, state.volumes.len());
        let call = owned::specification("snapshot", &tags);
        let call = copy_call(captured, self.config, self.place).and(call).set("Description", &state.label);
        // Of what is encrypted, EC2 there asks EC2 here in our name.
        let other = self.place.region != self.config.region;
        let source = Client::ec2(
            &self.config.region,
            self.config.endpoint.as_deref().filter(|_| self.config.region.starts_with("cn-")),
        );
        let presigned = other.then(|| Presigned::new("PresignedUrl", &source, "CopySnapshot", &call));
        let mut pauses = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        let mut told = false;
        loop {
            match self.there.client.change_with("CopySnapshot", &call, presigned.as_ref()) {
                Ok(answer) => {
                    let id = answer.unwrap_or_default().text("snapshotId").to_owned();
                    if id.is_empty() {
                        return Err(Error::other("EC2 does not name the copy that it makes"));
                    }
                    info!("{} is being copied to {} as {id}", captured.snapshot, self.place.region);
                    return Ok(id);
                }
                // So many may be on their way to a region; somebody else's count too.
                Err(failure) if is_busy(&failure) && pauses.wait(deadline) => {
                    if !std::mem::replace(&mut told, true) {
                        info!("{} has too many copies on their way: {} waits", self.place.region, captured.snapshot);
                    }
                }
                Err(failure) => return self.lost(state, captured, failure),
            }
        }
    }

    /// If nobody knows whether it was begun, EC2 there does: by our tag.
    fn lost(&self, state: &State, captured: &Captured, failure: Failure) -> Result<String> {
        if !failure.is_uncertain() || failure.is_interrupted() {
            return Err(refused(failure, captured, self.place));
        }
        for pause in owned::LATE {
            std::thread::sleep(pause);
            let found = owned::of_run(self.there, &state.label)?;
            if let Some(shot) = found.into_iter().find(|shot| is_copy(captured, shot)) {
                warn!("the answer was lost, and the copy is on its way: {}", Error::from(failure).message);
                return Ok(shot.id);
            }
        }
        Err(failure.into())
    }

    fn wait(&self, state: &State, ids: &[String], deadline: &Deadline) -> Result<Vec<Shot>> {
        let total = state.volumes.iter().map(|captured| captured.gib << 30).sum();
        let start = Instant::now();
        let mut pauses = pauses();
        loop {
            let shots = match self.there.shots_by_id(ids) {
                Ok(shots) => shots,
                // Hours of work at Amazon's are not given up because it cannot be asked for some minutes.
                Err(error) if is_passing(&error) && pauses.wait(deadline) => {
                    warn!("asking again: {}", error.message);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut done = Vec::new();
            for (captured, id) in state.volumes.iter().zip(ids) {
                let what = format!("the copy {id} of {} in {}", captured.snapshot, self.place.region);
                match shots.iter().find(|shot| shot.id == *id) {
                    None if start.elapsed() < UNKNOWN => {}
                    None => return Err(Error::not_found(format!("{what} is gone"))),
                    Some(shot) if shot.status == "completed" => done.push(self.proved(captured, shot, &what)?),
                    Some(shot) if shot.status == "pending" => {}
                    Some(shot) => return Err(failed(&what, shot, captured)),
                }
            }
            let bytes = |shot: &Shot| {
                (shot.gib << 30) / 100 * if shot.status == "completed" { 100 } else { shot.percent.min(99) }
            };
            progress::report("EBS copies", shots.iter().map(bytes).sum(), Some(total));
            if done.len() == state.volumes.len() {
                return Ok(done);
            }
            if !pauses.wait(deadline) {
                return Err(Error::new(ErrorCode::TimedOut, "the copies are not complete"));
            }
        }
    }

    fn proved(&self, captured: &Captured, shot: &Shot, what: &str) -> Result<Shot> {
        if let Some(wrong) = self.wrong(captured, shot) {
            return Err(Error::corrupt(format!("{what} {wrong}")));
        }
        let tagged =
            is_copy(captured, shot) && shot.place == self.there.place && shot.instance == Some(config::instance());
        if !tagged || shot.part != Some(config::part()) {
            return Err(Error::corrupt(format!("{what} does not carry our tags: it would be found by nobody"))
                .hint("do the credentials there have the right ec2:CreateTags?"));
        }
        Ok(shot.clone())
    }

    fn record(&self, snapshot: &Snapshot, state: &State, copies: &[Shot]) -> Result<Snapshot> {
        let copied = |(captured, shot): (&Captured, &Shot)| Captured {
            snapshot: shot.id.clone(),
            source: Some(captured.snapshot.clone()),
            encrypted: shot.encrypted,
            // Those of the origin mean nothing there.
            zone: String::new(),
            kms_key: None,
            ..captured.clone()
        };
        let volumes = state.volumes.iter().zip(copies).map(copied).collect();
        let state = State { label: state.label.clone(), volumes, ..State::default() };
        let mut copy = Snapshot::atomic(state.snapshots().join(" "), &state)?;
        copy.created = snapshot.created;
        copy.bytes = owned::size(copies);
        Ok(copy)
    }
}

/// Not now: so many copies may be on their way, and so many calls be made. Nothing was done.
fn is_busy(failure: &Failure) -> bool {
    let throttled = failure.is_transient() && !failure.is_uncertain() && !failure.is_denied();
    failure.code() == "ResourceLimitExceeded" || throttled
}

fn is_copy(captured: &Captured, shot: &Shot) -> bool {
    shot.source.as_ref() == Some(&captured.snapshot)
}

fn failed(what: &str, shot: &Shot, captured: &Captured) -> Error {
    let why = if shot.message.is_empty() { "EC2 does not say why" } else { &shot.message };
    let error = Error::other(format!("{what} is {}: {why}", shot.status));
    // That is how a key that may not be used shows.
    if captured.encrypted {
        error.hint("may who copies use the key that the snapshot is encrypted with, and the one of the copy?")
    } else {
        error
    }
}

fn refused(failure: Failure, captured: &Captured, place: &Place) -> Error {
    let missing = failure.is_missing() && place.account().is_some();
    let error = Error::from(failure).context(format!("copying {} to {}", captured.snapshot, place.region));
    if missing { error.hint("was it shared with the role's account, and may the role use its key?") } else { error }
}

/// The complete copies of a run, as their tags tell.
pub(crate) fn find(there: &Ec2, label: &str) -> Result<Option<Snapshot>> {
    let mut found = owned::of_run(there, label)?;
    found.retain(|shot| shot.status == "completed" && shot.source.is_some());
    found.sort_by(|a, b| (&a.device, &a.source, &a.id).cmp(&(&b.device, &b.source, &b.id)));
    found.dedup_by(|a, b| a.source == b.source);
    let whole = found.first().and_then(|shot| shot.count).is_some_and(|count| count == found.len());
    if whole { owned::record(label, &found).map(Some) } else { Ok(None) }
}
