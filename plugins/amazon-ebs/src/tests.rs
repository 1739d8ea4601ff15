//! The strategy against an EC2 that the test plays, where that is finer than from outside.

use std::cell::RefCell;
use std::rc::Rc;

use bkhost_sdk::http::{Method, Request, Response};
use bkhost_sdk::testing::{self, Host, Part};
use bkhost_sdk::{ErrorCode, Severity};

use super::*;
use crate::state::Captured;

/// Answers by the calls' actions, first come first served; the last one of an action stays.
#[derive(Clone, Default)]
struct Cloud(Rc<RefCell<World>>);

#[derive(Default)]
struct World {
    answers: Vec<(&'static str, String)>,
    calls: Vec<String>,
    frozen: bool,
    too_late: bool,
}

impl Cloud {
    fn on(self, action: &'static str, answer: impl Into<String>) -> Self {
        self.0.borrow_mut().answers.push((action, answer.into()));
        self
    }

    fn calls(&self, action: &str) -> Vec<String> {
        self.0.borrow().calls.iter().filter(|call| call.contains(&format!("Action={action}&"))).cloned().collect()
    }
}

impl Host for Cloud {
    fn http(&mut self, request: &Request) -> Result<Response> {
        let world = &mut *self.0.borrow_mut();
        let form = match request.method {
            Method::Get => request.url.split_once('?').unwrap().1.to_owned(),
            _ => String::from_utf8(request.body.clone()).unwrap(),
        };
        let action = form.strip_prefix("Action=").unwrap().split('&').next().unwrap().to_owned();
        let froze = if world.frozen { " frozen" } else { "" };
        world.calls.push(form + froze);
        let of = |(known, _): &(&str, String)| *known == action;
        let n = world.answers.iter().position(of).unwrap_or_else(|| panic!("unexpected {action}"));
        let last = world.answers.iter().filter(|a| of(a)).count() == 1;
        let (_, answer) = if last { world.answers[n].clone() } else { world.answers.remove(n) };
        if let Some(code) = answer.strip_prefix('!') {
            let body =
                format!("<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>");
            return Ok(Response { status: 400, body: body.into(), ..Response::default() });
        }
        let body = format!("<{action}Response>{answer}</{action}Response>");
        Ok(Response { status: 200, body: body.into(), ..Response::default() })
    }

    fn freeze(&mut self, directories: &[String]) -> Result<()> {
        assert_eq!(directories, ["/source/mount/0", "/source/mount/1"]);
        self.0.borrow_mut().frozen = true;
        Ok(())
    }

    fn thaw(&mut self, _: &[String]) -> Result<()> {
        let world = &mut *self.0.borrow_mut();
        world.frozen = false;
        if world.too_late { Err(bkhost_sdk::Error::new(ErrorCode::TimedOut, "too late")) } else { Ok(()) }
    }
}

const LABEL: &str = "bkhost-i-1";

fn at<T>(cloud: &Cloud, config: &str, body: impl FnOnce(&mut AmazonEbs) -> T) -> T {
    let config: Config = serde_json::from_str(config).unwrap();
    let part = Part { instance: "i".into(), part: "p".into(), ..Part::default() };
    let mut strategy = AmazonEbs::new(config).unwrap();
    testing::host(part, cloud.clone(), || body(&mut strategy)).0
}

fn volume(id: &str, instance: &str, device: &str) -> String {
    format!(
        "<item><volumeId>{id}</volumeId><size>8</size><status>in-use</status><availabilityZone>z</availabilityZone>\
         <volumeType>gp2</volumeType><iops>100</iops><encrypted>true</encrypted><kmsKeyId>k</kmsKeyId><attachmentSet><item>\
         <instanceId>{instance}</instanceId><device>{device}</device><status>attached</status></item></attachmentSet></item>"
    )
}

fn shot(id: &str, volume: &str, status: &str, tags: &[(&str, &str)]) -> String {
    let tags: String = tags.iter().map(|(k, v)| format!("<item><key>{k}</key><value>{v}</value></item>")).collect();
    format!(
        "<item><snapshotId>{id}</snapshotId><volumeId>{volume}</volumeId><status>{status}</status><progress>40%</progress>\
         <volumeSize>8</volumeSize><startTime>2026-11-21T05:44:32.000Z</startTime><tagSet>{tags}</tagSet></item>"
    )
}

const OURS: [(&str, &str); 3] = [("bkhost:instance", "i"), ("bkhost:part", "p"), ("bkhost:run", LABEL)];

fn set(name: &str, items: &[String]) -> String {
    format!("<{name}>{}</{name}>", items.concat())
}

const TWO: &str = r#"{"region":"eu-west-1","volumes":["vol-a","vol-b"],"freeze":["/a","/b"]}"#;

fn two() -> Cloud {
    Cloud::default()
        .on("DescribeVolumes", set("volumeSet", &[volume("vol-a", "i-1", "/dev/sdf")]))
        .on("DescribeVolumes", set("volumeSet", &[volume("vol-b", "i-2", "/dev/sdf")]))
}

#[test]
fn volumes_of_two_instances_stand_still_together() {
    let made = |id: &str, volume: &str| format!("<snapshotId>{id}</snapshotId><volumeId>{volume}</volumeId>");
    let cloud = two().on("CreateSnapshot", made("snap-a", "vol-a")).on("CreateSnapshot", made("snap-b", "vol-b"));
    let snapshot = at(&cloud, TWO, |ebs| {
        ebs.prepare().unwrap();
        ebs.capture(LABEL).unwrap()
    });
    assert_eq!(snapshot.id, "snap-a snap-b");
    assert!(cloud.calls("CreateSnapshot").iter().all(|call| call.ends_with(" frozen")));
    assert!(!cloud.0.borrow().frozen);
    let state: State = snapshot.state().unwrap();
    assert_eq!(state.volumes[1].instance.as_deref(), Some("i-2"));
    assert!(state.volumes[0].encrypted && state.volumes[0].kms_key.as_deref() == Some("k"));
}

#[test]
fn a_sibling_that_fails_or_a_thaw_that_came_too_late_leaves_nothing() {
    let mine = shot("snap-a", "vol-a", "pending", &OURS);
    let made = "<snapshotId>snap-a</snapshotId><volumeId>vol-a</volumeId>";
    for too_late in [false, true] {
        let second = if too_late { made.replace("-a<", "-b<") } else { "!UnauthorizedOperation".to_owned() };
        let cloud = two()
            .on("CreateSnapshot", made)
            .on("CreateSnapshot", second)
            .on("DescribeSnapshots", set("snapshotSet", std::slice::from_ref(&mine)))
            .on("DeleteSnapshot", "<return>true</return>");
        cloud.0.borrow_mut().too_late = too_late;
        let error = at(&cloud, TWO, |ebs| ebs.capture(LABEL).unwrap_err());
        assert_eq!(error.code, if too_late { ErrorCode::TimedOut } else { ErrorCode::Denied });
        let deleted = cloud.calls("DeleteSnapshot");
        assert!(deleted.len() == 1 && deleted[0].contains("SnapshotId=snap-a") && !deleted[0].ends_with("frozen"));
    }
}

#[test]
fn a_server_that_ignores_filters_does_not_make_foreign_snapshots_ours() {
    let with = |n: usize, value: &'static str| {
        let mut tags = OURS;
        tags[n].1 = value;
        tags
    };
    let items = [
        shot("snap-1", "vol-a", "completed", &OURS),
        shot("snap-2", "vol-a", "completed", &with(0, "j")),
        shot("snap-3", "vol-a", "completed", &with(1, "q")),
        shot("snap-4", "vol-a", "completed", &with(2, "bkhost-i-2")),
        shot("snap-5", "vol-a", "completed", &[]),
        shot("snap-6", "vol-b", "error", &OURS),
    ];
    let cloud = Cloud::default()
        .on("DescribeSnapshots", set("snapshotSet", &items))
        .on("DeleteSnapshot", "<return>true</return>");
    at(&cloud, TWO, |ebs| {
        let listed = ebs.list().unwrap();
        assert_eq!(listed.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["snap-1 snap-6", "snap-4"]);
        assert_eq!(listed[0].versions, [("status".to_owned(), "error".to_owned())]);
        assert_eq!(listed[0].created, 1_795_239_872_000);
        // A record that claims foreign ones.
        let claim = |id: &str| Captured { snapshot: id.into(), ..Captured::default() };
        let state = State {
            label: LABEL.into(),
            volumes: (1..6).map(|n| claim(&format!("snap-{n}"))).collect(),
            ..State::default()
        };
        ebs.delete(&Snapshot::atomic("x", &state).unwrap()).unwrap();
        assert_eq!(cloud.calls("DeleteSnapshot").len(), 1);
        ebs.discard(LABEL).unwrap();
        let deleted = cloud.calls("DeleteSnapshot");
        assert!(deleted.len() == 3 && deleted[0].contains("snap-1") && deleted[2].contains("snap-6"));
    });
}

#[test]
fn delete_is_idempotent_and_says_what_is_left() {
    let mine = set("snapshotSet", &[shot("snap-a", "vol-a", "completed", &OURS)]);
    let state = State {
        label: LABEL.into(),
        volumes: vec![Captured { snapshot: "snap-a".into(), ..Captured::default() }],
        ..State::default()
    };
    let delete = |answer: &'static str| {
        let cloud = Cloud::default().on("DescribeSnapshots", mine.clone()).on("DeleteSnapshot", answer);
        at(&cloud, TWO, |ebs| ebs.delete(&Snapshot::atomic("x", &state).unwrap()))
    };
    delete("<return>true</return>").unwrap();
    delete("!InvalidSnapshot.NotFound").unwrap();
    let error = delete("!InvalidSnapshot.InUse").unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("snap-a") && error.hint.unwrap().contains("image"));
    assert_eq!(delete("!UnauthorizedOperation").unwrap_err().code, ErrorCode::Denied);
}

#[test]
fn what_a_restored_volume_is_to_be() {
    let captured = Captured {
        snapshot: "snap-a".into(),
        kind: "gp2".into(),
        iops: Some(300),
        throughput: Some(125),
        encrypted: true,
        kms_key: Some("k".into()),
        ..Captured::default()
    };
    let config = |restore: &str| -> Config {
        serde_json::from_str(&format!(r#"{{"region":"eu-west-1","volumes":["vol-a"],"restore":{restore}}}"#)).unwrap()
    };
    let part = Part { instance: "i".into(), part: "p".into(), ..Part::default() };
    let wanted = |restore: &str, captured: &Captured| {
        testing::host(part.clone(), Cloud::default(), || {
            restore::wanted(&config(restore), LABEL, captured, "z", false).encode()
        })
        .0
    };
    // gp2 computes its own rate, and EC2 refuses to be told.
    let same = wanted("{}", &captured);
    assert!(same.contains("VolumeType=gp2&Encrypted=true&KmsKeyId=k") && !same.contains("Iops"), "{same}");
    assert!(same.contains("bkhost%3Arestored-from") && !same.contains("bkhost%3Arun"), "{same}");
    let gp3 = Captured { kind: "gp3".into(), ..captured.clone() };
    let text = wanted("{}", &gp3);
    assert!(text.contains("VolumeType=gp3&Iops=300&Throughput=125"), "{text}");
    let text = wanted(r#"{"type":"io2","iops":900,"kms-key":"alias/x"}"#, &gp3);
    assert!(text.contains("VolumeType=io2&Iops=900&Encrypted=true&KmsKeyId=alias%2Fx") && !text.contains("Throughput"));
    let plain = Captured { encrypted: false, kms_key: None, ..gp3 };
    assert!(!wanted("{}", &plain).contains("Encrypted"));
}

#[test]
fn many_that_are_pending_are_told() {
    let pending: Vec<_> = (0..5).map(|n| shot(&format!("snap-{n}"), "vol-a", "pending", &[])).collect();
    let cloud = Cloud::default()
        .on("DescribeVolumes", set("volumeSet", &[volume("vol-a", "i-1", "/dev/sdf")]))
        .on("DescribeSnapshots", set("snapshotSet", &pending))
        .on("CreateSnapshot", "!DryRunOperation")
        .on("DetachVolume", "!DryRunOperation")
        .on("CreateVolume", "!DryRunOperation");
    let findings = at(&cloud, r#"{"region":"eu-west-1","volumes":["vol-a"]}"#, |ebs| ebs.check().unwrap());
    let told: Vec<_> = findings.iter().filter(|f| f.severity != Severity::Info).collect();
    assert!(told.len() == 1 && told[0].message.contains("5 snapshots of it are still pending"), "{told:?}");
    assert!(cloud.calls("CreateSnapshot")[0].contains("DryRun=true"));
}

#[test]
fn values_that_contradict_each_other() {
    let new = |config: &str| AmazonEbs::new(serde_json::from_str(config).unwrap()).err().map(|e| e.code);
    assert_eq!(new(r#"{"region":"r","volumes":["vol-a","vol-b"]}"#), Some(ErrorCode::InvalidConfig));
    assert_eq!(new(r#"{"region":"r","volumes":["/dev/sdf"]}"#), Some(ErrorCode::InvalidConfig));
    assert_eq!(new(r#"{"region":"r","volumes":["/dev/sdf"],"instance-id":"i-1"}"#), None);
    assert_eq!(new(r#"{"region":"r"}"#), Some(ErrorCode::InvalidConfig));
    assert_eq!(new(TWO), None);
}

#[test]
fn what_is_left_of_a_set_is_looked_at() {
    let captured = |snapshot: &str, volume: &str, encrypted: bool| Captured {
        snapshot: snapshot.into(),
        volume: volume.into(),
        encrypted,
        ..Captured::default()
    };
    let volumes =
        [("snap-a", "vol-a"), ("snap-b", "vol-b"), ("snap-c", "vol-c"), ("snap-d", "vol-d"), ("snap-e", "vol-e")]
            .map(|(snapshot, volume)| captured(snapshot, volume, volume == "vol-e"));
    let state = State { label: LABEL.into(), volumes: volumes.to_vec(), ..State::default() };
    let foreign = [("bkhost:instance", "i"), ("bkhost:part", "other"), ("bkhost:run", LABEL)];
    let shots = [
        shot("snap-a", "vol-a", "completed", &OURS),
        shot("snap-b", "vol-b", "error", &OURS),
        shot("snap-c", "vol-x", "completed", &OURS),
        shot("snap-d", "vol-d", "completed", &foreign),
        shot("snap-e", "vol-e", "completed", &OURS),
    ];
    let cloud = Cloud::default().on("DescribeSnapshots", set("snapshotSet", &shots));
    let snapshot = Snapshot::atomic("snap-a", &state).unwrap();
    let findings = at(&cloud, TWO, |ebs| ebs.verify(&snapshot, &[]).unwrap());
    let severities: Vec<_> = findings.iter().map(|finding| finding.severity).collect();
    use Severity::{Failure, Info};
    assert_eq!(severities, [Info, Failure, Failure, Failure, Failure], "{findings:?}");
    assert_eq!(cloud.0.borrow().calls.len(), 1, "it only looks");
}
