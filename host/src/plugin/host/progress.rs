//! `progress`: how far a long step is, told at a bearable rate.

use std::time::{Duration, Instant};

use crate::plugin::bindings::bkhost::snapshot::progress::Host;
use crate::plugin::state::State;
use crate::plugin::text;
use crate::report::Reporter;

/// Reports come at most this often, but for a step's end.
const INTERVAL: Duration = Duration::from_millis(100);
/// The longest name of a step.
const LONGEST: usize = 100;
/// Ends of steps that are told between two intervals: a guest could end one step after the other.
const ENDS: u32 = 8;

/// Tells progress, and leaves out what comes too fast.
pub(in crate::plugin) struct Pace {
    reporter: Reporter,
    part: String,
    last: Option<Instant>,
    ends: u32,
}

impl Pace {
    pub(in crate::plugin) fn new(reporter: Reporter, part: &str) -> Self {
        Self { reporter, part: part.to_owned(), last: None, ends: 0 }
    }

    pub(super) fn report(&mut self, what: &str, done: u64, total: Option<u64>) {
        if !self.due(total == Some(done)) {
            return;
        }
        self.reporter.progress(&self.part, &text::line(what, LONGEST), done, total);
    }

    fn due(&mut self, end: bool) -> bool {
        let now = Instant::now();
        if self.last.is_none_or(|last| now.duration_since(last) >= INTERVAL) {
            self.last = Some(now);
            self.ends = 0;
            return true;
        }
        if end && self.ends < ENDS {
            self.ends += 1;
            return true;
        }
        false
    }
}

impl Host for State {
    async fn report(&mut self, what: String, done: u64, total: Option<u64>) -> wasmtime::Result<()> {
        self.pace.report(&what, done, total);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_progress_is_thinned_out() {
        let mut pace = Pace::new(Reporter::silent(), "home");
        let told = (0..10_000).filter(|n| pace.due(n % 2 == 0)).count();
        assert!((1..200).contains(&told), "{told}");
    }

    #[test]
    fn the_end_of_a_step_is_told_at_once() {
        let mut pace = Pace::new(Reporter::silent(), "home");
        assert!(pace.due(false));
        assert!(!pace.due(false));
        assert!(pace.due(true));
    }
}
