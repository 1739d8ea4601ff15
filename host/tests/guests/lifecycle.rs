//! Instances side by side, and what a start costs.

use std::time::{Duration, Instant};

use bkhost::plugin::{HostOptions, PluginHost};

use super::fixture::{LABEL, Part, failures, guest};
use bkhost::capability::units::Span;

/// A guest that computes must not hold up the others, not even on one thread.
#[tokio::test(flavor = "current_thread")]
async fn a_busy_guest_does_not_starve_others() {
    let mut busy = Part::new("endless-loop");
    busy.limits.cpu = Span(Duration::from_secs(2));
    let mut looping = busy.start().await.unwrap();
    let mut other = Part::new("none").start().await.unwrap();
    let busy = tokio::task::spawn(async move { looping.capture(LABEL).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    for _ in 0..10 {
        other.prepare().await.unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(!busy.is_finished());
    busy.abort();
}

/// A call that is dropped half-way leaves an instance that says so, and no process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_ends_the_instance() {
    let part = Part::new("spawn-and-hang").set("target", "3600");
    let mut instance = part.start().await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(300), instance.capture(LABEL)).await;
    assert!(dropped.is_err());
    let error = instance.discard(LABEL).await.unwrap_err();
    assert!(error.message().contains("was ended in capture"), "{error}");
    assert_eq!(part.groups.started(), 1);
    instance.end().await;
    assert_eq!(part.groups.alive(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_source_that_is_not_granted_is_found_in_the_check() {
    let mut part = Part::new("none");
    part.grant.read.clear();
    let findings = part.start().await.unwrap().check().await.unwrap();
    assert_eq!(failures(&findings).len(), 1, "{findings:?}");
    let hint = findings.iter().find_map(|f| f.hint.clone()).unwrap();
    assert!(hint.contains("read = "), "{hint}");
}

#[tokio::test]
async fn a_warm_start_takes_milliseconds() {
    let dir = tempfile::tempdir().unwrap();
    let options = HostOptions { aot_dir: Some(dir.path().join("aot")), ..HostOptions::default() };
    let cold = Instant::now();
    PluginHost::new(options.clone()).unwrap().load(&guest("hostile")).unwrap().compile().unwrap();
    let cold = cold.elapsed();
    let warm = (0..5).map(|_| {
        let begin = Instant::now();
        PluginHost::new(options.clone()).unwrap().load(&guest("hostile")).unwrap().compile().unwrap();
        begin.elapsed()
    });
    let warm = warm.min().unwrap();
    println!("cold {cold:?}, warm {warm:?}");
    assert!(warm < cold / 4, "cold {cold:?}, warm {warm:?}: the cache is not used");
}

/// What `--nocapture` shows; the bound is generous, for a busy machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_costs_microseconds() {
    const CALLS: u32 = 2000;
    let part = Part::new("none");
    let begin = Instant::now();
    let mut instance = part.start().await.unwrap();
    let started = begin.elapsed();
    instance.prepare().await.unwrap();
    let first = begin.elapsed();
    let begin = Instant::now();
    for _ in 0..CALLS {
        instance.prepare().await.unwrap();
    }
    let each = begin.elapsed() / CALLS;
    println!("instance {started:?}, first call done {first:?}, each further call {each:?}");
    assert!(each < Duration::from_millis(2), "{each:?}");
}
