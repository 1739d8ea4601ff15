//! What a restore refuses, before it touches anything.

use std::process::Command;

use bkhost_tests::{Bkhost, Running, application_none, directory_part, listing, postgres, zfs};

/// An instance with a directory and one set of it.
fn backed_up() -> (Bkhost, String) {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/file"), "content").unwrap();
    bk.config(&[&application_none(), &directory_part("home", &bk.path("home"))]);
    let id = bk.backup_id();
    (bk, id)
}

#[test]
fn a_target_that_is_not_empty() {
    let (bk, id) = backed_up();
    let target = bk.path("target");
    let to = target.display().to_string();
    let restore = ["restore", &id, "--to", &to, "--confirm", bk.instance()];
    std::fs::create_dir(&target).unwrap();
    for name in [".dot", "file", "..."] {
        std::fs::write(target.join(name), "mine").unwrap();
        bk.run(&restore).fails(9, &["not empty", name, "hint: restore into an empty directory"]);
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(target.join(name)).unwrap(), "mine");
        std::fs::remove_file(target.join(name)).unwrap();
    }
    std::fs::remove_dir(&target).unwrap();
    std::fs::write(&target, "a file").unwrap();
    bk.run(&restore).fails(9, &["cannot restore into", &to]);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "a file");
    std::fs::remove_file(&target).unwrap();
    // The original place is full too.
    bk.run(&["restore", &id, "--confirm", bk.instance()]).fails(9, &["not empty", "`file`"]);
    // A target that is not there, below one that is not there, is made.
    let deep = bk.path("not/there").display().to_string();
    bk.run(&["restore", &id, "--to", &deep, "--confirm", bk.instance()]).ok();
    assert_eq!(listing(&bk.path("home")), listing(&bk.path("not/there")));
}

#[test]
fn an_existing_database_and_dataset() {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let database = bk.instance().to_owned();
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    postgres.create(&database, 10);
    let other = format!("{database}-other");
    postgres.create(&other, 3);
    bk.config(&[&application_none(), &zfs.part("home", &[&dataset]), &postgres.part("database", &database, "")]);
    let id = bk.backup_id();
    let before =
        (postgres.databases(bk.instance()), zfs.zfs(&["list", "-H", "-t", "all", "-o", "name", "-r", &dataset]));
    let restore =
        |part: &str, to: &str| bk.run(&["restore", &id, "--part", part, "--to", to, "--confirm", bk.instance()]);
    restore("database", &other).fails(9, &[&other, "exist"]);
    assert_eq!(postgres.sql(&other, "SELECT count(*) FROM t"), "3");
    restore("home", &dataset).fails(9, &[&dataset, "exist"]);
    // A name that is none, and one that would be an option.
    restore("home", "-r").fails(2, &["unexpected argument"]);
    restore("home", &zfs.name("a&b")).fails(3, &["invalid dataset name", "--to names a dataset"]);
    let after =
        (postgres.databases(bk.instance()), zfs.zfs(&["list", "-H", "-t", "all", "-o", "name", "-r", &dataset]));
    assert_eq!(before, after, "nothing was made or removed");
    bk.no_child_left();
}

#[test]
fn without_the_right_confirmation() {
    let (bk, id) = backed_up();
    let to = bk.path("target").display().to_string();
    bk.run(&["restore", &id, "--to", &to, "--confirm", "production"])
        .fails(9, &["`production` is not the instance's name", "nothing was restored", "--confirm"]);
    bk.run(&["restore", &id, "--to", &to])
        .fails(9, &["has to be confirmed", "no terminal", &format!("--confirm {}", bk.instance())]);
    assert!(!bk.path("target").exists());
}

/// Type `answer` into a restore that asks on a terminal.
fn typed(bk: &Bkhost, id: &str, to: &str, answer: &str) -> bkhost_tests::Outcome {
    let command = bk.command(&["restore", id, "--to", to]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect::<Vec<_>>().join(" ");
    // script(1) makes the terminal.
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(bk.path("")).env_clear();
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = Running::start(script, true);
    running.says("Type the instance's name");
    running.write(&format!("{answer}\n"));
    running.end()
}

#[test]
fn a_terminal_is_asked() {
    let (bk, id) = backed_up();
    let to = bk.path("target").display().to_string();
    let refused = typed(&bk, &id, &to, "yes");
    assert_eq!(refused.code, 9, "{refused}");
    assert!(refused.stdout.contains("`yes` is not the instance's name"), "{refused}");
    assert!(!bk.path("target").exists());
    let done = typed(&bk, &id, &to, bk.instance());
    assert_eq!(done.code, 0, "{done}");
    assert_eq!(listing(&bk.path("home")), listing(&bk.path("target")));
}

#[test]
fn unknown_sets_and_parts() {
    let (bk, id) = backed_up();
    let confirm = ["--confirm", bk.instance()];
    let run = |args: &[&str]| bk.run(&[args, &confirm].concat());
    run(&["restore", "20200101-000000-abcdef"]).fails(13, &["20200101-000000-abcdef", "bkhost list"]);
    run(&["restore", "../../etc"]).fails(3, &["../../etc"]);
    run(&["restore", &id, "--part", "datbase"]).fails(13, &["no part `datbase`", "its parts are: home"]);
    run(&["restore", &id, "--to", "datbase=/x", "--to", "home=/y"]).fails(3, &["`--to datbase=/x` is for no part"]);
    run(&["restore", &id, "--to", "/x", "--to", "home=/y"]).fails(3, &["two targets"]);
    for command in ["show", "verify"] {
        bk.run(&[command, "20200101-000000-abcdef"]).fails(13, &["has no set 20200101-000000-abcdef"]);
        bk.run(&[command, "nonsense"]).fails(3, &["nonsense"]);
    }
    let empty = Bkhost::new();
    std::fs::create_dir(empty.path("backups")).unwrap();
    std::fs::create_dir(empty.path("home")).unwrap();
    empty.config(&[&application_none(), &directory_part("home", &empty.path("home"))]);
    empty.run(&["show", "latest"]).fails(13, &["no proved set"]);
}
