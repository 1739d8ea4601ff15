//! The task that freezes, and thaws whatever happens.

use std::sync::Arc;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::claim::Claim;
use super::place::thaw;
use super::tool::{self, Failure, Way};
use super::{Place, Standing, overdue};
use crate::capability::units::Span;
use crate::capability::{CallError, Code, Witness};
use crate::report::{Event, Level, Reporter};

/// Between two tries to thaw what does not thaw.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a look at a child that the kernel holds may take.
const LOOK: Duration = Duration::from_millis(50);

/// What is to be frozen, and for how long.
pub(in crate::capability) struct Job {
    pub(in crate::capability) places: Vec<Place>,
    pub(in crate::capability) limit: Duration,
    pub(in crate::capability) part: String,
    pub(in crate::capability) witness: Arc<dyn Witness>,
    pub(in crate::capability) reporter: Reporter,
    /// Ends it: the run is cancelled, or the instance is gone.
    pub(in crate::capability) cancel: CancellationToken,
    /// Told when it lasted too long.
    pub(in crate::capability) overdue: CancellationToken,
    /// Thaw. A child of `cancel`.
    pub(in crate::capability) ask: CancellationToken,
    pub(in crate::capability) standing: watch::Sender<Standing>,
}

/// A file system that is frozen, or may be.
struct Item {
    place: Place,
    number: u32,
    /// Tried, and not known to have been frozen.
    unsure: bool,
    /// It is stuck in the kernel, and may yet freeze.
    child: Option<Child>,
    _claim: Claim,
}

/// Freeze, tell it through `ready`, wait for the end, thaw. To be run as a task of its own: nothing drops it half-way.
pub(in crate::capability) async fn keep(job: Job, ready: oneshot::Sender<Result<(), CallError>>) {
    let start = Instant::now();
    let deadline = start + job.limit;
    let mut items = Vec::new();
    if let Err(e) = job.freeze_all(&mut items, deadline).await {
        let thawed = job.thaw_all(&mut items).await;
        let e = thawed.err().into_iter().fold(e, |e, left| e.detail("not thawed", left.message));
        let _ = job.standing.send(Standing::Broken(e.clone()));
        let _ = ready.send(Err(e));
        return job.go_on(items);
    }
    let _ = ready.send(Ok(()));
    let broken = tokio::select! {
        biased;
        () = job.ask.cancelled() => job.cancel.is_cancelled().then(|| job.interrupted()),
        () = sleep_until(deadline) => Some(overdue(job.limit, &job.names())),
    };
    let late = broken.as_ref().is_some_and(|e| e.code == Code::TimedOut);
    let result = job.thaw_all(&mut items).await;
    let stood = start.elapsed();
    let standing = match (broken, result) {
        (Some(e), Ok(_)) => Standing::Broken(e),
        (Some(e), Err(left)) => Standing::Broken(e.detail("not thawed", left.message)),
        (None, Ok(true)) => Standing::Thawed,
        (None, Ok(false)) => Standing::Broken(job.disturbed()),
        (None, Err(left)) => Standing::Stuck(left),
    };
    let _ = job.standing.send(standing);
    if late {
        job.overdue.cancel();
    }
    // Not before: whoever reads this may have to write to what was frozen.
    for place in &job.places {
        let part = job.part.clone();
        let argv = tool::argv(false, &place.mount);
        job.reporter.event(&Event::Command { part, argv, planned: false });
    }
    job.reporter.message(Level::Info, Some(&job.part), format!("{} stood frozen for {stood:.0?}", job.names()));
    job.go_on(items);
}

impl Job {
    fn names(&self) -> String {
        self.places.iter().map(|place| format!("the file system {place}")).collect::<Vec<_>>().join(" and ")
    }

    fn interrupted(&self) -> CallError {
        CallError::new(Code::Interrupted, format!("the run was cancelled, and {} thawed", self.names()))
    }

    fn disturbed(&self) -> CallError {
        CallError::new(
            Code::Conflict,
            format!(
                "somebody else thawed {} while a snapshot was taken: what was captured is no consistency point",
                self.names()
            ),
        )
        .hint("find out who runs `fsfreeze --unfreeze` there")
    }

    /// Freeze one after the other. What was, or may have been, frozen is in `items`, also after an error.
    async fn freeze_all(&self, items: &mut Vec<Item>, deadline: Instant) -> Result<(), CallError> {
        for place in &self.places {
            if self.ask.is_cancelled() {
                return Err(self.interrupted());
            }
            let claim = Claim::take(&place.device).ok_or_else(|| busy(place))?;
            let number = self.remember(place).await?;
            items.push(Item { place: place.clone(), number, unsure: true, child: None, _claim: claim });
            let limit = deadline.saturating_duration_since(Instant::now());
            let mark = format!("{}:freeze", self.witness.owner());
            let done = match place.path() {
                Ok(path) => tool::fsfreeze(Way::Freeze, &path, Some(&mark), limit, &self.ask).await,
                Err(e) => Err(Failure::Other(e.to_string())),
            };
            let Err(failure) = done else {
                if let Some(item) = items.last_mut() {
                    item.unsure = false;
                }
                continue;
            };
            let text = format!("the file system {place} cannot be frozen: {failure}");
            let error = match failure {
                Failure::TimedOut(child) => {
                    let limit = Span(self.limit);
                    let text = format!("the file system {place} cannot be frozen: fsfreeze did not end within {limit}");
                    if let Some(item) = items.last_mut() {
                        item.child = child;
                    }
                    let hint = "it has much to write, or something that writes does not end; `freeze` in [part.limits] \
                                allows more, up to 5m";
                    return Err(CallError::new(Code::TimedOut, text).hint(hint));
                }
                Failure::Stopped(child) => {
                    if let Some(item) = items.last_mut() {
                        item.child = child;
                    }
                    return Err(self.interrupted());
                }
                Failure::Busy => busy(place),
                Failure::Unsupported => CallError::new(Code::Unsupported, text),
                Failure::Refused => CallError::denied(text).hint("run bkhost as root, with CAP_SYS_ADMIN"),
                Failure::NotFrozen | Failure::Other(_) => CallError::new(Code::Other, text),
            };
            // Not frozen by us: if somebody else has frozen it, it must stay so.
            if let Some(item) = items.pop() {
                self.forget(item.number).await;
            }
            return Err(error);
        }
        Ok(())
    }

    /// In the journal, before it happens.
    async fn remember(&self, place: &Place) -> Result<u32, CallError> {
        let (witness, noted, limit) = (Arc::clone(&self.witness), place.clone(), self.limit);
        let result = tokio::task::spawn_blocking(move || witness.freezing(&noted, limit)).await;
        result
            .unwrap_or_else(|e| Err(crate::Error::new(crate::ErrorKind::Internal, e.to_string())))
            .map_err(|e| CallError::from(e.within(format!("the file system {place} was not frozen"))))
    }

    async fn forget(&self, number: u32) {
        let witness = Arc::clone(&self.witness);
        // One that is thawed and said to be frozen is thawed once more, to no harm.
        let _ = tokio::task::spawn_blocking(move || witness.thawed(number)).await;
    }

    /// Thaw all, the last first. What is thawed is taken out of `items`. Gives whether all of them were still frozen.
    async fn thaw_all(&self, items: &mut Vec<Item>) -> Result<bool, CallError> {
        let mut undisturbed = true;
        let mut failed: Option<CallError> = None;
        let mut left = Vec::new();
        let mut thawed = Vec::new();
        while let Some(mut item) = items.pop() {
            let gone = match &mut item.child {
                // Looked at before the thaw: what it freezes after that would stay.
                Some(child) => tokio::time::timeout(LOOK, child.wait()).await.is_ok(),
                None => true,
            };
            match thaw(&item.place).await {
                Ok(was) if gone => {
                    undisturbed &= was || item.unsure;
                    thawed.push(item);
                }
                Ok(_) => {
                    let text = format!("the file system {} may yet be frozen: the kernel holds fsfreeze", item.place);
                    failed = failed.or(Some(CallError::new(Code::Other, text)));
                    left.push(item);
                }
                Err(e) => {
                    failed = failed.or(Some(e));
                    left.push(item);
                }
            }
        }
        left.reverse();
        *items = left;
        for item in thawed {
            self.forget(item.number).await;
        }
        failed.map_or(Ok(undisturbed), Err)
    }

    /// Thaw what did not thaw, for as long as this process lives; nobody waits for that, and the run's guard goes on.
    fn go_on(self, mut items: Vec<Item>) {
        if items.is_empty() {
            return;
        }
        tokio::spawn(async move {
            let mut pause = PAUSE;
            while !items.is_empty() {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let _ = self.thaw_all(&mut items).await;
            }
            self.reporter.message(Level::Warning, Some(&self.part), format!("{} thawed at last", self.names()));
        });
    }
}

fn busy(place: &Place) -> CallError {
    CallError::new(Code::Conflict, format!("the file system {place} cannot be frozen: it is frozen already"))
        .hint(format!("by another backup? It stays as it is; if nobody needs that: fsfreeze --unfreeze {place}"))
}
