//! Ties the application and the gate to the run's journal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::guard::GuardLine;
use super::journal::{ChildRecord, FrozenRecord, Journal, Record};
use crate::application::{Held, Keeper};
use crate::archive::SetId;
use crate::capability::{Place, Witness, start_time};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::report::{Level, Reporter};

/// Writes what is held of the application, and which children run, to the journal.
pub(super) struct JournalKeeper {
    journal: Arc<Journal>,
    reporter: Reporter,
    owner: String,
    guard: OnceLock<GuardLine>,
    /// Counts what was frozen.
    freezes: AtomicU32,
    /// The commands that run, by their process groups.
    running: Mutex<BTreeMap<u32, String>>,
}

impl JournalKeeper {
    /// A keeper for this run.
    #[must_use]
    pub(super) fn new(journal: Arc<Journal>, id: &SetId, reporter: Reporter) -> Self {
        Self {
            journal,
            reporter,
            owner: id.to_string(),
            guard: OnceLock::new(),
            freezes: AtomicU32::new(0),
            running: Mutex::default(),
        }
    }

    /// From now on, tell this guard too what is held.
    pub(super) fn tell(&self, guard: GuardLine) {
        let _ = self.guard.set(guard);
    }

    /// The application is about to be given back.
    pub(super) fn releasing(&self) {
        if let Some(guard) = self.guard.get() {
            guard.releasing();
        }
    }

    /// The commands that run, as they were called.
    pub(super) fn running(&self) -> Vec<String> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// `what`, and what runs for it.
    pub(super) fn running_in(&self, what: &str) -> String {
        match self.running() {
            running if running.is_empty() => what.to_owned(),
            running => format!("{what}: {}", running.join("; ")),
        }
    }

    fn child(&self, record: Record) {
        // What is not in the journal is undone all the same. A child that is not in the journal is still killed by this process; only a recovery after a power cut, which
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
        let noted = held.clone();
        // A sync can take long on a busy disk; the runtime has other things to do.
        tokio::task::spawn_blocking(move || journal.write(Record::Application { held: noted }))
            .await
            .or_error(ErrorKind::Internal, || "the journal's writer ended")??;
        if let Some(guard) = self.guard.get() {
            guard.held(held);
        }
        Ok(())
    }
}

impl Witness for JournalKeeper {
    fn owner(&self) -> &str {
        &self.owner
    }

    fn child_started(&self, pgid: u32, argv: &[String]) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(pgid, argv.join(" "));
        // Not reaped yet, whatever became of it: there is a start time.
        let start = start_time(pgid).unwrap_or_default();
        self.child(Record::ChildStarted { child: ChildRecord { pgid, start } });
    }

    fn child_ended(&self, pgid: u32) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&pgid);
        self.child(Record::ChildEnded { pgid });
    }

    fn freezing(&self, place: &Place, limit: Duration) -> Result<u32> {
        let freeze = self.freezes.fetch_add(1, Ordering::Relaxed);
        let frozen = FrozenRecord { freeze, place: place.clone() };
        self.journal.write(Record::Freezing { frozen: frozen.clone() })?;
        if let Some(guard) = self.guard.get() {
            // Should this process be stopped in the next moment, the guard has to know.
            guard.freezing(frozen, limit).inspect_err(|_| self.child(Record::Thawed { freeze }))?;
        }
        Ok(freeze)
    }

    fn thawed(&self, freeze: u32) {
        self.child(Record::Thawed { freeze });
        if let Some(guard) = self.guard.get() {
            guard.thawed(freeze);
        }
    }
}
