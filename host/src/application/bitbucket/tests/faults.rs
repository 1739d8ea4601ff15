//! Every call × every fault, once and always, before and after the call's work.

use std::time::{Duration, Instant};

use super::*;
use crate::application::{Application, Outcome};

const CALLS: [&str; 6] = ["lock", "begin", "poll", "progress", "unlock", "cancel"];
const FAILURES: [&str; 14] =
    ["401", "403", "404", "409", "423", "500", "503", "302", "hang", "html", "no-token", "close", "cut", "slow:50ms"];

/// What a run does, as far as the application sees it. The result of the captured part, and of the release.
async fn run(bench: &Bench, outcome: Outcome) -> (Result<()>, Option<Result<()>>) {
    let lock = match bench.bitbucket.lock(&bench.hooks).await {
        Ok(lock) => lock,
        Err(error) => return (Err(error), None),
    };
    let captured = async {
        lock.drain().await?;
        lock.progress(50).await;
        lock.confirm().await
    }
    .await;
    let outcome = if captured.is_ok() { outcome } else { Outcome::Cancelled };
    let released = lock.release(outcome).await.map(drop);
    (captured, Some(released))
}

fn text_of(error: &Error) -> String {
    format!("{error} {error:?} {} {:?}", error.to_json(), error.causes())
}

/// One case; returns what happened in a word.
async fn case(call: &str, failure: &str, after: bool, once: bool) {
    let fault = format!("{call}={}{failure}{}", if after { "after-" } else { "" }, if once { "x1" } else { "" });
    let bench = Bench::new(options(&[&fault])).await;
    let outcome = if call == "cancel" { Outcome::Cancelled } else { Outcome::Completed };
    let start = Instant::now();
    let (captured, released) = run(&bench, outcome).await;
    assert!(start.elapsed() < Duration::from_secs(15), "{fault} took {:?}", start.elapsed());

    // Nothing secret is told.
    let mut text = bench.told.0.lock().unwrap().clone();
    text += &format!("{:?}", bench.notes.notes.lock().unwrap());
    for error in [captured.as_ref().err(), released.as_ref().and_then(|r| r.as_ref().err())].into_iter().flatten() {
        assert!(error.hint_text().is_some(), "{fault}: {error:?}");
        text += &text_of(error);
    }
    for secret in bench.notes.tokens().iter().map(String::as_str).chain([PASSWORD]) {
        assert!(!text.contains(secret), "{fault}: {text}");
    }

    // The application is free, or the journal says that it may not be.
    let open = bench.notes.last().is_open();
    if bench.locked() {
        assert!(open, "{fault}: locked, and nobody knows");
    }
    let failed = captured.is_err() || released.as_ref().is_some_and(Result::is_err);
    assert!(!open || failed, "{fault}: open, and nobody says so");

    // A courtesy and a slow answer hurt nobody.
    let harmless = matches!(call, "progress" | "cancel") || failure.starts_with("slow");
    // What is asked again gets its answer the second time, unless the first one was a refusal.
    let refusal = failure.starts_with('4') || failure == "302";
    let repeated = once && (call == "unlock" || (call == "poll" && !refusal));
    // Unlock's reply holds no token, and it may say that the lock is gone when it is.
    let fine = call == "unlock" && (failure == "no-token" || (after && matches!(failure, "404" | "cut")));
    assert_eq!(!failed, harmless || repeated || fine, "{fault}: {captured:?} {released:?}");
    if call != "lock" && call != "unlock" {
        assert!(!bench.locked(), "{fault}: left locked");
    }
    match (call, failure) {
        ("lock" | "begin" | "poll", "401" | "403") => {
            let kind = captured.map_or_else(|e| e.kind(), |()| ErrorKind::Denied);
            assert_eq!(kind, ErrorKind::Denied, "{fault}");
        }
        ("lock" | "begin", "hang") if !after || call == "begin" => {
            assert_eq!(captured.unwrap_err().kind(), ErrorKind::TimedOut, "{fault}");
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_and_every_fault() {
    let mut cases = tokio::task::JoinSet::new();
    let limit = Arc::new(tokio::sync::Semaphore::new(24));
    for call in CALLS {
        for failure in FAILURES {
            for (after, once) in [(false, false), (false, true), (true, false), (true, true)] {
                // A server that says in plain words that it did not lock, or that there is no lock, and lies: nobody
                // can know.
                if call == "lock" && after && (failure.starts_with('4') || failure == "302")
                    || (call, failure, after, once) == ("unlock", "404", false, false)
                {
                    continue;
                }
                let limit = Arc::clone(&limit);
                cases.spawn(async move {
                    let _permit = limit.acquire().await.unwrap();
                    case(call, failure, after, once).await;
                });
            }
        }
    }
    let mut done = 0;
    while let Some(result) = cases.join_next().await {
        result.unwrap();
        done += 1;
    }
    assert_eq!(done, 6 * 14 * 4 - 2 * 6 - 1);
}
