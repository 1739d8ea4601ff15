//! Waiting for a strategy that has to clean up after itself when the operator cancels.

use std::pin::pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};

/// How long it may take for that.
const PATIENCE: Duration = Duration::from_secs(120);

/// Wait for `work`. When `cancel` fires, the strategy is interrupted (by `interrupt`) and given time to remove what it made;
/// when that is over, it is abandoned. `what` is named in the error.
///
/// # Errors
/// Those of `work`; `Cancelled`.
pub(super) async fn patiently<T>(
    cancel: &CancellationToken,
    interrupt: &CancellationToken,
    abandon: &CancellationToken,
    what: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        result = &mut work => return result,
        () = cancel.cancelled() => interrupt.cancel(),
    }
    let result = match tokio::time::timeout(PATIENCE, &mut work).await {
        Ok(result) => result,
        Err(_) => {
            abandon.cancel();
            work.await
        }
    };
    result.map_err(|e| Error::new(ErrorKind::Cancelled, format!("the {what} was cancelled")).because(e))
}
