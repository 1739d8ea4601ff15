//! What `check` finds, and the example.

use bkhost_tests::{Bkhost, Outcome, Simulator, application_none, listing, tool};

use super::{World, part, sh};
use crate::directory::hard_to_keep;

/// It failed so, and says all of this, with something to do.
#[track_caller]
fn said(outcome: &Outcome, code: i32, says: &[&str]) {
    assert_eq!(outcome.code, code, "{outcome}");
    let all = format!("{}{}", outcome.stdout, outcome.stderr);
    says.iter().for_each(|text| assert!(all.contains(text), "does not say `{text}`: {outcome}"));
    assert!(!all.contains("panicked"), "{outcome}");
}

#[test]
fn what_would_fail_is_found_before() {
    let world = World::new();
    std::fs::write(world.home.join("f"), "1").unwrap();
    let check = |part: &str, code: i32, says: &[&str]| {
        world.bk.config(&[&application_none(), part]);
        said(&world.bk.run(&["check"]), code, says);
    };
    let ours = part("home", &world.home, &world.stage, "");
    world.bk.config(&[&application_none(), &ours]);
    let fine = world.bk.run(&["check"]).ok();
    assert!(fine.stdout.contains("rsync") && fine.stdout.contains("MiB are free"), "{fine}");
    assert!(world.staged().is_empty(), "{:?}", world.staged());

    let fake = |name: &str, says: &str| {
        let program = world.bk.program(name, &format!("printf '{says}'"));
        format!("{ours}[part.programs]\nrsync = {program:?}\n")
    };
    let able = "Capabilities:\\n    hardlinks, ACLs, xattrs\\n";
    check(
        &fake("old", &format!("rsync  version 3.1.2  protocol version 31\\n{able}")),
        6,
        &["3.1.2", "too old", "3.1.3"],
    );
    check(
        &fake("plain", "rsync  version 3.2.7  protocol\\nCapabilities:\\n    hardlinks, no ACLs, no xattrs\\n"),
        6,
        &["without ACLs", "without extended attributes", "acls = false"],
    );
    check(&fake("other", "openrsync: protocol version 29\\n"), 6, &["openrsync", "[part.programs]"]);
    check(&format!("{ours}[part.programs]\nrsync = \"/nowhere/rsync\"\n"), 4, &["/nowhere"]);
    // Neither in the other, by whatever name.
    std::fs::create_dir(world.home.join("stage")).unwrap();
    check(&part("home", &world.home, &world.home.join("stage"), ""), 6, &["is in", "staging"]);
    std::os::unix::fs::symlink(world.home.join("stage"), world.bk.path("link")).unwrap();
    check(&part("home", &world.home, &world.bk.path("link"), ""), 6, &["is in", "staging"]);
    std::fs::create_dir_all(world.area().join("deep")).unwrap();
    check(&part("home", &world.area().join("deep"), &world.stage, ""), 6, &["is in", "staging"]);
    std::fs::remove_dir_all(world.area()).unwrap();
    check(&part("home", &world.bk.path("nothing"), &world.stage, ""), 6, &["does not exist"]);
    check(&part("home", &world.home, &world.bk.path("unmounted"), ""), 3, &["does not exist", "mounted"]);
    check(&part("home", &world.home, "stage".as_ref(), ""), 3, &["absolute"]);
    check(&part("home", &world.home, &world.stage, "exclude = [\"[a\"]"), 6, &["[a", "globs"]);
    check(&part("home", &world.home, &world.stage, "keep-copies = 0"), 3, &["keep-copies"]);
    check(&part("home", &world.home, &world.stage, "sharing = \"magic\""), 3, &["sharing"]);
    // Somebody else's directory where ours would be.
    std::fs::create_dir_all(world.stage.join(world.bk.instance())).unwrap();
    sh(&world.stage, "chmod 777 *");
    check(&ours, 4, &["nobody else may change"]);
    sh(&world.stage, "rm -r *; ln -s /tmp \"$NAME\"".replace("$NAME", world.bk.instance()).as_str());
    check(&ours, 4, &["nobody else may change"]);
}

#[test]
fn a_tree_that_is_suddenly_empty_is_refused() {
    let world = World::new();
    std::fs::write(world.home.join("f"), "1").unwrap();
    world.config("");
    let first = world.bk.backup_id();
    std::fs::remove_file(world.home.join("f")).unwrap();
    said(&world.bk.run(&["check"]), 6, &["is empty", "mounted"]);
    let _ = world.bk.run(&["run"]).fails(6, &["is empty"]);
    assert!(world.copy(&first).join("f").exists());
}

#[test]
fn a_zero_downtime_run_refuses_it() {
    let world = World::new();
    std::fs::write(world.home.join("f"), "1").unwrap();
    let simulator = Simulator::start(&[]);
    let part = part("home", &world.home, &world.stage, "");
    world.bk.config(&[&world.bk.application(&simulator, "zero-downtime = true"), &part]);
    for command in ["run", "plan", "check"] {
        world.bk.run(&[command]).fails(3, &["part `home`", "zero-downtime", "copies"]);
    }
}

/// Names that would be options, commands or patterns in other hands.
#[test]
fn names_that_attack() {
    let bk = Bkhost::new();
    let dir = bk.path("--rsh=x 'y' \"z\" ü $(touch pwned) *:?[a] \\");
    std::fs::create_dir(&dir).unwrap();
    let world = World::on(bk, &dir);
    hard_to_keep(&world.home);
    sh(
        &world.home,
        "touch -- '-e sh' '--delete' '*' '[a]' 'host:path' 'rsync:' '{}' ' ' '.~tmp~'; mkdir -- '--include=*' .rsync-filter",
    );
    std::fs::write(world.home.join(".cvsignore"), "*").unwrap();
    // Without `config`: the path has what TOML escapes.
    world.config("");
    for _ in 0..2 {
        let before = listing(&world.home);
        let set = world.bk.backup_id();
        assert_eq!(world.listing(&set), before);
        assert_eq!(world.restored(&set), before);
    }
    assert!(!world.bk.path("pwned").exists() && !world.area().join("pwned").exists());
}

/// What is mounted below is another file system's.
#[test]
fn one_file_system() {
    let world = World::new();
    let other = Bkhost::new();
    let fs = bkhost_tests::LoopFs::new(&world.home, "mounted", "ext4");
    std::fs::remove_file(world.home.join("mounted.img")).unwrap();
    std::fs::write(fs.point().join("theirs"), "x").unwrap();
    std::fs::write(world.home.join("ours"), "x").unwrap();
    for (one, theirs) in [("false", true), ("true", false)] {
        world.config(&format!("one-file-system = {one}\nchanges = \"warn\""));
        let set = world.bk.backup_id();
        let copy = world.copy(&set);
        assert_eq!((copy.join("ours").exists(), copy.join("mounted/theirs").exists()), (true, theirs));
    }
    drop(other);
}

/// Users who are not root have what they may read.
#[test]
fn as_another_user() {
    let world = World::new();
    sh(&world.home, "echo 1 >f; echo 2 >g; chmod 640 f; mkfifo fifo; ln f h; chown -R nobody:nogroup .");
    let dir = world.bk.path("");
    sh(&dir, "chmod 755 . fs fs/stage fs/home");
    let part = part("home", &world.home, &world.stage, "").replace("plugin =", "run-as = \"nobody\"\nplugin =");
    world.bk.config(&[&application_none(), &part]);
    let checked = world.bk.run(&["check"]).ok();
    assert!(format!("{}{}", checked.stdout, checked.stderr).contains("does not run as root"), "{checked}");
    for n in 0..2 {
        std::fs::write(world.home.join("new"), n.to_string()).unwrap();
        sh(&world.home, "chown nobody:nogroup new");
        let set = world.bk.backup_id();
        assert_eq!(world.restored(&set), listing(&world.home));
    }
}

#[test]
fn the_example() {
    let world = World::new();
    hard_to_keep(&world.home);
    sh(&world.home, "mkdir caches; echo x >caches/x; echo y >a.bak");
    let simulator = Simulator::start(&[]);
    let text = include_str!("../../../../host/examples/bitbucket-rsync.toml");
    let replaced = text
        .replace("name = \"bitbucket\"\n", &format!("name = {:?}\n", world.bk.instance()))
        .replace("\"http://127.0.0.1:7990\"", &format!("{:?}", simulator.url()))
        .replace("/etc/bkhost/bitbucket.password", world.bk.path("password").to_str().unwrap())
        .replace("\"/var/atlassian/application-data/bitbucket\"", &format!("{:?}", world.home))
        .replace("\"/srv/bkhost-staging\"", &format!("{:?}", world.stage))
        .replace("\"/backups\"", &format!("{:?}", world.bk.path("backups")));
    std::fs::write(world.bk.path("bkhost.toml"), replaced).unwrap();
    for _ in 0..2 {
        let set = world.bk.backup_id();
        let restored = world.restored(&set);
        assert!(!restored.contains("caches/x") && restored.contains("deep/er"), "{restored}");
    }
    let mut find = std::process::Command::new("find");
    find.arg(&world.stage).args(["-name", "x", "-path", "*caches*"]);
    assert_eq!(tool(find), "");
}
