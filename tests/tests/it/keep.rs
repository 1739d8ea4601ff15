//! What is kept, what goes, and what nobody's clean-up may take.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bkhost_tests::{Bkhost, Outcome, Running, application_none, directory_part, noise, until, zfs};
use rustix::process::Signal;

/// Moves the clock of a process.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

fn at(clock: &str, mut command: Command) -> Outcome {
    assert!(Path::new(FAKETIME).exists(), "{FAKETIME} is missing: tests/scripts/install.sh installs it");
    command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", format!("@{clock}"));
    // What measures how long something takes is left alone.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Running::start(command, false).end()
}

/// Back up, by this clock.
#[track_caller]
fn backup_at(bk: &Bkhost, clock: &str) -> String {
    at(clock, bk.command(&["run", "--json"])).ok().json()["id"].as_str().unwrap().to_owned()
}

fn ids(bk: &Bkhost) -> Vec<String> {
    let mut ids: Vec<String> = bk.list().into_iter().map(|(id, _)| id).collect();
    ids.sort();
    ids
}

/// One part, and this `[retention]`.
fn instance(retention: &str) -> Bkhost {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    configure(&bk, retention);
    bk
}

fn configure(bk: &Bkhost, retention: &str) {
    let part = directory_part("home", &bk.path("home"));
    bk.config(&[&application_none(), &part, &format!("[retention]\n{retention}\n")]);
}

/// Row 5 of the table: proved sets are counted, and nothing else; retention runs after the new set is published, and never
/// goes under its minimum.
#[test]
fn the_tool_had_deleted_old_backups() {
    let bk = instance("keep-last = 2");
    let (old, first) = (bk.backup_id(), bk.backup_id());
    configure(&bk, "keep-last = 1");
    // Runs that fail delete nothing, however often: neither what the rules keep nor what they would let go.
    for _ in 0..3 {
        std::fs::remove_file(bk.path("home/f")).unwrap();
        bk.run(&["run"]).fails(8, &["empty"]);
        assert_eq!(ids(&bk), [old.as_str(), first.as_str()]);
        std::fs::write(bk.path("home/f"), "1").unwrap();
    }
    bk.run(&["prune", "--confirm", bk.instance()]).ok();
    assert_eq!(ids(&bk), [first.as_str()]);
    // A store of which nothing is left, such as the place where a disk was mounted, is told of.
    let (there, away) = (bk.path("backups"), bk.path("away"));
    std::fs::rename(&there, &away).unwrap();
    let told = bk.run(&["run"]).ok();
    assert!(told.stderr.contains("holds no earlier set of this instance, and run"), "{told}");
    std::fs::remove_dir_all(&there).unwrap();
    std::fs::rename(&away, &there).unwrap();
    // A damaged set is nobody's successor: the old one outlives it.
    configure(&bk, "keep-last = 2");
    let second = bk.backup_id();
    std::fs::write(bk.set(&second).join("home.tar.zst"), "damaged").unwrap();
    configure(&bk, "keep-last = 1");
    bk.run(&["prune", "--confirm", bk.instance()]).ok();
    assert_eq!(ids(&bk), [first.clone(), second.clone()]);
    let third = bk.backup_id();
    assert_eq!(ids(&bk), [second.clone(), third.clone()], "the proved one takes its place, and not before");
    // Whatever the rules say, so many of the newest stay.
    configure(&bk, "keep-within = \"1ms\"\nkeep-proved-min = 3");
    let fourth = bk.backup_id();
    let fifth = bk.backup_id();
    assert_eq!(ids(&bk), [&second, &third, &fourth, &fifth].map(String::clone));
    let sixth = bk.backup_id();
    assert_eq!(ids(&bk), [&second, &fourth, &fifth, &sixth].map(String::clone));
    let dry = bk.run(&["prune", "--keep-last", "1", "--keep-proved-min", "1", "--dry-run"]).ok();
    assert!(dry.stdout.contains(&format!("goes   {fourth}  kept by none of keep-last 1")), "{dry}");
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-proved-min", "0"]).fails(2, &["keep-proved-min"]);
}

#[test]
fn days_weeks_and_months() {
    let bk = instance("time-zone = \"UTC\"");
    let clocks = [
        "2025-11-30 12:00:00",
        "2025-12-31 12:00:00",
        "2026-01-01 10:00:00",
        "2026-01-01 23:00:00",
        "2026-01-02 01:00:00",
    ];
    let sets: Vec<String> = clocks.iter().map(|clock| backup_at(&bk, clock)).collect();
    let prune = |args: &[&str]| {
        let command = bk.command(&[&["prune", "--dry-run"], args].concat());
        let outcome = at("2026-01-02 02:00:00", command).ok();
        sets.iter()
            .map(|id| if outcome.stdout.contains(&format!("stays  {id}")) { 'K' } else { '-' })
            .collect::<String>()
    };
    assert_eq!(prune(&[]), "KKKKK");
    assert_eq!(prune(&["--keep-daily", "2"]), "---KK");
    assert_eq!(prune(&["--keep-daily", "9"]), "KK-KK");
    assert_eq!(prune(&["--keep-monthly", "3"]), "KK--K");
    assert_eq!(prune(&["--keep-yearly", "2"]), "-K--K");
    assert_eq!(prune(&["--keep-weekly", "2"]), "K---K", "the last day of the year is of the first week");
    assert_eq!(prune(&["--keep-hourly", "3"]), "--KKK");
    assert_eq!(prune(&["--keep-within", "1d"]), "--KKK");
    assert_eq!(prune(&["--keep-within", "4h"]), "---KK");
    assert_eq!(prune(&["--keep-within", "4h", "--keep-proved-min", "4"]), "-KKKK");
    // The same in another place, where the second of January has not come yet.
    assert_eq!(prune(&["--keep-daily", "2", "--set", "retention.time-zone=America/New_York"]), "-K--K");
    at("2026-01-02 02:00:00", bk.command(&["prune", "--confirm", bk.instance(), "--keep-monthly", "2"])).ok();
    assert_eq!(ids(&bk), [sets[1].clone(), sets[4].clone()]);
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-within", "soon"])
        .fails(3, &["--keep-within", "is no duration"]);
}

/// A run by a clock that was years ahead takes nobody's place, and one that was set back does not either.
#[test]
fn a_clock_that_jumps_makes_no_good_set_go() {
    let bk = instance("keep-within = \"7d\"");
    let good: Vec<String> = (0..2).map(|_| bk.backup_id()).collect();
    let future = backup_at(&bk, "2099-01-01 00:00:00");
    assert_eq!(ids(&bk), [good[0].clone(), good[1].clone(), future.clone()], "the others are not old for it");
    configure(&bk, "keep-last = 2");
    bk.run(&["prune", "--confirm", bk.instance()]).ok();
    assert_eq!(ids(&bk).len(), 3, "it does not count");
    let next = bk.backup_id();
    assert!(next > future, "ids stay in the order of the runs");
    assert_eq!(ids(&bk), [good[1].clone(), future, next]);
}

#[test]
fn pins() {
    let bk = instance("keep-last = 1");
    let first = bk.backup_id();
    let pinned = bk.run(&["keep", &first, "--note", "before the upgrade"]).ok();
    assert!(pinned.stdout.contains("is pinned"), "{pinned}");
    let second = bk.backup_id();
    assert_eq!(ids(&bk), [first.clone(), second.clone()]);
    let dry = bk.run(&["prune", "--dry-run"]).ok();
    assert!(
        dry.stdout.contains(&format!("stays  {first}  pinned by")) && dry.stdout.contains(": before the upgrade"),
        "{dry}"
    );
    // It can be restored like any other, and a record that nobody can read is no reason to delete.
    let records = bk.path("backups").join(bk.instance()).join("records");
    let record = std::fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&record).unwrap();
    std::fs::write(&record, &good[..good.len() / 2]).unwrap();
    std::fs::write(records.join("notes.txt"), "mine").unwrap();
    let pruned = bk.run(&["prune", "--confirm", bk.instance()]).ok();
    assert!(pruned.stdout.contains("cannot be read, and may be a pin"), "{pruned}");
    assert!(pruned.stderr.contains("notes.txt"), "{pruned}");
    std::fs::write(&record, &good).unwrap();

    bk.run(&["keep", &first, "--release"]).ok();
    let again = bk.run(&["unkeep", &first]).ok();
    assert!(again.stdout.contains("was not pinned"), "{again}");
    bk.run(&["keep", "latest"]).ok();
    bk.run(&["prune", "--confirm", bk.instance()]).ok();
    assert_eq!(ids(&bk), [second.as_str()]);
    bk.run(&["keep", &first]).fails(13, &[&first]);
    bk.run(&["unkeep", &first]).fails(13, &[&first]);
    bk.run(&["keep", "latest", "--note", "two\nlines"]).fails(3, &["note"]);
    // The records of a set go with it; what is none stays.
    bk.run(&["unkeep", "latest"]).ok();
    bk.run(&["keep", "latest"]).ok();
    let third = bk.backup_id();
    bk.run(&["unkeep", &second]).ok();
    std::fs::write(records.join(format!("{second}.verify.{}.json", "20260101T000000000Z")), "garbage").unwrap();
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(ids(&bk), [second.clone(), third.clone()], "a record of it cannot be read");
    std::fs::remove_file(records.join(format!("{second}.verify.20260101T000000000Z.json"))).unwrap();
    bk.run(&["prune", "--confirm", bk.instance()]).ok();
    assert_eq!(ids(&bk), [third]);
    let left: Vec<_> = std::fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
}

/// What is being read is not deleted, whichever host reads it; and a reader that died keeps nothing.
#[test]
fn a_set_in_use_stays() {
    let bk = instance("");
    let big = noise(1, 30 << 20);
    for n in 0..4 {
        std::fs::write(bk.path(&format!("home/{n}")), &big).unwrap();
    }
    let (first, second) = (bk.backup_id(), bk.backup_id());
    let marks = bk.path("backups").join(bk.instance()).join("in-use");
    // One that is being written is none yet.
    let is_mark = |entry: &std::io::Result<std::fs::DirEntry>| {
        !entry.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b".")
    };
    let marked = || std::fs::read_dir(&marks).map(|entries| entries.filter(is_mark).count()).unwrap_or_default();
    // A reader that hangs.
    let elsewhere = bk.path("another-state").display().to_string();
    let hanging = |arguments: &[&str]| {
        let mut reader = bk.spawn(arguments);
        until("it is marked", Duration::from_secs(20), || marked() == 1 || !reader.runs());
        reader.signal(Signal::STOP);
        assert!(reader.stops() && marked() == 1, "it was too quick for this test");
        let pruned = bk.run(&["--state", &elsewhere, "prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
        let stays = format!("stays  {first}  in use: {}, process {}", arguments[0], reader.pid());
        assert!(pruned.stdout.contains(&stays), "{pruned}");
        reader
    };
    let exporter = hanging(&["export", &first, "-o", &bk.path("one.tar").display().to_string()]);
    exporter.signal(Signal::CONT);
    exporter.end().ok();
    assert_eq!(marked(), 0);
    let reader = hanging(&["verify", &first, "--json"]);
    // It is killed, and its mark is nobody's any more.
    reader.signal(Signal::KILL);
    let _ = reader.end();
    assert_eq!(marked(), 1);
    let mark = std::fs::read_dir(&marks).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&mark).unwrap();
    // Another machine's process: nobody knows whether it lives, so its mark counts until it is old.
    let theirs = text.replace("\"machine\":\"", "\"machine\":\"another ");
    assert_ne!(text, theirs);
    std::fs::write(&mark, &theirs).unwrap();
    let pruned = bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert!(pruned.stdout.contains(&format!("stays  {first}  in use: verify")), "{pruned}");
    let token = mark.file_name().unwrap().to_str().unwrap().split('.').nth(1).unwrap().to_owned();
    std::fs::rename(&mark, marks.join(format!("{first}.{token}.20200101T000000Z.json"))).unwrap();
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(ids(&bk), [second.as_str()]);
    assert_eq!(marked(), 0, "what was forgotten is cleared away");
    // Somebody deletes it: a reader does not begin.
    let deleting = theirs.replace("\"what\":\"verify\"", "\"what\":\"prune\"");
    assert_ne!(deleting, theirs);
    let mut date = Command::new("date");
    date.args(["-u", "+%Y%m%dT%H%M%SZ"]);
    let soon = bkhost_tests::tool(date).trim().to_owned();
    std::fs::write(marks.join(format!("{second}.0123456789abcdef.{soon}.json")), deleting).unwrap();
    bk.run(&["verify", &second]).fails(10, &["is being deleted: prune"]);
    bk.run(&["keep", &second]).fails(10, &["is being deleted: prune"]);
}

/// Row 13 of the table: a run that fails removes what it made, and looks at nothing else.
#[test]
fn the_clean_up_of_a_failed_run_took_good_data() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    let files = zfs.files(&dataset);
    std::fs::write(files.join("f"), "1").unwrap();
    let home = bk.path("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("f"), "1").unwrap();
    let parts = [zfs.part("data", &[&dataset]), directory_part("home", &home)].concat();
    bk.config(&[&application_none(), &parts]);
    let good = bk.backup_id();
    // Everything around it looks like a rest of ours.
    let instance = bk.instance();
    for name in
        [format!("bkhost-{instance}-20200101-000000-abcdef"), format!("bkhost-{instance}-{good}x"), "manual".into()]
    {
        zfs.zfs(&["snapshot", &format!("{dataset}@{name}")]);
    }
    let store = bk.path("backups").join(instance);
    let strange = [
        store.join("20200101-000000-abcdef"), // a set's name, and not ours: no marker, and a file
        store.join("20200102-000000-abcdef.old"), // hardly a set's name
        store.join("in-progress"),
        store.join("home"),
    ];
    for dir in &strange {
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join("precious"), "mine").unwrap();
    }
    // A rest with somebody's file in it.
    let rest = store.join("20200103-000000-abcdef");
    std::fs::create_dir(&rest).unwrap();
    std::fs::write(rest.join("in-progress"), "{}").unwrap();
    std::fs::write(rest.join("precious"), "mine").unwrap();
    let before = (zfs.snapshots(&dataset), tree(&store), tree(&files), tree(&home));
    // It fails when the snapshots are taken and half is archived.
    std::fs::remove_file(home.join("f")).unwrap();
    for _ in 0..2 {
        bk.run(&["run"]).fails(8, &["`home` is empty"]);
    }
    std::fs::write(home.join("f"), "1").unwrap();
    assert_eq!((zfs.snapshots(&dataset), tree(&store), tree(&files), tree(&home)), before);
    // And one that is killed: what undoes it knows what it made.
    let mut run = bk.spawn(&["run", "--json"]);
    run.reaches("archive");
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    bk.run(&["recover"]).ok();
    let (snapshots, stored) = (zfs.snapshots(&dataset), tree(&store));
    // It may have been published in the last moment; what was there before is there.
    for name in &before.0 {
        assert!(snapshots.contains(name), "{name} is gone: {snapshots:?}");
    }
    for line in before.1.lines() {
        assert!(stored.contains(line), "{line} is gone: {stored}");
    }
    bk.run(&["verify", &good]).ok();
    // Somebody was quicker, and has a snapshot of the very name that the journal tells: it has not our tag.
    let real = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .chain(["/usr/sbin".into()])
        .map(|dir| dir.join("zfs"))
        .find(|path| path.is_file())
        .unwrap();
    let script = format!(
        "real={}\n[ \"$1\" != snapshot ] || {{ $real snapshot \"${{@: -1}}\"; echo 'dataset already exists' >&2; exit 1; }}\n\
         exec $real \"$@\"",
        real.display()
    );
    let programs = format!("[part.programs]\nzfs = \"{}\"\n", bk.program("zfs", &script).display());
    bk.config(&[&application_none(), &zfs.part("data", &[&dataset]), &programs]);
    let before = zfs.snapshots(&dataset);
    let failed = bk.run(&["run"]);
    assert_ne!(failed.code, 0, "{failed}");
    let theirs: Vec<String> = zfs.snapshots(&dataset).into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(theirs.len(), 1, "theirs stays: {theirs:?}, {failed}");
}

/// All files, with their content.
fn tree(dir: &Path) -> String {
    let mut find = Command::new("find");
    find.arg(dir).args(["-type", "f", "-not", "-name", "lease.json", "-exec", "sha256sum", "{}", "+"]);
    let mut lines: Vec<String> = bkhost_tests::tool(find).lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}
