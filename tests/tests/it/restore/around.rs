//! Where a restore to the original place may happen, and what happens around it.

use std::time::{Duration, Instant};

use bkhost_tests::{
    Bkhost, Outcome, Postgres, Running, Simulator, application_none, directory_part, listing, postgres,
};

use super::{backed_up, names};

/// The same instance on another machine: one with another name and another `/etc/machine-id`.
fn elsewhere(bk: &Bkhost, args: &[&str]) -> Outcome {
    let id = bk.path("machine-id");
    std::fs::write(&id, "0123456789abcdef0123456789abcdef\n").unwrap();
    let command = bk.command(args);
    let mut wrapped = std::process::Command::new("unshare");
    wrapped.args(["--mount", "--uts", "bash", "-euc"]);
    wrapped.arg("hostname elsewhere; mount --bind \"$0\" /etc/machine-id; exec \"$@\"").arg(id);
    wrapped.arg(command.get_program()).args(command.get_args()).current_dir(bk.path("")).env_clear();
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Running::start(wrapped, false).end()
}

/// In 2017 the data directory was removed on the primary instead of the secondary: in one window among many.
#[test]
fn rm_rf_on_the_wrong_host() {
    let (bk, id) = backed_up(&["home"]);
    let original = listing(&bk.path("home"));
    let in_place = ["restore", &id, "--confirm", bk.instance()];
    // What is there is not overwritten anyway; and an empty directory is not filled on the wrong machine.
    bk.run(&in_place).fails(9, &["not empty"]);
    std::fs::rename(bk.path("home"), bk.path("moved")).unwrap();
    let refused =
        elsewhere(&bk, &in_place).fails(9, &["the original place of set", "this is elsewhere", "--accept-fingerprint"]);
    assert!(!bk.path("home").exists(), "{refused}");
    let planned = elsewhere(&bk, &["restore", &id, "--plan"]);
    assert!(planned.code == 9 && planned.stdout.contains("REFUSED as things stand: the original place"), "{planned}");
    // Single files go back to where they came from on the same terms.
    elsewhere(&bk, &[&in_place[..], &["--path", "file"]].concat()).fails(9, &["the original place of set"]);
    // Another place is no question.
    let to = bk.path("out").display().to_string();
    elsewhere(&bk, &["restore", &id, "--to", &to, "--confirm", bk.instance()]).ok();
    // The name that is typed is not enough, nor is any fingerprint: it has to be that of this machine.
    elsewhere(&bk, &[&in_place[..], &["--accept-fingerprint", "00000000"]].concat()).fails(9, &["the original place"]);
    let (_, hint) = refused.stderr.split_once("--accept-fingerprint ").unwrap();
    let fingerprint = hint.split_whitespace().next().unwrap();
    bk.run(&["restore", &id, "--confirm", "staging"]).fails(9, &["`staging` is not the instance's name"]);
    elsewhere(&bk, &[&in_place[..], &["--accept-fingerprint", fingerprint]].concat()).ok();
    assert_eq!(listing(&bk.path("home")), original);
    // And on the right one nothing has to be said.
    std::fs::remove_dir_all(bk.path("home")).unwrap();
    bk.run(&in_place).ok();
    assert_eq!(listing(&bk.path("home")), original);
}

/// Nor are sets deleted there, whoever has the wrong window open.
#[test]
fn sets_are_not_deleted_on_the_wrong_host() {
    let (bk, _) = backed_up(&["home"]);
    bk.backup();
    let prune = ["prune", "--keep-last", "1"];
    bk.run(&prune).fails(9, &["has to be confirmed", "nothing was deleted", "--confirm"]);
    bk.run(&[&prune[..], &["--confirm", "staging"]].concat())
        .fails(9, &["`staging` is not the instance's name", "nothing was deleted"]);
    let confirmed = [&prune[..], &["--confirm", bk.instance()]].concat();
    let refused = elsewhere(&bk, &confirmed).fails(9, &["was not made here", "this is elsewhere"]);
    let dry = elsewhere(&bk, &[&prune[..], &["--dry-run"]].concat()).ok();
    assert!(dry.stderr.contains("this would be refused") && dry.stdout.contains("goes"), "{dry}");
    elsewhere(&bk, &[&confirmed[..], &["--accept-fingerprint", "00000000"]].concat()).fails(9, &["was not made here"]);
    assert_eq!(bk.list().len(), 2);
    // Where nothing goes there is nothing to refuse.
    elsewhere(&bk, &["prune", "--keep-last", "2", "--confirm", bk.instance()]).ok();
    let (_, hint) = refused.stderr.split_once("--accept-fingerprint ").unwrap();
    let fingerprint = hint.split_whitespace().next().unwrap();
    elsewhere(&bk, &[&confirmed[..], &["--accept-fingerprint", fingerprint]].concat()).ok();
    assert_eq!(bk.list().len(), 1);
}

/// The name, the address and the port are the same, and the server is another one.
#[test]
fn the_database_server_is_another_one() {
    let (right, wrong, bk) = (postgres(), Postgres::start(None, &[]), Bkhost::new());
    right.create(bk.instance(), 10);
    bk.config(&[&application_none(), &right.part("database", bk.instance(), "")]);
    let set = bk.backup();
    let system = right.sql("postgres", "SELECT system_identifier FROM pg_control_system()");
    assert_eq!(set["parts"][0]["identity"], system.as_str(), "{set}");
    let id = set["id"].as_str().unwrap();
    bk.config(&[&application_none(), &wrong.part("database", bk.instance(), "")]);
    let in_place = ["restore", id, "--confirm", bk.instance()];
    let refused = bk.run(&in_place).fails(9, &["part `database` was made of the system", &system]);
    assert_eq!(wrong.databases(bk.instance()), [""; 0]);
    // Another name there is another place, and said in so many words.
    let other = format!("{}-2", bk.instance());
    bk.run(&["restore", id, "--to", &other, "--confirm", bk.instance()]).ok();
    let (_, hint) = refused.stderr.split_once("--accept-fingerprint ").unwrap();
    let fingerprint = hint.split_whitespace().next().unwrap();
    bk.run(&[&in_place[..], &["--accept-fingerprint", fingerprint]].concat()).ok();
    assert_eq!(wrong.sql(bk.instance(), "SELECT count(*) FROM t"), "10");
    // And on the right one nothing has to be said.
    bk.config(&[&application_none(), &right.part("database", bk.instance(), "")]);
    right.drop(bk.instance());
    bk.run(&in_place).ok();
    assert_eq!(right.sql(bk.instance(), "SELECT count(*) FROM t"), "10");
}

/// Only the strategy knows whether a database is there. It is asked before files are brought back, and not after.
#[test]
fn a_database_in_the_way_is_known_before_files_are_back() {
    let (server, bk) = (postgres(), Bkhost::new());
    server.create(bk.instance(), 10);
    let home = bk.path("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("file"), "content").unwrap();
    // Captured last, and so the first to come back.
    let files = directory_part("home", &home).replacen("[part.config]", "after = [\"database\"]\n[part.config]", 1);
    let database = server.part("database", bk.instance(), "");
    let configure = |more: &str| bk.config(&[&application_none(), &database, &files, more]);
    configure("");
    let id = bk.backup_id();
    std::fs::remove_dir_all(&home).unwrap();
    let planned = bk.run(&["restore", &id, "--plan"]);
    assert!(planned.code == 9 && planned.stdout.contains("REFUSED as things stand: part `database`"), "{planned}");
    let in_place = ["restore", &id, "--confirm", bk.instance()];
    let exists = format!("database {} exists", bk.instance());
    bk.run(&in_place).fails(9, &["part `database`", &exists]);
    assert!(!home.exists());
    // What the operator's commands do about it counts, and is looked at when they are done.
    configure(&format!("[restore]\nbefore = [[\"{}\"]]\n", bk.program("nothing", "true").display()));
    bk.run(&in_place).fails(9, &[&exists]);
    assert!(!home.exists());
    let rename = format!(
        "psql -qX -h '{}/sock' -U postgres -d postgres -c 'DROP DATABASE \"{}\"'",
        server.place().display(),
        bk.instance()
    );
    configure(&format!("[restore]\nbefore = [[\"{}\"]]\n", bk.program("drop", &rename).display()));
    bk.run(&in_place).ok();
    assert_eq!(server.sql(bk.instance(), "SELECT count(*) FROM t"), "10");
    assert!(home.join("file").exists());
    let names = std::fs::read_dir(bk.state().join(bk.instance())).into_iter().flatten().flatten();
    assert!(!names.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("foresight")));
}

#[test]
fn the_application_is_another_one_or_runs() {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/file"), "content").unwrap();
    let simulator = Simulator::start(&["--drain", "10ms"]);
    let part = directory_part("home", &bk.path("home"));
    bk.config(&[&bk.application(&simulator, ""), &part]);
    let id = bk.backup_id();
    std::fs::remove_dir_all(bk.path("home")).unwrap();
    let in_place = ["restore", &id, "--confirm", bk.instance()];
    bk.run(&in_place).fails(9, &["is running", "stop it"]);
    // It is the same place by its name, and by another one.
    std::os::unix::fs::symlink(bk.path(""), bk.path("link")).unwrap();
    for home in ["home", "link/home", "home/below"] {
        let to = bk.path(home).display().to_string();
        bk.run(&[&in_place[..], &["--to", &to]].concat()).fails(9, &["is running", "stop it"]);
    }
    // Another URL is another application, whether it runs or not.
    bk.config(&[&application_none(), &part]);
    bk.run(&in_place).fails(9, &["its application was http://", "configured here is none", "--accept-fingerprint"]);
    assert!(!bk.path("home").exists());
}

#[test]
fn services_are_stopped_before_and_started_after() {
    let (bk, id) = backed_up(&["home"]);
    let log = bk.path("log");
    let note = bk.program(
        "note",
        &format!(
            "echo \"$* $BKHOST_INSTANCE $([ -e '{}' ] && echo there)\" >> '{}'",
            bk.path("home").display(),
            log.display()
        ),
    );
    let note = note.display();
    let failing = bk.program("failing", "exit 3");
    let failing = failing.display();
    let part = directory_part("home", &bk.path("home"));
    let configure = |restore: &str| bk.config(&[&application_none(), &part, &format!("[restore]\n{restore}\n")]);
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    configure(&format!(
        "before = [[\"{note}\", \"stop\"], [\"{note}\", \"stop too\"]]\nafter = [[\"{note}\", \"start\"]]"
    ));
    // Not for another place.
    let to = bk.path("out").display().to_string();
    bk.run(&["restore", &id, "--to", &to, "--confirm", bk.instance()]).ok();
    assert_eq!(logged(), "");
    std::fs::remove_dir_all(bk.path("home")).unwrap();
    let in_place = ["restore", &id, "--confirm", bk.instance()];
    let planned = bk.run(&["restore", &id, "--plan"]).ok();
    let at = |text: &str| planned.stdout.find(text).unwrap_or_else(|| panic!("{text}: {planned}"));
    assert!(
        at(&format!("runs {note} stop\n")) < at("part home to")
            && at("part home to") < at(&format!("runs {note} start\n"))
    );
    bk.run(&in_place).ok();
    let instance = bk.instance();
    assert_eq!(logged(), format!("stop {instance} \nstop too {instance} \nstart {instance} there\n"));
    // One that fails stops it before anything is touched, and what comes after is not run, or is.
    for (always, ran) in [(false, ""), (true, "start")] {
        std::fs::remove_dir_all(bk.path("home")).unwrap();
        std::fs::remove_file(&log).unwrap();
        std::fs::write(&log, "").unwrap();
        configure(&format!("before = [[\"{failing}\"]]\nafter = [[\"{note}\", \"start\"]]\nalways = {always}"));
        bk.run(&in_place).fails(6, &["failing", "status 3"]);
        assert!(!bk.path("home").exists());
        assert_eq!(logged().split(' ').next(), Some(ran));
        configure("");
        bk.run(&in_place).ok();
    }
    for (wrong, says) in [
        ("before = [[]]", "must name a program"),
        ("after = [[\"systemctl\", \"start\"]]", "absolute path"),
        ("timeout = \"0s\"", "must not be 0"),
        ("befor = []", "before"),
    ] {
        configure(wrong);
        bk.run(&["check"]).fails(3, &["bkhost.toml:", says]);
    }
}

/// The times at which it said that it waits, by its own clock.
fn waits(outcome: &Outcome) -> Vec<u64> {
    let waiting = outcome.events().into_iter().filter(|event| event["event"] == "waiting");
    waiting.map(|event| event["elapsed-ms"].as_u64().unwrap()).collect()
}

/// Ten silent minutes look like a hang, and somebody presses Ctrl-C.
#[test]
fn silent_for_ten_minutes() {
    let (bk, id) = backed_up(&["home"]);
    let part = directory_part("home", &bk.path("home"));
    std::fs::remove_dir_all(bk.path("home")).unwrap();
    bk.config(&[&application_none(), &part, "[restore]\nbefore = [[\"/bin/sleep\", \"11\"]]\ntimeout = \"60s\"\n"]);
    let stalled = bk.run(&["restore", &id, "--confirm", bk.instance(), "--json"]).ok();
    assert!(stalled.stdout.contains("`/bin/sleep 11` to end"), "{stalled}");
    let waits = waits(&stalled);
    assert!(waits.len() >= 2 && waits.windows(2).all(|pair| pair[1] - pair[0] <= 5000), "{waits:?}");
}

#[test]
fn a_tool_that_stalls_is_named_and_can_be_cancelled() {
    let bk = Bkhost::new();
    let postgres = postgres();
    let database = bk.instance().to_owned();
    postgres.create(&database, 10);
    bk.config(&[&application_none(), &postgres.part("database", &database, "")]);
    let id = bk.backup_id();
    let stalls =
        bk.program("pg_restore", "case \" $*\" in *--version*) exec /usr/bin/pg_restore \"$@\";; esac\nsleep 300");
    let text = std::fs::read_to_string(bk.path("bkhost.toml")).unwrap();
    let programs = format!("[part.programs]\npg_restore = \"{}\"\n[[store]]", stalls.display());
    std::fs::write(bk.path("bkhost.toml"), text.replacen("[[store]]", &programs, 1)).unwrap();
    let to = format!("{database}-2");
    let mut restore = bk.spawn(&["restore", &id, "--to", &to, "--confirm", bk.instance(), "--json"]);
    let waiting = restore.says("to be restored by postgresql");
    assert!(waiting.contains("\"waiting\"") && waiting.contains("pg_restore"), "the command is named: {waiting}");
    let start = Instant::now();
    restore.signal(rustix::process::Signal::INT);
    restore.end().fails(11, &["cancelled"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(!postgres.databases(bk.instance()).contains(&to));
    bk.no_child_left();
    assert!(names(&bk.path("")).iter().all(|name| !name.contains("partial")));
}

/// From production into staging: another instance, said in so many words.
#[test]
fn by_the_configuration_of_another_instance() {
    let (bk, id) = backed_up(&["home"]);
    let staging = Bkhost::new();
    let store = bk.path("backups").display().to_string();
    staging.config(&[&application_none(), &directory_part("home", &staging.path("home"))]);
    let of = ["restore", &id, "--store", &store, "--instance", bk.instance()];
    let restore = |more: &[&str]| staging.run(&[&of[..], more].concat());
    restore(&["--as", "nobody", "--confirm", "nobody"]).fails(3, &["--as nobody", staging.instance()]);
    let into = ["--as", staging.instance()];
    // What is overwritten is staging: its name has to be typed.
    restore(&[&into[..], &["--confirm", bk.instance()]].concat()).fails(9, &["is not the instance's name"]);
    restore(&[&into[..], &["--confirm", staging.instance()]].concat()).ok();
    assert_eq!(listing(&bk.path("home")), listing(&staging.path("home")));
    staging.run(&["restore", &id, "--as", staging.instance()]).fails(2, &["--instance"]);
}
