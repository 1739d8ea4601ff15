//! The stand-in for AWS itself: a fault that is not played would let every test of it pass.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bkhost_tests::aws::{Aws, Fault, Rule, States};

/// Call it through its proxy, as a client would; the status (0: no answer) and the answer.
fn ask(aws: &Aws, service: &str, parameters: &str) -> (u16, String) {
    let host = aws.url().replace("http://", "");
    let mut stream = TcpStream::connect(&host).unwrap();
    let scope = format!("Credential=test/20260101/us-east-1/{service}/aws4_request");
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: \
         AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=x\r\nContent-Length: {}\r\n\r\n{parameters}",
        parameters.len()
    )
    .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    (status, body.to_owned())
}

fn database(aws: &Aws, name: &str) {
    let of = [
        ("DBInstanceIdentifier", name),
        ("DBInstanceClass", "db.t3.medium"),
        ("Engine", "postgres"),
        ("AllocatedStorage", "20"),
        ("MasterUsername", "admin"),
        ("MasterUserPassword", "password1"),
    ];
    aws.call("rds", "CreateDBInstance", &of);
}

fn names(answer: &str, element: &str) -> Vec<String> {
    let open = format!("<{element}>");
    answer.split(&open).skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

#[test]
fn accounts_are_apart() {
    let (one, two) = (Aws::new(), Aws::new());
    database(&one, "db");
    assert_eq!(one.texts("rds", "DescribeDBInstances", &[], "DBInstanceIdentifier"), ["db"]);
    assert!(two.texts("rds", "DescribeDBInstances", &[], "DBInstanceIdentifier").is_empty());
    let (status, answer) = ask(&one, "rds", "Action=DescribeDBInstances&Version=2014-10-31");
    assert_eq!((status, names(&answer, "DBInstanceIdentifier")), (200, vec!["db".to_owned()]), "{answer}");
    // No snapshots of Amazon's own.
    assert!(one.texts("ec2", "DescribeSnapshots", &[], "snapshotId").is_empty());
}

#[test]
fn faults_happen_to_the_calls_they_are_for() {
    let aws = Aws::new();
    database(&aws, "db");
    let describe = "Action=DescribeDBInstances&Version=2014-10-31";
    aws.fault(Rule::on("DescribeDBInstances", Fault::throttling()).first(2));
    aws.fault(Rule::on("DescribeDBInstances", Fault::Html(502)).nth(3));
    aws.fault(Rule::on("DescribeDBInstances", Fault::LoseRequest).nth(4));
    aws.fault(Rule::on("*", Fault::expired_token()).with("DBInstanceIdentifier", "other"));
    let seen: Vec<_> = (0..5).map(|_| ask(&aws, "rds", describe)).collect();
    assert_eq!(seen.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [400, 400, 502, 0, 200], "{seen:?}");
    assert!(seen[0].1.contains("<Code>Throttling</Code>") && seen[2].1.contains("<html>"), "{seen:?}");
    let (status, answer) = ask(&aws, "rds", &format!("{describe}&DBInstanceIdentifier=other"));
    assert!(status == 403 && answer.contains("<Code>ExpiredToken</Code>"), "{answer}");
    let calls = aws.calls_of("DescribeDBInstances");
    let faults: Vec<_> = calls.iter().map(|call| call.fault.as_deref().unwrap_or("none")).collect();
    assert_eq!(faults, ["Throttling", "Throttling", "html 502", "lost request", "none", "ExpiredToken"]);
    assert_eq!(calls[5].get("DBInstanceIdentifier"), Some("other"));
    assert_eq!(calls[5].service, "rds");
    aws.heal();
    assert_eq!(ask(&aws, "rds", describe).0, 200);
}

#[test]
fn a_lost_reply_is_that_of_a_call_that_was_done() {
    let aws = Aws::new();
    database(&aws, "db");
    aws.fault(Rule::on("CreateDBSnapshot", Fault::LoseReply).nth(1));
    aws.fault(Rule::on("CreateDBSnapshot", Fault::CutReply).nth(2));
    let create = |id: &str| {
        format!("Action=CreateDBSnapshot&Version=2014-10-31&DBInstanceIdentifier=db&DBSnapshotIdentifier={id}")
    };
    assert_eq!(ask(&aws, "rds", &create("one")).0, 0);
    let (status, answer) = ask(&aws, "rds", &create("two"));
    assert!(status == 200 && !answer.contains("</CreateDBSnapshotResponse>"), "{answer}");
    let manual = [("SnapshotType", "manual")];
    assert_eq!(aws.texts("rds", "DescribeDBSnapshots", &manual, "DBSnapshotIdentifier"), ["one", "two"]);
}

#[test]
fn a_slow_reply_is_slow() {
    let aws = Aws::new();
    aws.fault(Rule::on("DescribeSnapshots", Fault::Slow(Duration::from_millis(300))));
    let start = Instant::now();
    assert_eq!(ask(&aws, "ec2", "Action=DescribeSnapshots&Version=2016-11-15").0, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn things_take_their_time() {
    let aws = Aws::new();
    let volume = aws.texts("ec2", "CreateVolume", &[("Size", "1"), ("AvailabilityZone", "us-east-1a")], "volumeId");
    aws.states(States::ebs_snapshots().then("pending", 2));
    aws.states(States::ebs_volumes().then("creating", 1).then("error", 1).forever());
    let made = ask(&aws, "ec2", &format!("Action=CreateSnapshot&Version=2016-11-15&VolumeId={}", volume[0]));
    assert_eq!(names(&made.1, "status"), ["pending"], "{made:?}");
    let seen: Vec<_> = (0..3)
        .map(|_| ask(&aws, "ec2", "Action=DescribeSnapshots&Version=2016-11-15&Owner.1=self").1)
        .map(|answer| (names(&answer, "status").concat(), names(&answer, "progress").concat()))
        .collect();
    let pair = |status: &str, progress: &str| (status.to_owned(), progress.to_owned());
    assert_eq!(seen, [pair("pending", "0%"), pair("pending", "50%"), pair("completed", "100%")]);
    let seen: Vec<_> = (0..3)
        .map(|_| names(&ask(&aws, "ec2", "Action=DescribeVolumes&Version=2016-11-15").1, "status").concat())
        .collect();
    assert_eq!(seen, ["creating", "error", "error"]);
}

#[test]
fn lists_come_in_pages() {
    let aws = Aws::new();
    for name in ["a", "b", "c"] {
        database(&aws, name);
        aws.call("ec2", "CreateVolume", &[("Size", "1"), ("AvailabilityZone", "us-east-1a")]);
    }
    aws.page("DescribeDBInstances", 2);
    aws.page("DescribeVolumes", 2);
    let describe = "Action=DescribeDBInstances&Version=2014-10-31";
    let (_, first) = ask(&aws, "rds", describe);
    assert_eq!(names(&first, "DBInstanceIdentifier"), ["a", "b"], "{first}");
    let marker = names(&first, "Marker").concat().replace('+', "%2B").replace('=', "%3D");
    let (_, second) = ask(&aws, "rds", &format!("{describe}&Marker={marker}"));
    assert_eq!(names(&second, "DBInstanceIdentifier"), ["c"], "{second}");
    assert!(names(&second, "Marker").is_empty(), "{second}");
    assert_eq!(ask(&aws, "rds", &format!("{describe}&Marker=other")).0, 400);
    let (_, first) = ask(&aws, "ec2", "Action=DescribeVolumes&Version=2016-11-15");
    assert_eq!((names(&first, "volumeId").len(), names(&first, "nextToken").len()), (2, 1), "{first}");
}

#[test]
fn signatures_are_verified_when_asked_for() {
    let mut aws = Aws::verifying();
    database(&aws, "db");
    let describe = "Action=DescribeDBInstances&Version=2014-10-31";
    assert_eq!(ask(&aws, "rds", describe).0, 200);
    aws.verify();
    let (status, answer) = ask(&aws, "rds", describe);
    assert_eq!(status, 403, "{answer}");
    assert!(aws.environment().iter().any(|(name, value)| *name == "AWS_ACCESS_KEY_ID" && value.starts_with("AKIA")));
    aws.trust();
    assert_eq!(ask(&aws, "rds", describe).0, 200);
}
