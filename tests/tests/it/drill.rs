//! Restores that are rehearsed: in scratch space, beside production and never in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bkhost_tests::{Bkhost, application_none, cell, directory_part, guests, listing, noise, tool, until, zfs};
use serde_json::Value;

fn sh(dir: &Path, script: &str) -> String {
    let mut command = Command::new("bash");
    command.args(["-euc", script]).current_dir(dir);
    tool(command)
}

/// An instance with one directory, and what `[drill]` says.
fn instance(keys: &str) -> (Bkhost, PathBuf) {
    let bk = Bkhost::new();
    let home = bk.path("home");
    std::fs::create_dir(&home).unwrap();
    sh(
        &home,
        "mkdir -p d/e empty; echo content > d/file; ln d/file d/hard; ln -s file d/link; mkfifo d/pipe; chmod 0 d/e
         setfattr -n user.note -v one d/file; truncate -s 2M sparse; chown 12:34 d/file; touch -d 2001-02-03 d empty",
    );
    std::fs::write(home.join("noise"), noise(1, 200_000)).unwrap();
    configure(&bk, keys);
    (bk, home)
}

fn configure(bk: &Bkhost, keys: &str) {
    let drill = format!("[drill]\n{keys}\n");
    bk.config(&[&application_none(), &directory_part("home", &bk.path("home")), &drill]);
}

/// What is below a directory that a drill may have used, but for its lock.
fn left(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

/// The records of this kind in the store.
fn records(bk: &Bkhost, kind: &str) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(bk.path("backups").join(bk.instance()).join("records")) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut ours: Vec<_> = paths.filter(|path| path.to_str().unwrap().contains(&format!(".{kind}."))).collect();
    ours.sort();
    ours.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

#[test]
fn a_tree_is_restored_compared_timed_recorded_and_removed() {
    let (bk, home) = instance("");
    let before = listing(&home);
    let id = bk.backup_id();
    // What is drilled is the set, and not what is there now.
    std::fs::write(home.join("later"), "x").unwrap();
    let after = listing(&home);
    let drilled = bk.run(&["drill", "--json"]).ok().json();
    assert_eq!((drilled["id"].as_str().unwrap(), drilled["ok"].as_bool().unwrap()), (id.as_str(), true), "{drilled}");
    let part = &drilled["parts"][0];
    assert_eq!((part["part"].as_str(), part["how"].as_str()), (Some("home"), Some("directory")), "{drilled}");
    let entries: u64 = sh(&home, "find . ! -name later | wc -l").trim().parse().unwrap();
    assert_eq!(part["compared"].as_u64(), Some(entries), "{drilled}");
    assert_eq!(left(&bk.state().join("drill")), [""; 0], "the scratch is removed");
    assert_eq!(listing(&home), after, "production is as it was");
    assert_ne!(before, after);
    let recorded = records(&bk, "drill");
    assert_eq!(recorded.len(), 1);
    assert_eq!((&recorded[0]["set"], &recorded[0]["ok"]), (&Value::from(id), &Value::from(true)));
    assert_eq!(recorded[0]["duration-ms"], drilled["restore-ms"]);
    // One part alone is no measure of a restore of all of it. (There is one here: it is all.)
    bk.run(&["drill", "latest", "--part", "home"]).ok();
    assert_eq!(records(&bk, "drill").len(), 2);
    bk.run(&["drill", "--part", "database"]).fails(13, &["no part `database`", "home"]);
    bk.run(&["drill", "20200101-000000-4f2a9c"]).fails(13, &["20200101-000000-4f2a9c"]);
}

/// Row 10: every set was proved, every byte is as it was written, and nobody knew that what was written was of no use.
#[test]
fn nobody_had_ever_restored() {
    let (bk, home) = instance("");
    sh(
        &home,
        "git init -q repo; cd repo; git config user.email a@example.org; git config user.name a
         for i in 1 2 3; do echo $i > f$i; git add .; git commit -qm $i; done
         object=$(git rev-parse HEAD:f2 | sed 's,^..,&/,'); chmod u+w .git/objects/$object; : > .git/objects/$object",
    );
    let id = bk.backup_id();
    bk.run(&["verify", &id]).ok();
    let check = bk.program("check-git", "git -C \"$BKHOST_DRILL_HOME/repo\" fsck --full 2>&1");
    // Without somebody who looks at what comes back, all seems well.
    bk.run(&["drill"]).ok();
    configure(&bk, &format!("check = [[\"{}\"]]", check.display()));
    let said = bk.run(&["drill"]).fails(6, &["check-git", "ended with status"]);
    assert!(said.stderr.contains("empty") || said.stderr.contains("corrupt"), "{said}");
    let recorded = records(&bk, "drill");
    let last = recorded.last().unwrap();
    assert_eq!((recorded.len(), &last["ok"]), (2, &Value::from(false)), "{last}");
    assert!(last["note"].as_str().unwrap().contains("check-git"), "{last}");
    let shown = bk.run(&["show", &id]).ok();
    let told = |kind: &str| shown.stdout.lines().filter(|line| line.starts_with(kind)).collect::<Vec<_>>();
    assert_eq!((told("verify ").len(), told("drill ").len()), (1, 2), "{shown}");
    assert!(told("drill ")[1].contains("FAILED: ") && told("drill ")[1].contains("check-git"), "{shown}");
    // The next one is good, and is drilled.
    sh(
        &home,
        "cd repo; rm -f .git/objects/*/* ; rm -rf .git; git init -q . ; git config user.email a@example.org
               git config user.name a; git add .; git commit -qm again",
    );
    bk.backup();
    bk.run(&["drill"]).ok();
    assert_eq!(left(&bk.state().join("drill")), [""; 0]);
}

/// Row 15: how long a restore takes is known before it is needed.
#[test]
fn the_restore_took_18_hours() {
    let (bk, _) = instance("");
    let id = bk.backup_id();
    assert_eq!(records(&bk, "drill").len(), 0);
    let drilled = bk.run(&["drill", "--json"]).ok().json();
    let took = drilled["restore-ms"].as_u64().unwrap();
    assert!(took > 0, "{drilled}");
    let recorded = records(&bk, "drill");
    assert_eq!(recorded[0]["duration-ms"].as_u64(), Some(took));
    assert_eq!(recorded[0]["set"], id.as_str());
    assert!(recorded[0]["detail"]["parts"][0]["restore-ms"].as_u64().unwrap() <= took);
    // `list` shows it, and, when there was a restore since, how long that took.
    let listed = || bk.run(&["list"]).ok().stdout;
    let shown = cell(&listed(), &id, "RESTORE");
    assert_ne!(shown, "-");
    assert_eq!(bk.run(&["list", "--json"]).ok().json()["sets"][0]["restore-ms"].as_u64(), Some(took));
    let to = bk.path("restored").display().to_string();
    bk.run(&["restore", &id, "--to", &to, "--confirm", bk.instance()]).ok();
    let restored = records(&bk, "restore")[0]["duration-ms"].as_u64();
    assert!(restored.is_some(), "a restore is timed too");
    assert_eq!(bk.run(&["list", "--json"]).ok().json()["sets"][0]["restore-ms"].as_u64(), restored);
}

#[test]
fn checks_see_what_was_restored_and_no_more() {
    let (bk, _) = instance("");
    let out = bk.path("out");
    let check = bk.program(
        "look",
        &format!(
            "echo \"$BKHOST_DRILL_SET|$BKHOST_DRILL_SCRATCH|$PWD|$1|$2\" > {0}; ls \"$BKHOST_DRILL_HOME\" >> {0}",
            out.display()
        ),
    );
    configure(&bk, &format!("check = [[\"{}\", \"a b\", \"$HOME\"]]", check.display()));
    let id = bk.backup_id();
    bk.run(&["drill"]).ok();
    let said = std::fs::read_to_string(out).unwrap();
    let scratch = said.split('|').nth(1).unwrap().to_owned();
    assert!(said.starts_with(&format!("{id}|{scratch}|{scratch}|a b|$HOME\n")), "no shell in between: {said}");
    assert!(said.contains("noise") && said.contains("sparse"), "{said}");
    assert!(!Path::new(&scratch).exists());
    configure(
        &bk,
        &format!("check = [[\"{}\"]]\ncheck-timeout = \"300ms\"", bk.program("hang", "sleep 60 & wait").display()),
    );
    bk.run(&["drill"]).fails(12, &["hang", "did not end within", "check-timeout"]);
    configure(&bk, "check = [[\"/nowhere/at-all\"]]");
    bk.run(&["drill"]).fails(6, &["/nowhere/at-all"]);
    assert_eq!(left(&bk.state().join("drill")), [""; 0]);
    // What cannot be removed now is still known to be ours afterwards.
    let stubborn = bk.program("stubborn", "chattr +i \"$BKHOST_DRILL_HOME/noise\"");
    configure(&bk, &format!("check = [[\"{}\"]]", stubborn.display()));
    bk.run(&["drill"]).fails(1, &["could not remove", "noise"]);
    sh(&bk.state(), "chattr -i drill/*/home/noise");
    configure(&bk, "");
    assert!(bk.run(&["drill"]).ok().stderr.contains("cut short"));
    assert_eq!(left(&bk.state().join("drill")), [""; 0]);
}

/// A drill that waits in a check of the operator's until it is told to go on, and what that check says of itself.
fn hanging() -> (Bkhost, PathBuf, PathBuf) {
    let (bk, _) = instance("");
    let scratch = bk.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let there = bk.path("there");
    let check = bk
        .program("wait", &format!("echo $$ > {0}.new; mv {0}.new {0}; setsid sleep 300 & sleep 300", there.display()));
    configure(&bk, &format!("scratch = \"{}\"\ncheck = [[\"{}\"]]", scratch.display(), check.display()));
    bk.backup();
    (bk, scratch, there)
}

fn is_gone(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn what_a_killed_drill_left_is_removed_by_the_next() {
    for next in ["drill", "recover"] {
        let (bk, scratch, there) = hanging();
        // Somebody else's, however much it looks like ours.
        let foreign = scratch.join(format!("bkhost-drill-{}-00000000", bk.instance()));
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join(".bkhost-scratch"), "drill-00000000").unwrap();
        let running = bk.spawn(&["drill"]);
        until("the check runs", Duration::from_secs(30), || there.exists());
        bk.run(&["drill"]).fails(10, &["drill"]);
        running.signal(rustix::process::Signal::KILL);
        let _ = running.end();
        let child = std::fs::read_to_string(&there).unwrap();
        assert_eq!(left(&scratch).len(), 2, "it was killed before it could remove anything");
        assert_eq!(records(&bk, "drill").len(), 0);
        if next == "drill" {
            configure(&bk, &format!("scratch = \"{}\"", scratch.display()));
        }
        let said = bk.run(&[next]).ok();
        assert!(said.stderr.contains("cut short"), "{said}");
        assert_eq!(left(&scratch), [foreign.file_name().unwrap().to_str().unwrap()]);
        assert!(foreign.join(".bkhost-scratch").exists());
        until("what it had started is gone", Duration::from_secs(5), || is_gone(&child));
        assert_eq!(left(&bk.state().join("drill")), [""; 0]);
    }
}

#[test]
fn an_interrupt_removes_everything_and_records_nothing() {
    let (bk, scratch, there) = hanging();
    let running = bk.spawn(&["drill"]);
    until("the check runs", Duration::from_secs(30), || there.exists());
    let child = std::fs::read_to_string(&there).unwrap();
    running.signal(rustix::process::Signal::INT);
    running.end().fails(11, &[]);
    assert!(is_gone(&child), "the check was ended");
    assert_eq!(left(&scratch), [""; 0]);
    assert_eq!(records(&bk, "drill").len(), 0);
}

#[test]
fn a_backup_is_neither_held_up_nor_hindered() {
    let (bk, _, there) = hanging();
    let running = bk.spawn(&["drill"]);
    until("the check runs", Duration::from_secs(30), || there.exists());
    bk.backup();
    bk.run(&["verify", "latest"]).ok();
    running.signal(rustix::process::Signal::INT);
    running.end().fails(11, &[]);
    assert_eq!(bk.list().len(), 2);
}

#[test]
fn it_does_not_work_in_production() {
    let (bk, home) = instance("");
    let id = bk.backup_id();
    std::fs::create_dir(home.join("scratch")).unwrap();
    std::os::unix::fs::symlink(home.join("scratch"), bk.path("link")).unwrap();
    let before = listing(&home);
    let inside = bk.path("backups").join(bk.instance());
    for scratch in [home.clone(), home.join("scratch"), bk.path("link"), inside, bk.set(&id)] {
        configure(&bk, &format!("scratch = \"{}\"", scratch.display()));
        bk.run(&["drill"]).fails(9, &["the drill's scratch", "belongs to", "[drill] scratch"]);
    }
    configure(&bk, &format!("scratch = \"{}\"", bk.path("nowhere").display()));
    bk.run(&["drill"]).fails(13, &["is not there", "mounted?"]);
    configure(&bk, "scratch = \"relative\"");
    bk.run(&["drill"]).fails(3, &["drill.scratch", "absolute"]);
    configure(&bk, "skip = [\"hom\"]");
    bk.run(&["drill"]).fails(3, &["drill.skip", "hom", "bkhost.toml"]);
    configure(&bk, "check = [[\"fsck\"]]");
    bk.run(&["drill"]).fails(3, &["drill.check", "absolute"]);
    configure(&bk, "check = [[]]");
    bk.run(&["drill"]).fails(3, &["names no program"]);
    configure(&bk, "");
    assert_eq!(listing(&home), before);
    bk.run(&["verify", &id]).ok();
    assert_eq!(records(&bk, "drill").len(), 0);
}

#[test]
fn too_little_room_is_noticed_before_anything_is_made() {
    let (mut bk, _) = instance("");
    bk.backup();
    let scratch = bk.path("small");
    std::fs::create_dir(&scratch).unwrap();
    configure(&bk, &format!("scratch = \"{}\"", scratch.display()));
    bk.wrap(&format!(
        r#"exec unshare --mount bash -c 'mount -t tmpfs -o size=64k tmpfs "{0}" || exit 99; "$@"' inside "$@""#,
        scratch.display()
    ));
    bk.run(&["drill"]).fails(9, &["free", "needs", "[drill] scratch"]);
    assert_eq!(left(&bk.state().join("drill")), [""; 0]);
}

/// A strategy of which nobody knows whether it restores does not let the drill pass for one that has shown it.
#[test]
fn what_cannot_be_rehearsed_is_told_unless_it_may_be_skipped() {
    let bk = Bkhost::new();
    let home = bk.path("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("file"), "x").unwrap();
    let guest = guests().join("holder.wasm");
    let mut sum = Command::new("sha256sum");
    sum.arg(&guest);
    let digest = tool(sum).split(' ').next().unwrap().to_owned();
    let held = format!(
        "[[part]]\nname = \"held\"\nplugin = \"{0}\"\n[[grant]]\nplugin = \"{0}\"\nsha256 = \"{digest}\"\n",
        guest.display()
    );
    let part = directory_part("home", &home);
    bk.config(&[&application_none(), &part, &held]);
    bk.backup();
    let said = bk.run(&["drill", "--json"]);
    assert_eq!(said.code, 3, "{said}");
    assert!(said.stdout.contains("cannot rehearse") && said.stdout.contains("[drill] skip"), "{said}");
    let recorded = records(&bk, "drill");
    assert_eq!(recorded[0]["ok"], false);
    assert_eq!(
        recorded[0]["detail"]["parts"][0]["ok"], true,
        "the other part was rehearsed all the same: {}",
        recorded[0]
    );
    // The part that can be, alone: all is well, but it is no measure for the whole.
    bk.run(&["drill", "--part", "home"]).ok();
    let recorded = records(&bk, "drill");
    assert_eq!((&recorded[1]["ok"], recorded[1].get("duration-ms")), (&Value::from(true), None));
    bk.config(&[&application_none(), &part, &held, "[drill]\nskip = [\"held\"]"]);
    let said = bk.run(&["drill"]).ok();
    assert!(said.stdout.contains("part held: not rehearsed"), "{said}");
    // Asked for by name it is not skipped.
    bk.run(&["drill", "--part", "held"]).fails(3, &["not rehearsed"]);
}

/// ZFS, as files and as streams: into a dataset below the one that the operator names, and nothing of it stays.
#[test]
fn datasets_are_rehearsed_in_one_of_their_own() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    let scratch = zfs.create(&format!("{}-scratch", bk.instance()));
    let foreign = zfs.create(&format!("{}-scratch/bkhost-drill-other-home", bk.instance()));
    std::fs::write(zfs.files(&dataset).join("noise"), noise(3, 100_000)).unwrap();
    let before = listing(&zfs.files(&dataset));
    for archive in ["files", "stream"] {
        let part = format!("{}archive = \"{archive}\"\n", zfs.part("home", &[&dataset]));
        bk.config(&[&application_none(), &part]);
        bk.backup();
        let said = bk.run(&["drill", "--json"]);
        assert_eq!(said.code, 3, "{said}");
        assert!(said.stdout.contains("drill-dataset"), "{said}");
        bk.config(&[&application_none(), &format!("{part}drill-dataset = \"{scratch}\"\n")]);
        let drilled = bk.run(&["drill", "--json"]).ok().json();
        let part = &drilled["parts"][0];
        assert_eq!(
            (part["how"].as_str(), part["findings"].as_array().map(Vec::len)),
            (Some("plugin"), Some(1)),
            "{drilled}"
        );
        // Files are compared one by one; a stream has ZFS's own identity.
        assert_eq!(part["compared"].as_u64(), Some(if archive == "files" { 2 } else { 0 }), "{drilled}");
        assert_eq!(zfs.datasets(&format!("{scratch}/")), [foreign.as_str()], "only what is somebody else's stays");
        assert_eq!(left(&bk.state().join("drill")), [""; 0]);
    }
    assert_eq!(listing(&zfs.files(&dataset)), before);
    // Something of the name that ours would have is not ours.
    let look_alike = zfs.create(&format!("{0}-scratch/bkhost-drill-{0}-home", bk.instance()));
    bk.run(&["drill"]).fails(9, &[&look_alike, "not made by a drill"]);
    assert!(zfs.datasets(&look_alike).contains(&look_alike));
    let part = zfs.part("home", &[&dataset]);
    bk.config(&[&application_none(), &format!("{part}drill-dataset = \"{dataset}/below\"\n")]);
    bk.run(&["drill"]).fails(3, &["drill-dataset", "which is backed up"]);
}

/// Objects that are not what they were: found before anything is restored, and the set counts as damaged from then on.
#[test]
fn a_damaged_set_is_not_rehearsed() {
    let (bk, _) = instance("");
    let id = bk.backup_id();
    let path = bk.set(&id).join("home.tar.zst");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    bk.run(&["drill"]).fails(8, &["home.tar.zst"]);
    assert_eq!(bk.list()[0], (id.clone(), "damaged".to_owned()));
    assert_eq!(records(&bk, "drill")[0]["ok"], false);
    assert_eq!(left(&bk.state().join("drill")), [""; 0]);
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    bk.run(&["verify", &id]).ok();
    assert_eq!(bk.list()[0], (id, "proved".to_owned()), "repaired");
}
