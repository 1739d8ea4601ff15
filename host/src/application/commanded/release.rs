//! Giving back what was brought to rest, from what was noted.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::super::{Held, HeldState, Hooks, Release, Stage};
use super::{Resume, describe, settle};
use crate::capability::{Leaves, LifecycleCommand, kill_orphans, lifecycle_owner};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Event, Level};

/// How long is tried within a run.
pub(super) const PATIENCE: Duration = Duration::from_secs(2 * 60);
/// The first pause between two tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Brings back all that was at rest, and notes it. One that does not come back does not keep the others from it.
pub(super) async fn release(held: &Held, patience: Duration, hooks: &Hooks) -> Result<Release> {
    let HeldState::Commanded { kind, name, resume, timeout } = &held.state else {
        return Err(Error::new(ErrorKind::Internal, "what is held is not an application with commands"));
    };
    let end = Instant::now() + patience;
    if held.stage == Stage::Intended {
        // A program that was bringing it to rest may have survived whoever started it, and would win in the end.
        let stopping = lifecycle_owner(&hooks.run);
        let _ = tokio::task::spawn_blocking(move || kill_orphans(&stopping, &[])).await;
    }
    let mut left: Vec<&Resume> = resume.iter().collect();
    let mut pause = PAUSES.0;
    let mut told = false;
    loop {
        let mut failed = Vec::new();
        for piece in left {
            if let Err(error) = bring_back(piece, *timeout, hooks).await {
                failed.push((piece, error));
            }
        }
        let Some((_, error)) = failed.first() else { break };
        if Instant::now() >= end {
            let names: Vec<&str> = failed.iter().map(|(piece, _)| piece.name.as_str()).collect();
            let text = format!("{} is still at rest: {} did not come back", describe(*kind, name), names.join(", "));
            let error = failed.into_iter().next().map(|(_, error)| error);
            let told = Error::new(ErrorKind::Application, text)
                .hint("find out why it does not start, start it, and run `bkhost recover`");
            return Err(match error {
                Some(error) => told.because(error),
                None => told,
            });
        }
        if !told {
            hooks.reporter.message(Level::Warning, None, format!("not back yet, trying again: {error}"));
            told = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
        left = failed.into_iter().map(|(piece, _)| piece).collect();
    }
    let released = Held { stage: Stage::Released, ..held.clone() };
    if let Err(error) = hooks.keeper.note(&released).await {
        hooks.reporter.message(Level::Warning, None, format!("{} is back, but {error}", describe(*kind, name)));
    }
    Ok(Release::Confirmed)
}

async fn bring_back(piece: &Resume, timeout: Duration, hooks: &Hooks) -> Result<()> {
    call(hooks, &piece.start);
    let command = LifecycleCommand { argv: &piece.start, timeout, leaves: Leaves::Daemons };
    let what = format!("{} to come back", piece.name);
    let started = crate::report::waiting(&hooks.reporter, &what, command.succeed()).await;
    started.or_error(ErrorKind::Application, || format!("{} could not be brought back", piece.name))?;
    let Some(probe) = &piece.runs else { return Ok(()) };
    // A cancel does not keep it from coming back.
    let never = CancellationToken::new();
    let back = crate::report::waiting(&hooks.reporter, &what, settle(probe, timeout, &never)).await;
    back.or_error(ErrorKind::Application, || format!("{} was started, and does not run", piece.name))
}

pub(super) fn call(hooks: &Hooks, argv: &[String]) {
    hooks.reporter.event(&Event::Call { what: argv.join(" "), planned: false });
}
