//! When a run that still lives has to be ended by its guard.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// After the maximum lock time the run gives the application back by itself: it gets this long to begin with it.
const SLACK: Duration = Duration::from_secs(2);
/// A run that gives the application back and is not heard of for so long is stopped, or hangs.
const SILENCE: Duration = Duration::from_secs(5);
/// A run that says so for this long does not get anywhere.
const RELEASING: Duration = Duration::from_secs(600);

/// What the guard knows of the application and of the run.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    max_lock_time: Duration,
    locked: Option<Instant>,
    releasing: Option<Instant>,
    heard: Instant,
    /// Until when file systems may stand frozen, by the number of the freeze.
    frozen: BTreeMap<u32, Instant>,
}

impl Watched {
    /// Nothing is locked yet. Without a maximum lock time nothing ever is.
    pub(super) fn new(max_lock_time: Option<Duration>, now: Instant) -> Self {
        let far = Duration::from_secs(365 * 24 * 3600);
        let max_lock_time = max_lock_time.unwrap_or(far).min(far);
        Self { max_lock_time, locked: None, releasing: None, heard: now, frozen: BTreeMap::new() }
    }

    pub(super) fn locked(&mut self, now: Instant) {
        self.locked.get_or_insert(now);
    }

    pub(super) fn releasing(&mut self, now: Instant) {
        self.releasing.get_or_insert(now);
    }

    pub(super) fn free(&mut self) {
        self.locked = None;
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn freezing(&mut self, freeze: u32, until: Instant) {
        self.frozen.insert(freeze, until);
    }

    pub(super) fn thawed(&mut self, freeze: u32) {
        self.frozen.remove(&freeze);
    }

    /// When the run is overdue, as things stand. It may be later when looked at again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let thaw = self.frozen.values().min().map(|until| *until + SLACK);
        thaw.into_iter().chain(self.unlock()).min()
    }

    /// Why, once the deadline is over.
    pub(super) fn overdue(&self, now: Instant) -> &'static str {
        match self.unlock() {
            Some(unlock) if unlock <= now => "hangs, and the maximum lock time is over",
            _ => "hangs, and file systems have stood frozen for too long",
        }
    }

    fn unlock(&self) -> Option<Instant> {
        let limit = self.locked? + self.max_lock_time + SLACK;
        Some(match self.releasing {
            None => limit,
            Some(since) => limit.max((self.heard + SILENCE).min(since + RELEASING)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(60);

    fn overdue(watched: &Watched, start: Instant) -> Option<u64> {
        watched.deadline().map(|at| (at - start).as_secs())
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_run_that_hangs_is_overdue_after_the_maximum_lock_time() {
        let start = Instant::now();
        let mut watched = Watched::new(Some(MAX), start);
        assert_eq!(overdue(&watched, start), None);
        watched.locked(start);
        watched.locked(at(start, 50));
        assert_eq!(overdue(&watched, start), Some(62));
        watched.free();
        assert_eq!(overdue(&watched, start), None);
    }

    #[test]
    fn a_run_that_hangs_with_a_frozen_file_system_is_overdue_sooner() {
        let start = Instant::now();
        let mut watched = Watched::new(Some(MAX), start);
        watched.freezing(1, at(start, 30));
        watched.freezing(2, at(start, 31));
        assert_eq!(overdue(&watched, start), Some(32));
        watched.locked(start);
        watched.thawed(1);
        assert_eq!(overdue(&watched, start), Some(33));
        watched.thawed(2);
        assert_eq!(overdue(&watched, start), Some(62));
    }

    #[test]
    fn a_run_that_gives_the_application_back_is_let_work_as_long_as_it_is_heard_of() {
        let start = Instant::now();
        let mut watched = Watched::new(Some(MAX), start);
        watched.locked(start);
        watched.releasing(start);
        assert_eq!(overdue(&watched, start), Some(62));
        watched.heard(at(start, 90));
        assert_eq!(overdue(&watched, start), Some(95));
        watched.heard(at(start, 990));
        assert_eq!(overdue(&watched, start), Some(600));
    }
}
