//! The run's side of its guard.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::message::{FromGuard, Task, ToGuard, WireError};
use crate::application::{Application, Held, Hooks, Lock, Outcome};
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Event, Reporter};
use crate::run::access::Access;
use crate::run::identity::ProcessId;
use crate::run::journal::{FrozenRecord, Journal};
use crate::run::session::Session;

/// How long a guard may take to be ready, and to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what a guard is told may take to leave this process.
const TOLD: Duration = Duration::from_secs(2);
/// How often a run shows that it is not stopped.
const ALIVE: Duration = Duration::from_millis(500);
/// What a guard needs of this process' environment: where to look for programs it never starts, certificates, tests.
const INHERITED: [&str; 6] = ["PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "BKHOST_TEST", "RUST_BACKTRACE"];

/// A guard that watches this process.
pub(in crate::run) struct Guard {
    to: mpsc::UnboundedSender<Line>,
    replies: Mutex<mpsc::UnboundedReceiver<FromGuard>>,
    lost: CancellationToken,
    ended: JoinHandle<()>,
}

/// Tells a guard what is held, and when it is being given back. Cheap to clone.
#[derive(Clone)]
pub(in crate::run) struct GuardLine(mpsc::UnboundedSender<Line>);

/// What a guard is told, and who wants to know when it has left this process.
struct Line {
    message: ToGuard,
    sent: Option<std::sync::mpsc::SyncSender<()>>,
}

impl From<ToGuard> for Line {
    fn from(message: ToGuard) -> Self {
        Self { message, sent: None }
    }
}

impl GuardLine {
    /// What is held by now is in the journal.
    pub(in crate::run) fn held(&self, held: &Held) {
        // A guard that has died is noticed elsewhere.
        let _ = self.0.send(ToGuard::Held { held: held.clone() }.into());
    }

    /// The application is being given back.
    pub(in crate::run) fn releasing(&self) {
        let _ = self.0.send(ToGuard::Releasing.into());
    }

    /// A file system is about to be frozen: it is in the journal. Returns when the guard can read this, whatever becomes of
    /// this process. Blocks.
    ///
    /// # Errors
    /// The guard is not there to read it.
    pub(in crate::run) fn freezing(&self, frozen: FrozenRecord, limit: Duration) -> Result<()> {
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let (sent, told) = std::sync::mpsc::sync_channel(1);
        let line = Line { message: ToGuard::Freezing { frozen, millis }, sent: Some(sent) };
        let gone =
            || Error::new(ErrorKind::Internal, "the run's guard does not listen, and nothing is frozen without one");
        self.0.send(line).map_err(|_| gone())?;
        told.recv_timeout(TOLD).map_err(|_| gone())
    }

    /// A file system is thawed.
    pub(in crate::run) fn thawed(&self, freeze: u32) {
        let _ = self.0.send(ToGuard::Thawed { freeze }.into());
    }
}

impl Guard {
    /// Start a guard for the run `id` in this process, and wait until it watches.
    ///
    /// # Errors
    /// If it cannot be started, or is not ready in time.
    pub(in crate::run) async fn start(
        session: &Session,
        access: &Access,
        journal: &Journal,
        id: &SetId,
    ) -> Result<Self> {
        let dir = session.dirs.instance().to_owned();
        let task = Task::new(id.clone(), dir, journal.path().to_owned(), ProcessId::own()?, access, &session.notify);
        let (mut child, stdin, stdout) = spawn(id).or_error(ErrorKind::Io, || "the run's guard cannot be started")?;
        let (to, from_run) = mpsc::unbounded_channel();
        let (to_run, mut replies) = mpsc::unbounded_channel();
        tokio::spawn(write(stdin, task, from_run));
        tokio::spawn(read(stdout, to_run, session.reporter.clone()));
        match timeout(PATIENCE, replies.recv()).await {
            Ok(Some(FromGuard::Ready)) => {}
            Ok(_) => return Err(Error::new(ErrorKind::Io, "the run's guard ended before it was ready")),
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::TimedOut,
                    format!("the run's guard is not ready after {PATIENCE:?}"),
                ));
            }
        }
        let lost = CancellationToken::new();
        let ended = tokio::spawn({
            let lost = lost.clone();
            async move {
                let _ = child.wait().await;
                lost.cancel();
            }
        });
        Ok(Self { to, replies: Mutex::new(replies), lost, ended })
    }

    /// Through which it is told things.
    #[must_use]
    pub(in crate::run) fn line(&self) -> GuardLine {
        GuardLine(self.to.clone())
    }

    /// Fires when the guard has ended.
    #[must_use]
    pub(in crate::run) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Have the guard lock the application. The reply to that call is the only place where the token is ever told: read
    /// by the process that is there for surviving, it is not lost when this one dies.
    ///
    /// # Errors
    /// As [`Application::lock`]; or if the guard dies.
    pub(in crate::run) async fn lock(
        &self,
        application: &Arc<dyn Application>,
        hooks: &Hooks,
    ) -> Result<Arc<dyn Lock>> {
        let mut replies = self.replies.lock().await;
        let mut noted: Option<Held> = None;
        let mut told = false;
        let began = Instant::now();
        let _ = self.to.send(ToGuard::Lock.into());
        loop {
            let reply = tokio::select! {
                biased;
                () = hooks.cancel.cancelled(), if !told => {
                    told = true;
                    let _ = self.to.send(ToGuard::CancelLock.into());
                    continue;
                }
                reply = replies.recv() => reply,
            };
            match reply {
                Some(FromGuard::Note { held }) => {
                    let result = hooks.keeper.note(&held).await;
                    noted = Some(held);
                    let error = result.as_ref().err().map(WireError::from);
                    let _ = self.to.send(ToGuard::Noted { error }.into());
                }
                Some(FromGuard::Locked { held }) => return application.adopt(held, began, hooks),
                Some(FromGuard::NotLocked { error }) => return Err(error.into()),
                Some(_) => {}
                None => return Err(self.died_while_locking(application, noted, hooks).await),
            }
        }
    }

    async fn died_while_locking(
        &self,
        application: &Arc<dyn Application>,
        noted: Option<Held>,
        hooks: &Hooks,
    ) -> Error {
        let error = Error::new(ErrorKind::Internal, "the run's guard died while it locked the application");
        let Some(held) = noted else { return error };
        match application.release(&held, Outcome::Cancelled, PATIENCE, hooks).await {
            Ok(_) => error,
            Err(still) => still.because(error),
        }
    }

    /// The run is over: it has left nothing that a guard has to look after.
    pub(in crate::run) async fn dismiss(self) {
        let _ = self.to.send(ToGuard::Done.into());
        // It has nothing left to do, so that one that does not go does no harm.
        let _ = timeout(PATIENCE, self.ended).await;
    }
}

fn spawn(id: &SetId) -> std::io::Result<(Child, ChildStdin, ChildStdout)> {
    // Of this very program, even if a newer one has been put in its place.
    let mut command = std::process::Command::new("/proc/self/exe");
    command
        .arg0("bkhost")
        .args(["guard", &id.to_string()])
        .env_clear()
        .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = tokio::process::Command::from(command).spawn()?;
    let gone = || std::io::Error::other("it has no pipes");
    let stdin = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    Ok((child, stdin, stdout))
}

/// Writes what the guard is told, and that this process is not stopped. Ends, and with it the pipe, when the runtime does:
/// for a guard that was not told that all is done, this is the signal to act.
async fn write(mut stdin: ChildStdin, task: Task, mut messages: mpsc::UnboundedReceiver<Line>) {
    let mut alive = interval(ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut line = serde_json::to_vec(&task);
    drop(task);
    let mut sent: Option<std::sync::mpsc::SyncSender<()>> = None;
    loop {
        let Ok(mut bytes) = line else { return };
        bytes.push(b'\n');
        if stdin.write_all(&bytes).await.is_err() {
            // It has died; the pipe is kept, so that nobody takes this for our death.
            break;
        }
        if let Some(sent) = sent.take() {
            let _ = sent.send(());
        }
        let next = tokio::select! {
            biased;
            next = messages.recv() => next,
            _ = alive.tick() => Some(ToGuard::Alive.into()),
        };
        let Some(next) = next else { break };
        sent = next.sent;
        line = serde_json::to_vec(&next.message);
    }
    std::future::pending::<()>().await;
}

async fn read(stdout: ChildStdout, to_run: mpsc::UnboundedSender<FromGuard>, reporter: Reporter) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(FromGuard::Call { what }) => reporter.event(&Event::Call { what, planned: false }),
            Ok(FromGuard::Waiting { what, millis }) => reporter.event(&Event::Waiting { what, millis }),
            Ok(FromGuard::Message { level, text }) => reporter.message(level, None, text),
            Ok(message) => {
                let _ = to_run.send(message);
            }
            Err(_) => return,
        }
    }
}
