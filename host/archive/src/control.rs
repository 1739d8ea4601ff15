//! How long work is stopped and watched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};

/// Told from time to time how many bytes of content are done.
type Watcher = dyn Fn(u64) + Send + Sync;

/// Progress is told at most this often: whoever listens may be a terminal.
const INTERVAL: Duration = Duration::from_millis(100);

/// The way to stop a long piece of work, and to watch it. Cheap to clone; clones share one count.
#[derive(Clone)]
pub struct Control {
    cancel: CancellationToken,
    watcher: Arc<Watcher>,
    started: Instant,
    done: Arc<AtomicU64>,
    told: Arc<AtomicU64>,
}

impl Control {
    /// Stops when `cancel` says so; `progress` is called with the bytes of file content done so far, at most ten times
    /// a second and once at the end. It must not block for long.
    pub fn new(cancel: CancellationToken, progress: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self {
            cancel,
            watcher: Arc::new(progress),
            started: Instant::now(),
            done: Arc::new(AtomicU64::new(0)),
            told: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Never stopped, watched by nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::new(CancellationToken::new(), |_| {})
    }

    /// The same, for helpers that are also stopped when one of them fails, by the token given back.
    pub(super) fn child(&self) -> (Self, CancellationToken) {
        let cancel = self.cancel.child_token();
        (Self { cancel: cancel.clone(), ..self.clone() }, cancel)
    }

    /// Whether the work has to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// An error of kind `Cancelled` once the work has to stop.
    pub(super) fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "stopped before it was complete"));
        }
        Ok(())
    }

    /// Counts `bytes` more.
    pub(super) fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let interval = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let told = self.told.load(Ordering::Relaxed);
        let due = now.saturating_sub(told) >= interval;
        if due && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            (self.watcher)(done);
        }
    }

    /// Tells the final count.
    pub(super) fn finished(&self) {
        (self.watcher)(self.done.load(Ordering::Relaxed));
    }
}
