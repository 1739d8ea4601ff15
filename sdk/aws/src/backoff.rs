//! Waiting between attempts.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How long something may go on.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    start: Instant,
    limit: Duration,
}

impl Deadline {
    /// From now on.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { start: Instant::now(), limit }
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(self.start.elapsed())
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// How long it was, all in all.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

/// Pauses that double up to a limit. Each is between half of that and all of it, so that those who were refused
/// together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    pause: Duration,
    limit: Duration,
}

impl Backoff {
    /// From `first` up to `limit`.
    #[must_use]
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self { pause: first.min(limit), limit }
    }

    /// The next pause.
    #[must_use]
    pub fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.limit);
        // Between 128 and 255 of 256: the seed of a hasher is as random as the host's generator.
        let random = u32::try_from(RandomState::new().hash_one(0) & 127).unwrap_or(0);
        pause * (128 + random) / 256
    }

    /// Sleep for the next pause. Whether the deadline allows that; if not, this returns at once.
    #[must_use]
    pub fn wait(&mut self, deadline: &Deadline) -> bool {
        let pause = self.pause();
        if pause >= deadline.left() {
            return false;
        }
        std::thread::sleep(pause);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_differ() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        let pauses: Vec<_> = (0..200).map(|_| backoff.pause().as_millis()).collect();
        assert!((50..=100).contains(&pauses[0]) && (100..=200).contains(&pauses[1]), "{pauses:?}");
        assert!(pauses[2..].iter().all(|pause| (150..=300).contains(pause)), "{pauses:?}");
        assert!(pauses[2..].iter().max() > pauses[2..].iter().min(), "{pauses:?}");
    }

    #[test]
    fn no_pause_goes_beyond_the_deadline() {
        let deadline = Deadline::after(Duration::from_millis(200));
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(10));
        while backoff.wait(&deadline) {}
        assert!(deadline.start.elapsed() <= Duration::from_millis(250));
    }
}
