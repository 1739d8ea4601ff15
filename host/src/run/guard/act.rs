//! What a guard does once its run is dead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::keepers::{InTheJournal, Memory};
use super::message::Task;
use super::report::{Attached, log_path};
use crate::application::{Application, Held, Hooks, Outcome, Stage};
use crate::error::{Error, ErrorKind, Result};
use crate::notify::{self, Notification, Shouting};
use crate::report::{Level, Reporter};
use crate::run::frozen::{self, Thawed};
use crate::run::identity::ProcessId;
use crate::run::journal::{self, FrozenRecord, Journal, Record};
use crate::run::leftovers::Leftovers;
use crate::run::lock::{GUARD, InstanceLock};
use crate::run::orphans;

/// How long the first try to unlock may take, and each further one, while the instance's lock is held.
const FIRST_TRY: Duration = Duration::from_secs(5);
const TRY: Duration = Duration::from_secs(20);
/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_secs(30);
/// Between two tries to thaw.
const THAW_PAUSE: Duration = Duration::from_secs(1);
/// A lock whose token nobody knows is looked at for so long.
const UNKNOWN: Duration = Duration::from_secs(600);

/// A dead run, and what it takes to clean up after it.
pub(super) struct Duty {
    pub(super) task: Task,
    pub(super) application: Arc<dyn Application>,
    pub(super) memory: Memory,
    pub(super) frozen: Vec<FrozenRecord>,
    pub(super) reporter: Reporter,
}

impl Duty {
    /// Thaw what is frozen, kill the run's children, then give the application back, however long it takes.
    pub(super) async fn act(&self, stderr: &Attached) -> Result<()> {
        // First of all: what waits for a frozen file system cannot be killed.
        let _ = self.thaw().await;
        let entries = journal::read(&self.task.journal).unwrap_or_default();
        // Before the unlock: they must not write on into an application that is in use again.
        let killed = orphans::kill(&self.task.run, &Leftovers::of(&entries), &self.reporter).await;
        // Once more: a child that was freezing may have done it meanwhile.
        let thawed = self.thaw().await;
        let (given_back, ()) =
            tokio::join!(self.give_back(Some((killed, thawed.over)), stderr), self.go_on_thawing(thawed.failed));
        given_back
    }

    async fn thaw(&self) -> Thawed {
        frozen::thaw_of(&self.task.journal, &self.frozen, Some(&self.reporter)).await
    }

    /// Thaw what did not thaw. What still does not after a long time is left to a recovery.
    async fn go_on_thawing(&self, mut failed: Vec<Error>) {
        let start = Instant::now();
        while let Some(error) = failed.first() {
            let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
            self.reporter.message(
                Level::Error,
                None,
                format!("A FILE SYSTEM IS STILL FROZEN; the run's guard goes on trying: {error}{hint}"),
            );
            if start.elapsed() >= UNKNOWN {
                return;
            }
            sleep(THAW_PAUSE).await;
            failed = self.thaw().await.failed;
        }
    }

    async fn give_back(&self, mut killed: Option<(Vec<u32>, Vec<u32>)>, stderr: &Attached) -> Result<()> {
        let start = Instant::now();
        let mut pause = Duration::from_secs(1);
        let mut patience = FIRST_TRY;
        let mut shouting = None;
        let result = loop {
            match InstanceLock::take(&self.task.dir, &format!("{GUARD} {}", self.task.run)) {
                Ok(_lock) => match self.release(&mut killed, patience).await {
                    Ok(()) => break Ok(()),
                    Err(error) => {
                        self.tell(&error);
                        if self.is_hopeless() && start.elapsed() >= UNKNOWN {
                            break Err(error);
                        }
                    }
                },
                Err(error) if error.kind() == ErrorKind::Busy => {
                    // Another bkhost undoes this run, or is the very process that died a moment ago.
                    if !self.is_held() {
                        break Ok(());
                    }
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
                // The disk fails: the application must come back all the same.
                Err(_) => match self.release(&mut killed, patience).await {
                    Ok(()) => break Ok(()),
                    Err(error) => self.tell(&error),
                },
            }
            shouting.get_or_insert_with(|| Shouting::start(&self.task.notify, self.locked(), &self.reporter));
            if patience == FIRST_TRY {
                self.detach(stderr);
                patience = TRY;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
        };
        if let Some(shouting) = shouting.filter(|_| result.is_ok()) {
            shouting.freed().await;
        }
        result
    }

    fn locked(&self) -> Notification {
        let instance = self.task.dir.file_name().unwrap_or_default().to_string_lossy();
        notify::locked(&instance).about(&self.task.run)
    }

    async fn release(&self, killed: &mut Option<(Vec<u32>, Vec<u32>)>, patience: Duration) -> Result<()> {
        let entries = journal::read(&self.task.journal).unwrap_or_default();
        let left = Leftovers::of(&entries);
        if left.ended {
            return Ok(());
        }
        let journal = Journal::reopen(&self.task.journal).ok();
        if let (Some(journal), Some((killed, thawed)), Ok(process)) = (&journal, killed.take(), ProcessId::own()) {
            // Best effort: with a full disk, the application must come back all the same.
            let _ = journal.write(Record::TakenOver { by: journal::GUARD.to_owned(), process });
            for freeze in thawed {
                let _ = journal.write(Record::Thawed { freeze });
            }
            for pgid in killed {
                let _ = journal.write(Record::ChildEnded { pgid });
            }
        }
        let Some(held) = self.held() else {
            // The guard's own locking may have ended with a release that nobody could note.
            if let (Some(journal), Some(_), Some(memory)) = (&journal, &left.held, self.memory.get()) {
                let _ = journal.write(Record::Application { held: memory });
            }
            return Ok(());
        };
        let hooks = Hooks {
            run: self.task.run.to_string(),
            keeper: Arc::new(InTheJournal { memory: self.memory.clone(), journal }),
            reporter: self.reporter.clone(),
            cancel: CancellationToken::new(),
        };
        let release = self.application.release(&held, Outcome::Cancelled, patience, &hooks).await?;
        let text = format!(
            "{} is free again ({release:?}); what else the run left is undone by `bkhost recover`, or by the next run",
            self.application.describe()
        );
        self.reporter.message(Level::Warning, None, text);
        Ok(())
    }

    /// What is held: the journal's word, unless memory is further. Only the guard may know the token, and only another
    /// process' journal record may know that it is released.
    fn held(&self) -> Option<Held> {
        let journalled = journal::read(&self.task.journal)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|entry| if let Record::Application { held } = entry.record { Some(held) } else { None })
            .next_back();
        let latest = match (journalled, self.memory.get()) {
            (Some(journalled), Some(memory)) if memory.stage > journalled.stage => Some(memory),
            (None, memory) => memory,
            (journalled, _) => journalled,
        };
        latest.filter(Held::is_open)
    }

    fn is_held(&self) -> bool {
        self.held().is_some()
    }

    /// Nobody knows the token: what is left is to see whether the lock is gone.
    fn is_hopeless(&self) -> bool {
        self.held().is_some_and(|held| held.stage == Stage::Intended)
    }

    /// Whoever called the run has waited long enough for the end of its output.
    fn detach(&self, stderr: &Attached) {
        let log = log_path(&self.task.dir);
        let text = format!("its guard goes on in the background; what it does is in {}", log.display());
        self.reporter.message(Level::Warning, None, text);
        stderr.detach();
    }

    fn tell(&self, error: &Error) {
        let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
        self.reporter.message(
            Level::Error,
            None,
            format!("THE APPLICATION IS STILL LOCKED; its guard goes on trying: {error}{hint}"),
        );
    }
}
