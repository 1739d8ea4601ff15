//! The guard's own process: standing by while the run lives.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::process::{Signal, pidfd_send_signal, setsid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest, Lines};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::act::Duty;
use super::keepers::{ByTheRun, Memory};
use super::message::{FromGuard, Task, ToGuard, WireError};
use super::overdue::Watched;
use super::report;
use crate::application::{Application, Held, Hooks};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::Level;
use crate::run::frozen;
use crate::run::journal::FrozenRecord;

/// How long the run may take to say what is to be guarded, and to go once it was killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a run that closed the pipe may take to end by itself.
const LEAVING: Duration = Duration::from_secs(5);

/// Be the guard of the process that started this one. Returns when nothing is left to guard.
///
/// # Errors
/// If it was not started by a run, or could not do what it is for.
pub async fn stand() -> Result<()> {
    // A leader of a process group cannot have a session of its own; whoever started us that way will not signal us.
    let _ = setsid();
    ignore_signals()?;
    // Best effort: only root may ask to be spared when memory runs out.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    let mut input = BufReader::new(input()?).lines();
    let task = timeout(PATIENCE, input.next_line()).await.ok().and_then(Result::ok).flatten();
    let task: Task = serde_json::from_str(&task.unwrap_or_default())
        .or_error(ErrorKind::Internal, || "nobody says what is to be guarded")
        .map_err(|e| e.hint("a guard is started by `bkhost run`, and by nobody else"))?;
    let run = task
        .host
        .hold()
        .ok_or("it is gone")
        .or_error(ErrorKind::Internal, || format!("the run {} cannot be watched", task.host.pid))?;
    let application = task.access().connect()?;
    let (to_run, from_here) = mpsc::unbounded_channel();
    let output = output()?;
    tokio::spawn(write(output, from_here));
    let (sender, messages) = mpsc::unbounded_channel();
    tokio::spawn(read(input, sender));
    let _ = to_run.send(FromGuard::Ready);
    let watch = Watch {
        run: task.run.to_string(),
        application: Arc::clone(&application),
        memory: Memory::default(),
        watched: Watched::new(application.max_lock_time(), Instant::now()),
        frozen: Vec::new(),
        to_run,
        run_gone: CancellationToken::new(),
        cancel_lock: CancellationToken::new(),
        notes: None,
        locking: None,
    };
    watch.stand(task, run, messages).await
}

fn ignore_signals() -> Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
        let mut stream = signal(kind).or_error(ErrorKind::Io, || "cannot handle signals")?;
        tokio::spawn(async move { while stream.recv().await.is_some() {} });
    }
    Ok(())
}

fn input() -> Result<pipe::Receiver> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned().or_error(ErrorKind::Io, || "cannot use stdin")?;
    pipe::Receiver::from_owned_fd(fd)
        .or_error(ErrorKind::Config, || "stdin is no pipe")
        .map_err(|e| e.hint("a guard is started by `bkhost run`, and by nobody else"))
}

fn output() -> Result<pipe::Sender> {
    let fd = std::io::stdout().as_fd().try_clone_to_owned().or_error(ErrorKind::Io, || "cannot use stdout")?;
    pipe::Sender::from_owned_fd(fd).or_error(ErrorKind::Config, || "stdout is no pipe")
}

async fn read(mut lines: Lines<BufReader<pipe::Receiver>>, to: mpsc::UnboundedSender<ToGuard>) {
    // Whatever ends the pipe, the run is not heard of any more.
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str(&line) else { return };
        if to.send(message).is_err() {
            return;
        }
    }
}

async fn write(mut pipe: pipe::Sender, mut messages: mpsc::UnboundedReceiver<FromGuard>) {
    while let Some(message) = messages.recv().await {
        let Ok(mut line) = serde_json::to_vec(&message) else { return };
        line.push(b'\n');
        if pipe.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// What a guard that stands by knows.
struct Watch {
    run: String,
    application: Arc<dyn Application>,
    memory: Memory,
    watched: Watched,
    /// File systems that are, or may be, frozen.
    frozen: Vec<FrozenRecord>,
    to_run: mpsc::UnboundedSender<FromGuard>,
    run_gone: CancellationToken,
    cancel_lock: CancellationToken,
    notes: Option<mpsc::UnboundedSender<Option<WireError>>>,
    locking: Option<JoinHandle<Result<Option<Held>>>>,
}

impl Watch {
    async fn stand(mut self, task: Task, run: OwnedFd, mut messages: mpsc::UnboundedReceiver<ToGuard>) -> Result<()> {
        let (why, leaving) = loop {
            let deadline = self.watched.deadline();
            let overdue = async {
                match deadline {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = messages.recv() => match message {
                    Some(ToGuard::Done) => return Ok(()),
                    Some(message) => self.hear(message),
                    None => break ("has died", LEAVING),
                },
                locked = ended(&mut self.locking) => self.locked(locked),
                () = overdue => break (self.watched.overdue(Instant::now()), Duration::ZERO),
            }
        };
        // Before everything else: a run that waits for a frozen file system cannot even be killed.
        let _ = frozen::thaw_of(&task.journal, &self.frozen, None).await;
        end(&run, leaving).await?;
        self.run_gone.cancel();
        self.cancel_lock.cancel();
        let (reporter, attached) = report::after_the_run(&task.dir, &task.run);
        reporter.message(
            Level::Error,
            None,
            format!("the run {} (process {}) {why}: its guard takes over", task.run, task.host.pid),
        );
        if let Some(locking) = self.locking.take() {
            // It ends by itself, and has unlocked if it could: nobody takes note of a lock any more.
            let _ = locking.await;
        }
        let Self { application, memory, frozen, .. } = self;
        let duty = Duty { task, application, memory, frozen, reporter };
        let result = duty.act(&attached).await;
        drop(duty);
        attached.wait();
        result
    }

    fn hear(&mut self, message: ToGuard) {
        let now = Instant::now();
        self.watched.heard(now);
        match message {
            ToGuard::Lock => self.lock(),
            ToGuard::CancelLock => self.cancel_lock.cancel(),
            ToGuard::Noted { error } => {
                if let Some(notes) = &self.notes {
                    let _ = notes.send(error);
                }
            }
            ToGuard::Held { held } => {
                self.memory.set(&held);
                if held.is_open() {
                    self.watched.locked(now);
                } else {
                    self.watched.free();
                }
            }
            ToGuard::Releasing => self.watched.releasing(now),
            ToGuard::Freezing { frozen, millis } => {
                self.watched.freezing(frozen.freeze, now + Duration::from_millis(millis));
                self.frozen.push(frozen);
            }
            ToGuard::Thawed { freeze } => {
                self.watched.thawed(freeze);
                self.frozen.retain(|frozen| frozen.freeze != freeze);
            }
            ToGuard::Alive | ToGuard::Done => {}
        }
    }

    fn lock(&mut self) {
        let (notes, replies) = mpsc::unbounded_channel();
        self.notes = Some(notes);
        let keeper = ByTheRun {
            memory: self.memory.clone(),
            to_run: self.to_run.clone(),
            replies: tokio::sync::Mutex::new(replies),
            run_gone: self.run_gone.clone(),
        };
        let hooks = Hooks {
            run: self.run.clone(),
            keeper: Arc::new(keeper),
            reporter: report::through_the_run(self.to_run.clone()),
            cancel: self.cancel_lock.clone(),
        };
        let application = Arc::clone(&self.application);
        self.locking = Some(tokio::spawn(async move { Ok(application.lock(&hooks).await?.held()) }));
    }

    fn locked(&mut self, result: Result<Option<Held>>) {
        let reply = match result {
            Ok(Some(held)) => {
                self.watched.locked(Instant::now());
                FromGuard::Locked { held }
            }
            Ok(None) => FromGuard::NotLocked {
                error: WireError::from(&Error::new(
                    ErrorKind::Internal,
                    "the application was locked, and nothing is held",
                )),
            },
            Err(error) => FromGuard::NotLocked { error: WireError::from(&error) },
        };
        let _ = self.to_run.send(reply);
    }
}

/// The end of locking, once.
async fn ended(locking: &mut Option<JoinHandle<Result<Option<Held>>>>) -> Result<Option<Held>> {
    let Some(task) = locking else { return std::future::pending().await };
    let result = task.await;
    *locking = None;
    result.or_error(ErrorKind::Internal, || "the guard's locking task panicked")?
}

/// See to it that the run is gone: it may leave by itself for so long, and is killed then.
async fn end(run: &OwnedFd, leaving: Duration) -> Result<()> {
    let gone = run.try_clone().or_error(ErrorKind::Io, || "cannot watch the run")?;
    #[expect(deprecated, reason = "its successor is unsafe, for descriptors that may be closed; an OwnedFd is not")]
    let gone = AsyncFd::with_interest(gone, Interest::READABLE).or_error(ErrorKind::Io, || "cannot watch the run")?;
    if timeout(leaving, gone.readable()).await.is_ok() {
        return Ok(());
    }
    // A process that is gone by now is what is wanted.
    let _ = pidfd_send_signal(run, Signal::KILL);
    // One that is stuck in the kernel does nothing more either.
    let _ = timeout(PATIENCE, gone.readable()).await;
    Ok(())
}
