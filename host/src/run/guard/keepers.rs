//! Where the guard notes what is held of the application.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::message::{FromGuard, WireError};
use crate::application::{Held, Keeper};
use crate::error::{Error, ErrorKind, Result};
use crate::run::journal::{Journal, Record};

/// What is held, as far as the guard knows. Kept in memory too: the guard is of use even if the disk is not.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Option<Held>>>);

impl Memory {
    pub(super) fn set(&self, held: &Held) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held.clone());
    }

    pub(super) fn get(&self) -> Option<Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// While the run lives, its journal is its own: it is asked to write.
pub(super) struct ByTheRun {
    pub(super) memory: Memory,
    pub(super) to_run: mpsc::UnboundedSender<FromGuard>,
    pub(super) replies: tokio::sync::Mutex<mpsc::UnboundedReceiver<Option<WireError>>>,
    pub(super) run_gone: CancellationToken,
}

#[async_trait]
impl Keeper for ByTheRun {
    async fn note(&self, held: &Held) -> Result<()> {
        self.memory.set(held);
        let gone = || Error::new(ErrorKind::Cancelled, "the run has ended, and left the rest to its guard");
        let mut replies = self.replies.lock().await;
        if self.run_gone.is_cancelled() || self.to_run.send(FromGuard::Note { held: held.clone() }).is_err() {
            return Err(gone());
        }
        let reply = tokio::select! {
            biased;
            () = self.run_gone.cancelled() => return Err(gone()),
            reply = replies.recv() => reply,
        };
        match reply {
            Some(None) => Ok(()),
            Some(Some(error)) => Err(error.into()),
            None => Err(gone()),
        }
    }
}

/// After the run's death: the journal, if it can be written to.
pub(super) struct InTheJournal {
    pub(super) memory: Memory,
    pub(super) journal: Option<Journal>,
}

#[async_trait]
impl Keeper for InTheJournal {
    async fn note(&self, held: &Held) -> Result<()> {
        self.memory.set(held);
        match &self.journal {
            Some(journal) => journal.write(Record::Application { held: held.clone() }),
            None => Err(Error::new(ErrorKind::Io, "the run's journal cannot be written to")),
        }
    }
}
