//! One run at a time per instance and store, for hosts that share the store: a small object there says who works on the
//! instance, and is renewed while they do.
//!
//! Clocks are not trusted. A lease that was renewed a moment ago by its own word is respected at once; one that looks old
//! is watched for [`WATCH`] of this host's own time, and taken over only if nothing changes meanwhile. Its holder gives up
//! by itself before that could happen: it ends its run when it could not renew for [`LOST`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::identity::ProcessId;
use super::prune::blocking;
use super::session::Session;
use super::state::host_name;
use super::stores::Stores;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Level, Reporter, waiting};
use crate::store::Store;

/// How often a holder renews its lease.
const RENEW: Duration = Duration::from_secs(5);
/// A holder that could not renew for so long holds it no more.
const LOST: Duration = Duration::from_secs(20);
/// A lease that does not change for so long has no holder.
const WATCH: Duration = Duration::from_secs(30);

/// What the object holds; also who stands behind a mark of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Holder {
    /// What it does: `backup 20261121-014200-4f2a9c`.
    what: String,
    /// The host's name, for people.
    host: String,
    /// The host itself.
    machine: String,
    /// Its process.
    #[serde(flatten)]
    process: ProcessId,
    /// Since when, by its own clock.
    since: Timestamp,
    /// When it last said that it lives, by its own clock.
    renewed: Timestamp,
    /// How often it said so.
    renewals: u64,
}

impl Holder {
    pub(super) fn own(what: &str) -> Result<Self> {
        let now = Timestamp::now();
        let process = ProcessId::own()?;
        Ok(Self {
            what: what.to_owned(),
            host: host_name(),
            machine: machine(),
            process,
            since: now,
            renewed: now,
            renewals: 0,
        })
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).or_error(ErrorKind::Internal, || "cannot express a lease as JSON")
    }

    /// A process of this machine that is gone. Of another machine's nothing is known.
    pub(super) fn is_dead(&self) -> bool {
        self.is_here() && self.process.hold().is_none()
    }

    /// A process of this machine.
    pub(super) fn is_here(&self) -> bool {
        self.machine == machine()
    }

    /// Renewed a moment ago, if its clock and ours agree.
    fn looks_alive(&self) -> bool {
        let age = Timestamp::now().duration_since(self.renewed).unsigned_abs();
        age < WATCH
    }

    pub(super) fn describe(&self) -> String {
        format!("{}, process {} on {}, since {:.0}", self.what, self.process.pid, self.host, self.since)
    }
}

/// The machine, even if another has the same name. A container without an id of its own is known by its name.
fn machine() -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    format!("{} {}", id.trim(), host_name()).trim().to_owned()
}

/// Held while something works on an instance in a store. Renewed in the background.
pub(super) struct Lease {
    store: Store,
    instance: String,
    lost: CancellationToken,
    renewing: JoinHandle<Vec<u8>>,
    stop: CancellationToken,
}

impl Lease {
    /// Take the lease of the session's instance.
    ///
    /// # Errors
    /// `Busy`, with who holds it; `Store` if the store cannot be written to; `Cancelled`.
    pub(super) async fn take(session: &Session, store: &Store, what: &str) -> Result<Self> {
        let (instance, reporter) = (session.instance().to_owned(), &session.reporter);
        let mut own = Holder::own(what)?;
        // Whatever changes while this tries, changes because somebody works: only so often is it worth a try.
        for _ in 0..3 {
            let old = read(store, &instance).await?;
            if let Some(old) = &old {
                may_be_taken(session, store, old, reporter).await?;
            }
            own.renewed = Timestamp::now();
            let bytes = own.bytes()?;
            if change(store, &instance, old, Some(bytes.clone())).await? {
                return Ok(Self::start(store, instance, own, bytes, reporter));
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!("other hosts compete for the instance {instance} in {}", store.location()),
        ))
    }

    fn start(store: &Store, instance: String, own: Holder, bytes: Vec<u8>, reporter: &Reporter) -> Self {
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let renewing = tokio::spawn(renew(Renewal {
            store: store.clone(),
            instance: instance.clone(),
            own,
            bytes,
            reporter: reporter.clone(),
            lost: lost.clone(),
            stop: stop.clone(),
        }));
        Self { store: store.clone(), instance, lost, renewing, stop }
    }

    /// Fires when another may have it.
    #[must_use]
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Give it back. Best effort: one that stays is known to be that of a dead process, or grows old.
    pub(super) async fn release(self) {
        self.stop.cancel();
        let Ok(bytes) = self.renewing.await else { return };
        let _ = timeout(LOST, change(&self.store, &self.instance, Some(bytes), None)).await;
    }
}

/// The leases of all stores of a run.
pub(super) struct Leases {
    held: Vec<Lease>,
    lost: CancellationToken,
    watching: JoinSet<()>,
}

impl Leases {
    /// Take the lease of the session's instance in each store. One that is not required and cannot be written to takes no
    /// part any more, also later when its lease is lost.
    ///
    /// # Errors
    /// As [`Lease::take`].
    pub(super) async fn take(session: &Session, stores: &Stores, what: &str) -> Result<Self> {
        let mut leases = Self { held: Vec::new(), lost: CancellationToken::new(), watching: JoinSet::new() };
        for target in stores.live() {
            let lease = match Lease::take(session, &target.store, what).await {
                Ok(lease) => lease,
                // Another host works on this instance: that it shares only this store does not make it less so.
                Err(error) => {
                    let told = if error.kind() == ErrorKind::Busy { Err(error) } else { target.failed(error) };
                    if let Err(error) = told {
                        leases.release().await;
                        return Err(error);
                    }
                    continue;
                }
            };
            let (lost, all, target) = (lease.lost(), leases.lost.clone(), Arc::clone(target));
            leases.watching.spawn(async move {
                lost.cancelled().await;
                if target.failed(self::lost()).is_err() {
                    all.cancel();
                }
            });
            leases.held.push(lease);
        }
        Ok(leases)
    }

    /// Fires when another may have one.
    #[must_use]
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Give them back.
    pub(super) async fn release(mut self) {
        self.watching.abort_all();
        for lease in self.held {
            lease.release().await;
        }
    }
}

/// Why a run ends whose lease is lost.
#[must_use]
pub(super) fn lost() -> Error {
    Error::new(ErrorKind::Busy, "the run's lease in the store is lost, and another host may work on this instance")
        .hint("does the store answer? Are two hosts configured for the same instance? The application was given back")
}

/// Remove the lease that a dead process of this machine left, or the draft of one. Best effort, as above.
pub(super) async fn clear(store: &Store, instance: &str) {
    let Ok(old) = read(store, instance).await else { return };
    if old.as_ref().is_none_or(|old| Holder::parse(old).is_some_and(|holder| holder.is_dead())) {
        let _ = change(store, instance, old, None).await;
    }
}

/// Whether nobody holds it any more; waits to find out.
async fn may_be_taken(session: &Session, store: &Store, old: &[u8], reporter: &Reporter) -> Result<()> {
    let holder = Holder::parse(old);
    let who = holder.as_ref().map_or_else(|| "a lease that cannot be read".to_owned(), Holder::describe);
    let busy = || {
        Error::new(ErrorKind::Busy, format!("another host works on this instance in {}: {who}", store.location()))
            .hint("wait for it to end, or end it there with `bkhost cancel`; a lease that is not renewed is taken over")
    };
    match &holder {
        Some(holder) if holder.is_dead() => {
            reporter.message(Level::Warning, None, format!("{who} died without giving its lease back: taken over"));
            return Ok(());
        }
        Some(holder) if holder.looks_alive() => return Err(busy()),
        _ => {}
    }
    let told = format!("the lease in {} looks forgotten ({who}): watched for {} s", store.location(), WATCH.as_secs());
    reporter.message(Level::Warning, None, told);
    let instance = session.instance();
    let watch = async {
        let end = Instant::now() + WATCH;
        while Instant::now() < end {
            sleep(Duration::from_secs(1)).await;
            match read(store, instance).await? {
                Some(now) if now == old => {}
                None => return Ok(()),
                Some(_) => return Err(busy()),
            }
        }
        reporter.message(Level::Warning, None, format!("{who} does not renew its lease: taken over"));
        Ok(())
    };
    tokio::select! {
        result = waiting(reporter, "a lease that looks forgotten", watch) => result,
        () = session.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled before anything was done")),
    }
}

struct Renewal {
    store: Store,
    instance: String,
    own: Holder,
    bytes: Vec<u8>,
    reporter: Reporter,
    lost: CancellationToken,
    stop: CancellationToken,
}

/// Renew until told to stop; gives what the object holds then.
async fn renew(mut lease: Renewal) -> Vec<u8> {
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            () = lease.stop.cancelled() => return lease.bytes,
            () = sleep(RENEW) => {}
        }
        lease.own.renewed = Timestamp::now();
        lease.own.renewals += 1;
        let Ok(bytes) = lease.own.bytes() else { return lease.bytes };
        let changed = change(&lease.store, &lease.instance, Some(lease.bytes.clone()), Some(bytes.clone()));
        let why = match timeout(RENEW, changed).await {
            Ok(Ok(true)) => {
                (lease.bytes, renewed) = (bytes, Instant::now());
                continue;
            }
            // A change that timed out here may have been made all the same.
            Ok(Ok(false)) => match read(&lease.store, &lease.instance).await {
                Ok(Some(now)) if Holder::parse(&now).is_some_and(|holder| holder.process == lease.own.process) => {
                    lease.bytes = now;
                    continue;
                }
                _ => "another host has taken the lease over".to_owned(),
            },
            Ok(Err(_)) | Err(_) if renewed.elapsed() < LOST => continue,
            Ok(Err(error)) => format!("the lease could not be renewed: {error}"),
            Err(_) => "the lease could not be renewed: the store does not answer".to_owned(),
        };
        lease.reporter.message(Level::Error, None, why);
        lease.lost.cancel();
        return lease.bytes;
    }
}

async fn read(store: &Store, instance: &str) -> Result<Option<Vec<u8>>> {
    let (store, instance) = (store.clone(), instance.to_owned());
    blocking(move || store.lease(&instance)).await
}

async fn change(store: &Store, instance: &str, old: Option<Vec<u8>>, new: Option<Vec<u8>>) -> Result<bool> {
    let (store, instance) = (store.clone(), instance.to_owned());
    blocking(move || store.change_lease(&instance, old.as_deref(), new.as_deref())).await
}
