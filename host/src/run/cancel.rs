//! Ctrl-C, SIGTERM, SIGHUP and `bkhost cancel`: all take the same way out.

use std::future::Future;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::lock::{GUARD, InstanceLock};
use super::session::Session;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Level, Reporter, waiting};

/// A token that is cancelled by the first of the signals. Further ones change nothing: giving the application back is
/// not skipped by impatience, and the operator is told so.
///
/// # Errors
/// If the operating system refuses the handlers.
pub fn on_signals(reporter: &Reporter) -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let kinds =
        [(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM"), (SignalKind::hangup(), "SIGHUP")];
    for (kind, name) in kinds {
        let mut stream = signal(kind).or_error(ErrorKind::Io, || format!("cannot handle {name}"))?;
        let token = token.clone();
        let reporter = reporter.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                let text = if token.is_cancelled() {
                    format!("{name} again: already cancelling; the application is given back first")
                } else {
                    format!("{name}: cancelling; the application is given back, then this run's snapshots are undone")
                };
                reporter.message(Level::Warning, None, text);
                token.cancel();
            }
        });
    }
    Ok(token)
}

/// How long a cancelled run may take to undo what it did.
const PATIENCE: Duration = Duration::from_secs(600);

/// Cancel what works on the instance, from another process, and wait until it has ended. Gives what it was.
///
/// # Errors
/// `NotFound` if nothing works on it; `Conflict` if it is the guard of a dead run, which is not to be stopped; `Denied` if
/// it is another user's.
pub async fn cancel_other(session: &Session) -> Result<String> {
    let nothing =
        || Error::new(ErrorKind::NotFound, format!("nothing is under way on the instance {}", session.instance()));
    let owner = InstanceLock::owner(session.dirs.instance())?.ok_or_else(nothing)?;
    let what = owner.describe();
    if owner.what.starts_with(GUARD) {
        return Err(Error::new(ErrorKind::Conflict, format!("there is no run to cancel any more: {what}"))
            .hint("it ends as soon as the application is given back; `bkhost recover` takes over from it"));
    }
    let process = owner.process.hold().ok_or_else(nothing)?;
    pidfd_send_signal(&process, Signal::TERM)
        .or_error(ErrorKind::Denied, || format!("cannot signal {what}"))
        .map_err(|e| e.hint("run this as the user who started it"))?;
    session.reporter.message(Level::Info, None, format!("cancelling {what}"));
    let ended = tokio::time::timeout(PATIENCE, ended(&process)?);
    tokio::select! {
        biased;
        in_time = waiting(&session.reporter, "it to give the application back and to undo", ended) => match in_time {
            Ok(()) => Ok(owner.what),
            Err(_) => Err(Error::new(ErrorKind::TimedOut, format!("{what} was told to stop and has not ended"))
                .hint("`bkhost status` shows how far it is; its guard sees to it that the application is given back")),
        },
        () = session.cancel.cancelled() => {
            Err(Error::new(ErrorKind::Cancelled, format!("not waiting any longer for {what}, which was told to stop")))
        }
    }
}

/// The end of a process.
fn ended(process: &OwnedFd) -> Result<impl Future<Output = ()> + use<>> {
    let cannot = || "cannot watch the process";
    let fd = process.try_clone().or_error(ErrorKind::Io, cannot)?;
    #[expect(deprecated, reason = "its successor is unsafe, for descriptors that may be closed; an OwnedFd is not")]
    let fd = AsyncFd::with_interest(fd, Interest::READABLE).or_error(ErrorKind::Io, cannot)?;
    Ok(async move {
        let _ = fd.readable().await;
    })
}
