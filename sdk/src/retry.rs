//! Trying again.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Call `attempt` until it succeeds, fails with an error that is not `transient`, or `limit` has passed. Pauses start at
/// 50 ms and double up to a second. For tools that answer "busy" just after an unmount.
///
/// # Errors
/// That of the last attempt.
pub fn retry<T>(
    limit: Duration,
    transient: impl Fn(&Error) -> bool,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        match attempt() {
            Err(error) if transient(&error) && start.elapsed() + pause <= limit => {
                crate::debug!("trying again in {} ms: {}", pause.as_millis(), error.message);
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_again_only_what_is_transient() {
        let mut calls = 0;
        let busy = |error: &Error| error.message.contains("busy");
        let outcome = retry(Duration::from_secs(5), busy, || {
            calls += 1;
            if calls < 3 { Err(Error::other("dataset is busy")) } else { Ok(calls) }
        });
        assert_eq!(outcome.unwrap(), 3);

        let mut calls = 0;
        let outcome: Result<()> = retry(Duration::from_secs(5), busy, || {
            calls += 1;
            Err(Error::other("no such pool"))
        });
        assert_eq!((outcome.unwrap_err().message.as_str(), calls), ("no such pool", 1));
    }

    #[test]
    fn gives_up_at_the_limit() {
        let start = Instant::now();
        let outcome: Result<()> = retry(Duration::from_millis(200), |_| true, || Err(Error::other("busy")));
        assert_eq!(outcome.unwrap_err().message, "busy");
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
