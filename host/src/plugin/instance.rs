//! A strategy at work: one sandbox for one part.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wasmtime::Store;

use super::bindings::bkhost::snapshot::types;
use super::bindings::covering::exports::bkhost::snapshot::covers as contract;
use super::exports::Bound;
use super::failure::{self, CALL_BYTES, End};
use super::host::{Archived, History, Item, Journal, Others, Pace, Place, Volume};
use super::limits::Meter;
use super::record::{self, Finding, MAX_ITEMS, Severity, breach};
use super::source::{self, Source};
use super::state::{Parts, State};
use super::tail::Tail;
use super::{Plugin, Snapshot};
use crate::archive::Named;
use crate::archive::set::SourceForm;
use crate::capability::manifest::Limits;
use crate::capability::{CallError, Code, Consistency, Gate};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Reporter;

/// Handles that a guest may hold at once.
const HANDLES: usize = 10_000;
/// How long the identifier of a system may be, in bytes.
const MAX_IDENTITY: usize = 256;
/// How long the name of a volume may be, in bytes.
const MAX_NAME: usize = 4096;
/// How long a call that was cancelled may take to end by itself. A guest that computes ends at its next tick; what else
/// it waits for is dropped.
const GRACE: Duration = Duration::from_millis(100);
/// How long a call may go on once what it froze stood for too long, and was thawed: its result is of no use any more.
const OVERDUE_GRACE: Duration = Duration::from_secs(1);

/// For which part an instance works, and what it gets for it.
pub struct PartContext {
    /// The instance's name.
    pub instance: String,
    /// The part's name.
    pub part: String,
    /// `[part.config]`, as [`super::ConfigSchema::complete`] returned it.
    pub config: Value,
    /// What the operator leaves out: globs relative to the root of each tree.
    pub excludes: Vec<String>,
    /// What it may do.
    pub gate: Arc<Gate>,
    /// Where it reports.
    pub reporter: Reporter,
    /// What it may use up.
    pub limits: Limits,
    /// Ends its calls.
    pub cancel: CancellationToken,
    /// What was archived, for `restore`, `verify` and `rehearse`.
    pub archived: Option<Arc<dyn Archived>>,
    /// Earlier sets, in a run.
    pub history: Option<Arc<dyn History>>,
    /// The other parts, in a run.
    pub others: Option<Arc<dyn Others>>,
    /// A directory of the host's own for this part, kept between runs, out of reach of the guest and of what it runs:
    /// where `mirror` remembers what it copied.
    pub mirrors: PathBuf,
}

/// A running strategy. After a trap or a limit it is gone: every further call is refused, and cleaning up needs a fresh
/// one. Dropping it kills the processes that it still holds; [`Instance::end`] also waits for their end.
pub struct Instance {
    plugin: Arc<Plugin>,
    part: String,
    /// How its points are fixed at the weakest, by its manifest and the part's configuration.
    claimed: Consistency,
    gate: Arc<Gate>,
    limits: Limits,
    cancel: CancellationToken,
    archived: Option<Arc<dyn Archived>>,
    output: Tail,
    live: Option<Live>,
    /// The call that ended it.
    ended_in: Option<&'static str>,
}

struct Live {
    store: Store<State>,
    bindings: Bound,
}

type Calling<'a, T> = Pin<Box<dyn Future<Output = wasmtime::Result<Result<T, types::Error>>> + Send + 'a>>;

/// One call of the contract: its name, and whether it may take long.
#[derive(Clone, Copy)]
struct Call(&'static str, fn(&Limits) -> Duration);

fn short(limits: &Limits) -> Duration {
    limits.call.0
}

fn long(limits: &Limits) -> Duration {
    limits.long_call.0
}

impl Instance {
    pub(super) async fn new(plugin: Arc<Plugin>, context: PartContext) -> Result<Self> {
        let PartContext {
            instance,
            part,
            config,
            excludes,
            gate,
            reporter,
            limits,
            cancel,
            archived,
            history,
            others,
            mirrors,
        } = context;
        let within = |e: Error| e.within(plugin.name());
        let claimed = plugin.manifest().plugin.consistency_of(&config);
        let pre = plugin.compiled().await.map_err(within)?;
        let preopens = gate.preopens().await.map_err(|e| within(e.into()))?;
        let output = Tail::default();
        let state = State::new(Parts {
            instance,
            part: part.clone(),
            config: config.to_string(),
            excludes,
            gate: gate.clone(),
            archived: archived.clone(),
            history,
            others,
            work: cancel.child_token().drop_guard(),
            reporter: reporter.clone(),
            mirrors,
            journal: Journal::new(reporter.clone(), &part, limits.log.0),
            pace: Pace::new(reporter, &part),
            meter: Meter::new(&limits, cancel.clone()),
            preopens,
            output: output.clone(),
        })
        .map_err(within)?;
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(CALL_BYTES);
        store.set_max_component_handles(HANDLES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| store.data_mut().meter.tick());
        let wall = limits.call.0;
        let instantiated = guarded(Box::pin(pre.instantiate(&mut store)), wall, &cancel).await;
        let bindings = instantiated.map_err(|end| within(failure::ended(end, &limits, &output.text())))?;
        let live = Some(Live { store, bindings });
        Ok(Self { plugin, part, claimed, gate, limits, cancel, archived, output, live, ended_in: None })
    }

    /// The plugin it runs.
    #[must_use]
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// The part it works for.
    #[must_use]
    pub fn part(&self) -> &str {
        &self.part
    }

    /// Preflight. Sources that are not there or not granted are findings too.
    ///
    /// # Errors
    /// The check itself failed.
    pub async fn check(&mut self) -> Result<Vec<Finding>> {
        let mut findings = self.missing().await?;
        let reported = self
            .call(Call("check", short), |store, b| Box::pin(b.bkhost_snapshot_strategy().call_check(store)))
            .await?;
        findings.extend(self.believed("check", reported)?);
        Ok(findings)
    }

    /// Findings as the guest reports them.
    fn believed(&self, function: &str, reported: Vec<types::Finding>) -> Result<Vec<Finding>> {
        if reported.len() > MAX_ITEMS {
            let what = format!("{} findings; {MAX_ITEMS} are allowed", reported.len());
            return Err(self.breached(function, breach(what)));
        }
        let findings = reported.into_iter().map(|finding| {
            let mut finding = record::finding(finding);
            // The guest tells in its own words what it was refused; what that was the gate knows.
            if self.gate.has_denied(&finding.message) {
                finding.kind = ErrorKind::Denied;
            }
            finding
        });
        Ok(findings.collect())
    }

    async fn missing(&mut self) -> Result<Vec<Finding>> {
        let missing = self.gate.missing().await.map_err(|e| self.within("check", e.into()))?;
        Ok(missing
            .into_iter()
            .map(|(subject, e)| Finding {
                severity: if e.code == Code::Denied { Severity::Failure } else { Severity::Warning },
                kind: Error::from(e.clone()).kind(),
                subject,
                message: e.message,
                hint: e.hint,
            })
            .collect())
    }

    /// All that can be done before the lock.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn prepare(&mut self) -> Result<()> {
        self.call(Call("prepare", short), |store, b| Box::pin(b.bkhost_snapshot_strategy().call_prepare(store))).await
    }

    /// Fix the consistency point.
    ///
    /// # Errors
    /// What the plugin reports, how its call ended, or a record that breaks the contract. In all cases something may
    /// have been made: [`Instance::discard`] in a fresh instance undoes it.
    pub async fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let label = label.to_owned();
        let captured = self
            .call(Call("capture", short), move |store, b| {
                Box::pin(async move { b.bkhost_snapshot_strategy().call_capture(store, &label).await })
            })
            .await;
        // Whatever the plugin makes of it: nothing stays frozen, and what did not stand still was not captured.
        let settled = self.gate.settle_freezes().await;
        let snapshot = captured?;
        settled.map_err(|e| self.within("capture", e.into()))?;
        self.accept("capture", snapshot)
    }

    /// Complete a snapshot.
    ///
    /// # Errors
    /// As [`Instance::capture`].
    pub async fn finish(&mut self, snapshot: &Snapshot) -> Result<Snapshot> {
        let record = record::contract(snapshot);
        let snapshot = self
            .call(Call("finish", long), move |store, b| {
                Box::pin(async move { b.bkhost_snapshot_strategy().call_finish(store, &record).await })
            })
            .await?;
        self.accept("finish", snapshot)
    }

    /// The sources to archive, opened.
    ///
    /// # Errors
    /// What the plugin reports, how its call ended, or sources that break the contract or are not granted.
    pub async fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let record = record::contract(snapshot);
        let sources = self
            .call(Call("open", short), move |store, b| {
                Box::pin(async move { b.bkhost_snapshot_strategy().call_open(store, &record).await })
            })
            .await?;
        let Some(live) = &mut self.live else { return Err(self.gone("open")) };
        let opened = source::open(live.store.data_mut(), sources).await;
        opened.map_err(|e| self.breached("open", e))
    }

    /// Whether what is being archived is still what was captured.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn confirm(&mut self, snapshot: &Snapshot) -> Result<()> {
        let record = record::contract(snapshot);
        self.call(Call("confirm", short), move |store, b| {
            Box::pin(async move { b.bkhost_snapshot_strategy().call_confirm(store, &record).await })
        })
        .await
    }

    /// Give back what was made for reading.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn close(&mut self, snapshot: &Snapshot) -> Result<()> {
        let record = record::contract(snapshot);
        self.call(Call("close", short), move |store, b| {
            Box::pin(async move { b.bkhost_snapshot_strategy().call_close(store, &record).await })
        })
        .await
    }

    /// Restore from the snapshot or from what was archived.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn restore(&mut self, snapshot: &Snapshot, to: Option<&str>) -> Result<()> {
        let record = record::contract(snapshot);
        let archived = self.offered();
        let to = to.map(str::to_owned);
        self.call(Call("restore", long), move |store, b| {
            Box::pin(async move {
                b.bkhost_snapshot_strategy().call_restore(store, &record, &archived, to.as_deref()).await
            })
        })
        .await
    }

    /// Remove what the restore with this label has made. True: it had come to its end, and nothing is removed.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn abandon(&mut self, label: &str, to: Option<&str>) -> Result<bool> {
        let (label, to) = (label.to_owned(), to.map(str::to_owned));
        self.call(Call("abandon", short), move |store, b| {
            Box::pin(async move {
                let Some(unfinished) = &b.unfinished else { return Err(wasmtime::Error::msg("it has no unfinished")) };
                unfinished.bkhost_snapshot_unfinished().call_abandon(store, &label, to.as_deref()).await
            })
        })
        .await
    }

    /// What was archived, as the contract has it.
    fn offered(&self) -> Vec<types::Archived> {
        let items = self.archived.as_ref().map(|archived| archived.items()).unwrap_or_default();
        let archived = items.into_iter().filter_map(|Item { set, source }| {
            let form = match source.form {
                SourceForm::Tree => types::ArchivedForm::Tree,
                SourceForm::Stream => types::ArchivedForm::Stream,
                SourceForm::Held => return None,
            };
            Some(types::Archived { set: set.to_string(), name: source.name, form, bytes: source.bytes })
        });
        archived.collect()
    }

    /// Check what was archived with the vendor's own tool. None: the plugin has no such check.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended. What it finds wrong is a finding.
    pub async fn verify(&mut self, snapshot: &Snapshot) -> Result<Option<Vec<Finding>>> {
        if !self.plugin.verifies() {
            return Ok(None);
        }
        let (record, archived) = (record::contract(snapshot), self.offered());
        let reported = self
            .call(Call("verify", long), move |store, b| {
                Box::pin(async move {
                    let Some(verify) = &b.verify else { return Err(wasmtime::Error::msg("it has no verify")) };
                    verify.bkhost_snapshot_verify().call_verify(store, &record, &archived).await
                })
            })
            .await?;
        self.believed("verify", reported).map(Some)
    }

    /// Rehearse a restore. None: the plugin has no rehearsal of its own.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended. What it finds wrong is a finding.
    pub async fn rehearse(&mut self, snapshot: &Snapshot) -> Result<Option<Vec<Finding>>> {
        if !self.plugin.rehearses() {
            return Ok(None);
        }
        let (record, archived) = (record::contract(snapshot), self.offered());
        let reported = self
            .call(Call("rehearse", long), move |store, b| {
                Box::pin(async move {
                    let Some(drill) = &b.drill else { return Err(wasmtime::Error::msg("it has no drill")) };
                    drill.bkhost_snapshot_drill().call_rehearse(store, &record, &archived).await
                })
            })
            .await?;
        self.believed("rehearse", reported).map(Some)
    }

    /// The identifier of the system that it works on. None: it has none.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn identity(&mut self) -> Result<Option<String>> {
        if !self.plugin.identifies() {
            return Ok(None);
        }
        let told = self
            .call(Call("identity", short), |store, b| {
                Box::pin(async move {
                    let Some(identity) = &b.identity else { return Err(wasmtime::Error::msg("it has no identity")) };
                    identity.bkhost_snapshot_identity().call_identity(store).await
                })
            })
            .await?;
        match told {
            Some(text) if !record::is_text(&text, MAX_IDENTITY) => {
                Err(self.breached("identity", breach("an identifier that is empty, too long, or no text")))
            }
            told => Ok(told),
        }
    }

    /// Which volume of the part holds a place. None: none of them.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended; `Unsupported`: it cannot tell.
    pub async fn volume_of(&mut self, place: &Place) -> Result<Option<Volume>> {
        let place = contract::Place {
            path: utf8(&place.path)?,
            device: place.device,
            mount_point: utf8(&place.mount_point)?,
            source: place.source.clone(),
            file_system: place.file_system.clone(),
        };
        let volume = self
            .call(Call("volume-of", short), move |store, b| {
                Box::pin(async move {
                    let Some(covers) = &b.covers else { return Err(wasmtime::Error::msg("it has no covers")) };
                    covers.bkhost_snapshot_covers().call_volume_of(store, &place).await
                })
            })
            .await?;
        match volume {
            Some(told) if [&told.name, &told.instant].into_iter().any(|text| !record::is_text(text, MAX_NAME)) => {
                Err(self.breached("volume-of", breach("a volume whose name is empty, too long, or no text")))
            }
            told => Ok(told.map(|contract::Volume { name, instant }| Volume { name, instant })),
        }
    }

    /// Remove what a rehearsal left at the vendor.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn clear(&mut self) -> Result<()> {
        if !self.plugin.rehearses() {
            return Ok(());
        }
        self.call(Call("clear", short), |store, b| {
            Box::pin(async move {
                let Some(drill) = &b.drill else { return Err(wasmtime::Error::msg("it has no drill")) };
                drill.bkhost_snapshot_drill().call_clear(store).await
            })
        })
        .await
    }

    /// Copy a snapshot to the place that this instance works for.
    ///
    /// # Errors
    /// As [`Instance::capture`]: [`Instance::undo_copy`] in a fresh instance undoes what was made.
    pub async fn copy(&mut self, snapshot: &Snapshot) -> Result<Snapshot> {
        let record = record::contract(snapshot);
        let copy = self
            .call(Call("copy", long), move |store, b| {
                Box::pin(async move {
                    let Some(offsite) = &b.offsite else { return Err(no_offsite()) };
                    offsite.bkhost_snapshot_offsite().call_copy(store, &record).await
                })
            })
            .await?;
        self.accept("copy", copy)
    }

    /// Undo what a copy of this snapshot to the place may have left.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn undo_copy(&mut self, snapshot: &Snapshot) -> Result<()> {
        let record = record::contract(snapshot);
        self.call(Call("undo", long), move |store, b| {
            Box::pin(async move {
                let Some(offsite) = &b.offsite else { return Err(no_offsite()) };
                offsite.bkhost_snapshot_offsite().call_undo(store, &record).await
            })
        })
        .await
    }

    /// The complete copy at the place of what the run with this label captured.
    ///
    /// # Errors
    /// As [`Instance::capture`].
    pub async fn find_copy(&mut self, label: &str) -> Result<Option<Snapshot>> {
        let label = label.to_owned();
        let found = self
            .call(Call("find", short), move |store, b| {
                Box::pin(async move {
                    let Some(offsite) = &b.offsite else { return Err(no_offsite()) };
                    offsite.bkhost_snapshot_offsite().call_find(store, &label).await
                })
            })
            .await?;
        found.map(|copy| self.accept("find", copy)).transpose()
    }

    /// The snapshots that exist at the vendor.
    ///
    /// # Errors
    /// As [`Instance::capture`].
    pub async fn list(&mut self) -> Result<Vec<Snapshot>> {
        let snapshots =
            self.call(Call("list", short), |store, b| Box::pin(b.bkhost_snapshot_strategy().call_list(store))).await?;
        if snapshots.len() > MAX_ITEMS {
            return Err(
                self.breached("list", breach(format!("{} snapshots; {MAX_ITEMS} are allowed", snapshots.len())))
            );
        }
        snapshots.into_iter().map(|snapshot| self.accept("list", snapshot)).collect()
    }

    /// Delete a snapshot.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn delete(&mut self, snapshot: &Snapshot) -> Result<()> {
        let record = record::contract(snapshot);
        self.call(Call("delete", short), move |store, b| {
            Box::pin(async move { b.bkhost_snapshot_strategy().call_delete(store, &record).await })
        })
        .await
    }

    /// Undo whatever a capture with this label may have made.
    ///
    /// # Errors
    /// What the plugin reports, or how its call ended.
    pub async fn discard(&mut self, label: &str) -> Result<()> {
        let label = label.to_owned();
        self.call(Call("discard", short), move |store, b| {
            Box::pin(async move { b.bkhost_snapshot_strategy().call_discard(store, &label).await })
        })
        .await
    }

    /// The files that changed while a final mirror pass read them: their copies may be torn. Known by the host, whatever
    /// the plugin makes of it.
    #[must_use]
    pub fn torn(&self) -> Named {
        self.live.as_ref().map(|live| live.store.data().torn.clone()).unwrap_or_default()
    }

    /// Cancel it to have the guest told, once, that it is to stop and to clean up. What it asks for after that is done.
    #[must_use]
    pub fn interruption(&self) -> CancellationToken {
        self.live.as_ref().map(|live| live.store.data().interrupt.token()).unwrap_or_default()
    }

    /// Ends it: what it still holds is dropped, its processes are killed and reaped.
    pub async fn end(mut self) {
        self.live = None;
        self.gate.shutdown().await;
    }

    async fn call<T>(
        &mut self,
        Call(function, wall): Call,
        call: impl for<'a> FnOnce(&'a mut Store<State>, &'a Bound) -> Calling<'a, T>,
    ) -> Result<T> {
        if self.cancel.is_cancelled() {
            return Err(self.within(function, Error::new(ErrorKind::Cancelled, "it was cancelled")));
        }
        // Taken out: a call that is dropped half-way leaves an instance that nobody can enter again.
        let mut live = self.live.take().ok_or_else(|| self.gone(function))?;
        self.ended_in = Some(function);
        live.store.data_mut().capturing = function == "capture";
        live.store.data_mut().meter.start_call();
        live.store.set_epoch_deadline(1);
        let wall = wall(&self.limits);
        let (overdue, frozen) = self.gate.overdue();
        let call = guarded(call(&mut live.store, &live.bindings), wall, &self.cancel);
        let ended = tokio::select! {
            biased;
            ended = call => ended,
            () = after(&overdue, OVERDUE_GRACE) => Err(End::Frozen(frozen)),
        };
        match ended {
            Ok(Ok(value)) => {
                self.live = Some(live);
                Ok(value)
            }
            Ok(Err(e)) => {
                let denial = live.store.data().egress.take_denial();
                self.live = Some(live);
                let e = failure::reported(CallError::from(e), self.cancel.is_cancelled(), denial);
                Err(self.within(function, e))
            }
            Err(end) => {
                drop(live);
                self.gate.shutdown().await;
                Err(self.within(function, failure::ended(end, &self.limits, &self.output.text())))
            }
        }
    }

    fn accept(&self, function: &str, snapshot: types::Snapshot) -> Result<Snapshot> {
        let offered = self.live.as_ref().and_then(|live| live.store.data().offered.as_ref());
        record::snapshot(snapshot, self.claimed, offered).map_err(|e| self.breached(function, e))
    }

    fn breached(&self, function: &str, e: Error) -> Error {
        self.within(function, e)
    }

    fn within(&self, function: &str, e: Error) -> Error {
        e.within(format!("{} {function}", self.plugin.name()))
    }

    fn gone(&self, function: &'static str) -> Error {
        let before = self.ended_in.unwrap_or("an earlier call");
        self.within(function, Error::new(ErrorKind::Plugin, format!("the plugin was ended in {before}")))
    }
}

fn no_offsite() -> wasmtime::Error {
    wasmtime::Error::msg("it has no offsite")
}

/// Waits for a call, no longer than `wall` and not past a cancellation. A guest that computes is interrupted at the
/// next tick of its clock; one that waits for the host is dropped with what it waits for.
async fn guarded<T>(
    call: impl Future<Output = wasmtime::Result<T>> + Unpin,
    wall: Duration,
    cancel: &CancellationToken,
) -> Result<T, End> {
    tokio::select! {
        biased;
        result = call => result.map_err(|e| if cancel.is_cancelled() { End::Cancelled } else { End::Trap(e) }),
        () = after(cancel, GRACE) => Err(End::Cancelled),
        () = tokio::time::sleep(wall) => Err(End::TimedOut(wall)),
    }
}

/// Guests are told paths as text.
fn utf8(path: &std::path::Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("the path {} is not UTF-8", path.display())).hint("rename it")
    })
}

async fn after(token: &CancellationToken, grace: Duration) {
    token.cancelled().await;
    tokio::time::sleep(grace).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawnable<F: Future + Send>(_: impl Fn(&'static mut Instance, &'static Snapshot) -> F) {}

    #[test]
    fn calls_can_be_made_in_tasks_of_their_own() {
        spawnable(|i, _| i.check());
        spawnable(|i, _| i.capture(""));
        spawnable(Instance::finish);
        spawnable(Instance::open);
        spawnable(|i, s| i.restore(s, None));
        spawnable(|i, _| i.list());
        fn start<F: Future + Send>(_: impl Fn(&'static Arc<Plugin>, PartContext) -> F) {}
        start(Plugin::instantiate);
    }
}
