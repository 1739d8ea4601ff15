//! One lock, from its beginning to its end.

use std::time::{Duration, Instant};

use super::*;
use crate::application::{Application, Outcome, Release};

#[tokio::test]
async fn lock_drain_confirm_release() {
    let bench = Bench::new(Options { drain: Duration::from_millis(60), ..options(&[]) }).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    assert!(bench.locked());
    assert_eq!(lock.held().unwrap().stage, Stage::Locked);
    let start = Instant::now();
    lock.drain().await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(60));
    assert_eq!(bench.simulator.state().db_state, "DRAINED");
    lock.confirm().await.unwrap();
    assert_eq!(lock.release(Outcome::Completed).await.unwrap(), Release::Confirmed);
    assert!(!bench.locked());
    assert_eq!(bench.notes.stages(), [Stage::Intended, Stage::Locked, Stage::Draining, Stage::Released]);
    assert!(!lock.held().unwrap().is_open());
    let calls = bench.calls();
    assert_eq!(calls[..2], ["lock", "begin"]);
    assert_eq!(calls[calls.len() - 3..], ["poll", "progress", "unlock"]);
    // A second release asks nobody.
    assert_eq!(lock.release(Outcome::Cancelled).await.unwrap(), Release::Confirmed);
    assert_eq!(bench.calls(), calls);
}

#[tokio::test]
async fn a_server_that_unlocks_with_200() {
    let bench = Bench::new(Options { unlock_ok: true, ..options(&[]) }).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    assert_eq!(lock.release(Outcome::Cancelled).await.unwrap(), Release::Confirmed);
    assert!(!bench.locked());
}

#[tokio::test]
async fn a_cancelled_run_cancels_then_unlocks() {
    let bench = Bench::new(Options { drain: Duration::from_secs(60), ..options(&[]) }).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    let cancel = bench.hooks.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    });
    let start = Instant::now();
    assert_eq!(lock.drain().await.unwrap_err().kind(), ErrorKind::Cancelled);
    lock.release(Outcome::Cancelled).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(!bench.locked());
    let calls = bench.calls();
    assert_eq!(calls[calls.len() - 2..], ["cancel", "unlock"]);
    assert!(!calls.contains(&"progress".to_owned()));
}

#[tokio::test]
async fn a_run_cancelled_before_it_locks_calls_nobody() {
    let bench = Bench::new(options(&[])).await;
    bench.hooks.cancel.cancel();
    assert_eq!(bench.bitbucket.lock(&bench.hooks).await.err().unwrap().kind(), ErrorKind::Cancelled);
    assert!(bench.calls().is_empty());
    assert!(bench.notes.stages().is_empty());
}

#[tokio::test]
async fn a_cancellation_while_the_lock_is_asked_for_still_reads_the_token() {
    let bench = Bench::new(options(&["lock=slow:200ms"])).await;
    let cancel = bench.hooks.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    });
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    assert_eq!(lock.drain().await.unwrap_err().kind(), ErrorKind::Cancelled);
    lock.release(Outcome::Cancelled).await.unwrap();
    assert!(!bench.locked());
}

#[tokio::test]
async fn the_drain_has_a_deadline() {
    let slow = Options { drain: Duration::from_secs(60), ..options(&[]) };
    let bench =
        Bench::with(slow, Notes::default(), |settings| settings.drain_timeout = Duration::from_millis(100)).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    let error = lock.drain().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.message().contains("DRAINING"), "{error}");
    lock.release(Outcome::Cancelled).await.unwrap();
    assert!(!bench.locked());
    assert!(bench.calls().contains(&"cancel".to_owned()));
}

#[tokio::test]
async fn polls_back_off() {
    let slow = Options { drain: Duration::from_millis(400), ..options(&[]) };
    let bench = Bench::with(slow, Notes::default(), |settings| {
        settings.timing.pause_min = Duration::from_millis(5);
        settings.timing.pause_max = Duration::from_secs(1);
    })
    .await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    lock.drain().await.unwrap();
    // 0, 5, 15, 35, 75, 155, 315, 635 ms: eight, where a steady 5 ms would need eighty.
    let polls = bench.calls().iter().filter(|call| *call == "poll").count();
    assert!((3..=8).contains(&polls), "{polls}");
    lock.release(Outcome::Completed).await.unwrap();
}

#[tokio::test]
async fn the_lock_has_a_longest_time() {
    for drain in [Duration::ZERO, Duration::from_secs(60)] {
        let bench = Bench::with(Options { drain, ..options(&[]) }, Notes::default(), |settings| {
            settings.max_lock_time = Duration::from_millis(150);
        })
        .await;
        let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
        let error = match lock.drain().await {
            Ok(()) => lock.watch().await,
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.message().contains("max-lock-time"), "{error}");
        assert_eq!(lock.confirm().await.unwrap_err().kind(), ErrorKind::TimedOut);
        lock.release(Outcome::Cancelled).await.unwrap();
        assert!(!bench.locked());
    }
}

#[tokio::test]
async fn the_operator_cancels_while_it_drains() {
    let bench = Bench::new(Options {
        drain: Duration::from_secs(60),
        operator_cancel_after: Some(Duration::from_millis(80)),
        ..options(&[])
    })
    .await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    let error = lock.drain().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.message().contains("CANCELED"), "{error}");
    lock.release(Outcome::Cancelled).await.unwrap();
    assert!(!bench.locked());
}

#[tokio::test]
async fn the_operator_cancels_while_it_is_captured() {
    let bench = Bench::new(options(&[])).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    lock.drain().await.unwrap();
    tokio::select! {
        _ = lock.watch() => panic!("nobody cancelled"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    assert!(bench.simulator.operator_cancels());
    assert_eq!(lock.watch().await.kind(), ErrorKind::Cancelled);
    assert_eq!(lock.confirm().await.unwrap_err().kind(), ErrorKind::Cancelled);
    lock.release(Outcome::Cancelled).await.unwrap();
    assert!(!bench.locked());
}

#[tokio::test]
async fn a_hiccup_does_not_end_the_watch() {
    let bench = Bench::new(options(&[])).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    lock.drain().await.unwrap();
    let bad = Bench::new(options(&["poll=503x3"])).await;
    let lock_of_bad = bad.bitbucket.lock(&bad.hooks).await.unwrap();
    lock_of_bad.drain().await.unwrap();
    lock_of_bad.confirm().await.unwrap();
    lock_of_bad.release(Outcome::Completed).await.unwrap();
    lock.release(Outcome::Completed).await.unwrap();
}

#[tokio::test]
async fn progress_never_goes_back_and_never_ends_the_backup() {
    let bench = Bench::new(options(&[])).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    lock.drain().await.unwrap();
    for percent in [30, 20, 30, 50, 255, 100] {
        lock.progress(percent).await;
    }
    assert_eq!(bench.simulator.state().backup.as_deref(), Some("RUNNING"));
    lock.release(Outcome::Completed).await.unwrap();
    let told: Vec<_> = bench.simulator.state().history.into_iter().filter_map(|entry| entry.percentage).collect();
    assert_eq!(told, [30, 50, 99, 100]);
}

#[tokio::test]
async fn nothing_is_locked_that_was_not_noted_first() {
    let notes = Notes { fails_at: Some(0), ..Notes::default() };
    let bench = Bench::with(options(&[]), notes, |_| ()).await;
    assert_eq!(bench.bitbucket.lock(&bench.hooks).await.err().unwrap().kind(), ErrorKind::Io);
    assert!(bench.calls().is_empty());
}

#[tokio::test]
async fn a_token_that_cannot_be_noted_is_used_at_once() {
    let notes = Notes { fails_at: Some(1), ..Notes::default() };
    let bench = Bench::with(options(&[]), notes, |_| ()).await;
    let error = bench.bitbucket.lock(&bench.hooks).await.err().unwrap();
    assert!(error.message().contains("unlocked again"), "{error}");
    assert!(!bench.locked());
    assert_eq!(bench.calls(), ["lock", "unlock"]);
    assert_eq!(bench.notes.stages(), [Stage::Intended, Stage::Released]);
}

#[tokio::test]
async fn a_backup_that_cannot_be_noted_ends_the_run() {
    let notes = Notes { fails_at: Some(2), ..Notes::default() };
    let bench = Bench::with(options(&[]), notes, |_| ()).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    assert_eq!(lock.drain().await.unwrap_err().kind(), ErrorKind::Io);
    lock.release(Outcome::Cancelled).await.unwrap();
    assert!(!bench.locked());
}

#[tokio::test]
async fn a_release_that_cannot_be_noted_is_still_a_release() {
    let notes = Notes { fails_at: Some(3), ..Notes::default() };
    let bench = Bench::with(options(&[]), notes, |_| ()).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    lock.drain().await.unwrap();
    assert_eq!(lock.release(Outcome::Completed).await.unwrap(), Release::Confirmed);
    assert!(bench.told.0.lock().unwrap().contains("the disk is full"));
}
