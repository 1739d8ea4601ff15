//! A backup, from plan to prune.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::archiving;
use super::guard::Guard;
use super::history::EarlierSets;
use super::identity::ProcessId;
use super::journal::{Journal, Record};
use super::keeper::JournalKeeper;
use super::lease::{self, Leases};
use super::lock::InstanceLock;
use super::offsite;
use super::others;
use super::part::{LivePart, Part, Purpose};
use super::plan::{self, Plan};
use super::prune::{self, blocking};
use super::session::Session;
use super::shrink;
use super::stores::{self, Stores};
use super::tee::Writers;
use super::together::{levels, together};
use super::undo::{self, Undo};
use super::verify::ask_of_streams;
use crate::application::{Application, Hooks, Lock, Outcome};
use crate::archive::id::SetId;
use crate::archive::set::{ApplicationRecord, FORMAT, LockMode, MadeBy, PartRecord, Proof, SetManifest};
use crate::capability::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, Level, Phase, waiting};
use crate::store::Store;

/// How long children that were killed keep the application locked.
const REAP_PATIENCE: Duration = Duration::from_secs(5);
/// How long the application is asked once more, after all that the lock's own release tried. Then it is the guard's.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);

/// The application is told how far the capture is this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A clock that goes so many milliseconds wrong during the captures was set, and did not merely drift.
const CLOCK_SET: u64 = 500;

/// A run under way.
struct Run<'a> {
    session: &'a Session,
    id: &'a SetId,
    application: Arc<dyn Application>,
    parts: &'a [Part],
    stores: &'a Stores,
    journal: Arc<Journal>,
    keeper: Arc<JournalKeeper>,
    guard: Guard,
    /// Another host may work on the instance.
    lease_lost: CancellationToken,
    /// The application is free, and will not be held any more: from then on the run could do without its guard.
    given_back: AtomicBool,
    /// The guard died before that, and the run was cancelled for it.
    unguarded: AtomicBool,
    /// The set is published, and what was made for reading it could not be given back.
    unclosed: AtomicBool,
    /// Ends what the strategies are doing: on the operator's cancel, and on the first failure.
    work: CancellationToken,
    began: jiff::Timestamp,
    start: Instant,
    /// Parts whose consistency point is fixed.
    captured: AtomicUsize,
    /// How long the captures took, by the clock on the wall and by the one that nobody sets.
    capture: OnceLock<(i64, Duration)>,
}

/// How long the application was held.
#[derive(Debug, Clone, Copy, Default)]
struct Downtime {
    locked: Duration,
    drain: Duration,
}

/// Back up all parts of the instance. When this returns, the application is free, or the error says that this could not be
/// confirmed.
///
/// # Errors
/// If no proved set was published. What the run made is undone then, and the error says what could not be.
pub async fn backup(session: &Session) -> Result<SetManifest> {
    let began = jiff::Timestamp::now();
    let start = Instant::now();
    let id = next_id(session).await?;
    let what = format!("backup {id}");
    let _lock = InstanceLock::take_over(session.dirs.instance(), &what, &session.reporter).await?;
    session.reporter.event(&Event::Started {
        what: "backup",
        instance: session.instance().to_owned(),
        set: id.to_string(),
    });
    recover_before(session).await?;
    let plan = session.phase(Phase::Plan, plan::make(session)).await?;
    let leases = Leases::take(session, &plan.stores, &what).await?;
    let result = leased(session, &id, plan, leases.lost(), (began, start)).await;
    leases.release().await;
    result
}

/// The backup, once no other process works on the instance, on this host or on another.
async fn leased(
    session: &Session,
    id: &SetId,
    plan: Plan,
    lease_lost: CancellationToken,
    (began, start): (jiff::Timestamp, Instant),
) -> Result<SetManifest> {
    let Plan { access, application, parts, stores } = plan;
    sweep(session, &stores, id).await?;
    let journal = Arc::new(Journal::create(&session.dirs.runs(), id)?);
    journal.write(Record::Begun { instance: session.instance().to_owned(), host: ProcessId::own()? })?;
    let keeper = Arc::new(JournalKeeper::new(Arc::clone(&journal), id, session.reporter.clone()));
    let guard = match Guard::start(session, &access, &journal, id).await {
        Ok(guard) => guard,
        Err(error) => {
            journal.write(Record::Ended { ok: false })?;
            return Err(error);
        }
    };
    keeper.tell(guard.line());
    drop(access);
    let run = Run {
        session,
        id,
        application: Arc::clone(&application),
        parts: &parts,
        stores: &stores,
        journal: Arc::clone(&journal),
        keeper: Arc::clone(&keeper),
        guard,
        lease_lost,
        given_back: AtomicBool::new(!application.locks()),
        unguarded: AtomicBool::new(false),
        unclosed: AtomicBool::new(false),
        work: session.cancel.child_token(),
        began,
        start,
        captured: AtomicUsize::new(0),
        capture: OnceLock::new(),
    };
    // A bug in here must not leave the application locked either.
    let result = std::panic::AssertUnwindSafe(run.guarded()).catch_unwind().await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Internal, "bkhost itself panicked; the message is above")
            .hint("please report this; the application is given back"))
    });
    match result {
        Ok(manifest) => {
            let task = Undo::new(session, id, journal, keeper);
            // A cancel that comes when the set is being published ends the strategies, but the set stays.
            let left =
                if run.unclosed.load(Ordering::Relaxed) { task.clean(&parts, &stores).await } else { Vec::new() };
            match undo::combine(left) {
                None => task.end()?,
                Some(left) => {
                    let text = format!("what was made for reading is not given back; the next run tries again: {left}");
                    session.reporter.message(Level::Warning, None, text);
                }
            }
            run.guard.dismiss().await;
            // Before old ones go: a copy that was missed may be of one of them.
            let copied = offsite::after_backup(session, &parts, &stores, &manifest).await;
            // The set is published: that old ones could not be removed does not make it a failure.
            if let Err(error) = session.phase(Phase::Prune, prune::after_backup(session, &parts, &stores)).await {
                session.reporter.message(Level::Warning, None, error.to_string());
            }
            if let Err(error) = offsite::prune_after(session, &parts).await {
                session.reporter.message(Level::Warning, None, error.to_string());
            }
            stores::tell(&stores, &session.notify, session.instance(), id, &session.reporter).await;
            copied.map(|()| manifest)
        }
        Err(error) => {
            let error = run.reason(error);
            let task = Undo::new(session, id, journal, keeper);
            let work = undo::undo(&task, application.as_ref(), RELEASE_PATIENCE, &parts, &stores);
            let undone = session.phase(Phase::Undo, work).await;
            let left = task.left();
            if left.as_ref().is_ok_and(|left| left.held.is_none()) {
                if left.is_ok_and(|left| left.frozen.is_empty()) {
                    run.guard.dismiss().await;
                } else {
                    // Not dismissed: it goes on as soon as this process has ended.
                    let text = "A FILE SYSTEM IS STILL FROZEN: the run's guard goes on trying to thaw it";
                    session.reporter.message(Level::Error, None, text);
                }
                return Err(match undone {
                    Ok(()) => error,
                    Err(left) => error.detail("not undone", left.to_string()),
                });
            }
            // Not dismissed: it goes on as soon as this process has ended. Unless it is what has died.
            let (text, hint) = if run.guard.lost().is_cancelled() {
                ("its guard has died", "run `bkhost recover`, which tries again")
            } else {
                (
                    "the run's guard goes on trying to give it back",
                    "the run's guard goes on trying; `bkhost status` shows it, and `bkhost recover` takes over from it",
                )
            };
            session.reporter.message(Level::Error, None, format!("THE APPLICATION IS STILL LOCKED: {text}"));
            let locked =
                Error::new(ErrorKind::Application, "the application is still locked").hint(hint).because(error);
            Err(match undone {
                Ok(()) => locked,
                Err(left) => locked.detail("not undone", left.to_string()),
            })
        }
    }
}

/// The run's id. It sorts after every other one, since retention goes by that: whatever was done to the clock.
async fn next_id(session: &Session) -> Result<SetId> {
    let now = SetId::generate()?;
    let journals = std::fs::read_dir(session.dirs.runs()).into_iter().flatten().flatten();
    let runs = journals.filter_map(|entry| entry.path().file_stem()?.to_str()?.parse::<SetId>().ok()).max();
    // A store that cannot be read has its error soon, where a run fails for it.
    let mut stored = None;
    for config in &session.config.stores {
        let Ok(store) = Store::configured(config, false).await else { continue };
        let instance = session.instance().to_owned();
        stored = stored.max(blocking(move || store.newest(&instance)).await.ok().flatten());
    }
    let Some(newest) = runs.max(stored) else { return Ok(now) };
    let id = now.clone().after(&newest);
    if id != now {
        let text = format!(
            "by this machine's clock it is {:.0}, but the run {newest} has been: was the clock set back? This run gets \
             the next id, {id}",
            jiff::Timestamp::now()
        );
        session.reporter.message(Level::Warning, None, text);
    }
    Ok(id)
}

/// Remove what interrupted runs left in the stores.
async fn sweep(session: &Session, stores: &Stores, id: &SetId) -> Result<()> {
    let (instance, before) = (session.instance().to_owned(), id.clone());
    let swept = stores.each(move |store| store.sweep(&instance, &before)).await?;
    let tell = |text| session.reporter.message(Level::Warning, None, text);
    for (_, swept) in swept {
        swept.removed.into_iter().for_each(|id| tell(format!("removed the unfinished set {id}")));
        swept.left.into_iter().for_each(|(id, why)| tell(format!("the unfinished set {id} stays: {why}")));
    }
    Ok(())
}

/// Undo what earlier runs left. A snapshot that could not be removed is no reason for not backing up; an application that
/// is still held is one.
async fn recover_before(session: &Session) -> Result<()> {
    let recovered = super::recover::recover_locked(session).await?;
    if let Some(held) = recovered.held {
        return Err(held.within("an earlier run died, and the application could not be given back"));
    }
    if let Some(failed) = recovered.failed {
        let text = format!("what an earlier run left could not be undone, and is tried again next time: {failed}");
        session.reporter.message(Level::Error, None, text);
    }
    Ok(())
}

impl Run<'_> {
    /// Forward; a guard that dies before the application is given back has the run cancelled.
    async fn guarded(&self) -> Result<SetManifest> {
        let mut forward = std::pin::pin!(self.forward());
        tokio::select! {
            biased;
            result = &mut forward => return result,
            () = self.lease_lost.cancelled() => {
                self.work.cancel();
                return forward.await;
            }
            () = self.lost() => {}
        }
        if self.given_back.load(Ordering::Relaxed) {
            let text = "the run's guard has died; the application is free, and the run goes on";
            self.session.reporter.message(Level::Warning, None, text);
        } else {
            self.unguarded.store(true, Ordering::Relaxed);
            self.work.cancel();
        }
        forward.await
    }

    /// Fires when the guard has died.
    async fn lost(&self) {
        self.guard.lost().cancelled().await;
    }

    /// Why the run failed: what the operator or the guard's death caused is named after that, and not after the first
    /// thing that was interrupted.
    fn reason(&self, error: Error) -> Error {
        if self.session.cancel.is_cancelled() && error.kind() != ErrorKind::Cancelled {
            return Error::new(ErrorKind::Cancelled, "the run was cancelled").because(error);
        }
        if self.lease_lost.is_cancelled() {
            return lease::lost().because(error);
        }
        if self.unguarded.load(Ordering::Relaxed) {
            return Error::new(ErrorKind::Internal, "the run's guard has died, and without one nothing is kept locked")
                .hint("was it killed? The application was given back; run again")
                .because(error);
        }
        error
    }

    async fn forward(&self) -> Result<SetManifest> {
        let (mut live, others) = (Vec::new(), others::Parts::new(self.session, self.parts, &self.work));
        for part in self.parts {
            live.push(
                part.start(
                    self.session,
                    Purpose {
                        witness: Arc::clone(&self.keeper) as _,
                        mode: Mode::Live,
                        others: others.seen_by(part),
                        history: Some(Arc::new(EarlierSets::new(
                            self.session,
                            self.stores,
                            part,
                            self.id,
                            true,
                            self.work.clone(),
                        ))),
                        ..Purpose::plain(self.work.clone())
                    },
                )
                .await?,
            );
        }
        let result = self.phases(&mut live).await;
        if result.is_err() {
            self.work.cancel();
        }
        for part in live {
            part.stop().await;
        }
        result
    }

    async fn phases(&self, live: &mut [LivePart<'_>]) -> Result<SetManifest> {
        let version = self
            .session
            .phase(Phase::Check, super::check::check(self.session, &self.application, live, self.stores, &self.work))
            .await?;
        self.session
            .phase(
                Phase::Prepare,
                together(
                    live.iter_mut().map(|part| (part.name().to_owned(), part.instance.prepare().boxed())),
                    &self.work,
                ),
            )
            .await?;
        // A store that cannot be written to is noticed here, and not with the application locked.
        for target in self.stores.live() {
            self.journal.write(Record::Storing { store: target.store.location().to_owned() })?;
        }
        let (instance, id, work) = (self.session.instance().to_owned(), self.id.clone(), self.work.clone());
        let begun = self.stores.each(move |store| store.cancelled_by(&work).begin(&instance, &id)).await?;
        let writers = Writers::new(begun);
        let downtime = if self.application.locks() {
            self.locked(live).await?
        } else {
            self.session.phase(Phase::Capture, self.capture(live)).await?;
            Downtime::default()
        };
        let (skew, mut warnings) = self.skew(live)?;
        let stored = self.session.phase(Phase::Archive, self.archive(live, &writers)).await?;
        warnings.extend(shrink::refuse(self.session, self.stores, self.id, &stored).await?);
        warnings.extend(stored.iter().flat_map(|part| {
            let changed = part
                .changed
                .files
                .first()
                .map(|first| format!("{} files changed while they were read, such as {first}", part.changed.total));
            let all = changed.into_iter().chain(part.warnings.iter().cloned());
            all.map(|text| format!("part `{}`: {text}", part.name)).collect::<Vec<_>>()
        }));
        for warning in &warnings {
            self.session.reporter.message(Level::Warning, None, warning.clone());
        }
        let mut manifest = self.manifest(version, downtime, skew, warnings, stored);
        if manifest.parts.iter().any(PartRecord::has_streams) {
            self.session.phase(Phase::Verify, self.look_at_streams(&writers, &mut manifest)).await?;
        }
        self.session.phase(Phase::Publish, self.publish(writers, &manifest)).await?;
        // From here on the set exists. A clone that cannot be given back now is a nuisance, not a failed backup.
        let closed = self.session.phase(Phase::Close, self.close(live)).await;
        if let Err(error) = closed {
            self.unclosed.store(true, Ordering::Relaxed);
            self.session.reporter.message(Level::Warning, None, error.to_string());
        }
        Ok(manifest)
    }

    /// Lock, drain, capture, unlock. Whatever happens in between, the application is released before this returns.
    async fn locked(&self, live: &mut [LivePart<'_>]) -> Result<Downtime> {
        let hooks = Hooks {
            run: self.id.to_string(),
            keeper: Arc::clone(&self.keeper) as _,
            reporter: self.session.reporter.clone(),
            cancel: self.work.clone(),
        };
        let start = Instant::now();
        // Not to be dropped half-way: a lock whose token nobody read would stay.
        let lock = self.session.phase(Phase::Lock, self.guard.lock(&self.application, &hooks)).await?;
        let mut drain = Duration::ZERO;
        let result = async {
            let drain_start = Instant::now();
            let drained = self.session.phase(Phase::Drain, lock.drain()).await;
            drain = drain_start.elapsed();
            drained?;
            self.session.phase(Phase::Capture, self.watched_capture(live, lock.as_ref())).await
        }
        .await;
        self.keeper.releasing();
        if result.is_err() {
            // What was started must not write on into an application that is in use again. What does not go even when it
            // is killed is stuck in the kernel, and not waited for.
            self.work.cancel();
            let reaped = join_all(live.iter().map(|part| part.gate.shutdown()));
            let _ = tokio::time::timeout(REAP_PATIENCE, reaped).await;
        }
        let outcome = if result.is_ok() { Outcome::Completed } else { Outcome::Cancelled };
        let released = self.session.phase(Phase::Unlock, self.session.while_locked(lock.release(outcome))).await;
        self.given_back.store(released.is_ok(), Ordering::Relaxed);
        let downtime = Downtime { locked: start.elapsed(), drain };
        match (result, released) {
            (Ok(()), Ok(_)) => {
                self.session.reporter.event(&Event::Unlocked { locked: millis(downtime.locked), drain: millis(drain) });
                Ok(downtime)
            }
            (Err(error), Ok(_)) => Err(error),
            (Ok(()), Err(locked)) => Err(locked),
            (Err(error), Err(locked)) => Err(error.detail("application", locked.to_string())),
        }
    }

    /// Capture while the application is watched: when it is no longer held still, what is captured means nothing.
    async fn watched_capture(&self, live: &mut [LivePart<'_>], lock: &dyn Lock) -> Result<()> {
        let mut capture = std::pin::pin!(self.capture(live));
        tokio::select! {
            biased;
            result = &mut capture => result?,
            lost = lock.watch() => {
                self.work.cancel();
                // The strategies end soon; their own complaints about being cancelled are not the news.
                let _ = capture.await;
                return Err(lost);
            }
            () = self.tell_progress(lock) => {}
        }
        lock.confirm().await
    }

    /// Tell the application how many parts are captured, as long as it lasts. A capture that is over in a moment is not
    /// made longer by it.
    async fn tell_progress(&self, lock: &dyn Lock) {
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            let captured = self.captured.load(Ordering::Relaxed).saturating_mul(99);
            let percent = captured.checked_div(self.parts.len()).unwrap_or_default();
            lock.progress(u8::try_from(percent).unwrap_or(99)).await;
        }
    }

    async fn capture(&self, live: &mut [LivePart<'_>]) -> Result<()> {
        let label = self.id.label(self.session.instance());
        let (began, start) = (jiff::Timestamp::now(), Instant::now());
        for level in levels(live) {
            let work = live.iter_mut().enumerate().filter(|(index, _)| level.contains(index)).map(|(_, part)| {
                let name = part.name().to_owned();
                (name.clone(), self.capture_one(part, name, &label).boxed())
            });
            together(work, &self.work).await?;
        }
        let wall = jiff::Timestamp::now().as_millisecond() - began.as_millisecond();
        let _ = self.capture.set((wall, start.elapsed()));
        Ok(())
    }

    async fn capture_one(&self, part: &mut LivePart<'_>, name: String, label: &str) -> Result<()> {
        self.journal.write(Record::Capturing { part: name.clone(), label: label.to_owned() })?;
        let snapshot = part.instance.capture(label).await?;
        self.journal.write(Record::Captured { part: name, snapshot: snapshot.clone() })?;
        part.snapshot = Some(snapshot);
        self.captured.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Between the first and the last consistency point.
    fn skew(&self, live: &[LivePart<'_>]) -> Result<(Duration, Vec<String>)> {
        let points = || live.iter().filter_map(|part| part.snapshot.as_ref()).map(|s| s.created.as_millisecond());
        let skew = points().max().unwrap_or_default() - points().min().unwrap_or_default();
        let mut skew = Duration::from_millis(u64::try_from(skew).unwrap_or_default());
        let mut warnings = Vec::new();
        if let Some((wall, took)) = self.capture.get() {
            let set = wall.saturating_sub(i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
            if set.unsigned_abs() > CLOCK_SET {
                warnings.push(format!(
                    "this machine's clock was set by {set} ms while the parts were captured: how far their consistency \
                     points lie apart is taken from how long that lasted"
                ));
                skew = *took;
            }
        }
        let limit = self.session.config.application.max_skew();
        if self.application.locks() || skew <= limit {
            return Ok((skew, warnings));
        }
        let text = format!("the parts' consistency points lie {skew:?} apart; `max-skew` is {limit:?}");
        if self.mode() == LockMode::ZeroDowntime {
            return Err(Error::new(ErrorKind::Application, text).hint(
                "run again at a quieter time, raise `[application] max-skew`, or let the run lock the application",
            ));
        }
        warnings.push(text);
        Ok((skew, warnings))
    }

    /// Finish, archive and read back every part, side by side.
    async fn archive(&self, live: &mut [LivePart<'_>], writers: &Writers) -> Result<Vec<PartRecord>> {
        let work = live.iter_mut().map(|part| {
            (part.name().to_owned(), archiving::store_part(self.session, part, writers, &self.work).boxed())
        });
        let mut stored = together(work, &self.work).await?;
        let order = |name: &str| self.parts.iter().position(|part| part.name() == name);
        stored.sort_by_key(|part| order(&part.name));
        Ok(stored)
    }

    /// What only the strategies' own tools can tell of what was streamed into the store. All stores have the same bytes.
    async fn look_at_streams(&self, writers: &Writers, manifest: &mut SetManifest) -> Result<()> {
        let Some((_, writer)) = writers.live().into_iter().next() else { return Ok(()) };
        let witness = Arc::clone(&self.keeper) as _;
        let set = writer.unpublished(manifest.clone());
        let (checked, lacking) = ask_of_streams(self.session, self.parts, set, witness, &self.work).await?;
        if !checked.is_empty() {
            let by = format!("; the streams of {}: by their strategies' own tools", checked.join(", "));
            manifest.proved.how.push_str(&by);
        }
        for warning in lacking {
            self.session.reporter.message(Level::Warning, None, warning.clone());
            manifest.warnings.push(warning);
        }
        Ok(())
    }

    /// Publish in one store after the other, the required ones first. What is published once stays: a required one that
    /// fails then makes the run a failure, and the set can be copied there later.
    async fn publish(&self, writers: Writers, manifest: &SetManifest) -> Result<()> {
        if self.session.cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled before the set was published"));
        }
        if self.lease_lost.is_cancelled() {
            return Err(lease::lost());
        }
        self.journal.write(Record::Publishing)?;
        let mut published: Vec<String> = Vec::new();
        for (target, writer) in writers.live() {
            let (manifest, store) = (manifest.clone(), target.store.clone());
            let what = format!("the store `{}` to publish the set", store.name());
            let work = blocking(move || {
                // What it builds on was proved when it was offered. It may have gone since, by the hand of somebody else.
                for part in &manifest.parts {
                    store.bases(&manifest.instance, &manifest, &part.name)?;
                }
                writer.publish(&manifest)
            });
            let result = waiting(&self.session.reporter, &what, work).await;
            match result.or_else(|error| target.failed(error)) {
                Ok(()) if target.is_dropped() => {}
                Ok(()) => published.push(target.store.name().to_owned()),
                Err(error) => {
                    let Some(first) = published.first() else { return Err(error) };
                    let (id, name) = (self.id, target.store.name());
                    let text = format!("set {id} is published in `{}`, and not in `{name}`", published.join("` and `"));
                    return Err(Error::new(error.kind(), text)
                        .hint(format!("repair the store, then: bkhost copy {id} --from {first} --to {name}"))
                        .because(error));
                }
            }
        }
        self.journal.write(Record::Published)?;
        // What a store has got that dropped out. What cannot be removed is swept by a later run.
        for target in self.stores.all().iter().filter(|target| target.is_dropped()) {
            let (store, instance, id) = (target.store.clone(), self.session.instance().to_owned(), self.id.clone());
            let _ = blocking(move || store.abandon(&instance, &id)).await;
        }
        Ok(())
    }

    async fn close(&self, live: &mut [LivePart<'_>]) -> Result<()> {
        // Each closes for itself: one that fails does not stop the others.
        let separate = CancellationToken::new();
        let work = live.iter_mut().filter_map(|part| {
            let snapshot = part.snapshot.clone()?;
            let name = part.name().to_owned();
            Some((name, async move { part.instance.close(&snapshot).await }.boxed()))
        });
        together(work, &separate).await.map(|_| ())
    }

    fn mode(&self) -> LockMode {
        match &self.session.config.application {
            _ if self.application.locks() => LockMode::Locked,
            crate::config::Application::Bitbucket(_) => LockMode::ZeroDowntime,
            _ => LockMode::Unlocked,
        }
    }

    fn manifest(
        &self,
        version: Option<String>,
        downtime: Downtime,
        skew: Duration,
        warnings: Vec<String>,
        stored: Vec<PartRecord>,
    ) -> SetManifest {
        let url = match &self.session.config.application {
            crate::config::Application::Bitbucket(bitbucket) => Some(bitbucket.url.clone()),
            _ => None,
        };
        SetManifest {
            format: FORMAT.to_owned(),
            id: self.id.clone(),
            instance: self.session.instance().to_owned(),
            created: self.began,
            duration_ms: millis(self.start.elapsed()),
            made_by: MadeBy {
                bkhost: env!("CARGO_PKG_VERSION").to_owned(),
                wasmtime: crate::plugin::WASMTIME_VERSION.to_owned(),
                host: super::state::host_name(),
                machine: super::fingerprint::machine(),
            },
            application: ApplicationRecord {
                kind: self.application.kind().name().to_owned(),
                url,
                version,
                mode: self.mode(),
                locked_ms: millis(downtime.locked),
                drain_ms: millis(downtime.drain),
            },
            skew_ms: millis(skew),
            parts: stored,
            warnings,
            proved: Proof {
                at: jiff::Timestamp::now(),
                how: match self.session.crypto.get() {
                    Some(crypto) if crypto.recipients.is_some() && crypto.keys.is_empty() => {
                        "every object was read back from the store, and its hash is that of the bytes as they were \
                         encrypted; their content was hashed as it was read, and not unpacked again: that takes an identity"
                    }
                    _ => "every object was read back from the store, hashed, unpacked, and compared file by file",
                }
                .to_owned(),
            },
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
