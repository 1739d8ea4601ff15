//! A bucket as the store, on a real S3 server, with a proxy that plays what goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use bkhost_tests::s3::{Bucket, Fault, IMPATIENT};
use bkhost_tests::{Bkhost, Simulator, application_none, directory_part, listing, noise, until};
use rustix::process::Signal;

/// Larger than two parts of an upload.
const LARGE: usize = 20 << 20;

/// An instance with a home of some files and so many bytes that do not compress, and a bucket.
fn world(bytes: usize) -> (Bkhost, Bucket) {
    let (bk, bucket) = (Bkhost::new(), Bucket::new());
    home(&bk, bytes);
    configure(&bk, &bucket, "");
    (bk, bucket)
}

fn home(bk: &Bkhost, bytes: usize) {
    std::fs::create_dir_all(bk.path("home/sub")).unwrap();
    std::fs::write(bk.path("home/sub/file"), "text\n").unwrap();
    std::fs::write(bk.path("home/noise"), noise(7, bytes)).unwrap();
}

fn configure(bk: &Bkhost, bucket: &Bucket, keys: &str) {
    bk.config_for(&[&application_none(), &directory_part("home", &bk.path("home"))], &[&bucket.store(bk, keys)]);
}

/// The set is there, whole by an independent look, and restores to what the home is.
fn is_whole(bk: &Bkhost, bucket: &Bucket, id: &str) {
    bk.run(&["verify", id]).ok();
    let keys: Vec<String> = bucket.objects().into_keys().filter(|key| key.contains(id)).collect();
    assert!(keys.iter().any(|key| key.ends_with("/manifest.json")), "{keys:?}");
    assert!(!keys.iter().any(|key| key.ends_with("in-progress")), "{keys:?}");
    assert_eq!(bucket.uploads(), [""; 0]);
    let to = bk.path(&format!("restored-{id}"));
    bk.run(&["restore", id, "--to", to.to_str().unwrap(), "--confirm", bk.instance()]).ok();
    assert_eq!(listing(&to), listing(&bk.path("home")));
}

/// Nothing of a run is left.
fn is_empty(bk: &Bkhost, bucket: &Bucket) {
    assert_eq!(bucket.objects(), BTreeMap::new());
    assert_eq!(bucket.uploads(), [""; 0]);
    assert_eq!(bk.list(), []);
}

#[test]
fn the_main_job() {
    let (bk, bucket) = (Bkhost::new(), Bucket::new());
    home(&bk, LARGE);
    let simulator = Simulator::start(&[]);
    let tables = [bk.application(&simulator, ""), directory_part("home", &bk.path("home"))];
    bk.config_for(&[&tables[0], &tables[1]], &[&bucket.store(&bk, "")]);
    let id = bk.backup_id();
    simulator.is_free();
    is_whole(&bk, &bucket, &id);
    assert_eq!(bk.list(), [(id.clone(), "proved".to_owned())]);
    // In parts, several requests each, and nothing twice.
    let seen = bucket.seen();
    let parts = seen
        .iter()
        .filter(|(method, target, status)| method == "PUT" && target.contains("partNumber") && *status == 200);
    assert!(parts.count() >= 3, "{seen:?}");
    // What is given back is not deleted, since it is competed for.
    assert_eq!(std::fs::read_to_string(bucket.dir().join(bk.instance()).join("lease.json")).unwrap(), "{}\n");
    // The bucket alone is enough, with keys from the environment.
    let mut command = bk.command(&["list", "--json", "--store", &bucket.location()]);
    let (key, secret) = Bucket::keys();
    command
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("AWS_ENDPOINT_URL", bucket.endpoint())
        .current_dir("/");
    let listed = bkhost_tests::Running::start(command, false).end();
    assert!(listed.stdout.contains(&id), "{listed}");
}

/// Each sort of request meets it once, and the run succeeds all the same.
fn survives(fault: Fault) {
    let (bk, bucket) = world(LARGE);
    for (method, target) in [
        ("GET", "list-type=2"),
        ("HEAD", "in-progress"),
        ("PUT", "in-progress"),
        ("PUT", "lease.json"),
        ("POST", "uploads="),
        ("PUT", "partNumber=2"),
        ("POST", "uploadId="),
        ("PUT", "index.jsonl"),
        ("GET", "home.tar.zst"),
        ("PUT", "manifest.json"),
        ("GET", "manifest.json"),
        ("DELETE", "in-progress"),
    ] {
        bucket.spoil(method, target, 1, fault);
    }
    let id = bk.backup_id();
    assert_eq!(bucket.hits(), 12, "{fault:?}: {:?}", bucket.seen());
    bucket.heal();
    bk.run(&["verify", &id]).ok();
    assert_eq!(bk.list(), [(id, "proved".to_owned())]);
}

/// An upload that was begun twice, since the first answer was lost: on a server that lists uploads, nothing of it stays.
#[test]
fn an_upload_whose_id_is_lost() {
    let (bk, bucket) = (Bkhost::new(), Bucket::moto());
    home(&bk, LARGE);
    configure(&bk, &bucket, "");
    bucket.spoil("POST", "uploads=", 1, Fault::Lost);
    let id = bk.backup_id();
    assert_eq!(bucket.hits(), 1);
    assert_eq!(bucket.uploads(), [""; 0]);
    bk.run(&["verify", &id]).ok();
}

#[test]
fn a_server_with_a_problem() {
    survives(Fault::Status(503, "SlowDown"));
}

#[test]
fn an_answer_that_is_lost() {
    survives(Fault::Lost);
}

#[test]
fn a_connection_that_breaks() {
    survives(Fault::Reset);
}

#[test]
fn an_answer_that_breaks_off() {
    survives(Fault::Cut);
}

#[test]
fn nothing_moves_for_a_while() {
    let (bk, bucket) = world(LARGE);
    configure(&bk, &bucket, "timeout = \"3s\"\nretry-for = \"30s\"\n");
    // Longer than `timeout`: the request is made again.
    bucket.spoil("PUT", "partNumber=2", 1, Fault::Stall(Duration::from_secs(6)));
    bucket.spoil("GET", "home.tar.zst", 1, Fault::Stall(Duration::from_secs(6)));
    let id = bk.backup_id();
    assert_eq!(bucket.hits(), 2);
    is_whole(&bk, &bucket, &id);
}

#[test]
fn an_answer_that_says_nothing_or_comes_from_a_gateway() {
    for fault in [Fault::Empty, Fault::Page] {
        let (bk, bucket) = world(LARGE);
        for (method, target) in [
            ("GET", "list-type=2"),
            ("PUT", "in-progress"),
            ("POST", "uploads="),
            ("PUT", "partNumber=2"),
            ("POST", "uploadId="),
            ("PUT", "index.jsonl"),
            ("GET", "home.tar.zst"),
            ("PUT", "manifest.json"),
        ] {
            bucket.spoil(method, target, 1, fault);
        }
        let id = bk.backup_id();
        assert_eq!(bucket.hits(), 8, "{:?}", bucket.seen());
        is_whole(&bk, &bucket, &id);
    }
}

/// The server finds it, by the hash that the request carries.
#[test]
fn a_bit_that_flips_on_the_way() {
    let (bk, bucket) = world(LARGE);
    for target in ["partNumber=1", "partNumber=3", "index.jsonl", "manifest.json"] {
        bucket.spoil("PUT", target, 1, Fault::Garble);
    }
    let id = bk.backup_id();
    assert_eq!(bucket.hits(), 4);
    is_whole(&bk, &bucket, &id);
    let refused = bucket.seen().into_iter().filter(|(method, _, status)| method == "PUT" && *status >= 400).count();
    assert!(refused >= 4, "{:?}", bucket.seen());
}

#[test]
fn keys_that_were_renewed_meanwhile() {
    let (bk, bucket) = world(LARGE);
    bucket.spoil("PUT", "partNumber=2", 1, Fault::Status(400, "ExpiredToken"));
    let id = bk.backup_id();
    assert_eq!(bucket.hits(), 1);
    is_whole(&bk, &bucket, &id);
}

/// Row 9: the bucket was empty. Whatever the answers say, what cannot be read back is no backup.
#[test]
fn a_bucket_that_keeps_nothing_or_something_else() {
    for (target, fault) in [
        ("home.tar.zst", Fault::Swallow),
        ("index.jsonl", Fault::Swallow),
        ("manifest.json", Fault::Swallow),
        ("some/where", Fault::Swallow),
        ("home.tar.zst", Fault::Shorten(1)),
        ("index.jsonl", Fault::Shorten(1)),
        ("home.tar.zst", Fault::Flip),
        ("index.jsonl", Fault::Flip),
        ("manifest.json", Fault::Flip),
    ] {
        let (bk, bucket) = world(100_000);
        bucket.spoil("PUT", target, u32::MAX, fault);
        let outcome = bk.run(&["run"]);
        assert!([7, 8].contains(&outcome.code), "{target} {fault:?}: {outcome}");
        assert!(bucket.hits() > 0);
        bucket.heal();
        assert!(!bk.list().iter().any(|(_, state)| state == "proved"), "{target} {fault:?}: {:?}", bk.list());
    }
}

/// The same of what is too large for one request.
#[test]
fn a_bucket_that_loses_a_part() {
    let (bk, bucket) = world(LARGE);
    bucket.spoil("PUT", "partNumber=2", u32::MAX, Fault::Swallow);
    let outcome = bk.run(&["run"]);
    assert!([7, 8].contains(&outcome.code), "{outcome}");
    // This server forgets the upload, and not its parts, when it cannot be completed.
    assert_eq!(bucket.objects(), BTreeMap::new());
    assert_eq!(bk.list(), []);
}

#[test]
fn what_cannot_be_helped_is_named_and_leaves_nothing() {
    for (method, target, fault, says) in [
        ("PUT", "home.tar.zst", Fault::Status(403, "AccessDenied"), "s3:PutObject"),
        ("PUT", "partNumber=2", Fault::Status(503, "SlowDown"), "try again later"),
        ("PUT", "partNumber=2", Fault::Status(507, "InsufficientStorage"), "the store is full"),
        ("PUT", "partNumber=3", Fault::Reset, "cannot be reached"),
        ("POST", "uploadId=", Fault::Status(500, "InternalError"), "try again later"),
        ("GET", "home.tar.zst", Fault::Cut, "home.tar.zst"),
        ("PUT", "manifest.json", Fault::Status(403, "AccessDenied"), "s3:PutObject"),
    ] {
        let (bk, bucket) = world(LARGE);
        configure(&bk, &bucket, IMPATIENT);
        bucket.spoil(method, target, u32::MAX, fault);
        bk.run(&["run"]).fails(7, &[says]);
        bucket.heal();
        is_empty(&bk, &bucket);
    }
}

#[test]
fn wrong_keys_buckets_and_servers_are_named() {
    let (bk, bucket) = world(10);
    std::fs::write(bk.path("s3-secret"), "another secret").unwrap();
    bk.run(&["run"]).fails(7, &["SignatureDoesNotMatch", "look at the keys"]);
    assert!(bucket.seen().len() < 4, "tried again in vain: {:?}", bucket.seen());
    bucket.spoil("", "", u32::MAX, Fault::Status(404, "NoSuchBucket"));
    bk.run(&["run"]).fails(7, &["NoSuchBucket", "make the bucket `backups`"]);
    for (status, code, says) in [
        (403, "RequestTimeTooSkewed", "set this machine's clock"),
        (400, "AuthorizationHeaderMalformed", "`region`"),
        (403, "QuotaExceeded", "the store is full"),
        (403, "AccessDenied", "s3:ListBucket"),
    ] {
        bucket.heal();
        bucket.spoil("", "", u32::MAX, Fault::Status(status, code));
        bk.run(&["list"]).fails(7, &[code, says]);
    }
    let tables = [application_none(), directory_part("home", &bk.path("home"))];
    let store = bucket.store(&bk, IMPATIENT).replace(&bucket.endpoint(), "http://127.0.0.1:1");
    bk.config_for(&[&tables[0], &tables[1]], &[&store]);
    bk.run(&["run"]).fails(7, &["http://127.0.0.1:1", "cannot be reached"]);
}

#[test]
fn a_run_that_is_cancelled_in_an_upload_leaves_nothing() {
    let (bk, bucket) = world(LARGE);
    bucket.spoil("PUT", "partNumber=2", u32::MAX, Fault::Stall(Duration::from_secs(30)));
    let run = bk.spawn(&["run"]);
    until("a part is under way", Duration::from_secs(20), || bucket.hits() > 0);
    bucket.heal();
    run.signal(Signal::INT);
    let outcome = run.end();
    assert!(outcome.elapsed < Duration::from_secs(20), "{outcome}");
    outcome.fails(11, &[]);
    is_empty(&bk, &bucket);
}

/// On a server that lists uploads: what a killed run has sent of a large object is removed, and nothing else.
#[test]
fn a_run_that_is_killed_in_an_upload_leaves_nothing_after_recovery() {
    let (bk, bucket) = (Bkhost::new(), Bucket::moto());
    home(&bk, LARGE);
    configure(&bk, &bucket, "");
    bucket.spoil("PUT", "partNumber=3", u32::MAX, Fault::Stall(Duration::from_secs(30)));
    let run = bk.spawn(&["run"]);
    until("a part is under way", Duration::from_secs(30), || bucket.hits() > 0);
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    bucket.heal();
    assert_eq!(bucket.uploads().len(), 1);
    assert!(bucket.keys_of_moto().iter().any(|key| key.ends_with("in-progress")));
    bk.run(&["recover"]).ok();
    assert_eq!(bucket.uploads(), [""; 0]);
    let keys = bucket.keys_of_moto();
    assert!(keys.iter().all(|key| key.ends_with("lease.json")), "{keys:?}");
    let id = bk.backup_id();
    bk.run(&["verify", &id]).ok();
}

#[test]
fn one_host_at_a_time() {
    let (bk, bucket) = (Bkhost::new(), Bucket::new());
    home(&bk, 10);
    let simulator = Simulator::start(&["--drain", "60s"]);
    let tables = [bk.application(&simulator, ""), directory_part("home", &bk.path("home"))];
    bk.config_for(&[&tables[0], &tables[1]], &[&bucket.store(&bk, "")]);
    let mut first = bk.spawn(&["run", "--json"]);
    first.reaches("drain");
    let elsewhere = bk.path("another-state").display().to_string();
    bk.run(&["--state", &elsewhere, "run"]).fails(10, &["another host works on this instance", "backup"]);
    // Another host takes it over all the same: the run gives up, and the application back.
    let lease = bucket.dir().join(bk.instance()).join("lease.json");
    let held = std::fs::read_to_string(&lease).unwrap();
    std::fs::write(&lease, held.replace("\"pid\":", "\"pid\":1")).unwrap();
    // The server remembers the tag of what was put; it looks at the file when it does not.
    for entry in std::fs::read_dir(bucket.root()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.to_string_lossy().contains("lease") {
            std::fs::remove_file(path).unwrap();
        }
    }
    until("the application is free", Duration::from_secs(30), || !simulator.locked());
    first.end().fails(10, &["lease"]);
    assert_eq!(bucket.objects(), BTreeMap::new());
}

/// Row 7: a sync destroyed its copy. Nothing that was published is ever written again.
/// Row 7: somebody else publishes under the name of a set in the very moment in which it is to be published. Theirs stays.
#[test]
fn what_came_in_between_is_not_overwritten() {
    let (bk, bucket) = world(1000);
    bucket.spoil("PUT", "manifest.json", 1, Fault::Stall(Duration::from_secs(3)));
    let run = bk.spawn(&["run"]);
    until("it is about to be published", Duration::from_secs(60), || bucket.hits() > 0);
    let objects = bucket.objects();
    let object = objects.keys().find(|key| key.ends_with("/home.tar.zst")).unwrap();
    let theirs = bucket.dir().join(object).with_file_name("manifest.json");
    assert!(!theirs.exists());
    std::fs::write(&theirs, "theirs").unwrap();
    let run = run.end();
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs", "{run}");
    assert_ne!(run.code, 0, "{run}");
}

#[test]
fn what_is_published_stays_as_it_is() {
    let (bk, bucket) = world(100_000);
    let first = bk.backup_id();
    let before = bucket.objects();
    std::fs::write(bk.path("home/noise"), noise(8, 100_000)).unwrap();
    let second = bk.backup_id();
    bk.run(&["verify", "--all"]).ok();
    let after = bucket.objects();
    for (key, hash) in &before {
        assert_eq!(after.get(key), Some(hash), "{key}");
    }
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(bk.list(), [(second.clone(), "proved".to_owned())]);
    let kept = bucket.objects();
    assert!(kept.keys().all(|key| !key.contains(&first)), "{kept:?}");
    for (key, hash) in &kept {
        assert_eq!(after.get(key), Some(hash), "{key}");
    }
    let mut written = BTreeMap::new();
    for (method, target, status) in bucket.seen() {
        if method == "PUT" && status == 200 && !target.contains("lease.json") && !target.contains(".bkhost-check") {
            *written.entry(target).or_insert(0) += 1;
        }
    }
    // The marker comes back when a set is deleted.
    written.retain(|target, count| *count > 1 && !target.ends_with("in-progress"));
    assert_eq!(written, BTreeMap::new());
}
