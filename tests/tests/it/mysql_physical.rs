//! Strategy mysql, method physical: the files of a whole MariaDB, copied live and completed under the lock.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, Mariadb, Outcome, Simulator, application_none, tool, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::mysql::counted;

/// A server of its own: a physical backup is of all of it, and one at a time is possible.
fn server() -> Mariadb {
    let server = Mariadb::start(&[]);
    server.create("app", 20_000);
    server.sql(
        "app",
        "CREATE TABLE old (n INT) ENGINE=MyISAM; INSERT INTO old SELECT seq FROM seq_1_to_500; \
         CREATE TABLE aria (n INT) ENGINE=Aria; INSERT INTO aria SELECT seq FROM seq_1_to_300; \
         CREATE TABLE `we``ird \"n'ame \\! ü` (i INT); INSERT INTO `we``ird \"n'ame \\! ü` VALUES (1); \
         CREATE PROCEDURE p() SELECT 1; CREATE USER keeper@localhost IDENTIFIED BY 'x'",
    );
    server
}

fn part(server: &Mariadb, keys: &str) -> String {
    format!(
        "[[part]]\nname = \"database\"\nplugin = \"mysql.wasm\"\n[part.config]\nmethod = \"physical\"\nsocket = \"{}\"\n{keys}\n",
        server.socket()
    )
}

/// A server on a restored data directory. It is killed when this is dropped.
struct Restored {
    _directory: tempfile::TempDir,
    running: std::process::Child,
    socket: PathBuf,
}

impl Restored {
    fn start(data: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut copy = Command::new("cp");
        copy.args(["-a", "--"]).arg(data).arg(directory.path().join("data"));
        tool(copy);
        let socket = directory.path().join("s");
        let mut server = Command::new("mariadbd");
        server.args([
            "--no-defaults",
            "--user=root",
            "--skip-networking",
            "--skip-log-bin",
            "--innodb-buffer-pool-size=32M",
        ]);
        server.arg(format!("--datadir={}", directory.path().join("data").display()));
        server.arg(format!("--socket={}", socket.display())).arg(format!("--pid-file={}.pid", socket.display()));
        server.stderr(std::process::Stdio::null());
        let restored = Self { running: server.spawn().unwrap(), socket, _directory: directory };
        until("the restored server", Duration::from_secs(60), || {
            restored.client("mariadb-admin").arg("ping").output().unwrap().status.success()
        });
        restored
    }

    fn client(&self, program: &str) -> Command {
        let mut client = Command::new(program);
        client.args(["--no-defaults", "--user=root"]).arg(format!("--socket={}", self.socket.display()));
        client
    }

    fn sql(&self, statement: &str) -> String {
        let mut client = self.client("mariadb");
        client.args(["--batch", "--raw", "--skip-column-names", "-e", statement]);
        tool(client).trim_end().to_owned()
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

/// What is not written to, as text.
fn content(mut dump: Command) -> String {
    dump.args(["--skip-comments", "--routines", "--hex-blob", "--order-by-primary", "app"]);
    tool(dump)
}

fn restore(bk: &Bkhost, id: &str, to: &Path) -> Outcome {
    bk.run(&["restore", id, "--to", &to.display().to_string(), "--confirm", bk.instance()])
}

/// Nothing that runs, here or on the server.
fn nothing_runs(bk: &Bkhost, server: &Mariadb) {
    bk.no_child_left();
    assert_eq!(tools(bk), [0; 0]);
    until("no session of ours is left", Duration::from_secs(10), || {
        server.sql("", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%bkhost_physical%' AND ID <> CONNECTION_ID()") == "0"
    });
}

/// The same, and no copy in the staging area. That of a run that failed before the lock is removed by the next one.
fn nothing_left(bk: &Bkhost, server: &Mariadb) {
    nothing_runs(bk, server);
    let mut find = Command::new("find");
    find.arg(bk.state()).args(["-path", "*/staging/*", "-name", "bkhost-*"]);
    assert_eq!(tool(find), "");
}

#[test]
fn a_whole_server_while_it_is_written_to() {
    let server = server();
    server.sql("", "CREATE DATABASE live");
    server.sql(
        "live",
        "CREATE TABLE left_side (n INT PRIMARY KEY); CREATE TABLE right_side (n INT PRIMARY KEY); \
         CREATE TABLE one (n INT) ENGINE=MyISAM; CREATE TABLE two (n INT) ENGINE=MyISAM",
    );
    let bk = Bkhost::new();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &part(&server, "")]);
    let pairs = server
        .session("live")
        .repeat("BEGIN; INSERT INTO left_side VALUES ({}); INSERT INTO right_side VALUES ({}); COMMIT");
    let old = server.session("live").repeat("INSERT INTO one VALUES ({}); INSERT INTO two VALUES ({})");
    let count = |table: &str| server.sql("live", &format!("SELECT COUNT(*) FROM {table}")).parse::<u32>().unwrap();
    until("ten of each", Duration::from_secs(20), || count("right_side") >= 10 && count("two") >= 10);
    let before = (count("left_side"), count("one"));
    let manifest = bk.backup();
    let after = (count("left_side"), count("one"));
    until("the writers go on", Duration::from_secs(20), || count("left_side") > after.0 && count("one") > after.1);
    let _ = (pairs.stop(), old.stop());
    simulator.is_free();
    assert_eq!(simulator.count("unlock"), 1);
    nothing_left(&bk, &server);
    assert_eq!(server.databases("bkhost_"), [""; 0], "the table that held it is removed");

    let id = manifest["id"].as_str().unwrap();
    let to = bk.path("restored");
    restore(&bk, id, &to).ok();
    let restored = Restored::start(&to);
    let number = |statement: &str| restored.sql(statement).parse::<u32>().unwrap();
    let rows = |table: &str| {
        (
            number(&format!("SELECT COUNT(*) FROM live.{table}")),
            number(&format!("SELECT COALESCE(MAX(n), 0) FROM live.{table}")),
        )
    };
    let (left, one, two) = (rows("left_side"), rows("one"), rows("two"));
    assert_eq!(left, rows("right_side"), "the invariant");
    assert_eq!(left.0, left.1, "contiguous");
    assert!(before.0 <= left.0 && left.0 <= after.0, "{before:?} {left:?} {after:?}");
    assert!(one.0 == one.1 && (one.0 == two.0 || one.0 == two.0 + 1), "without transactions: {one:?} {two:?}");
    assert!(before.1 <= one.0 && one.0 <= after.1, "{before:?} {one:?} {after:?}");
    assert_eq!(content(restored.client("mariadb-dump")), content(server.client("mariadb-dump")));
    assert_eq!(restored.sql("SELECT COUNT(*) FROM mysql.global_priv WHERE User = 'keeper'"), "1", "users too");
    assert_eq!(restored.sql("SHOW DATABASES LIKE 'bkhost%'"), "");
    assert_eq!(
        restored.sql("CHECK TABLE app.t, app.old, app.aria, live.one, live.left_side").matches("\tOK").count(),
        5
    );

    // The place in the binary log is that very point, and the counts are those of the data.
    let state = &manifest["parts"][0]["snapshot"]["state"];
    let log =
        format!("{}/data/{}", server.socket().trim_end_matches("/sock"), state["position"]["file"].as_str().unwrap());
    let mut binlog = Command::new("mariadb-binlog");
    binlog.args(["--no-defaults", "--force-if-open", "--short-form", "--database=live", "--stop-position"]);
    binlog.arg(state["position"]["position"].to_string()).arg(log);
    let text = tool(binlog);
    assert_eq!(text.matches("INSERT INTO left_side").count(), left.0 as usize, "the place in the binary log");
    assert_eq!(text.matches("INSERT INTO one").count(), one.0 as usize, "also of what has no transactions");
    let rows = counted(&bk, &manifest);
    assert_eq!((&rows["app"]["t"], &rows["app"]["old"]), (&Value::from(20_000), &Value::from(500)), "{rows}");
    assert_eq!(rows["app"]["we`ird \"n'ame \\! ü"], 1);
    if state["rows-exact"] == true {
        assert_eq!(rows["live"]["left_side"], left.0);
    }
    assert!(state["lsn"].as_u64().unwrap() > 0 && manifest["parts"][0]["snapshot"]["consistency"] == "exported");

    // Never over what is there: the running server's directory is one such place.
    restore(&bk, id, &to).fails(9, &["not empty"]);
    restore(&bk, id, Path::new(&server.socket().replace("/sock", "/data"))).fails(9, &["not empty"]);
    // A set of one method is not restored by the configuration of the other.
    bk.config(&[&bk.application(&simulator, ""), &server.part("database", &["app"], "")]);
    bk.run(&["restore", id, "--to", "new", "--confirm", bk.instance()]).fails(3, &["method = \"physical\""]);
}

#[test]
fn a_lock_that_does_not_grow_with_the_data() {
    let server = server();
    let bk = Bkhost::new();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &part(&server, "count-rows = false")]);
    let mut locks = Vec::new();
    for rows in [100_000, 100_000, 200_000] {
        server.sql(
            "app",
            &format!(
                "INSERT INTO t SELECT (SELECT MAX(id) FROM t AS u) + seq, REPEAT(MD5(seq), 2) FROM seq_1_to_{rows}"
            ),
        );
        let begun = Instant::now();
        let manifest = bk.backup();
        let millis = |key: &str| manifest["application"][key].as_u64().unwrap();
        locks.push(millis("locked-ms") - millis("drain-ms"));
        let bytes = manifest["parts"][0]["snapshot"]["bytes"].as_u64().unwrap();
        println!("{} MiB: locked {} ms, the run took {:?}", bytes >> 20, locks.last().unwrap(), begun.elapsed());
    }
    assert!(locks[2] < locks[0] + 1500, "{locks:?}");
}

/// The tool of this instance.
fn tools(bk: &Bkhost) -> Vec<i32> {
    let mut ps = Command::new("ps");
    ps.args(["-e", "-o", "pid=,stat=,args="]);
    let state = bk.state().display().to_string();
    tool(ps)
        .lines()
        .filter(|line| line.contains("--target-dir=") && line.contains(&state))
        .filter(|line| !line.split_whitespace().nth(1).unwrap().starts_with('Z'))
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn what_fails_in_the_middle_leaves_nothing() {
    let server = server();
    let bk = Bkhost::new();
    let simulator = Simulator::start(&["--drain", "60s"]);
    bk.config(&[&bk.application(&simulator, ""), &part(&server, "")]);
    let held = || {
        let mut run = bk.spawn(&["run", "--json"]);
        run.reaches("drain");
        assert!(run.runs() && tools(&bk).len() == 1);
        // While it is held, everybody writes, and definitions change; only tables without transactions wait.
        server.sql(
            "app",
            "INSERT INTO aria VALUES (0); CREATE TABLE meanwhile (i INT) ENGINE=InnoDB; DROP TABLE meanwhile",
        );
        run
    };
    // The tool is killed while it is held. The drain is not waited for.
    let run = held();
    kill_process(Pid::from_raw(tools(&bk)[0]).unwrap(), Signal::KILL).unwrap();
    run.signal(Signal::INT);
    assert_ne!(run.end().code, 0);
    nothing_runs(&bk, &server);
    simulator.is_free();
    // The run is cancelled.
    let run = held();
    run.signal(Signal::INT);
    run.end().fails(11, &["cancelled"]);
    nothing_runs(&bk, &server);
    simulator.is_free();
    // bkhost is killed: the server lets go of everything by itself, and the next run cleans up.
    let run = held();
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    simulator.is_free();
    until("recovered", Duration::from_secs(30), || bk.run(&["recover"]).code == 0);
    until("no tool is left", Duration::from_secs(10), || tools(&bk).is_empty());
    server.sql("app", "INSERT INTO old VALUES (0)");
    bk.config(&[&application_none(), &part(&server, "")]);
    bk.backup_id();
    nothing_left(&bk, &server);
    assert_eq!(bk.stored().len(), 1);
}

#[test]
fn a_tool_that_does_not_wait_for_the_lock_is_noticed() {
    let server = server();
    let bk = Bkhost::new();
    let simulator = Simulator::start(&["--drain", "3s"]);
    bk.config(&[&bk.application(&simulator, ""), &part(&server, "")]);
    let mut run = bk.spawn(&["run", "--json"]);
    run.reaches("drain");
    let id =
        server.sql("", "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT INTO bkhost_physical%'");
    server.sql("", &format!("KILL QUERY {id}"));
    run.end().fails(9, &["did not wait for the lock"]);
    simulator.is_free();
    nothing_left(&bk, &server);
    assert_eq!(bk.stored(), [""; 0]);
}

#[test]
fn what_the_check_finds() {
    let server = server();
    let bk = Bkhost::new();
    let program = |name: &str, script: &str| {
        format!("[part.programs]\n{name} = \"{}\"\n", bk.program(&format!("fake-{}", script.len()), script).display())
    };
    // A tool of another series reads other files; one that is too old would lock at once.
    for (version, says) in
        [("10.6.20", "another series"), ("11.4.2", "another series"), ("10.11.7", "takes its locks at once")]
    {
        let fake = format!("echo 'mariadb-backup based on MariaDB server {version}-MariaDB Linux (x86_64)' >&2");
        bk.config(&[&application_none(), &part(&server, ""), &program("mariadb-backup", &fake)]);
        bk.run(&["run"]).fails(6, &[says, "install mariadb-backup of 10.11"]);
    }
    // No room.
    let full = "printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\nx 100 60 40 60%% /\\n'";
    bk.config(&[&application_none(), &part(&server, ""), &program("df", full)]);
    bk.run(&["run"]).fails(6, &["staging", "0 MiB are free"]);
    // A user that lacks rights; one of the system that may not read the files.
    server.sql("", "CREATE USER weak@localhost; GRANT RELOAD, SELECT ON *.* TO weak@localhost");
    bk.config(&[&application_none(), &part(&server, "username = \"weak\"")]);
    bk.run(&["run"])
        .fails(6, &["PROCESS, LOCK TABLES, BINLOG MONITOR", "CREATE, INSERT, DROP on bkhost_physical_backup"]);
    server.sql(
        "",
        "GRANT PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO weak@localhost; \
         GRANT CREATE, INSERT, DROP ON bkhost_physical_backup.* TO weak@localhost",
    );
    bk.backup_id();
    if rustix::process::geteuid().is_root() {
        let daemon = part(&server, "").replace("[part.config]", "run-as = \"daemon\"\n[part.config]");
        bk.config(&[&application_none(), &daemon]);
        bk.run(&["run"]).fails(6, &["cannot be read", "run-as"]);
    }
    // Settings that contradict each other.
    for (keys, says) in [
        ("databases = [\"app\"]", "whole server"),
        ("host = \"127.0.0.1\"", "another machine"),
        ("non-transactional = \"lock\"", "non-transactional"),
    ] {
        bk.config(&[&application_none(), &part(&server, keys)]);
        bk.run(&["check"]).fails(3, &[says]);
    }
    // The disk is full in the middle, for real: a limit on the size of files.
    let full = "case \"$*\" in *--backup*) ulimit -f 2000; trap '' XFSZ ;; esac; exec mariadb-backup \"$@\"";
    bk.config(&[&application_none(), &part(&server, ""), &program("mariadb-backup", full)]);
    assert_ne!(bk.run(&["run"]).code, 0);
    nothing_left(&bk, &server);
    assert_eq!(bk.stored().len(), 1);
}
