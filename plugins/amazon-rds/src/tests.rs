//! The strategy against an RDS that the test plays.

use std::cell::RefCell;
use std::rc::Rc;

use bkhost_sdk::http::{Request, Response};
use bkhost_sdk::testing::{self, Host, Part};
use bkhost_sdk::{ErrorCode, Snapshot, Strategy};

use super::*;

const CONFIG: &str = r#"{"region":"us-east-1","instance":"live","point-timeout-seconds":1,"timeout-minutes":0.02,
    "poll-seconds":0.02,"restore":{}}"#;
const LABEL: &str = "bkhost-instance-20261121-054432-abcdef";

/// Answers calls by their action, one after the other; the last one of an action again and again.
#[derive(Clone, Default)]
struct Service {
    answers: Rc<RefCell<Vec<(&'static str, String)>>>,
    seen: Rc<RefCell<Vec<String>>>,
}

impl Service {
    fn answer(&self, action: &'static str, result: &str) {
        let text = format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>");
        self.answers.borrow_mut().push((action, text));
    }

    fn refuse(&self, action: &'static str, code: &str) {
        let text = format!("<ErrorResponse><Error><Code>{code}</Code><Message>No</Message></Error></ErrorResponse>");
        self.answers.borrow_mut().push((action, text));
    }
}

impl Host for Service {
    fn http(&mut self, request: &Request) -> bkhost_sdk::Result<Response> {
        let form = format!("{}{}", request.url, String::from_utf8_lossy(&request.body));
        let action = form.split("Action=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        self.seen.borrow_mut().push(form);
        let mut answers = self.answers.borrow_mut();
        let mut of = answers.iter().enumerate().filter(|(_, (of, _))| *of == action).map(|(n, _)| n);
        let (first, more) = (of.next().unwrap_or_else(|| panic!("no answer to {action}")), of.next().is_some());
        let body = if more { answers.remove(first).1 } else { answers[first].1.clone() };
        let status = if body.contains("<ErrorResponse>") { 400 } else { 200 };
        Ok(Response { status, body: body.into_bytes(), ..Response::default() })
    }
}

fn play<T>(service: &Service, body: impl FnOnce(&mut AmazonRds) -> T) -> T {
    let part = Part { config: CONFIG.into(), part: "database".into(), ..Part::default() };
    let (result, _) = testing::host(part, service.clone(), || {
        let mut plugin = AmazonRds::new(bkhost_sdk::config::load().unwrap()).unwrap();
        body(&mut plugin)
    });
    result
}

fn live() -> String {
    "<DBInstances><DBInstance><DBInstanceIdentifier>live</DBInstanceIdentifier><Engine>postgres</Engine>\
     <EngineVersion>16.3</EngineVersion><DBInstanceClass>db.m6g.large</DBInstanceClass>\
     <DBInstanceStatus>available</DBInstanceStatus></DBInstance></DBInstances>"
        .to_owned()
}

fn snapshot(more: &str) -> String {
    let tag = |key: &str, value: &str| format!("<Tag><Key>bkhost:{key}</Key><Value>{value}</Value></Tag>");
    let tags = [tag("instance", "instance"), tag("part", "database"), tag("run", LABEL)].concat();
    format!(
        "<DBSnapshot><DBSnapshotIdentifier>{LABEL}-database</DBSnapshotIdentifier><Engine>postgres</Engine>\
         <DBInstanceIdentifier>live</DBInstanceIdentifier><SnapshotType>manual</SnapshotType>{more}\
         <TagList>{tags}</TagList></DBSnapshot>"
    )
}

fn list(snapshot: &str) -> String {
    format!("<DBSnapshots>{snapshot}</DBSnapshots>")
}

fn captured(service: &Service) -> bkhost_sdk::Result<Snapshot> {
    service.answer("DescribeDBInstances", &live());
    play(service, |plugin| plugin.capture(LABEL))
}

#[test]
fn the_point_is_waited_for_and_not_the_data() {
    let service = Service::default();
    service.answer("CreateDBSnapshot", &snapshot("<Status>creating</Status>"));
    let taking = list(&snapshot("<Status>creating</Status><PercentProgress>0</PercentProgress>"));
    service.answer("DescribeDBSnapshots", &taking);
    service.answer("DescribeDBSnapshots", &taking);
    let time = "<SnapshotCreateTime>2026-11-21T05:44:32.763Z</SnapshotCreateTime>";
    service.answer("DescribeDBSnapshots", &list(&snapshot(&format!("<Status>creating</Status>{time}"))));
    let snapshot = captured(&service).unwrap();
    assert_eq!(service.seen.borrow().iter().filter(|form| form.contains("DescribeDBSnapshots")).count(), 3);
    assert_eq!(snapshot.id, format!("{LABEL}-database"));
    let state: State = snapshot.state().unwrap();
    assert_eq!((state.label.as_str(), state.instance.unwrap().class.as_str()), (LABEL, "db.m6g.large"));
    let create = service.seen.borrow().iter().find(|form| form.contains("CreateDBSnapshot")).cloned().unwrap();
    assert!(
        create.contains("Tags.Tag.3.Key=bkhost%3Arun") && create.contains(&format!("Tags.Tag.3.Value={LABEL}")),
        "{create}"
    );
}

#[test]
fn a_point_that_is_not_fixed_in_time_is_an_error() {
    let service = Service::default();
    service.answer("CreateDBSnapshot", &snapshot("<Status>creating</Status>"));
    service.answer("DescribeDBSnapshots", &list(&snapshot("<Status>creating</Status>")));
    assert_eq!(captured(&service).unwrap_err().code, ErrorCode::TimedOut);
}

#[test]
fn a_snapshot_of_that_name_that_is_not_ours_is_not_adopted() {
    let service = Service::default();
    service.refuse("CreateDBSnapshot", "DBSnapshotAlreadyExists");
    let theirs = snapshot("<Status>available</Status>").replace("<Value>instance<", "<Value>other<");
    service.answer("DescribeDBSnapshots", &list(&theirs));
    assert_eq!(captured(&service).unwrap_err().code, ErrorCode::AlreadyExists);
    // Nor deleted.
    let error = play(&service, |plugin| plugin.discard(LABEL)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(!service.seen.borrow().iter().any(|form| form.contains("DeleteDBSnapshot")));
}

#[test]
fn a_deletion_waits_for_what_is_being_made_and_is_idempotent() {
    let service = Service::default();
    service.answer("DescribeDBSnapshots", &list(&snapshot("<Status>creating</Status>")));
    service.answer("DescribeDBSnapshots", &list(&snapshot("<Status>available</Status>")));
    service.answer("DescribeDBSnapshots", &list(&snapshot("<Status>available</Status>")));
    service.refuse("DescribeDBSnapshots", "DBSnapshotNotFound");
    service.refuse("DeleteDBSnapshot", "InvalidDBSnapshotState");
    service.answer("DeleteDBSnapshot", "");
    play(&service, |plugin| plugin.discard(LABEL)).unwrap();
    play(&service, |plugin| plugin.discard(LABEL)).unwrap();
    let deletions = service.seen.borrow().iter().filter(|form| form.contains("DeleteDBSnapshot")).count();
    assert_eq!(deletions, 2);
}

#[test]
fn an_answer_about_others_is_not_one_about_ours() {
    let service = Service::default();
    // As RDS would answer if the identifier were lost on the way.
    let other = snapshot("<Status>available</Status>").replace("-database<", "-other<");
    service.answer("DescribeDBSnapshots", &list(&other));
    play(&service, |plugin| plugin.discard(LABEL)).unwrap();
    assert!(play(&service, AmazonRds::list).unwrap().is_empty());
}

#[test]
fn what_a_finished_snapshot_is_gets_proved() {
    for (from, to) in [
        ("<Engine>postgres<", "<Engine>mysql<"),
        ("<DBInstanceIdentifier>live<", "<DBInstanceIdentifier>dead<"),
        ("<Value>database<", "<Value>other<"),
        ("manual", "automated"),
    ] {
        let service = Service::default();
        let made = snapshot("<Status>available</Status>");
        service.answer("CreateDBSnapshot", &made);
        let captured = captured(&service).unwrap();
        service.answer("DescribeDBSnapshots", &list(&made.replace(from, to)));
        let error = play(&service, |plugin| plugin.finish(captured)).unwrap_err();
        assert_eq!(error.code, ErrorCode::Corrupt, "{to}");
    }
}

#[test]
fn what_is_left_of_a_set_is_looked_at() {
    use bkhost_sdk::{Severity, Verify};
    let service = Service::default();
    service.answer("CreateDBSnapshot", &snapshot("<Status>creating</Status>"));
    let time = "<SnapshotCreateTime>2026-11-21T05:44:32.763Z</SnapshotCreateTime>";
    service.answer("DescribeDBSnapshots", &list(&snapshot(&format!("<Status>creating</Status>{time}"))));
    let taken = captured(&service).unwrap();
    let judged = |answer: Option<&str>| {
        let service = Service::default();
        match answer {
            Some(snapshot) => service.answer("DescribeDBSnapshots", &list(snapshot)),
            None => service.refuse("DescribeDBSnapshots", "DBSnapshotNotFound"),
        }
        let findings = play(&service, |plugin| plugin.verify(&taken, &[])).unwrap();
        assert!(!service.seen.borrow().iter().any(|form| !form.contains("Describe")), "it only looks");
        findings[0].severity
    };
    let whole = snapshot(&format!("<Status>available</Status>{time}"));
    assert_eq!(judged(Some(&whole)), Severity::Info);
    assert_eq!(judged(None), Severity::Failure);
    assert_eq!(judged(Some(&whole.replace("available", "failed"))), Severity::Failure);
    assert_eq!(judged(Some(&whole.replace("<Value>instance<", "<Value>other<"))), Severity::Failure);
}
