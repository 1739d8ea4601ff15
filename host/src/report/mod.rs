//! What a run tells: one stream of events, rendered by sinks.

mod bars;
mod event;
mod finding;
mod json;
mod lines;
mod terms;
mod text;
mod waiting;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use bars::Bars;
pub use event::{Event, Level, Phase};
pub use finding::{Finding, Severity};
pub use json::JsonLines;
pub use lines::Lines;
pub use terms::Terms;
pub use text::Verbosity;
pub use waiting::{Heartbeat, waiting, waiting_for};

/// Renders events somewhere.
pub trait Sink: Send {
    /// Take one event. Must not block for long and cannot fail: reporting never fails a backup.
    fn event(&mut self, event: &Event);
}

/// The handle through which everything reports. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    sinks: Arc<Mutex<Vec<Box<dyn Sink>>>>,
    /// When something was last told that people see.
    told: Arc<Mutex<Instant>>,
}

impl Reporter {
    /// A reporter that writes to these sinks.
    #[must_use]
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self { sinks: Arc::new(Mutex::new(sinks)), told: Arc::new(Mutex::new(Instant::now())) }
    }

    /// A reporter that tells nobody.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Vec::new())
    }

    /// Report an event.
    pub fn event(&self, event: &Event) {
        // What is only told on request is no sign of life for those who did not ask.
        if matches!(event, Event::Progress { .. }) || text::line(event, Verbosity::Normal).is_some() {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        for sink in self.sinks.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            sink.event(event);
        }
    }

    /// How long nothing was told.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Report a message.
    pub fn message(&self, level: Level, part: Option<&str>, text: impl Into<String>) {
        self.event(&Event::Message { level, part: part.map(str::to_owned), text: text.into() });
    }

    /// Report progress of a part's step.
    pub fn progress(&self, part: &str, what: &str, done: u64, total: Option<u64>) {
        self.event(&Event::Progress { part: part.to_owned(), what: what.to_owned(), done, total });
    }
}
