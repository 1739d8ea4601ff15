//! Giving back what another process locked, and what is not ours.

use std::time::Duration;

use super::*;
use crate::application::{Application, Outcome, Release, Token};

const PATIENCE: Duration = Duration::from_millis(500);

impl Bench {
    /// The same driver, in another process that has read the journal.
    fn another(&self) -> Bitbucket {
        Bitbucket::new(settings(&self.simulator.url())).unwrap()
    }

    /// As a power cut would leave it.
    fn journal(&self) -> Held {
        serde_json::from_str(&serde_json::to_string(&self.notes.last()).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn another_process_releases_from_the_journal_alone() {
    for drain in [false, true] {
        let bench = Bench::new(options(&["unlock=503x2"])).await;
        let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
        if drain {
            lock.drain().await.unwrap();
        }
        let held = bench.journal();
        let other = bench.another();
        let release = other.release(&held, Outcome::Cancelled, PATIENCE, &bench.hooks).await.unwrap();
        assert_eq!(release, Release::Confirmed);
        assert!(!bench.locked());
        assert_eq!(bench.calls().contains(&"cancel".to_owned()), drain);
        // Again, as after a crash of the recovery itself.
        let release = other.release(&held, Outcome::Cancelled, PATIENCE, &bench.hooks).await.unwrap();
        assert_eq!(release, Release::Gone);
        // And from what the release noted: nobody is called.
        let calls = bench.calls();
        other.release(&bench.journal(), Outcome::Cancelled, PATIENCE, &bench.hooks).await.unwrap();
        assert_eq!(bench.calls(), calls);
    }
}

#[tokio::test]
async fn the_address_of_the_lock_counts() {
    let bench = Bench::new(options(&[])).await;
    bench.bitbucket.lock(&bench.hooks).await.unwrap();
    let elsewhere = Bitbucket::new(settings("http://127.0.0.1:9")).unwrap();
    elsewhere.release(&bench.journal(), Outcome::Cancelled, PATIENCE, &bench.hooks).await.unwrap();
    assert!(!bench.locked());
}

#[tokio::test]
async fn an_intent_that_came_to_nothing_is_settled() {
    let bench = Bench::new(options(&[])).await;
    bench.bitbucket.lock(&bench.hooks).await.unwrap().release(Outcome::Cancelled).await.unwrap();
    let intent = bench.notes.notes.lock().unwrap()[0].clone();
    assert_eq!(intent.stage, Stage::Intended);
    let release = bench.another().release(&intent, Outcome::Cancelled, PATIENCE, &bench.hooks).await.unwrap();
    assert_eq!(release, Release::NeverTaken);
    assert!(!bench.locked());
    assert_eq!(bench.notes.last().stage, Stage::Released);
}

#[tokio::test]
async fn an_intent_whose_token_is_lost_is_said() {
    let bench = Bench::new(options(&[])).await;
    bench.bitbucket.lock(&bench.hooks).await.unwrap();
    let intent = bench.notes.notes.lock().unwrap()[0].clone();
    let error = bench.another().release(&intent, Outcome::Cancelled, PATIENCE, &bench.hooks).await.unwrap_err();
    assert!(error.message().contains("token is not known"), "{error}");
    assert!(error.hint_text().is_some());
    assert!(bench.notes.last().is_open());
    assert!(!bench.calls().contains(&"unlock".to_owned()));
}

#[tokio::test]
async fn somebody_elses_lock_is_never_touched() {
    let bench = Bench::new(Options { locked_by_other: true, ..options(&[]) }).await;
    let error = bench.bitbucket.lock(&bench.hooks).await.err().unwrap();
    assert!(error.message().contains("somebody else"), "{error}");
    assert_eq!(bench.calls(), ["lock"]);
    assert_eq!(bench.notes.stages(), [Stage::Intended, Stage::Released]);
    assert_eq!(bench.simulator.state().locked_by.as_deref(), Some("somebody-else"));
}

#[tokio::test]
async fn somebody_elses_lock_is_never_touched_when_our_reply_is_lost() {
    for fault in ["lock=closex1", "lock=cutx1", "lock=500x1", "lock=hangx1", "lock=htmlx1"] {
        let bench = Bench::new(Options { locked_by_other: true, ..options(&[fault]) }).await;
        assert!(bench.bitbucket.lock(&bench.hooks).await.is_err());
        assert!(bench.locked(), "{fault}");
        assert!(!bench.calls().contains(&"unlock".to_owned()), "{fault}");
        // It may be ours, so the journal stays open.
        assert_eq!(bench.notes.last().stage, Stage::Intended, "{fault}");
    }
}

#[tokio::test]
async fn a_wrong_token_unlocks_nothing() {
    let bench = Bench::new(Options { locked_by_other: true, ..options(&[]) }).await;
    let held = Held {
        stage: Stage::Draining,
        since: jiff::Timestamp::now(),
        until: jiff::Timestamp::now(),
        state: HeldState::Bitbucket {
            url: bench.simulator.url() + "/",
            username: "admin".into(),
            unlock_token: Some(Token::new("0123456789")),
            cancel_token: Some(Token::new("9876543210")),
        },
    };
    let error = bench.bitbucket.release(&held, Outcome::Cancelled, PATIENCE, &bench.hooks).await.unwrap_err();
    assert!(error.message().contains("still locked"), "{error}");
    assert!(bench.locked());
    let text = format!("{error:?}{held:?}{}", bench.told.0.lock().unwrap());
    assert!(!text.contains("0123456789") && !text.contains("9876543210"), "{text}");
}

#[tokio::test]
async fn a_lost_reply_without_a_lock_leaves_nothing_locked() {
    for fault in ["lock=closex1", "lock=cutx1", "lock=500x1", "lock=hangx1", "lock=htmlx1"] {
        let bench = Bench::new(options(&[fault])).await;
        assert!(bench.bitbucket.lock(&bench.hooks).await.is_err());
        assert!(!bench.locked(), "{fault}");
        assert_eq!(bench.notes.last().stage, Stage::Released, "{fault}");
    }
}

#[tokio::test]
async fn unlock_is_retried_until_it_is_confirmed() {
    for fault in [
        "unlock=503x5",
        "unlock=401x5",
        "unlock=409x5",
        "unlock=htmlx5",
        "unlock=closex5",
        "unlock=after-closex1",
        "unlock=after-503x1",
        "unlock=after-hangx1",
        "unlock=hangx1",
    ] {
        let bench = Bench::with(options(&[fault]), Notes::default(), |settings| {
            settings.timing.patience = Duration::from_secs(20);
        })
        .await;
        let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
        lock.drain().await.unwrap();
        lock.release(Outcome::Completed).await.unwrap();
        assert!(!bench.locked(), "{fault}");
        assert_eq!(bench.notes.last().stage, Stage::Released, "{fault}");
        assert!(bench.told.0.lock().unwrap().contains("trying again"), "{fault}");
    }
}

#[tokio::test]
async fn a_404_of_a_proxy_is_no_release() {
    // Bitbucket's status shows a running task: whoever said 404, the lock is there.
    let bench = Bench::new(options(&["unlock=404", "progress=503"])).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    lock.drain().await.unwrap();
    let error = lock.release(Outcome::Completed).await.unwrap_err();
    assert!(error.message().contains("still locked"), "{error}");
    assert!(bench.locked());
    assert!(bench.notes.last().is_open());
}

#[tokio::test]
async fn a_bitbucket_that_is_gone_is_said_to_be_locked_still() {
    let bench = Bench::new(options(&[])).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    bench.simulator.stop().await;
    let error = lock.release(Outcome::Cancelled).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Application);
    assert!(error.hint_text().unwrap().contains("bkhost recover"));
    assert!(bench.notes.last().is_open());
}
