//! In 2017 a tool was silent for ten minutes, looked hung, and was ended. Whatever stalls here is named, with the time since
//! when it is waited for, and there is a sign of life every five seconds.

use std::time::Duration;

use bkhost_tests::s3::{Bucket, Fault};
use bkhost_tests::{Bkhost, Outcome, application_none, directory_part, postgres, zfs};
use serde_json::Value;

/// Longer than the longest silence.
const STALL: u32 = 7;
/// What is promised, and a little for a machine that has other things to do.
const SILENCE: Duration = Duration::from_millis(5_500);

/// It was never silent for long, and each of these was named while it was waited for.
#[track_caller]
fn told(outcome: &Outcome, names: &[&str]) {
    let events = outcome.events();
    let at = |event: &serde_json::Value| event["at"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let times: Vec<_> = events.iter().filter_map(at).collect();
    let silences = times.windows(2).map(|pair| pair[0].duration_until(pair[1]).unsigned_abs());
    assert!(silences.max() < Some(SILENCE), "it was silent: {outcome}");
    let waiting = || events.iter().filter(|event| event["event"] == "waiting");
    for name in names {
        let since = |event: &&Value| event["millis"].as_u64() > Some(0);
        assert!(
            waiting().filter(since).any(|event| event.to_string().contains(name)),
            "{name} is not named, or not since when: {outcome}"
        );
    }
}

/// A program of this name that stalls when it is called with one of these words first.
fn stalls(bk: &Bkhost, program: &str, words: &str) -> String {
    let real = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .chain(["/usr/sbin".into(), "/usr/lib/postgresql/15/bin".into()])
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .unwrap();
    let script = format!("case \" $* \" in {words}) sleep {STALL};; esac\nexec {} \"$@\"", real.display());
    format!("[part.programs]\n{program} = \"{}\"\n", bk.program(program, &script).display())
}

#[test]
fn a_run_and_a_prune_whose_vendor_stalls() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    let slow = stalls(&bk, "zfs", "' snapshot '*|' clone '*|' destroy '*");
    bk.config(&[&application_none(), &zfs.part("home", &[&dataset])]);
    bk.backup();
    bk.config(&[&application_none(), &zfs.part("home", &[&dataset]), &slow]);
    told(&bk.run(&["run", "--json"]).ok(), &["zfs snapshot", "zfs clone", "zfs destroy"]);
    let pruned = bk.run(&["prune", "--keep-last", "1", "--confirm", bk.instance(), "--verbose", "--json"]).ok();
    assert_eq!(bk.list().len(), 1);
    told(&pruned, &["zfs destroy"]);
}

#[test]
fn undoing_what_a_run_has_made() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    let slow = stalls(&bk, "zfs", "' destroy '*");
    std::fs::create_dir(bk.path("empty")).unwrap();
    // The backup of nothing fails the run when the snapshot of the other is there.
    let empty = directory_part("empty", &bk.path("empty"));
    bk.config(&[&application_none(), &zfs.part("home", &[&dataset]), &slow, &empty]);
    let failed = bk.run(&["run", "--json"]);
    assert!(failed.code > 0, "{failed}");
    told(&failed, &["zfs destroy"]);
    assert_eq!(zfs.snapshots(&dataset), [""; 0]);
}

#[test]
fn a_run_and_a_verification_whose_tools_stall() {
    let (server, bk) = (postgres(), Bkhost::new());
    server.create(bk.instance(), 10);
    let slow = stalls(&bk, "pg_dump", "*' --version '*) ;; *");
    let read = stalls(&bk, "pg_restore", "*' --version '*) ;; *").replace("[part.programs]\n", "");
    bk.config(&[&application_none(), &server.part("database", bk.instance(), ""), &slow, &read]);
    let run = bk.run(&["run", "--json"]).ok();
    told(&run, &["pg_restore --list"]);
    let verified = bk.run(&["verify", "--all", "--depth", "full", "--json"]).ok();
    told(&verified, &["to check part database"]);
}

#[test]
fn a_bucket_that_does_not_answer() {
    let (bk, bucket) = (Bkhost::new(), Bucket::new());
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/file"), "content").unwrap();
    let store = bucket.store(&bk, "");
    bk.config_for(&[&application_none(), &directory_part("home", &bk.path("home"))], &[&store]);
    let stall = Fault::Stall(Duration::from_secs(STALL.into()));
    bucket.spoil("PUT", "home.tar.zst", 1, stall);
    bucket.spoil("PUT", "manifest.json", 1, stall);
    told(&bk.run(&["run", "--json"]).ok(), &["store"]);
    for what in ["list-type=2", "manifest.json", "home.tar.zst"] {
        bucket.spoil("GET", what, 1, stall);
        told(&bk.run(&["verify", "--all", "--json"]).ok(), &[]);
    }
    bucket.spoil("GET", "list-type=2", 1, stall);
    told(&bk.run(&["list", "--json"]), &[]);
}
