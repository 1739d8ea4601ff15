//! Telling that something is waited for, while it is waited for.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::application::Hooks;
use crate::report::Event;

/// A run tells at least this often what it waits for.
const EVERY: Duration = Duration::from_secs(5);

/// Awaits `future`, and reports `what` every few seconds meanwhile.
pub(super) async fn told<T>(hooks: &Hooks, what: &str, future: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let mut ticks = tokio::time::interval_at(start + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            biased;
            result = &mut future => return result,
            _ = ticks.tick() => {
                let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                hooks.reporter.event(&Event::Waiting { what: what.to_owned(), millis });
            }
        }
    }
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
