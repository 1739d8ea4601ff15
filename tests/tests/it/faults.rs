//! What the application or a strategy can do wrong. Whatever it is, the application is given back, by whoever has its lock.

use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, Outcome, Simulator, directory_part, postgres, until, zfs};

/// An instance with a directory, and this application.
fn behind(simulator: &[&str], keys: &str) -> (Bkhost, Simulator) {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    let simulator = Simulator::start(simulator);
    bk.config(&[&bk.application(&simulator, keys), &directory_part("home", &bk.path("home"))]);
    (bk, simulator)
}

/// A run that has to fail, so soon; nothing is stored, and nobody holds the lock.
#[track_caller]
fn fails(simulator: &[&str], keys: &str, within: u64, code: i32, says: &[&str]) -> (Outcome, Simulator) {
    let (bk, simulator) = behind(simulator, keys);
    let outcome = bk.run(&["run"]).fails(code, says);
    assert!(outcome.elapsed < Duration::from_secs(within), "too late: {outcome}");
    simulator.is_free();
    assert_eq!(bk.stored(), [""; 0], "{outcome}");
    bk.run(&["recover"]).ok();
    (outcome, simulator)
}

#[test]
fn the_lock_is_refused() {
    let (_, simulator) = fails(&["--fault", "lock=503x3"], "", 10, 5, &["lock", "503"]);
    assert_eq!(simulator.count("begin"), 0);
    fails(&["--fault", "lock=401"], "", 10, 4, &["lock", "401"]);
}

#[test]
fn the_lock_answers_nonsense() {
    // It may have locked, so that has to be found out.
    fails(&["--fault", "lock=htmlx2"], "", 10, 5, &["lock", "HTML"]);
}

#[test]
fn the_reply_to_the_lock_is_lost() {
    for fault in ["lock=after-closex1", "lock=no-tokenx1"] {
        let (bk, simulator) = behind(&["--fault", fault], "");
        // Its token is lost with it: nobody can unlock it, so this has to be said, for as long as it is true.
        bk.spawn(&["run"]).end_with_guard().fails(5, &["STILL LOCKED", "the token is not known", "guard.log"]);
        assert!(simulator.locked() && bk.stored().is_empty(), "{fault}");
        // The operator restarts Bitbucket, which ends the lock. The guard notices, and ends.
        let simulator = simulator.restart();
        until("the guard notices", Duration::from_secs(20), || bk.guard_log().contains("is free again"));
        simulator.is_free();
        bk.run(&["recover"]).ok();
        let _ = bk.backup_id();
    }
}

#[test]
fn begin_is_refused() {
    let (_, simulator) = fails(&["--fault", "begin=503"], "", 10, 5, &["503"]);
    assert_eq!(simulator.count("unlock"), 1);
    fails(&["--fault", "begin=no-token"], "", 10, 5, &["cancelToken"]);
}

#[test]
fn begin_hangs() {
    let (_, simulator) =
        fails(&["--fault", "begin=hang"], "drain-timeout = \"1s\"\nmax-lock-time = \"2s\"", 10, 12, &["max-lock-time"]);
    assert!(simulator.count("unlock") >= 1);
}

#[test]
fn the_drain_never_ends() {
    let (_, simulator) = fails(&["--drain", "1h"], "drain-timeout = \"1s\"", 8, 12, &["drain"]);
    assert!(simulator.count("cancel") >= 1);
}

#[test]
fn polls_fail_for_a_while_or_for_ever() {
    let (bk, simulator) = behind(&["--drain", "300ms", "--fault", "poll=503x3"], "");
    let _ = bk.backup_id();
    simulator.is_free();
    fails(&["--fault", "poll=503"], "drain-timeout = \"2s\"", 12, 12, &["drain"]);
}

#[test]
fn unlock_is_tried_until_it_works() {
    for fault in ["unlock=503x3", "unlock=htmlx2", "unlock=closex2", "unlock=after-closex1"] {
        let (bk, simulator) = behind(&["--fault", fault], "");
        let id = bk.backup_id();
        simulator.is_free();
        assert!(simulator.count("unlock") >= 2, "{fault}: {:?}", simulator.calls());
        assert_eq!(bk.list(), [(id, "proved".to_owned())]);
    }
}

#[test]
fn progress_is_best_effort() {
    // The last one is not: 100 ends the backup. But an unlock ends it too.
    let (bk, simulator) = behind(&["--fault", "progress=500"], "");
    let _ = bk.backup_id();
    simulator.is_free();
}

#[test]
fn somebody_elses_lock_is_left_alone() {
    let (bk, simulator) = behind(&["--locked-by-other"], "");
    bk.run(&["run"])
        .fails(5, &["already locked, by somebody else: somebody-else", "Already locked for maintenance by"]);
    assert_eq!((simulator.locked(), simulator.count("unlock")), (true, 0));
    assert_eq!(bk.stored(), [""; 0]);
    bk.run(&["recover"]).ok();
    assert_eq!((simulator.locked(), simulator.count("unlock")), (true, 0));
}

#[test]
fn an_operator_cancels() {
    let (_, simulator) = fails(&["--drain", "60s", "--operator-cancel-after", "500ms"], "", 10, 11, &["CANCELED"]);
    assert_eq!(simulator.count("unlock"), 1);
}

#[test]
fn an_operator_cancels_during_the_capture() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    let simulator = Simulator::start(&["--operator-cancel-after", "1s"]);
    let slow = bk.program("zfs", r#"[ "$1" != snapshot ] || sleep 30; exec zfs "$@""#);
    bk.config(&[
        &bk.application(&simulator, ""),
        &zfs.part("home", &[&dataset]),
        &format!("[part.programs]\nzfs = \"{}\"\n", slow.display()),
    ]);
    let outcome = bk.run(&["run"]).fails(11, &["CANCELED"]);
    assert!(outcome.elapsed < Duration::from_secs(10), "{outcome}");
    simulator.is_free();
    bk.no_child_left();
    assert_eq!(zfs.snapshots(&dataset), [""; 0]);
}

#[test]
fn a_wrong_password_is_noticed_before_the_lock() {
    let (bk, simulator) = behind(&["--password", "other"], "");
    bk.run(&["run"]).fails(4, &["401"]);
    assert_eq!(simulator.count("lock"), 0);
    assert!(!bk.run(&["run", "--json", "--verbose"]).stdout.contains("\"admin\\n\""));
}

#[test]
fn nobody_answers() {
    let (bk, simulator) = behind(&[], "");
    simulator.stop();
    let outcome = bk.run(&["run"]).fails(5, &["http://127.0.0.1:"]);
    assert!(outcome.elapsed < Duration::from_secs(20), "{outcome}");
}

/// An instance with a dataset and a database, whose programs this script stands in for.
fn real(program: &str, script: &str, of: &str) -> (Bkhost, Simulator, String) {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    postgres.create(bk.instance(), 1000);
    let simulator = Simulator::start(&[]);
    let programs = format!("[part.programs]\n{program} = \"{}\"\n", bk.program(program, script).display());
    let (mut home, mut database) = (zfs.part("home", &[&dataset]), postgres.part("database", bk.instance(), ""));
    if of == "home" {
        home += &programs
    } else {
        database += &programs
    }
    bk.config(&[&bk.application(&simulator, ""), &home, &database]);
    (bk, simulator, dataset)
}

#[track_caller]
fn nothing_left(bk: &Bkhost, simulator: &Simulator, dataset: &str) {
    simulator.is_free();
    bk.no_child_left();
    assert_eq!(zfs().snapshots(dataset), [""; 0]);
    assert_eq!(zfs().datasets(dataset), [dataset]);
    assert_eq!(bk.stored(), [""; 0]);
    until("no session is left", Duration::from_secs(5), || postgres().sessions(bk.instance()) == 0);
}

#[test]
fn a_capture_fails() {
    let script =
        r#"[ "$1" != snapshot ] || { echo "cannot create snapshot: out of space" >&2; exit 1; }; exec zfs "$@""#;
    let (bk, simulator, dataset) = real("zfs", script, "home");
    bk.run(&["run"]).fails(6, &["part `home`", "capture", "out of space"]);
    assert_eq!((simulator.count("lock"), simulator.count("unlock")), (1, 1));
    nothing_left(&bk, &simulator, &dataset);
}

#[test]
fn a_capture_fails_after_it_did_its_work() {
    let script = r#"zfs "$@"; status=$?; [ "$1" != snapshot ] || { echo "out of luck" >&2; exit 1; }; exit $status"#;
    let (bk, simulator, dataset) = real("zfs", script, "home");
    bk.run(&["run"]).fails(6, &["part `home`", "capture", "out of luck"]);
    nothing_left(&bk, &simulator, &dataset);
}

#[test]
fn a_capture_takes_longer_than_the_lock_may() {
    let script = r#"[ "$1" != snapshot ] || sleep 60; exec zfs "$@""#;
    let (bk, simulator, dataset) = real("zfs", script, "home");
    let start = Instant::now();
    bk.run(&["run", "--set", "application.drain-timeout=1s", "--set", "application.max-lock-time=2s"])
        .fails(12, &["max-lock-time"]);
    assert!(start.elapsed() < Duration::from_secs(10));
    nothing_left(&bk, &simulator, &dataset);
}

#[test]
fn the_database_goes_before_the_dump() {
    let script = r#"case "$*" in *--format*)
        psql -X -q -d postgres -c "DROP DATABASE \"$PGDATABASE\" WITH (FORCE)" || exit 9 ;; esac
        exec pg_dump "$@""#;
    let (bk, simulator, dataset) = real("pg_dump", script, "database");
    bk.run(&["run"]).fails(6, &["part `database`", "does not exist"]);
    assert_eq!(simulator.count("unlock"), 1);
    nothing_left(&bk, &simulator, &dataset);
}

#[test]
fn the_session_that_holds_the_snapshot_ends() {
    let script = r#"case "$*" in *--format*) psql -X -q -d postgres -c "SELECT pg_terminate_backend(pid)
        FROM pg_stat_activity WHERE datname = '$PGDATABASE' AND application_name LIKE 'bkhost%'" >&2 || exit 9 ;; esac
        exec pg_dump "$@""#;
    let (bk, simulator, dataset) = real("pg_dump", script, "database");
    bk.run(&["run"]).fails(6, &["part `database`"]);
    nothing_left(&bk, &simulator, &dataset);
}

#[test]
fn the_snapshot_goes_before_it_is_read() {
    let script = r#"[ "$1" != hold ] || for last in "$@"; do case "$last" in *@*) zfs destroy "$last" ;; esac; done; exec zfs "$@""#;
    let (bk, simulator, dataset) = real("zfs", script, "home");
    bk.run(&["run"]).fails(6, &["part `home`"]);
    nothing_left(&bk, &simulator, &dataset);
}

#[test]
fn a_snapshot_that_is_being_read_cannot_be_destroyed() {
    let script = r#"[ "$1" != clone ] || for last in "$@"; do case "$last" in *@*) zfs destroy "$last" && exit 9 ;; esac; done; exec zfs "$@""#;
    let (bk, _simulator, dataset) = real("zfs", script, "home");
    bk.run(&["run"]).ok();
    let snapshots = zfs().snapshots(&dataset);
    let held = zfs().zfs(&["get", "-H", "-o", "value", "userrefs", &format!("{dataset}@{}", snapshots[0])]);
    assert_eq!((snapshots.len(), held.as_str()), (1, "0"), "it is free again when it was read");
}

#[test]
fn a_dataset_or_a_database_that_is_not_there_is_noticed_before_the_lock() {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let simulator = Simulator::start(&[]);
    let application = bk.application(&simulator, "");
    bk.config(&[&application, &zfs.part("home", &[&zfs.name("no-such")])]);
    bk.run(&["run"]).fails(6, &["part `home`", "no-such"]);
    bk.config(&[&application, &postgres.part("database", "no-such", "")]);
    bk.run(&["run"]).fails(6, &["part `database`", "no-such"]);
    let nowhere = postgres.part("database", "postgres", "").replace("/sock\"", "/no-sock\"");
    bk.config(&[&application, &nowhere]);
    bk.run(&["run"]).fails(6, &["part `database`", "no-sock"]);
    assert_eq!(simulator.count("lock"), 0);
    assert_eq!(bk.stored(), [""; 0]);
}

#[test]
fn an_empty_part_is_no_backup() {
    let (bk, simulator) = behind(&[], "");
    std::fs::remove_file(bk.path("home/f")).unwrap();
    bk.run(&["run"]).fails(8, &["part `home`", "empty"]);
    simulator.is_free();
    assert_eq!(bk.stored(), [""; 0]);
}
