//! Parsing and judging, natively.

use bkhost_sdk::http::Response;
use bkhost_sdk::{Error, ErrorCode};
use serde_json::{Value, json};

use crate::capture::Stand;
use crate::cluster::{Cluster, Index, idle, is_chosen};
use crate::config::Config;
use crate::failure::Failure;
use crate::names::{Renaming, fits, segment};
use crate::repository::Repository;
use crate::restore::Plan;
use crate::shot::Shot;
use crate::state::State;

fn failure(status: u16, body: &str) -> Failure {
    Failure::of_answer("GET x", &Response { status, body: body.into(), ..Response::default() })
}

#[test]
fn patterns_and_names() {
    for (pattern, name, expected) in [
        ("*", "", true),
        ("*", "a", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "a", true),
        ("a*c", "abc", true),
        ("a*c", "ac", true),
        ("a*a", "a", false),
        ("*b*", "abc", true),
        ("a*b*c", "axbxbc", true),
        ("a**b", "ab", true),
        ("ü*", "über", true),
        ("b*", "ab", false),
    ] {
        assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
    }
    let patterns = ["*".to_owned(), ".kibana*".to_owned()];
    assert!(is_chosen(&patterns, "a") && is_chosen(&patterns, ".kibana_1") && !is_chosen(&patterns, ".security"));
    assert_eq!(idle(&patterns, &["a".to_owned(), ".x".to_owned()]), [".kibana*"]);
    assert_eq!(segment("größe/..?a%2f b"), "gr%C3%B6%C3%9Fe%2F..%3Fa%252f%20b");
}

#[test]
fn names_of_restored_indices() {
    assert_eq!(Renaming::parse("old").unwrap().apply("a"), "old-a");
    assert_eq!(Renaming::parse("x-*.y").unwrap().apply("a"), "x-a.y");
    assert_eq!(Renaming::parse("*-y").unwrap().replacement(), "$1-y");
    for bad in ["", "*", "**", "A", "a b", "-a", ".a", "_a", "a/b", "$0", "a\\1", "a,b", "é"] {
        let error = Renaming::parse(bad).unwrap_err();
        assert!(error.code == ErrorCode::InvalidConfig && error.hint.is_some(), "{bad}");
    }
}

#[test]
fn refusals_are_told_as_they_are() {
    let text = r#"{"error":{"root_cause":[],"type":"repository_exception","reason":"[b] failed to create repository","caused_by":{"type":"repository_exception","reason":"[b] location [/x] doesn't match","caused_by":{"type":"io_exception","reason":"deep"}}},"status":500}"#;
    let error = Error::from(failure(500, text));
    assert_eq!(
        error.message,
        "GET x was answered with 500: repository_exception: [b] failed to create repository: repository_exception: [b] location [/x] doesn't match: io_exception: deep"
    );
    let of = |status, kind: &str| {
        failure(status, &json!({ "error": { "type": kind, "reason": "r" }, "status": status }).to_string())
    };
    assert!(of(503, "concurrent_snapshot_execution_exception").is_passing());
    assert!(of(400, "snapshot_in_progress_exception").is_passing());
    assert!(of(429, "x").is_passing() && !of(429, "x").is_uncertain());
    assert!(of(404, "snapshot_missing_exception").is_missing());
    assert!(!of(400, "illegal_argument_exception").is_passing());
    assert!(of(400, "invalid_snapshot_name_exception").is_taken());
    let denied = Error::from(of(403, "security_exception"));
    assert_eq!((denied.code, denied.hint.is_some()), (ErrorCode::Denied, true));
    // Amazon's own, and OpenSearch's text.
    assert!(
        Error::from(failure(403, r#"{"Message":"User: x is not authorized to perform: es:ESHttpPut"}"#))
            .message
            .contains("es:ESHttpPut")
    );
    assert_eq!(Error::from(failure(401, "Unauthorized")).code, ErrorCode::Denied);
    for (status, body) in [(200, "<html><body>x"), (200, "{\"a\": "), (404, "<!DOCTYPE html>"), (302, ""), (200, "")] {
        let failure = failure(status, body);
        assert!(!failure.is_missing(), "{body}");
        let error = Error::from(failure);
        assert!(error.message.contains("was answered with"), "{error:?}");
    }
    assert!(failure(502, "<html>").is_passing() && !failure(200, "<html>").is_passing());
}

#[test]
fn versions() {
    let of = |distribution: Option<&str>, number: &str| {
        Cluster::read(&json!({ "cluster_name": "c", "version": { "number": number, "distribution": distribution } }))
            .unwrap()
    };
    for (distribution, number, old, s3) in [
        (None, "6.8.23", true, false),
        (None, "7.9.3", true, false),
        (None, "7.10.2", false, false),
        (None, "7.17.9", false, false),
        (None, "8.0.0", false, true),
        (None, "8.15.0-SNAPSHOT", false, true),
        (Some("opensearch"), "1.3.14", false, false),
        (Some("opensearch"), "2.11.1", false, false),
        (Some("opensearch"), "7.10.2", false, false),
        (None, "x", true, false),
    ] {
        let cluster = of(distribution, number);
        assert_eq!((cluster.is_too_old(), cluster.has_s3()), (old, s3), "{number}");
    }
    assert!(Cluster::read(&json!({ "hello": "world" })).is_none());
}

#[test]
fn stages_of_shards() {
    let shard = |stage: &str| json!({ "stage": stage, "stats": {}, "reason": "why" });
    let item = json!({ "snapshot": "x", "indices": { "a": { "shards": {
        "0": shard("INIT"), "1": shard("STARTED"), "2": shard("DONE"), "3": shard("FINALIZE"), "4": shard("QUEUED"), "5": shard("FAILURE") } } },
        "stats": { "incremental": { "size_in_bytes": 100 }, "processed": { "size_in_bytes": 40 }, "total": { "size_in_bytes": 900 } } });
    let stand = Stand::read(&item);
    assert_eq!((stand.shards, stand.waiting, stand.total, stand.done), (6, 2, 100, 40));
    assert_eq!(stand.failed, ["a[5]: why"]);
    assert_eq!(Stand::read(&json!({ "snapshot": "x" })).shards, 0);
}

fn repository(settings: &[(&str, &str)]) -> Repository {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Repository { name: "b".to_owned(), kind: "s3".to_owned(), settings }
}

#[test]
fn which_settings_make_it_another_repository() {
    let wanted = repository(&[("bucket", "b"), ("base_path", "x/")]);
    let same = repository(&[
        ("bucket", "b"),
        ("base_path", "x"),
        ("client", "default"),
        ("compress", "true"),
        ("region", "r"),
    ]);
    assert!(wanted.differences(&same).is_empty());
    for other in [
        repository(&[("bucket", "c"), ("base_path", "x")]),
        repository(&[("bucket", "b")]),
        repository(&[("bucket", "b"), ("base_path", "y")]),
        Repository { kind: "fs".to_owned(), ..same.clone() },
    ] {
        assert_eq!(wanted.differences(&other).len(), 1, "{other:?}");
    }
    assert_eq!(repository(&[("bucket", "b")]).differences(&same).len(), 1, "the path that it has and should not");
    let read = Repository::read(
        "b",
        &json!({ "type": "s3", "settings": { "bucket": "b", "base_path": "x", "readonly": true } }),
    );
    assert!(read.is_readonly());
    assert!(wanted.objection(&read, false).is_none() && wanted.objection(&read, true).is_some());
}

#[test]
fn snapshots_are_read() {
    let shot = Shot::read(
        &json!({ "snapshot": "s", "uuid": "u", "state": "PARTIAL", "indices": ["a"], "shards": { "total": 3, "failed": 1, "successful": 2 },
        "metadata": { "bkhost-run": "bkhost-x" }, "failures": (0..7).map(|n| json!({ "index": "a", "shard_id": n, "reason": "r" })).collect::<Vec<_>>() }),
    );
    assert_eq!((shot.shards, shot.successful, shot.run.as_str(), shot.instance.as_str()), (3, 2, "bkhost-x", ""));
    assert!(shot.told_failures().starts_with("a[0]: r; a[1]: r") && shot.told_failures().ends_with("and 2 more"));
    let odd = Shot::read(&json!({ "snapshot": 3, "metadata": "x", "failures": "y", "shards": null }));
    assert_eq!(odd, Shot::default());
}

fn config(text: Value) -> Config {
    let mut all =
        json!({ "url": "http://localhost:9200", "repository": { "name": "b", "type": "fs", "location": "/x" } });
    all.as_object_mut().unwrap().extend(text.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

#[test]
fn what_is_in_the_way_of_a_restore() {
    let state = State { indices: vec!["a".to_owned(), "b".to_owned()], ..State::default() };
    let index = |name: &str, open| Index { name: name.to_owned(), open, health: "green".to_owned() };
    let there = [index("a", true), index("c", true)];
    let plan = |config: &Config, to: Option<&str>| {
        Plan::make(config, &state, to.map(|to| Renaming::parse(to).unwrap()), &there)
    };
    let refuse = config(json!({}));
    let code = |outcome: bkhost_sdk::Result<Plan>| outcome.map(drop).unwrap_err().code;
    assert_eq!(code(plan(&refuse, None)), ErrorCode::AlreadyExists);
    assert!(plan(&refuse, Some("x")).is_ok());
    let replace = config(json!({ "restore": { "existing": "replace" } }));
    assert!(plan(&replace, None).is_ok());
    // `--to` never replaces.
    let state = State { indices: vec!["a".to_owned()], ..State::default() };
    let taken = [index("x-a", false)];
    assert_eq!(
        code(Plan::make(&replace, &state, Some(Renaming::parse("x").unwrap()), &taken)),
        ErrorCode::AlreadyExists
    );
    let long = State { indices: vec!["a".repeat(250)], ..State::default() };
    assert_eq!(
        code(Plan::make(&refuse, &long, Some(Renaming::parse("longer").unwrap()), &[])),
        ErrorCode::InvalidConfig
    );
}

#[test]
fn configurations() {
    for (text, says) in [
        (json!({ "repository": null }), "no repository"),
        (json!({ "url": null }), "no url"),
        (json!({ "region": "eu-west-1" }), "names no role"),
        (json!({ "repository": { "name": "b", "type": "fs" } }), "needs a location"),
        (
            json!({ "repository": { "name": "b", "type": "fs", "location": "/x", "role-arn": "r" } }),
            "role-arn is for type s3",
        ),
    ] {
        let error = config(text).check().unwrap_err();
        assert!(error.message.contains(says) && error.hint.is_some(), "{error:?}");
    }
    config(json!({ "mode": "rebuild", "repository": null, "url": null })).check().unwrap();
    config(json!({ "mode": "rebuild", "url": null })).check().unwrap_err();
}
