//! The operator's commands before and after a restore to the original place: stop the services, start them again.

use crate::capability::OperatorCommand;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, Level, waiting};
use crate::run::session::Session;

/// The most that such a command may write, in bytes; what it writes is not kept.
const MAX_OUTPUT: usize = 1 << 20;

/// Run `[restore] before`. A cancel ends the command that runs.
///
/// # Errors
/// One of them failed: the others are not run.
pub(super) async fn before(session: &Session) -> Result<()> {
    for argv in &session.config.restore.before {
        tokio::select! {
            biased;
            result = run(session, argv) => result?,
            () = session.cancel.cancelled() => {
                return Err(Error::new(ErrorKind::Cancelled, "the restore was cancelled"));
            }
        }
    }
    Ok(())
}

/// Run `[restore] after`, if the restore succeeded or the configuration says always. Each is tried, whatever becomes of the
/// others.
///
/// # Errors
/// The first failure.
pub(super) async fn after(session: &Session, succeeded: bool) -> Result<()> {
    let restore = &session.config.restore;
    if !succeeded && !restore.always {
        if !restore.after.is_empty() {
            let text = "the commands of `[restore] after` are not run: the restore has not succeeded";
            session.reporter.message(Level::Warning, None, text);
        }
        return Ok(());
    }
    let mut first = None;
    for argv in &restore.after {
        if let Err(error) = run(session, argv).await {
            session.reporter.message(Level::Error, None, error.to_string());
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(()), Err)
}

async fn run(session: &Session, argv: &[String]) -> Result<()> {
    session.reporter.event(&Event::Call { what: argv.join(" "), planned: false });
    let command = OperatorCommand {
        argv,
        env: &[("BKHOST_INSTANCE", session.instance())],
        stdin: b"",
        timeout: session.config.restore.timeout.0,
        max_output: MAX_OUTPUT,
    };
    let what = format!("`{}` to end", argv.join(" "));
    waiting(&session.reporter, &what, command.run()).await.map(|_| ()).map_err(|why| {
        Error::new(ErrorKind::Plugin, format!("the command `{}` failed: {why}", argv.join(" ")))
            .hint("run it by hand to see why; it is one of [restore] in the configuration")
    })
}
