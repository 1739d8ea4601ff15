//! The operator's cancel, told to a guest that has something to clean up.
//!
//! A call that is cancelled ends at once, and its instance with it. That is right where the host can undo what was done.
//! What a restore has made, a database or a dataset, only its strategy can remove. So it is told once, by a failure of what
//! it asked the host for, and what it asks for after that is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::capability::{CallError, Code};

/// Whether the guest is to stop, and whether it was told.
#[derive(Clone, Default)]
pub(in crate::plugin) struct Interrupt {
    token: CancellationToken,
    told: Arc<AtomicBool>,
}

impl Interrupt {
    /// Cancel it to have the guest told.
    pub(in crate::plugin) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Does `work`. If the guest is to be told, the work is dropped, or ended by `stop` if it has one, and the guest is told
    /// instead.
    pub(super) async fn or<T>(
        &mut self,
        stop: Option<&CancellationToken>,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        if self.told.load(Ordering::Relaxed) {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            () = self.token.cancelled() => {}
            result = &mut work => return result,
        }
        self.told.store(true, Ordering::Relaxed);
        if let Some(stop) = stop {
            stop.cancel();
            // It notices soon; the guest must not clean up under its feet.
            let _ = work.await;
        }
        Err(CallError::new(Code::Interrupted, "the operator cancelled"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_told_once() {
        let mut interrupt = Interrupt::default();
        let stop = CancellationToken::new();
        assert_eq!(interrupt.or(Some(&stop), async { Ok(1) }).await.unwrap(), 1);
        let token = interrupt.token();
        tokio::spawn(async move { token.cancel() });
        let ended = stop.clone();
        let work = async move {
            ended.cancelled().await;
            Ok(2)
        };
        assert_eq!(interrupt.or(Some(&stop), work).await.unwrap_err().code, Code::Interrupted);
        assert!(stop.is_cancelled());
        assert_eq!(interrupt.or(Some(&stop), async { Ok(3) }).await.unwrap(), 3, "cleaning up is done");
    }

    #[tokio::test]
    async fn between_two_calls_the_next_is_told() {
        let mut interrupt = Interrupt::default();
        interrupt.token().cancel();
        let never = std::future::pending::<Result<(), CallError>>();
        assert_eq!(interrupt.or(None, never).await.unwrap_err().code, Code::Interrupted);
    }
}
