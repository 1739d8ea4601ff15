//! Copies several entries at once.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;

use super::job::{Copier, Job, Outcome};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};

/// So many jobs wait for a thread.
const WAITING: usize = 64;

type Reply = SyncSender<Result<Outcome>>;

/// A job that was given to the pool.
pub(super) struct Ticket(Receiver<Result<Outcome>>);

impl Ticket {
    /// Waits for the job. Jobs look whether they have to stop.
    pub(super) fn wait(self) -> Result<Outcome> {
        self.0.recv().unwrap_or_else(|_| Err(lost()))
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Internal, "a thread that copies files is gone")
}

/// Threads that copy, until this is dropped.
pub(super) struct Pool {
    jobs: SyncSender<(Job, Reply)>,
}

impl Pool {
    /// Starts the threads. `queue` outlives the scope.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        queue: &'env Queue,
        jobs: SyncSender<(Job, Reply)>,
        threads: usize,
        control: &'env Control,
    ) -> Self {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 8),
            threads => threads,
        };
        for _ in 0..threads {
            scope.spawn(move || {
                let mut copier = Copier::default();
                while let Some((job, reply)) = queue.next() {
                    // Nobody waits for it any more if another job failed.
                    let _ = reply.send(copier.run(&job, control));
                }
            });
        }
        Self { jobs }
    }

    /// Gives it a job.
    pub(super) fn submit(&self, job: Job) -> Result<Ticket> {
        let (reply, ticket) = sync_channel(1);
        self.jobs.send((job, reply)).map_err(|_| lost())?;
        Ok(Ticket(ticket))
    }
}

/// Where the threads take their jobs.
pub(super) struct Queue(Mutex<Receiver<(Job, Reply)>>);

impl Queue {
    pub(super) fn new() -> (SyncSender<(Job, Reply)>, Self) {
        let (sender, receiver) = sync_channel(WAITING);
        (sender, Self(Mutex::new(receiver)))
    }

    fn next(&self) -> Option<(Job, Reply)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}
