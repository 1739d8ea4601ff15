//! `log`: a guest's messages, up to a volume.

use crate::plugin::bindings::bkhost::snapshot::log::{Host, Level as GuestLevel};
use crate::plugin::limits::Allowance;
use crate::plugin::state::State;
use crate::plugin::text;
use crate::report::{Level, Reporter};

/// The longest message that is shown whole.
const LONGEST: usize = 8 << 10;

/// The messages of one instance.
pub(in crate::plugin) struct Journal {
    reporter: Reporter,
    part: String,
    allowance: Allowance,
    limit: u64,
}

impl Journal {
    pub(in crate::plugin) fn new(reporter: Reporter, part: &str, limit: u64) -> Self {
        Self { reporter, part: part.to_owned(), allowance: Allowance::new(limit), limit }
    }

    fn write(&mut self, level: Level, message: &str) {
        if self.allowance.take(message.len().min(LONGEST)) {
            self.reporter.message(level, Some(&self.part), text::line(message, LONGEST));
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let dropped = self.allowance.dropped;
        if dropped > 0 {
            let limit = crate::units::human_bytes(self.limit);
            let text = format!(
                "the plugin wrote more than {limit} of messages: {dropped} were dropped; raise `log` in [part.limits] \
                 to see them"
            );
            self.reporter.message(Level::Warning, Some(&self.part), text);
        }
    }
}

impl Host for State {
    async fn write(&mut self, level: GuestLevel, message: String) -> wasmtime::Result<()> {
        let level = match level {
            GuestLevel::Debug => Level::Debug,
            GuestLevel::Info => Level::Info,
            GuestLevel::Warn => Level::Warning,
            GuestLevel::Error => Level::Error,
        };
        self.journal.write(level, &message);
        Ok(())
    }
}
