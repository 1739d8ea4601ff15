//! One running child: its pipes, and the task that watches over it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::group::{Group, MARK};
use super::output::{Output, Tail, pump_stderr, pump_stdout};
use super::{NoWitness, Witness};
use crate::capability::mask::Mask;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// The same when the run is cancelled: the application may be locked, and waits for it.
const CANCEL_GRACE: Duration = Duration::from_millis(500);
/// How long others may hold the pipes of a command that has ended.
const LINGER: Duration = Duration::from_secs(2);
/// How long a process that was sent SIGKILL may take to go: longer only if the kernel is stuck.
const REAP: Duration = Duration::from_secs(10);
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// Why a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::capability) enum Ending {
    Exited,
    TimedOut,
    Cancelled,
    Killed,
}

/// Why a command ended, and its status.
pub(super) type Ended = (Ending, i32);

/// How to watch over a command.
pub(in crate::capability) struct Options {
    pub(in crate::capability) timeout: Duration,
    pub(in crate::capability) max_output: usize,
    /// For the witness.
    pub(in crate::capability) argv: Vec<String>,
    pub(in crate::capability) cancel: CancellationToken,
    pub(in crate::capability) witness: Arc<dyn Witness>,
    pub(in crate::capability) tasks: TaskTracker,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            max_output: 1 << 20,
            argv: Vec::new(),
            cancel: CancellationToken::new(),
            witness: Arc::new(NoWitness),
            tasks: TaskTracker::new(),
        }
    }
}

/// A child that was just started.
pub(in crate::capability) struct Launched {
    child: Child,
    mark: String,
}

/// Start a command in a process group of its own.
///
/// # Errors
/// The system's.
pub(in crate::capability) fn launch(mut command: Command, stdin: bool, owner: &str) -> io::Result<Launched> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let random: String = random.iter().map(|b| format!("{b:02x}")).collect();
    let mark = format!("{owner}:{random}");
    command
        .env(MARK, &mark)
        .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok(Launched { child: command.spawn()?, mark })
}

/// The output of a command that has ended.
pub(in crate::capability) struct Finished {
    pub(in crate::capability) ending: Ending,
    pub(in crate::capability) status: i32,
    pub(in crate::capability) stdout: Vec<u8>,
    pub(in crate::capability) truncated: bool,
}

/// A running command. Dropping it has it killed and reaped by the task that watches over it.
pub(in crate::capability) struct Running {
    pub(in crate::capability) stdin: Option<ChildStdin>,
    chunks: Option<mpsc::Receiver<Bytes>>,
    /// What was received and not handed on.
    captured: BytesMut,
    truncated: bool,
    max_output: usize,
    stderr: Arc<Mutex<Tail>>,
    ended: watch::Receiver<Option<Ended>>,
    /// Known as soon as it is decided: before the process is signalled.
    ending: Arc<OnceLock<Ending>>,
    kill: DropGuard,
}

impl Running {
    /// Watch over a child.
    ///
    /// # Errors
    /// The system's; the child is killed.
    pub(in crate::capability) fn start(launched: Launched, options: Options) -> io::Result<Self> {
        let Launched { mut child, mark } = launched;
        let id = child.id().ok_or_else(|| io::Error::other("it has no process id"))?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))?;
        let group = Group::new(pid, mark);
        #[expect(deprecated, reason = "its successor is unsafe, for descriptors that may be closed; an OwnedFd is not")]
        let exit = AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::NONBLOCK)?, Interest::READABLE)?;
        options.witness.child_started(id, &options.argv);

        let ended_leader = CancellationToken::new();
        let stderr = Arc::new(Mutex::new(Tail::default()));
        let (to_chunks, chunks) = mpsc::channel(8);
        // Closed when both pumps are gone.
        let (pumping, pumped) = mpsc::channel::<()>(1);
        if let Some(pipe) = child.stdout.take() {
            let (ended, pumping) = (ended_leader.clone(), pumping.clone());
            tokio::spawn(async move {
                pump_stdout(pipe, ended, to_chunks).await;
                drop(pumping);
            });
        }
        if let Some(pipe) = child.stderr.take() {
            let (ended, tail) = (ended_leader.clone(), Arc::clone(&stderr));
            tokio::spawn(async move {
                pump_stderr(pipe, ended, tail).await;
                drop(pumping);
            });
        }
        let stdin = child.stdin.take();
        let kill = CancellationToken::new();
        let ending = Arc::new(OnceLock::new());
        let (to_ended, ended) = watch::channel(None);
        let max_output = options.max_output;
        let tasks = options.tasks.clone();
        let watcher = Watcher {
            child,
            group,
            exit,
            ended_leader,
            pumped,
            kill: kill.clone(),
            ending: Arc::clone(&ending),
            options,
        };
        tasks.spawn(async move {
            let end = watcher.watch(id).await;
            to_ended.send_replace(Some(end));
        });
        Ok(Self {
            stdin,
            chunks: Some(chunks),
            captured: BytesMut::new(),
            truncated: false,
            max_output,
            stderr,
            ended,
            ending,
            kill: kill.drop_guard(),
        })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Waits for its end; none if the watching task was torn down with the runtime.
    async fn end(&mut self) -> Option<Ended> {
        self.ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended)
    }

    /// Write to its stdin, as long as it lives.
    pub(in crate::capability) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "its stdin is closed"));
        };
        let written = tokio::select! {
            written = async { stdin.write_all(bytes).await?; stdin.flush().await } => written,
            _ = self.ended.wait_for(Option::is_some) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "it has ended")),
        };
        if written.is_err() {
            self.stdin = None;
        }
        written
    }

    /// Write all chunks to its stdin and close it, keeping its output within bounds meanwhile. A process that closes
    /// its stdin early decides by its status whether that is good.
    ///
    /// # Errors
    /// The source's own.
    pub(super) async fn feed(&mut self, mut source: mpsc::Receiver<io::Result<Bytes>>) -> io::Result<()> {
        while let Some(chunk) = source.recv().await {
            let mut chunk = chunk?;
            while !chunk.is_empty() {
                let Some(stdin) = &mut self.stdin else { return Ok(()) };
                tokio::select! {
                    written = stdin.write_buf(&mut chunk) => match written {
                        Ok(n) if n > 0 => {}
                        Ok(_) | Err(_) => self.stdin = None,
                    },
                    Some(out) = receive(&mut self.chunks) => {
                        keep(&mut self.captured, &mut self.truncated, self.max_output, &out);
                    }
                    _ = self.ended.wait_for(Option::is_some) => self.stdin = None,
                }
            }
        }
        self.stdin = None;
        Ok(())
    }

    /// The next line; none in time: `None`; a line that is too long: an error.
    pub(super) async fn line(&mut self, deadline: Instant, max: usize) -> Option<Result<Option<Bytes>, ()>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.captured.iter().skip(searched).position(|b| *b == b'\n') {
                let line = self.captured.split_to(searched + at + 1).freeze();
                let line = line.slice(..line.len() - 1);
                return Some(Ok(Some(line)));
            }
            searched = self.captured.len();
            if searched > max {
                return Some(Err(()));
            }
            let received = tokio::select! {
                biased;
                received = receive(&mut self.chunks) => received,
                () = sleep_until(deadline) => return None,
            };
            match received {
                Some(chunk) => self.captured.extend_from_slice(&chunk),
                None => {
                    // Its end, or at least that of its stdout.
                    let rest = self.captured.split().freeze();
                    return Some(Ok((!rest.is_empty()).then_some(rest)));
                }
            }
        }
    }

    /// Wait for its end and for that of its stdout, of which as much as is allowed is kept. None at the deadline.
    pub(super) async fn collect(&mut self, deadline: Option<Instant>) -> Option<i32> {
        let limit = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(limit);
        let mut patience: Option<Instant> = None;
        while self.chunks.is_some() {
            let over = self.ended().is_some();
            let until = *patience.get_or_insert_with(|| after(if over { REAP } else { FOREVER }));
            tokio::select! {
                biased;
                // Killed, and still somebody writes without a pause.
                () = sleep_until(until), if over => { self.chunks = None; self.truncated = true; }
                received = receive(&mut self.chunks) => match received {
                    Some(chunk) => keep(&mut self.captured, &mut self.truncated, self.max_output, &chunk),
                    None => self.chunks = None,
                },
                _ = self.ended.wait_for(Option::is_some), if !over => patience = None,
                () = &mut limit => return None,
            }
        }
        tokio::select! {
            biased;
            end = self.end() => end.map(|(_, status)| status),
            () = limit => None,
        }
    }

    /// Wait for its end, which comes at its deadline at the latest.
    pub(in crate::capability) async fn finish(&mut self) -> Finished {
        self.collect(None).await;
        let (ending, status) = self.ended().unwrap_or((Ending::Killed, 137));
        let (stdout, truncated) = self.take_captured();
        Finished { ending, status, stdout, truncated }
    }

    /// End it, and wait until it is reaped.
    pub(super) async fn kill(&mut self) {
        self.kill_now();
        self.end().await;
    }

    fn kill_now(&mut self) {
        // Replacing the guard fires the old one.
        self.kill = CancellationToken::new().drop_guard();
    }

    /// What was captured, and whether more was dropped.
    pub(super) fn take_captured(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = self.captured.split().to_vec();
        if bytes.len() > self.max_output {
            bytes.truncate(self.max_output);
            self.truncated = true;
        }
        (bytes, self.truncated)
    }

    /// The end of stderr, as it is.
    pub(in crate::capability) fn stderr_bytes(&self) -> Vec<u8> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).content().0
    }

    /// The end of stderr.
    pub(super) fn stderr(&self, mask: &Mask) -> String {
        let (bytes, cut) = self.stderr.lock().unwrap_or_else(PoisonError::into_inner).content();
        if cut { mask.cut_at_start(&bytes) } else { mask.text(&bytes) }
    }

    /// Its stdout, once.
    pub(super) fn take_output(&mut self) -> Option<Output> {
        let chunks = self.chunks.take()?;
        Some(Output { chunks, current: self.captured.split().freeze(), ending: Arc::clone(&self.ending) })
    }
}

/// The next chunk; none at the end, or if somebody else drains the output.
async fn receive(chunks: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match chunks {
        Some(chunks) => chunks.recv().await,
        None => None,
    }
}

fn keep(captured: &mut BytesMut, truncated: &mut bool, max: usize, chunk: &[u8]) {
    let room = max.saturating_sub(captured.len()).min(chunk.len());
    captured.extend_from_slice(chunk.get(..room).unwrap_or_default());
    *truncated |= room < chunk.len();
}

/// A deadline; one beyond what the clock can count is a year away.
pub(super) fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout.min(FOREVER)).unwrap_or(now)
}

/// The task that sees a child to its end.
struct Watcher {
    child: Child,
    group: Group,
    exit: AsyncFd<rustix::fd::OwnedFd>,
    ended_leader: CancellationToken,
    pumped: mpsc::Receiver<()>,
    kill: CancellationToken,
    ending: Arc<OnceLock<Ending>>,
    options: Options,
}

impl Watcher {
    async fn watch(mut self, id: u32) -> Ended {
        let deadline = after(self.options.timeout);
        let ending = tokio::select! {
            biased;
            _ = self.exit.readable() => Ending::Exited,
            ending = stopped(&self.kill, &self.options.cancel, deadline) => ending,
        };
        let ending = *self.ending.get_or_init(|| ending);
        let mut escaped = ending != Ending::Exited;
        if escaped {
            self.group.signal(Signal::TERM);
            let grace = if ending == Ending::Cancelled { CANCEL_GRACE } else { GRACE };
            let _gone_by_itself = timeout(grace, self.exit.readable()).await;
        } else {
            // It has ended and is not reaped yet: its group's number is still ours.
            let lingering = async {
                tokio::select! {
                    _ = self.pumped.recv() => false,
                    () = sleep(LINGER) => true,
                    _ = stopped(&self.kill, &self.options.cancel, deadline) => true,
                }
            };
            escaped = lingering.await;
        }
        self.group.signal(Signal::KILL);
        if escaped {
            self.group.kill_marked().await;
        }
        let status = timeout(REAP, self.child.wait()).await;
        self.ended_leader.cancel();
        self.group.gone().await;
        self.options.witness.child_ended(id);
        let status = match status {
            Ok(Ok(status)) => code(status),
            // Stuck in the kernel: whoever drops the child leaves it to the runtime to reap.
            Ok(Err(_)) | Err(_) => 128 + Signal::KILL.as_raw(),
        };
        (ending, status)
    }
}

/// What stops a command before its own end.
async fn stopped(kill: &CancellationToken, cancel: &CancellationToken, deadline: Instant) -> Ending {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Ending::Cancelled,
        () = kill.cancelled() => Ending::Killed,
        () = sleep_until(deadline) => Ending::TimedOut,
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
