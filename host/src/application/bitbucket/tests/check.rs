//! What is found before anything is locked.

use std::time::Duration;

use super::*;
use crate::application::{Application, Finding, Severity};

fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max().unwrap()
}

#[tokio::test]
async fn a_good_one_is_named_and_never_changed() {
    let bench = Bench::new(options(&[])).await;
    let findings = bench.bitbucket.check().await;
    assert!(findings.iter().any(|f| f.message == "version 9.4.1"), "{findings:?}");
    // The simulator must not pass for Bitbucket.
    assert!(findings.iter().any(|f| f.severity == Severity::Warning && f.message.contains("simulator")));
    assert!(worst(&findings) < Severity::Failure);
    assert_eq!(bench.bitbucket.version().await.unwrap().as_deref(), Some("9.4.1"));
    assert!(bench.calls().iter().all(|call| call == "version" || call == "poll"));
}

#[tokio::test]
async fn a_wrong_password_is_found() {
    let bench = Bench::with(options(&[]), Notes::default(), |settings| {
        settings.password = Secret::new("wrong-wrong");
    })
    .await;
    let findings = bench.bitbucket.check().await;
    assert_eq!(worst(&findings), Severity::Failure);
    assert!(!format!("{findings:?}").contains("wrong-wrong"));
    let error = bench.bitbucket.lock(&bench.hooks).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(bench.notes.last().stage, Stage::Released);
}

#[tokio::test]
async fn a_running_backup_is_found() {
    let bench = Bench::new(options(&[])).await;
    let lock = bench.bitbucket.lock(&bench.hooks).await.unwrap();
    lock.drain().await.unwrap();
    assert_eq!(worst(&bench.bitbucket.check().await), Severity::Failure);
}

#[tokio::test]
async fn every_fault_of_the_version_is_found() {
    for fault in ["401", "403", "404", "500", "503", "302", "hang", "html", "no-token", "close", "cut"] {
        let bench = Bench::new(options(&[&format!("version={fault}")])).await;
        let findings = bench.bitbucket.check().await;
        assert_eq!(worst(&findings), Severity::Failure, "{fault}");
        assert!(findings.iter().all(|finding| finding.hint.is_some() || finding.severity == Severity::Info), "{fault}");
        assert!(bench.bitbucket.version().await.is_err(), "{fault}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let bitbucket = Bitbucket::new(settings("http://127.0.0.1:9")).unwrap();
    let findings = bitbucket.check().await;
    assert_eq!(worst(&findings), Severity::Failure);
    assert!(findings[0].message.contains("cannot connect"), "{findings:?}");
}

#[tokio::test]
async fn the_password_in_the_clear_is_warned_of() {
    for (url, warned) in [
        ("http://192.0.2.1:7990", true),
        ("https://192.0.2.1:7990", false),
        ("http://127.0.0.1:9", false),
        ("http://[::1]:9", false),
        ("http://localhost:9", false),
    ] {
        let mut settings = settings(url);
        settings.timing.connect = Duration::from_millis(50);
        let findings = Bitbucket::new(settings).unwrap().check().await;
        assert_eq!(findings.iter().any(|f| f.message.contains("in the clear")), warned, "{url}");
    }
}

#[tokio::test]
async fn zero_downtime_locks_nothing_and_wants_a_new_server() {
    for (version, good) in [("4.8.0", true), ("9.4.1", true), ("4.7.2", false), ("3.11.0", false), ("unknown", false)] {
        let options = Options { version: version.to_owned(), ..options(&[]) };
        let bench = Bench::with(options, Notes::default(), |settings| settings.zero_downtime = true).await;
        assert!(!bench.bitbucket.locks());
        assert_eq!(worst(&bench.bitbucket.check().await) < Severity::Failure, good, "{version}");
        match bench.bitbucket.lock(&bench.hooks).await {
            Ok(lock) => {
                assert!(good, "{version}");
                lock.drain().await.unwrap();
                lock.confirm().await.unwrap();
                assert!(lock.held().is_none());
            }
            Err(error) => {
                assert!(!good, "{version}: {error}");
                assert_eq!(error.kind(), ErrorKind::Config);
            }
        }
        assert!(bench.calls().iter().all(|call| call == "version"), "{:?}", bench.calls());
        assert!(bench.notes.stages().is_empty());
    }
}

#[test]
fn a_ca_file_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let mut settings = settings("https://127.0.0.1:9");
    settings.ca_file = Some(file.clone());
    assert_eq!(Bitbucket::new(settings.clone()).err().unwrap().kind(), ErrorKind::Config);
    std::fs::write(&file, "no certificate").unwrap();
    let error = Bitbucket::new(settings).err().unwrap();
    assert!(error.message().contains("ca.pem"), "{error}");
}

#[test]
fn the_plan_names_every_call() {
    let bitbucket = Bitbucket::new(settings("http://127.0.0.1:9/git")).unwrap();
    let plan = bitbucket.planned_calls();
    assert_eq!(plan.lock[0], "POST http://127.0.0.1:9/git/mvc/maintenance/lock");
    assert!(plan.unlock.last().unwrap().starts_with("DELETE http://127.0.0.1:9/git/mvc/maintenance/lock"));
}
