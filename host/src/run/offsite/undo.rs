//! Undoing a copy that was not completed, or that nobody recorded.

use std::pin::pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::call;
use super::known::Known;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, waiting};
use crate::run::journal::CopyRecord;
use crate::run::part::{Part, Purpose};
use crate::run::session::Session;

/// How long a strategy may take to undo one copy. What takes longer is tried again later.
const PATIENCE: Duration = Duration::from_secs(120);

/// Have the strategy undo a copy, in a fresh instance.
///
/// # Errors
/// Something of it may be left.
pub(super) async fn undo_copy(session: &Session, part: &Part, copy: &CopyRecord) -> Result<()> {
    let what = format!("part `{}`: undo the copy of {} at `{}`", copy.part, copy.snapshot.id, copy.place);
    call(session, what.clone());
    let cancel = CancellationToken::new();
    let mut live = part.start(session, Purpose::at(&copy.place, cancel.clone())).await?;
    let result = {
        let mut work = pin!(live.instance.undo_copy(&copy.snapshot));
        let bounded = async {
            if let Ok(result) = tokio::time::timeout(PATIENCE, &mut work).await {
                return result;
            }
            cancel.cancel();
            let _ = work.await;
            Err(Error::new(ErrorKind::TimedOut, format!("it took more than {PATIENCE:?}"))
                .hint("`bkhost recover`, or the next run, tries again"))
        };
        waiting(&session.reporter, &what, bounded).await
    };
    live.stop().await;
    result.map_err(|e| e.within(format!("what a copy of part `{}` left at `{}`", copy.part, copy.place)))
}

/// What a journal tells of a copy: one that is recorded in a store is good, and stays; of any other nothing stays.
///
/// # Errors
/// As [`undo_copy`].
pub(in crate::run) async fn undo_left(session: &Session, parts: &[Part], copy: &CopyRecord) -> Result<()> {
    let known = Known::of(session).await?;
    if known.copy(&copy.set, &copy.part, &copy.place).is_some() {
        return Ok(());
    }
    let part = parts.iter().find(|part| part.name() == copy.part).filter(|part| part.place(&copy.place).is_some());
    let Some(part) = part else {
        let text = format!(
            "part `{}` is no longer configured to be copied to `{}`: what a copy of {} left stays; look there for what is \
             tagged with set {}, and whether {} is still shared",
            copy.part, copy.place, copy.snapshot.id, copy.set, copy.snapshot.id
        );
        session.reporter.message(Level::Error, None, text);
        return Ok(());
    };
    undo_copy(session, part, copy).await
}
