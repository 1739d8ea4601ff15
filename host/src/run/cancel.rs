//! Ctrl-C, SIGTERM and SIGHUP: all take the same way out.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{ErrorKind, Result, ResultExt};
use crate::report::{Level, Reporter};

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
