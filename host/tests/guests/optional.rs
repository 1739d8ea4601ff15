//! The interfaces that a component may export besides the strategy: `verify` and `drill`.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bkhost::ErrorKind;
use bkhost::capability::units::Span;
use bkhost::plugin::Severity;

use super::behaviours::Stored;
use super::fixture::{HOST, Part, SLACK, guest};

#[tokio::test]
async fn they_are_found_in_the_component_before_it_runs() {
    let hostile = HOST.load(&guest("hostile")).unwrap();
    assert!(hostile.verifies() && hostile.rehearses());
    let freezer = HOST.load(&guest("freezer")).unwrap();
    assert!(!freezer.verifies() && !freezer.rehearses());
}

#[tokio::test]
async fn they_see_what_was_archived_and_nothing_else_does() {
    let good = Part::new("none").capture().await.unwrap();
    for phase in ["verify", "rehearse"] {
        let mut part = Part::new("extract").at(phase).set("target", "/staging/tree");
        part.archived = Some(Arc::new(Stored));
        fs::create_dir(part.path("staging/tree")).unwrap();
        let mut instance = part.start().await.unwrap();
        let findings = match phase {
            "verify" => instance.verify(&good).await,
            _ => instance.rehearse(&good).await,
        };
        let [finding] = &findings.unwrap().unwrap()[..] else { panic!("{phase}: one finding") };
        assert_eq!(finding.severity, Severity::Info);
        assert_eq!(finding.message, r#"observed 1 of ["tree", "stream"]"#);
        assert_eq!(fs::read_to_string(part.path("staging/tree/file")).unwrap(), "restored");
    }
    let part = Part::new("extract").at("clear").set("target", "/staging");
    let error = part.start().await.unwrap().clear().await.unwrap_err();
    assert!(error.message().contains("nothing archived is offered"), "{error}");
}

/// A vendor's tool that hangs: the call ends at its deadline, and its child with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_is_ended_and_its_children_killed() {
    let good = Part::new("none").capture().await.unwrap();
    for phase in ["verify", "rehearse", "clear"] {
        let mut part = Part::new("sleep").at(phase);
        let limit = Duration::from_millis(500);
        part.limits.call = Span(limit);
        part.limits.long_call = Span(limit);
        let mut instance = part.start().await.unwrap();
        let begin = Instant::now();
        let error = match phase {
            "verify" => instance.verify(&good).await.unwrap_err(),
            "rehearse" => instance.rehearse(&good).await.unwrap_err(),
            _ => instance.clear().await.unwrap_err(),
        };
        assert!(begin.elapsed() < limit + SLACK, "{phase}: {:?}", begin.elapsed());
        assert!(error.message().starts_with(&format!("hostile {phase}: ")), "{error}");
    }
    let part = Part::new("spawn-and-leave").at("rehearse").set("target", "3600");
    let mut instance = part.start().await.unwrap();
    instance.rehearse(&good).await.unwrap();
    assert_eq!(part.groups.started(), 1);
    instance.end().await;
    assert_eq!(part.groups.alive(), Vec::<u32>::new());
}

/// What a rehearsal asks for beyond its rights is denied as in any other call.
#[tokio::test]
async fn they_get_no_rights_of_their_own() {
    let good = Part::new("none").capture().await.unwrap();
    for behaviour in ["exec-undeclared", "exec-not-configured", "mirror-outside"] {
        let part = Part::new(behaviour).at("rehearse").set("target", "/etc");
        let error = part.start().await.unwrap().rehearse(&good).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{behaviour}: {error}");
    }
    let part = Part::new("write-read-only").at("verify");
    let findings = part.start().await.unwrap().verify(&good).await.unwrap().unwrap();
    assert!(findings.iter().all(|f| !f.message.contains("true")), "{findings:?}");
}
