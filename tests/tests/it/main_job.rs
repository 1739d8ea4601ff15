//! The main job: a real ZFS and a real PostgreSQL behind the simulator, while both are written to all the time.

use std::process::Command;
use std::time::{Duration, SystemTime};

use bkhost_tests::{Bkhost, Outcome, Simulator, Writer, listing, postgres, tool, until, zfs};
use serde_json::Value;

/// When an event was told, in milliseconds.
fn at(outcome: &Outcome, event: &str, phase: &str) -> i64 {
    let events = outcome.events();
    let wanted = |e: &&Value| e["event"] == event && (phase.is_empty() || e["phase"] == phase);
    let found = events.iter().find(wanted).unwrap_or_else(|| panic!("no {event} {phase} in {outcome}"));
    millis_of(found["at"].as_str().unwrap())
}

/// A timestamp, by `date`.
fn millis_of(timestamp: &str) -> i64 {
    let mut date = Command::new("date");
    date.args(["-u", "-d", timestamp, "+%s%3N"]);
    tool(date).trim().parse().unwrap()
}

fn millis(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn zfs_and_postgresql_while_they_are_written_to() {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let database = bk.instance().to_owned();
    let dataset = zfs.create(bk.instance());
    let files = zfs.files(&dataset);
    std::fs::create_dir_all(files.join("a/b")).unwrap();
    for n in 0..200 {
        std::fs::write(files.join(format!("a/b/{n}")), format!("file {n}\n").repeat(n)).unwrap();
    }
    std::fs::write(files.join("a/.hidden"), "dot\n").unwrap();
    std::os::unix::fs::symlink("b/7", files.join("a/link")).unwrap();
    postgres.create(&database, 50_000);
    let simulator = Simulator::start(&["--drain", "300ms"]);
    bk.config(&[
        &bk.application(&simulator, ""),
        &zfs.part("home", &[&dataset]),
        &postgres.part("database", &database, "jobs = 2"),
    ]);

    let writer = Writer::start(&files.join("sequence"), postgres, &database);
    until("ten numbers", Duration::from_secs(20), || postgres.sql(&database, "SELECT count(*) FROM seq").len() > 1);
    let outcome = bk.run(&["run", "--json"]).ok();
    let written = writer.stop();
    let manifest = outcome.json();
    let id = manifest["id"].as_str().unwrap();

    // The application was locked, told, and given back; then people went on working.
    simulator.is_free();
    let state = simulator.state();
    let mut calls = simulator.calls();
    calls.retain(|call| call != "version");
    // What the check before the lock polls is of no interest here.
    let locked = calls.iter().position(|call| call == "lock").unwrap();
    calls.drain(..locked);
    let polls = calls.iter().filter(|call| *call == "poll").count();
    assert!(polls >= 2, "{calls:?}");
    calls.dedup();
    calls.retain(|call| call != "poll");
    calls.dedup();
    assert_eq!(calls.first().map(String::as_str), Some("lock"), "{calls:?}");
    assert_eq!(calls.get(1).map(String::as_str), Some("begin"), "{calls:?}");
    assert_eq!(calls.last().map(String::as_str), Some("unlock"), "{calls:?}");
    assert!(calls[2..calls.len() - 1].iter().all(|call| call == "progress"), "{calls:?}");
    let last_progress = state["history"].as_array().unwrap().iter().rfind(|entry| entry["call"] == "progress").unwrap();
    assert_eq!(last_progress["percentage"], 100, "{state}");
    let (locked_ms, drain_ms) =
        (manifest["application"]["locked-ms"].as_u64().unwrap(), manifest["application"]["drain-ms"].as_u64().unwrap());
    assert!(drain_ms >= 250 && locked_ms >= drain_ms, "{manifest}");
    let (unlocked, archived) = (at(&outcome, "unlocked", ""), at(&outcome, "phase-ended", "archive"));
    let meanwhile = written.iter().filter(|time| (unlocked..archived).contains(&millis(**time))).count();
    assert!(meanwhile > 0, "nothing was written between {unlocked} and {archived}");

    // Restore, and compare with what the consistency points were.
    let (new_dataset, new_database) = (format!("{dataset}-restored"), format!("{database}-restored"));
    bk.run(&[
        "restore",
        id,
        "--to",
        &format!("home={new_dataset}"),
        "--to",
        &format!("database={new_database}"),
        "--confirm",
        bk.instance(),
    ])
    .ok();
    let snapshots = zfs.snapshots(&dataset);
    assert_eq!(snapshots.len(), 1, "the set's snapshot is kept: {snapshots:?}");
    let clone = format!("{dataset}-clone");
    zfs.zfs(&["clone", &format!("{dataset}@{}", snapshots[0]), &clone]);
    let restored = zfs.files(&new_dataset);
    assert_eq!(listing(&zfs.files(&clone)), listing(&restored));

    let sequence = std::fs::read_to_string(restored.join("sequence")).unwrap();
    let in_files = sequence.lines().count();
    assert!(sequence.lines().enumerate().all(|(index, line)| line == (index + 1).to_string()), "{sequence}");
    let in_database: usize = {
        let row = postgres.sql(&new_database, "SELECT count(*) || ' ' || max(n) || ' ' || min(n) FROM seq");
        let numbers: Vec<usize> = row.split(' ').map(|number| number.parse().unwrap()).collect();
        assert_eq!((numbers[0], numbers[2]), (numbers[1], 1), "its numbers are not contiguous: {row}");
        numbers[0]
    };
    assert!(in_files > 1 && in_files < written.len(), "{in_files} of {}", written.len());
    assert!(in_database > 1 && in_database < written.len(), "{in_database} of {}", written.len());
    // The numbers are written one after the other, so their difference is the skew, seen from the data. Both points lie in
    // the capture: the number before was in both places when it ended, and the number after was not when it began.
    println!(
        "numbers in the files: {in_files}, in the database: {in_database}; skew as told: {} ms",
        manifest["skew-ms"]
    );
    let (began, ended) = (at(&outcome, "phase-started", "capture"), at(&outcome, "phase-ended", "capture"));
    for number in [in_files, in_database] {
        assert!(millis(written[number - 2]) <= ended, "number {number} was written after the capture");
        assert!(millis(written[number]) >= began, "number {} was written before the capture", number + 1);
    }
    assert!(manifest["skew-ms"].as_i64().unwrap() <= ended - began, "{manifest}");
    let everything = "SELECT count(*), md5(string_agg(id || m, ',' ORDER BY id)) FROM t";
    assert_eq!(postgres.sql(&database, everything), postgres.sql(&new_database, everything));

    // Other tools read what was written.
    let (out, dump) = (bk.path("out"), bk.path("dump"));
    for (part, into) in [("home", &out), ("database", &dump)] {
        std::fs::create_dir(into).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--zstd", "--xattrs", "--acls", "-xf"]).arg(bk.set(id).join(format!("{part}.tar.zst")));
        tool({
            tar.arg("-C").arg(into);
            tar
        });
    }
    assert_eq!(listing(&out), listing(&restored));
    let mut tables = Command::new("pg_restore");
    let toc = tool({
        let mut find = Command::new("find");
        find.arg(&dump).args(["-name", "toc.dat", "-printf", "%h"]);
        find
    });
    let tables = tool({
        tables.arg("-l").arg(toc.trim());
        tables
    });
    assert!(tables.contains("TABLE DATA public seq postgres"), "{tables}");
    zfs.destroy(&clone);

    // In place: never while the application runs.
    std::fs::write(files.join("a/b/7"), "spoiled").unwrap();
    let in_place = ["restore", id, "--part", "home", "--confirm", bk.instance()];
    bk.run(&in_place).fails(9, &["Bitbucket", "is running", "stop it"]);
    assert_eq!(std::fs::read_to_string(files.join("a/b/7")).unwrap(), "spoiled");
    simulator.stop();
    bk.run(&in_place).ok();
    assert_eq!(listing(&files), listing(&restored), "after a rollback");
    let in_place = ["restore", id, "--part", "database", "--confirm", bk.instance()];
    bk.run(&in_place).fails(9, &[&database, "exist"]);
    postgres.sql("postgres", &format!("DROP DATABASE \"{database}\""));
    bk.run(&in_place).ok();
    assert_eq!(postgres.sql(&database, "SELECT max(n) FROM seq"), in_database.to_string());
    bk.no_child_left();
}

#[test]
fn several_datasets_in_one_part() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let (one, two) = (zfs.create(&format!("{}-one", bk.instance())), zfs.create(&format!("{}-two", bk.instance())));
    std::fs::write(zfs.files(&one).join("f"), "1").unwrap();
    std::fs::write(zfs.files(&two).join("f"), "2").unwrap();
    bk.config(&["[application]\ntype = \"none\"\n", &zfs.part("home", &[&one, &two])]);
    let id = bk.backup_id();
    assert_eq!(zfs.snapshots(&one), zfs.snapshots(&two));
    let target = zfs.name(&format!("{}-restored", bk.instance()));
    bk.run(&["restore", &id, "--to", &target, "--confirm", bk.instance()]).ok();
    for dataset in [&one, &two] {
        let restored = format!("{target}/{}", dataset.rsplit('/').next().unwrap());
        assert_eq!(listing(&zfs.files(dataset)), listing(&zfs.files(&restored)));
    }
    // No clone is left of reading.
    assert_eq!(zfs.datasets(&zfs.name(bk.instance())).len(), 5);
}
