//! Telling that something is waited for, while it is waited for.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::application::Hooks;

/// Awaits `future`, and reports `what` every few seconds meanwhile.
pub(super) async fn told<T>(hooks: &Hooks, what: &str, future: impl Future<Output = T>) -> T {
    crate::report::waiting(&hooks.reporter, what, future).await
}

/// A moment after this time; far off instead of out of range.
pub(super) fn after(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + time.min(FAR)
}

/// Pauses between tries, each twice as long as the one before.
pub(super) struct Pauses {
    next: Duration,
    max: Duration,
}

impl Pauses {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { next: min, max }
    }

    /// Sleeps, at most until `end`.
    pub(super) async fn sleep(&mut self, end: Instant) {
        tokio::time::sleep_until(end.min(Instant::now() + self.next)).await;
        self.next = (self.next * 2).min(self.max);
    }
}
