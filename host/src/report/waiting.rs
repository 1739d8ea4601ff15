//! The heartbeat: nothing is waited for in silence.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Event, Reporter};

/// The promise is a sign of life every five seconds; this leaves room for a busy machine.
const EVERY: Duration = Duration::from_secs(4);

/// Awaits `future`, and reports every few seconds meanwhile that `what` is waited for, and since when.
pub async fn waiting<F: Future>(reporter: &Reporter, what: &str, future: F) -> F::Output {
    waiting_every(EVERY, reporter, || what.to_owned(), future).await
}

/// As [`waiting`], for what changes while it is waited for.
pub async fn waiting_for<F: Future>(reporter: &Reporter, what: impl Fn() -> String, future: F) -> F::Output {
    waiting_every(EVERY, reporter, what, future).await
}

/// Tells, until it is dropped, that something goes on, whenever nothing else was told for a while: also what reports nothing
/// by itself, and what hangs, is not silent.
#[derive(Debug)]
pub struct Heartbeat(tokio::task::AbortHandle);

impl Heartbeat {
    /// Begin to watch over `what` (`the phase archive to end`).
    #[must_use]
    pub fn start(reporter: &Reporter, what: impl Into<String>) -> Self {
        Self::with_patience(reporter, what.into(), EVERY)
    }

    /// As [`Heartbeat::start`], for what surrounds others that know better what is waited for: they come first. `depth` is how
    /// many there may be one inside the other.
    #[must_use]
    pub fn around(reporter: &Reporter, depth: u32, what: impl Into<String>) -> Self {
        Self::with_patience(reporter, what.into(), EVERY + EVERY / 10 * depth)
    }

    fn with_patience(reporter: &Reporter, what: String, patience: Duration) -> Self {
        let (reporter, start) = (reporter.clone(), Instant::now());
        // A task of its own: what is watched may keep its thread busy.
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(patience.saturating_sub(reporter.silence()).max(patience / 40)).await;
                if reporter.silence() >= patience {
                    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                    reporter.event(&Event::Waiting { what: what.clone(), millis });
                }
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn waiting_every<F: Future>(
    every: Duration,
    reporter: &Reporter,
    what: impl Fn() -> String,
    future: F,
) -> F::Output {
    let start = Instant::now();
    let mut ticks = interval_at(start + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut future = pin!(future);
    loop {
        tokio::select! {
            biased;
            output = &mut future => return output,
            _ = ticks.tick() => {
                let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                reporter.event(&Event::Waiting { what: what(), millis });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::Sink;

    struct Beats(Arc<Mutex<Vec<(String, u64)>>>);

    impl Sink for Beats {
        fn event(&mut self, event: &Event) {
            if let Event::Waiting { what, millis } = event {
                self.0.lock().unwrap().push((what.clone(), *millis));
            }
        }
    }

    fn beats(every: u64, millis: u64) -> Vec<(String, u64)> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let reporter = Reporter::new(vec![Box::new(Beats(Arc::clone(&told)))]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let value =
            runtime.block_on(waiting_every(Duration::from_millis(every), &reporter, || "a server".to_owned(), async {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                millis
            }));
        assert_eq!(value, millis);
        told.lock().unwrap().clone()
    }

    #[test]
    fn a_long_wait_gives_signs_of_life() {
        assert!(EVERY < Duration::from_secs(5));
        let beats = beats(20, 200);
        // A busy machine may skip some, but not most.
        assert!((4..=10).contains(&beats.len()), "{beats:?}");
        assert!(beats.iter().all(|(what, _)| what == "a server"));
        assert!(beats.is_sorted_by(|a, b| a.1 < b.1), "{beats:?}");
        assert!(beats[0].1 >= 20, "{beats:?}");
    }

    /// Signs of life of what is silent itself, and of what tells something now and then.
    #[test]
    fn a_heartbeat_fills_silence_only() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let reporter = Reporter::new(vec![Box::new(Beats(Arc::clone(&told)))]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let beats = || std::mem::take(&mut *told.lock().unwrap());
        runtime.block_on(async {
            let patience = Duration::from_millis(200);
            let inner = Heartbeat::with_patience(&reporter, "the phase".to_owned(), patience);
            let outer = Heartbeat::with_patience(&reporter, "all".to_owned(), patience * 2);
            // Even where the thread is busy.
            std::thread::sleep(patience * 6);
            let silent = beats();
            assert!((2..=6).contains(&silent.len()), "{silent:?}");
            assert!(silent.iter().all(|(what, _)| what == "the phase"), "{silent:?}");
            assert!(silent.is_sorted_by(|a, b| a.1 < b.1), "{silent:?}");
            drop((inner, outer));
            let _beat = Heartbeat::with_patience(&reporter, "x".to_owned(), Duration::from_secs(2));
            for n in 0..60 {
                reporter.progress("home", "archive", n, None);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(beats(), []);
        });
    }

    #[test]
    fn a_short_wait_is_not_mentioned() {
        assert_eq!(beats(60_000, 0), []);
        assert_eq!(beats(60_000, 20), []);
    }
}
