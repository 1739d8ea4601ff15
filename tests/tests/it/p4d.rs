//! Perforce metadata: checkpoints and journals of a stand-in p4d, and the versioned files that belong to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bkhost_tests::{Bkhost, P4, application_none, directory_part, listing, until, zfs};
use rustix::process::Signal;
use serde_json::Value;

pub(super) fn server(root: &Path) -> P4 {
    P4::create(root, Path::new(env!("CARGO_BIN_EXE_standin-p4d")).parent().unwrap())
}

/// The part `metadata` for this server, with these further keys of its config.
fn part(p4: &P4, config: &str) -> String {
    let root = p4.root();
    format!(
        "[[part]]\nname = \"metadata\"\nplugin = \"p4d.wasm\"\n[part.config]\nroot = {root:?}\n{config}\n{}\n",
        p4.programs()
    )
}

/// A server whose journalPrefix leads to a directory of its own, and a bkhost for it.
fn usual(config: &str) -> (Bkhost, P4) {
    let bkhost = Bkhost::new();
    let p4 = server(&bkhost.path("root"));
    std::fs::create_dir(bkhost.path("ckp")).unwrap();
    p4.configure("journalPrefix", bkhost.path("ckp/p4_1").to_str().unwrap());
    configure(&bkhost, &p4, config);
    (bkhost, p4)
}

fn configure(bkhost: &Bkhost, p4: &P4, config: &str) {
    let ckp = bkhost.path("ckp");
    bkhost.config(&[&application_none(), &part(p4, &format!("checkpoints = {ckp:?}\n{config}"))]);
}

fn names(dir: PathBuf) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn state(manifest: &Value) -> &Value {
    &manifest["parts"][0]["snapshot"]["state"]
}

/// Restore the set's metadata into a new directory; the server there.
#[track_caller]
fn restored(bkhost: &Bkhost, p4: &P4, set: &str, name: &str) -> P4 {
    let to = bkhost.path(name);
    let target = format!("metadata={}", to.display());
    bkhost.run(&["restore", set, "--part", "metadata", "--to", &target, "--confirm", bkhost.instance()]).ok();
    assert!(!to.join("bkhost-restore").exists());
    p4.at(&to)
}

fn id(manifest: &Value) -> &str {
    manifest["id"].as_str().unwrap()
}

/// The MD5 of each text is recomputed from the archive, and p4d verifies each file; what it does not accept is damage.
#[test]
fn what_was_archived_is_checked_by_p4d_itself() {
    let (bkhost, p4) = usual("");
    p4.submit("//depot/main/file0.txt", b"first\n", true);
    bkhost.backup();
    p4.submit("//depot/main/file0.txt", b"second\n", true);
    let set = bkhost.backup();
    let before = listing(p4.root());
    let verified = bkhost.run(&["verify", id(&set), "--depth", "full", "--json"]).ok().json();
    let findings = verified["plugins"][0]["findings"].to_string();
    assert!(findings.contains("MD5") && findings.contains("p4d -jv is content"), "{verified}");
    assert!(findings.contains(".ckp.") && findings.contains(".jnl."), "all of it: {verified}");
    assert_eq!(listing(p4.root()), before, "the server was not touched");
    // A p4d that does not accept a journal.
    let refuses = bkhost.program(
        "refuses",
        "case \" $* \" in *' -jv '*.jnl.*) echo 'Perforce server error: Journal file replay failed at line 3!' >&2; exit 1;; esac
         exec \"$P4D\" \"$@\"",
    );
    let text = std::fs::read_to_string(bkhost.path("bkhost.toml")).unwrap();
    let (_, real) = text.split_once("p4d = \"").unwrap();
    let real = real.split('"').next().unwrap();
    let script = std::fs::read_to_string(&refuses).unwrap().replace("$P4D", real);
    std::fs::write(&refuses, script).unwrap();
    std::fs::write(bkhost.path("bkhost.toml"), text.replace(real, refuses.to_str().unwrap())).unwrap();
    bkhost.run(&["verify", id(&set), "--depth", "full"]).fails(8, &[".jnl.", "replay failed at line 3"]);
    bkhost.run(&["verify", id(&set), "--depth", "objects"]).ok();
}

/// The example, on a real ZFS: under continuous submits a checkpoint, then a journal on top of it.
#[test]
fn every_revision_of_the_restored_metadata_is_in_the_restored_depot() {
    let zfs = zfs();
    let bkhost = Bkhost::inside(zfs);
    let dataset = zfs.create(&format!("p4-{}", bkhost.instance()));
    let files = zfs.files(&dataset);
    let inside = zfs.zfs(&["get", "-H", "-o", "value", "mountpoint", &dataset]);
    let p4 = server(&files.join("root"));
    std::fs::create_dir(files.join("checkpoints")).unwrap();
    p4.configure("journalPrefix", &format!("{inside}/checkpoints/p4_1"));
    let example = include_str!("../../../host/examples/p4d-zfs.toml")
        .replace("\"perforce\"\n\n[application]", &format!("{:?}\n\n[application]", bkhost.instance()))
        .replace("run-as = \"perforce\"\n", "")
        .replace("/p4/1/", &format!("{inside}/"))
        .replace("tank/p4-depots", &dataset)
        .replace("\n[[part]]\nname = \"depot\"", &format!("\n{}\n[[part]]\nname = \"depot\"", p4.programs()))
        .replace("\"/backups\"", &format!("{:?}", bkhost.path("backups")));
    std::fs::write(bkhost.path("bkhost.toml"), &example).unwrap();

    let submitter = p4.submitter();
    let first = bkhost.backup();
    let between = submitter.count();
    let second = bkhost.backup();
    until("submits go on", Duration::from_secs(20), || submitter.count() > between + 20);
    drop(submitter);
    assert_eq!(state(&first)["base"], 1);
    assert_eq!((&state(&second)["base"], &state(&second)["sequence"]), (&Value::from(1), &Value::from(2)));
    for set in [&first, &second] {
        // Without the Z, which would come after further digits.
        let created =
            |n: usize| set["parts"][n]["snapshot"]["created"].as_str().unwrap().trim_end_matches('Z').to_owned();
        assert!(created(0) <= created(1), "{set}");
        assert_eq!(set["parts"][0]["before"], serde_json::json!(["disk", "other"]));
    }
    let seen = p4.records();

    // Everything changes.
    p4.submit("//depot/main/file0.txt", b"later\n", true);
    std::fs::remove_dir_all(files.join("root/depot/busy")).unwrap();
    std::fs::remove_file(files.join("root/db.rev")).unwrap();

    let mut counts = Vec::new();
    for (n, set) in [&first, &second].into_iter().enumerate() {
        let to = bkhost.path(&format!("metadata-{n}"));
        let depot = format!("{dataset}-restored-{n}");
        let targets = [format!("metadata={}", to.display()), format!("depot={depot}")];
        bkhost
            .run(&["restore", id(set), "--to", &targets[0], "--to", &targets[1], "--confirm", bkhost.instance()])
            .ok();
        let back = p4.at(&to);
        assert_eq!(back.verify(&zfs.files(&depot).join("root")), Vec::<String>::new());
        assert!(back.records().lines().all(|record| seen.contains(record)), "a record that never was");
        assert!(to.join("server.id").exists());
        counts.push(back.revisions());
        zfs.destroy(&depot);
    }
    assert!(counts[0] >= 10 && counts[1] > counts[0], "{counts:?}");
    zfs.destroy(&dataset);
}

#[test]
fn versioned_files_that_would_be_older_than_the_metadata_are_refused() {
    let bkhost = Bkhost::new();
    let p4 = server(&bkhost.path("root"));
    let depot = directory_part("depot", &p4.root().join("depot"));
    let between = directory_part("between", &p4.root().join("depot"));
    let after = |part: &str, name: &str| part.replace("plugin =", &format!("after = [\"{name}\"]\nplugin ="));
    bkhost.config(&[&application_none(), &part(&p4, ""), &depot]);
    for command in ["run", "check", "plan"] {
        let refused =
            bkhost.run(&[command]).fails(3, &["bkhost.toml", "`after` of part `depot`", "after = [\"metadata\"]"]);
        assert!(refused.stderr.contains("hint"), "{refused}");
    }
    assert_eq!(p4.asked(), 0);
    // By way of another part it comes after it, too.
    bkhost.config(&[&application_none(), &after(&depot, "between"), &after(&between, "metadata"), &part(&p4, "")]);
    let set = bkhost.backup();
    assert_eq!(set["parts"][2]["name"], "metadata");
    // Without any, the run says what is not in the set.
    bkhost.config(&[&application_none(), &part(&p4, "")]);
    let outcome = bkhost.run(&["run"]).ok();
    assert!(
        outcome.stderr.contains("files that it refers to are not in this set")
            || outcome.stdout.contains("files that it refers to are not in this set"),
        "{outcome}"
    );
}

#[test]
fn a_failed_checkpoint_is_an_error_says_what_is_left_and_is_not_tried_again() {
    let (bkhost, p4) = usual("timeout = \"2s\"");
    let ckp = bkhost.path("ckp");
    for (code, fault, says, advanced) in [
        (
            6,
            "fail-middle",
            &[
                "not tried again",
                "p4d goes on with journal 0, which was not rotated",
                "checkpoint failed",
                "without .md5",
            ][..],
            0,
        ),
        (6, "full", &["No space left on device", "p4_1.ckp.1 is there"], 0),
        (12, "hang", &["has not ended after 2s", "was not rotated"], 0),
        (8, "no-rotation", &["the journal's number is 0", "not 1"], 0),
        (
            8,
            "not-recorded",
            &["lastCheckpointAction tells of an older checkpoint", "goes on with journal 1 (it was 0"],
            1,
        ),
        (8, "truncated", &["the MD5 of its text is", "p4_1.ckp.2.md5 says"], 2),
        (8, "truncated-consistent", &["p4d -jv", "has no trailer"], 3),
        (8, "wrong-md5", &["the MD5 of its text is"], 4),
    ] {
        p4.fault(fault);
        let asked = p4.asked();
        let outcome = bkhost.run(&["run"]);
        let outcome = outcome.fails(code, says);
        assert_eq!(p4.asked(), asked + 1, "{fault}: {outcome}");
        assert_eq!(p4.database().sequence(), advanced, "{fault}");
        // What p4d completed stays, as it is p4d's; what it did not is gone.
        let expected = usize::try_from(advanced).unwrap();
        assert_eq!(names(ckp.clone()).len(), 3 * expected, "{fault}: {:?}", names(ckp.clone()));
        assert!(bkhost.stored().is_empty(), "{fault}: {:?}", bkhost.stored());
    }
    bkhost.no_child_left();
    p4.fault("");
    let set = bkhost.backup();
    assert_eq!(state(&set)["sequence"], 5);
    let back = restored(&bkhost, &p4, id(&set), "back");
    assert_eq!((back.records(), back.verify(p4.root())), (p4.records(), vec![]));
}

#[test]
fn a_run_that_is_killed_in_a_checkpoint_leaves_no_half_of_one() {
    let (bkhost, p4) = usual("");
    p4.fault("hang");
    let half = bkhost.path("ckp/p4_1.ckp.1");
    let mut run = bkhost.spawn(&["run"]);
    until("the checkpoint has begun", Duration::from_secs(30), || half.exists());
    run.signal(Signal::KILL);
    run.code();
    drop(run);
    bkhost.run(&["recover"]).ok();
    bkhost.no_child_left();
    assert!(names(bkhost.path("ckp")).is_empty());
    p4.fault("");
    // A half that is not ours is told, and stays.
    std::fs::write(&half, "somebody else's").unwrap();
    bkhost.run(&["run"]).fails(6, &["p4_1.ckp.1 is there already", "live journal is number 0", "move it away"]);
    assert_eq!(std::fs::read_to_string(&half).unwrap(), "somebody else's");
    assert_eq!(p4.asked(), 1);
    std::fs::remove_file(&half).unwrap();
    bkhost.backup();
}

#[test]
fn names_that_attack() {
    let bkhost = Bkhost::new();
    let root = bkhost.path("-r 'ro\"ot' $(touch pwned); ü\\");
    let p4 = server(&root);
    let ckp = bkhost.path("--ck \"pt\" 'ß'");
    std::fs::create_dir(&ckp).unwrap();
    let base = "-p4 = `id` *ä'\"";
    p4.configure("journalPrefix", ckp.join(base).to_str().unwrap());
    bkhost.config(&[&application_none(), &part(&p4, &format!("checkpoints = {ckp:?}\ncompress = \"both\""))]);
    let set = bkhost.backup();
    assert_eq!(names(ckp), [".ckp.1.gz", ".ckp.1.md5", ".jnl.0.gz"].map(|end| format!("{base}{end}")));
    let back = restored(&bkhost, &p4, id(&set), "ba ck 'ä'");
    assert_eq!(back.records(), p4.records());
    assert!(!bkhost.path("pwned").exists());
    // An option as a prefix, and a directory that was not named.
    bkhost.config(&[&application_none(), &part(&p4, "prefix = \"-jr\"")]);
    bkhost.run(&["run"]).fails(3, &["prefix"]);
    bkhost.config(&[&application_none(), &part(&p4, "prefix = \"/etc/p4\"")]);
    bkhost.run(&["run"]).fails(6, &["puts checkpoints into /etc", "checkpoints = \"/etc\""]);
    assert_eq!(p4.asked(), 1);
}

#[test]
fn two_instances_and_foreign_files_are_left_alone() {
    let (one, p4) = usual("remove-checkpoints = true");
    let two = Bkhost::new();
    let other = server(&two.path("root"));
    other.configure("journalPrefix", one.path("ckp/p4_12").to_str().unwrap());
    let ckp = one.path("ckp");
    let config = format!("checkpoints = {ckp:?}\nremove-checkpoints = true\n");
    for (bkhost, p4) in [(&one, &p4), (&two, &other)] {
        bkhost.config(&[&application_none(), &part(p4, &config), "[retention]\nkeep-last = 1\n"]);
    }
    // Look-alikes: of a run by hand, and a name that only begins like ours.
    p4.p4d(&["-jc"]);
    for name in ["p4_1.ckp.0", "p4_1.ckp.0.md5", "p4_1.ckp.2.old", "p4_1.ckp.2.md5.txt"] {
        std::fs::write(ckp.join(name), "foreign").unwrap();
    }
    let foreign = [
        "p4_1.ckp.0",
        "p4_1.ckp.0.md5",
        "p4_1.ckp.1",
        "p4_1.ckp.1.md5",
        "p4_1.ckp.2.md5.txt",
        "p4_1.ckp.2.old",
        "p4_1.jnl.0",
    ];
    let theirs = || names(ckp.clone()).into_iter().filter(|name| name.starts_with("p4_12.")).collect::<Vec<_>>();
    two.backup();
    let of_two = theirs();
    for _ in 0..3 {
        one.backup();
    }
    assert_eq!(one.list().len(), 1);
    let mut expected: Vec<String> = foreign.iter().map(|name| (*name).to_owned()).collect();
    expected.extend(of_two);
    // The newest checkpoint and its neighbours stay in any case.
    expected.extend(["p4_1.ckp.4", "p4_1.ckp.4.md5", "p4_1.jnl.3"].map(str::to_owned));
    expected.sort();
    assert_eq!(names(ckp), expected);
    // One that was changed since is not ours any more.
    let stays = one.path("ckp/p4_1.ckp.4");
    std::fs::write(&stays, "somebody's").unwrap();
    one.backup();
    assert_eq!(std::fs::read_to_string(&stays).unwrap(), "somebody's");
}

#[test]
fn checkpoints_stay_unless_the_operator_says_otherwise() {
    let (bkhost, p4) = usual("");
    bkhost.config(&[
        &application_none(),
        &part(&p4, &format!("checkpoints = {:?}", bkhost.path("ckp"))),
        "[retention]\nkeep-last = 1\n",
    ]);
    for _ in 0..3 {
        bkhost.backup();
    }
    assert_eq!(bkhost.list().len(), 1);
    assert_eq!(names(bkhost.path("ckp")).len(), 9, "{:?}", names(bkhost.path("ckp")));
}

#[test]
fn a_chain_of_journals_begins_anew_when_it_is_not_whole() {
    let (bkhost, p4) = usual("checkpoint-every = 3\ncompress = \"checkpoint\"");
    let run = |text: &str| {
        p4.submit("//depot/chain.txt", text.as_bytes(), true);
        let set = bkhost.backup();
        (state(&set)["base"].as_u64().unwrap(), state(&set)["sequence"].as_u64().unwrap(), set)
    };
    let steps: Vec<_> = (0..4).map(|n| run(&format!("{n}\n"))).collect();
    let numbers: Vec<_> = steps.iter().map(|(base, sequence, _)| (*base, *sequence)).collect();
    assert_eq!(numbers, [(1, 1), (1, 2), (1, 3), (4, 4)]);
    let back = restored(&bkhost, &p4, id(&steps[2].2), "third");
    assert_eq!(back.database().sequence(), 3);
    assert_eq!((back.verify(p4.root()), back.revisions()), (vec![], p4.revisions() - 1));

    // A journal of the chain is missing: a checkpoint is taken.
    assert_eq!(run("5\n").1, 5);
    std::fs::rename(bkhost.path("ckp/p4_1.jnl.4"), bkhost.path("jnl.4")).unwrap();
    assert_eq!(run("6\n").0, 6);
    // A journal that was damaged since fails the run that would put another on top of it, and only that one.
    assert_eq!(run("7\n").0, 6);
    let journal = bkhost.path("ckp/p4_1.jnl.6");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() / 2]).unwrap();
    bkhost.run(&["run"]).fails(8, &["p4d -jv", "p4_1.jnl.6"]);
    assert_eq!(run("8\n").0, 9);
}

#[test]
fn a_running_server_takes_its_checkpoint_when_it_is_asked() {
    let (bkhost, p4) = usual("");
    let (_server, port) = p4.serve();
    let secret = |user: &str, password: &str| {
        let password_file = bkhost.path("p4passwd");
        std::fs::write(&password_file, password).unwrap();
        std::fs::set_permissions(&password_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let config =
            format!("method = \"p4\"\nport = {port:?}\nuser = {user:?}\ncompress = \"both\"\ncheckpoint-every = 2");
        configure(&bkhost, &p4, &format!("{config}\n[part.secrets]\npassword = {{ file = {password_file:?} }}"));
    };
    secret("admin", "falsch");
    let outcome = bkhost.run(&["run"]).fails(6, &["P4PASSWD", "[part.secrets] password"]);
    assert!(!outcome.stderr.contains("falsch") && !outcome.stdout.contains("falsch"), "{outcome}");
    secret("dev", "x");
    bkhost.run(&["run"]).fails(6, &["user dev has the permission \"write\"", "super"]);
    secret("admin", "geheim");
    p4.option("md5-after-gz");
    let submitter = p4.submitter();
    let first = bkhost.backup();
    let second = bkhost.backup();
    drop(submitter);
    assert_eq!(
        (&state(&first)["base"], &state(&second)["base"], &state(&second)["sequence"]),
        (&1.into(), &1.into(), &2.into())
    );
    let back = restored(&bkhost, &p4, id(&second), "back");
    assert_eq!(back.verify(p4.root()), Vec::<String>::new());
    assert!(back.revisions() > 10);
}

#[test]
fn a_server_that_folds_case_is_told_so_every_time() {
    let (bkhost, p4) = usual("");
    p4.option("case-insensitive");
    bkhost.run(&["run"]).fails(6, &["Case-handling mismatch"]);
    configure(&bkhost, &p4, "case-handling = 1");
    bkhost.backup();
}

#[test]
fn a_restore_overwrites_nothing_and_leaves_nothing_when_it_fails() {
    let (bkhost, p4) = usual("");
    let set = bkhost.backup_id();
    let before = listing(p4.root());
    // The original place is not empty.
    bkhost.run(&["restore", &set, "--confirm", bkhost.instance()]).fails(9, &["is not empty"]);
    let to = bkhost.path("occupied");
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("db.rev"), "mine").unwrap();
    bkhost
        .run(&["restore", &set, "--to", to.to_str().unwrap(), "--confirm", bkhost.instance()])
        .fails(9, &["is not empty"]);
    assert_eq!((names(to.clone()).len(), std::fs::read_to_string(to.join("db.rev")).unwrap()), (1, "mine".into()));
    assert_eq!(listing(p4.root()), before);
    // p4d fails in the middle, says something else than it did, or finds the result broken.
    let real = p4.program("p4d");
    for (pattern, what, says) in [
        ("*' -jr '*", "\"$real\" \"$@\"; echo broken >&2; exit 1", "p4d -jr p4_1.ckp.1"),
        ("*' -jr '*", "exit 0", "has to end at 1"),
        ("*' -xv'*", "echo bad leaf >&2; exit 1", "bad leaf"),
    ] {
        let script = format!("real={real:?}\ncase \" $*\" in {pattern}) {what};; esac\nexec \"$real\" \"$@\"");
        let program = bkhost.program("p4d", &script);
        let text = std::fs::read_to_string(bkhost.path("bkhost.toml")).unwrap();
        std::fs::write(bkhost.path("other.toml"), text.replace(real.to_str().unwrap(), program.to_str().unwrap()))
            .unwrap();
        let to = bkhost.path("failed");
        let outcome = bkhost.run(&[
            "-c",
            "other.toml",
            "restore",
            &set,
            "--to",
            to.to_str().unwrap(),
            "--confirm",
            bkhost.instance(),
        ]);
        assert_ne!(outcome.code, 0, "{says}: {outcome}");
        assert!(outcome.stderr.contains(says), "{says}: {outcome}");
        assert!(!to.exists(), "{says}");
    }
    restored(&bkhost, &p4, &set, "failed");
}

#[test]
fn p4ds_own_user_takes_the_checkpoint() {
    let (bkhost, p4) = usual("");
    for dir in ["", "root", "ckp"] {
        std::fs::set_permissions(bkhost.path(dir), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut chown = std::process::Command::new("chown");
    chown.args(["-R", "nobody"]).args([bkhost.path("root"), bkhost.path("ckp")]);
    bkhost_tests::tool(chown);
    bkhost.run(&["run"]).fails(6, &["belongs to nobody", "run-as = \"nobody\""]);
    assert_eq!(p4.asked(), 0);
    let text = std::fs::read_to_string(bkhost.path("bkhost.toml")).unwrap();
    std::fs::write(
        bkhost.path("bkhost.toml"),
        text.replace("plugin = \"p4d.wasm\"", "plugin = \"p4d.wasm\"\nrun-as = \"nobody\""),
    )
    .unwrap();
    let set = bkhost.backup();
    let owner = |path: PathBuf| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert_ne!(owner(bkhost.path("ckp/p4_1.ckp.1")), 0);
    assert_ne!(owner(bkhost.path("root/journal")), 0);
    // A target that is root's is refused before p4d is asked; one of its user's is filled.
    let to = bkhost.path("back");
    bkhost
        .run(&["restore", id(&set), "--to", to.to_str().unwrap(), "--confirm", bkhost.instance()])
        .fails(4, &["p4d may not write into the target", "install -d -o"]);
    std::fs::create_dir(&to).unwrap();
    std::os::unix::fs::chown(&to, Some(owner(bkhost.path("root/journal"))), None).unwrap();
    restored(&bkhost, &p4, id(&set), "back");
    assert_ne!(owner(to.join("db.rev")), 0);
}

/// p4d's lock lasts as long as its checkpoint. What bkhost adds to that is the start of a process and a few looks.
#[test]
fn bkhost_adds_little_to_p4ds_own_lock() {
    let (bkhost, p4) = usual("");
    for slow in [400, 800] {
        // A checkpoint in the second of the last one is waited for: p4d could not tell the two apart.
        std::thread::sleep(Duration::from_millis(1100));
        p4.fault(&format!("slow:{slow}"));
        let events = bkhost.run(&["run", "--json"]).ok().events();
        let ended = |event: &&Value| event["event"] == "phase-ended" && event["phase"] == "capture";
        let capture = events.iter().find(ended).unwrap()["millis"].as_u64().unwrap();
        let p4d = state(events.last().unwrap())["took-ms"].as_u64().unwrap();
        println!("p4d -jc with {slow} ms of work: {p4d} ms, the capture {capture} ms");
        assert!(p4d >= slow && capture >= p4d && capture < p4d + 1000, "{p4d} {capture}");
    }
}
