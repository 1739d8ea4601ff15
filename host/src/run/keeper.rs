//! Ties the application and the gate to the run's journal.

use std::sync::Arc;

use async_trait::async_trait;

use super::journal::{Journal, Record};
use crate::application::{Held, Keeper};
use crate::capability::Witness;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::report::{Level, Reporter};

/// Writes what is held of the application, and which children run, to the journal.
pub(super) struct JournalKeeper {
    journal: Arc<Journal>,
    reporter: Reporter,
}

impl JournalKeeper {
    /// A keeper for this run.
    #[must_use]
    pub(super) fn new(journal: Arc<Journal>, reporter: Reporter) -> Self {
        Self { journal, reporter }
    }

    fn child(&self, record: Record) {
        // A child that is not in the journal is still killed by this process; only a recovery after a power cut, which
        // kills children anyway, would not know it.
        if let Err(error) = self.journal.write(record) {
            self.reporter.message(Level::Warning, None, error.to_string());
        }
    }
}

#[async_trait]
impl Keeper for JournalKeeper {
    async fn note(&self, held: &Held) -> Result<()> {
        let journal = Arc::clone(&self.journal);
        let held = held.clone();
        // A sync can take long on a busy disk; the runtime has other things to do.
        tokio::task::spawn_blocking(move || journal.write(Record::Application { held }))
            .await
            .or_error(ErrorKind::Internal, || "the journal's writer ended")?
    }
}

impl Witness for JournalKeeper {
    fn child_started(&self, pgid: u32, _argv: &[String]) {
        self.child(Record::ChildStarted { pgid });
    }

    fn child_ended(&self, pgid: u32) {
        self.child(Record::ChildEnded { pgid });
    }
}
