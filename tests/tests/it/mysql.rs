//! Strategy mysql on a real MariaDB: one snapshot while everything is written to, and what may go wrong.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bkhost_tests::{
    Bkhost, Mariadb, Outcome, Repeating, Running, Session, Simulator, application_none, mariadb, tool, until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Inserts 1, 2, 3, … into two tables, each number into both in one transaction, all the time.
fn pairs(server: &Mariadb, database: &str) -> Repeating {
    for table in ["left_side", "right_side"] {
        server.sql(database, &format!("CREATE TABLE {table} (n INT PRIMARY KEY) ENGINE=InnoDB"));
    }
    let statement = "BEGIN; INSERT INTO left_side VALUES ({}); INSERT INTO right_side VALUES ({}); COMMIT";
    server.session(database).repeat(statement)
}

/// Everything in a database that does not change while it is written to, as text.
fn content(server: &Mariadb, database: &str) -> String {
    let mut dump = server.client("mariadb-dump");
    dump.args(["--skip-comments", "--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary"]);
    for table in ["left_side", "right_side"] {
        dump.arg(format!("--ignore-table={database}.{table}"));
    }
    dump.arg(database);
    tool(dump)
}

fn numbers(server: &Mariadb, database: &str, table: &str) -> (u32, u32) {
    let row = server.sql(database, &format!("SELECT COUNT(*), COALESCE(MAX(n), 0) FROM {table}"));
    let mut words = row.split('\t').map(|word| word.parse().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

fn state(manifest: &Value) -> &Value {
    &manifest["parts"][0]["snapshot"]["state"]
}

/// The rows that were counted, by database and table.
pub(crate) fn counted(bk: &Bkhost, manifest: &Value) -> Value {
    let archive = bk.set(manifest["id"].as_str().unwrap()).join("database.tar.zst");
    let mut tar = Command::new("tar");
    tar.args(["--zstd", "-xOf"]).arg(archive).arg("rows/rows.json");
    serde_json::from_str(&tool(tar)).unwrap()
}

fn restore(bk: &Bkhost, id: &str, to: Option<&str>) -> Outcome {
    let mut args = vec!["restore".to_owned(), id.to_owned(), "--part".to_owned(), "database".to_owned()];
    if let Some(to) = to {
        args.extend(["--to".to_owned(), format!("database={to}")]);
    }
    args.extend(["--confirm".to_owned(), bk.instance().to_owned()]);
    bk.run(&args)
}

/// Everything that a schema may hold.
fn furnish(server: &Mariadb, database: &str) {
    server.create(database, 20_000);
    server.sql(
        database,
        "CREATE TABLE odd (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB, j JSON, u VARCHAR(100) CHARACTER SET utf8mb4, \
           g INT AS (LENGTH(u)) STORED, z TIMESTAMP NULL, d DECIMAL(20,10)) ENGINE=InnoDB; \
         INSERT INTO odd (b, j, u, z, d) VALUES (UNHEX('00ff0a0d1a5c27220080'), '{\"a\": [1, null]}', 'é ✓ 🐬 \\\\! \\n-- Dump completed', \
           '2026-03-29 01:30:00', 3.1415926535), (NULL, NULL, '', NULL, NULL); \
         CREATE TABLE parts (n INT) PARTITION BY HASH(n) PARTITIONS 3; INSERT INTO parts SELECT seq FROM seq_1_to_100; \
         CREATE TABLE `we``ird \"n'ame \\! ü` (`co``l` INT); INSERT INTO `we``ird \"n'ame \\! ü` VALUES (1); \
         CREATE SEQUENCE numbers START WITH 17; DO NEXTVAL(numbers); \
         CREATE VIEW seen AS SELECT t.id, odd.u FROM t JOIN odd USING (id); \
         CREATE DEFINER=`gone`@`nowhere` PROCEDURE p() SELECT COUNT(*) FROM t; \
         CREATE FUNCTION f(a INT) RETURNS INT DETERMINISTIC RETURN a + 1; \
         CREATE TRIGGER tr BEFORE INSERT ON odd FOR EACH ROW SET NEW.u = CONCAT(NEW.u, '!'); \
         CREATE EVENT ev ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM t",
    );
}

#[test]
fn one_snapshot_while_it_is_written_to() {
    let server = mariadb();
    let bk = Bkhost::new();
    let database = bk.instance().to_owned();
    furnish(server, &database);
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &server.part("database", &[&database], "")]);
    let pairs = pairs(server, &database);
    until("ten numbers", Duration::from_secs(20), || numbers(server, &database, "right_side").1 >= 10);
    let before = numbers(server, &database, "left_side").1;
    let manifest = bk.backup();
    let after = numbers(server, &database, "left_side").1;
    until("the writer goes on", Duration::from_secs(20), || numbers(server, &database, "left_side").1 > after);
    let written = pairs.stop();
    simulator.is_free();
    assert_eq!(simulator.count("unlock"), 1);
    let id = manifest["id"].as_str().unwrap();
    let kept = content(server, &database);

    // Under another name: one and the same point in both tables, all else as it was.
    let new = format!("{database}-restored");
    let outcome = restore(&bk, id, Some(&new)).ok();
    assert!(outcome.stderr.contains("gone@nowhere"), "a definer that does not exist is told: {outcome}");
    let (left, right) = (numbers(server, &new, "left_side"), numbers(server, &new, "right_side"));
    assert_eq!(left, right, "the invariant");
    assert_eq!(left.0, left.1, "contiguous");
    assert!(before <= left.1 && left.1 <= after && after < written, "{before} {left:?} {after} {written}");
    assert_eq!(content(server, &new), kept);
    assert_eq!(server.sql(&new, "SELECT f(1), NEXTVAL(numbers) > 17"), "2\t1");

    // What the state says: the place in the binary log is that very point.
    let state = state(&manifest);
    let position = &state["position"];
    let log = format!("{}/data/{}", server.socket().trim_end_matches("/sock"), position["file"].as_str().unwrap());
    let mut binlog = Command::new("mariadb-binlog");
    binlog.args(["--no-defaults", "--force-if-open", "--short-form", "--database", &database, "--stop-position"]);
    binlog.arg(position["position"].to_string()).arg(log);
    let inserted = tool(binlog).matches("INSERT INTO left_side").count();
    assert_eq!(inserted, left.0 as usize, "the place in the binary log");
    assert!(position["gtid"].as_str().unwrap().starts_with("0-1-") && position.get("until").is_none(), "{position}");
    let rows = &counted(&bk, &manifest)[&database];
    assert_eq!(state["tables-counted"].as_u64().unwrap(), rows.as_object().unwrap().len() as u64);
    assert_eq!((&rows["t"], &rows["odd"]), (&Value::from(20_000), &Value::from(2)), "{state}");
    if state["rows-exact"] == true {
        assert_eq!(rows["left_side"], left.0);
    }
    assert_eq!(manifest["parts"][0]["snapshot"]["consistency"], "exported");

    // Other tools read what was stored.
    let file = bk.set(id).join("database.dump.zst");
    let mut zstd = Command::new("zstd");
    zstd.arg("-dc").arg(&file);
    assert!(tool(zstd).ends_with("\n-- Dump completed\n"), "{}", file.display());

    // The original's place: not while it exists, nor is anything dropped.
    restore(&bk, id, None).fails(9, &["is running", "stop it"]);
    simulator.stop();
    restore(&bk, id, None).fails(9, &["exist"]);
    restore(&bk, id, Some(&new)).fails(9, &["exist"]);
    assert_eq!(numbers(server, &database, "left_side").1, written);
    server.sql("", &format!("DROP DATABASE `{database}`"));
    restore(&bk, id, None).ok();
    assert_eq!(numbers(server, &database, "left_side"), left);
    bk.run(&["verify", id]).ok();
    bk.no_child_left();
    assert!(std::fs::read_dir(bk.state()).unwrap().count() > 0);
    staging_is_empty(&bk);
}

fn staging_is_empty(bk: &Bkhost) {
    let mut find = Command::new("find");
    find.arg(bk.state()).args(["-name", "*.sql"]);
    assert_eq!(tool(find), "", "a dump is left in the staging area");
}

#[test]
fn without_an_application_the_counts_are_those_of_the_dump() {
    let server = mariadb();
    let bk = Bkhost::new();
    server.create(bk.instance(), 1234);
    bk.config(&[&application_none(), &server.part("database", &[bk.instance()], "")]);
    // Others may write to the same server at any time.
    let manifest = bk.backup();
    assert_eq!(counted(&bk, &manifest)[bk.instance()]["t"], 1234);
    assert!(state(&manifest)["rows-exact"].is_boolean());
    bk.config(&[&application_none(), &server.part("database", &[bk.instance()], "count-rows = false")]);
    let manifest = bk.backup();
    assert!(state(&manifest).get("tables-counted").is_none());
    assert!(!bk.set(manifest["id"].as_str().unwrap()).join("database.tar.zst").exists());
    // Nothing is run, and nothing is left, by a plan.
    let before = bk.stored();
    bk.run(&["plan"]).ok();
    assert_eq!(bk.stored(), before);
    staging_is_empty(&bk);
}

#[test]
fn several_databases_at_one_point() {
    let server = mariadb();
    let bk = Bkhost::new();
    let (one, two) = (format!("{}-one", bk.instance()), format!("{}-two", bk.instance()));
    furnish(server, &one);
    server.create(&two, 10);
    let part = server.part("database", &[&one, &two], "");
    bk.config(&[&application_none(), &part]);
    // A number is in the first database before it is in the second.
    for database in [&one, &two] {
        server.sql(database, "CREATE TABLE left_side (n INT PRIMARY KEY); CREATE TABLE right_side (n INT PRIMARY KEY)");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (mut session, stop, two) = (server.session(&one), Arc::clone(&stop), two.clone());
        std::thread::spawn(move || {
            for n in 1.. {
                session.run(&format!(
                    "BEGIN; INSERT INTO left_side VALUES ({n}); INSERT INTO `{two}`.left_side VALUES ({n}); COMMIT"
                ));
                if stop.load(Ordering::Acquire) {
                    return n;
                }
            }
            0
        })
    };
    until("ten", Duration::from_secs(20), || numbers(server, &two, "left_side").1 >= 10);
    let id = bk.backup_id();
    let after = numbers(server, &two, "left_side").1;
    until("the writer goes on", Duration::from_secs(20), || numbers(server, &two, "left_side").1 > after);
    stop.store(true, Ordering::Release);
    let written: u32 = writer.join().unwrap();
    let kept = (content(server, &one), content(server, &two));

    restore(&bk, &id, Some("other")).fails(6, &["2 databases", "another name"]);
    restore(&bk, &id, None).fails(9, &["exist"]);
    server.sql("", &format!("DROP DATABASE `{one}`"));
    restore(&bk, &id, None).fails(9, &[&two, "exist"]);
    assert_eq!(server.databases(&one), [""; 0], "nothing was made when one of them exists");
    server.sql("", &format!("DROP DATABASE `{two}`"));
    restore(&bk, &id, None).ok();
    let restored = numbers(server, &one, "left_side");
    assert_eq!(restored, numbers(server, &two, "left_side"));
    assert!(restored.1 >= 10 && restored.1 < written);
    assert_eq!((content(server, &one), content(server, &two)), kept);
}

#[test]
fn names_that_attack() {
    let server = mariadb();
    for (n, odd) in
        ["a b'c\"d`e;f", "$(touch x) {n} %s \\! \\", "--x ü ✓", "`; DROP DATABASE mysql; -- "].iter().enumerate()
    {
        let bk = Bkhost::new();
        let name = format!("{}{odd}", bk.instance());
        let name = name.trim_end();
        server.create(name, 100);
        server.sql(
            name,
            &format!("CREATE TABLE {} (i INT); INSERT INTO {0} VALUES (7)", Mariadb::quoted(odd.trim_end())),
        );
        bk.config(&[&application_none(), &server.part("database", &[name], "")]);
        let manifest = bk.backup();
        assert_eq!(counted(&bk, &manifest)[name][odd.trim_end()], 1, "{manifest}");
        let id = manifest["id"].as_str().unwrap();
        let new = format!("{name}{n}");
        restore(&bk, id, Some(&new)).ok();
        assert_eq!(content(server, &new), content(server, name), "{name}");
        restore(&bk, id, Some(&new)).fails(9, &["exist"]);
        server.sql("", &format!("DROP DATABASE {}", Mariadb::quoted(name)));
        restore(&bk, id, None).ok();
        assert_eq!(server.sql(name, &format!("SELECT i FROM {}", Mariadb::quoted(odd.trim_end()))), "7");
    }
    let bk = Bkhost::new();
    server.create(bk.instance(), 1);
    bk.config(&[&application_none(), &server.part("database", &[bk.instance()], "")]);
    let id = bk.backup_id();
    restore(&bk, &id, Some("-x")).fails(3, &["cannot be a database's name"]);
    for name in ["-x", "--result-file=x", "a\tb", ""] {
        bk.config(&[
            &application_none(),
            &server.part("database", &[&name.replace('\t', "\\u0001")], "").replace("\\\\u", "\\u"),
        ]);
        bk.run(&["check"]).fails(3, &["databases"]);
    }
    for name in ["mysql", "sys", "Information_Schema"] {
        bk.config(&[&application_none(), &server.part("database", &[name], "")]);
        bk.run(&["check"]).fails(6, &["the server's own"]);
    }
    // One letter's case makes another database here.
    bk.config(&[&application_none(), &server.part("database", &[&bk.instance().to_uppercase()], "")]);
    bk.run(&["check"]).fails(6, &["does not exist"]);
}

/// An instance whose dump stops at its last table, which a session has locked.
struct Halted {
    bk: Bkhost,
    simulator: Simulator,
    database: String,
    holder: Session,
}

impl Halted {
    fn new(server: &Mariadb) -> Self {
        let bk = Bkhost::new();
        let database = bk.instance().to_owned();
        server.create(&database, 2000);
        server.sql(
            &database,
            "CREATE TABLE zz_last (i INT) ENGINE=InnoDB; INSERT INTO zz_last SELECT seq FROM seq_1_to_50",
        );
        let simulator = Simulator::start(&[]);
        bk.config(&[&bk.application(&simulator, ""), &server.part("database", &[&database], "count-rows = false")]);
        let mut holder = server.session(&database);
        holder.run("LOCK TABLES zz_last WRITE");
        Self { bk, simulator, database, holder }
    }

    /// Start a run, and wait until the application is free while the dump is not done.
    fn run(&self) -> (Running, u32) {
        let mut run = self.bk.spawn(&["run", "--json"]);
        run.says(r#""event":"unlocked""#);
        self.simulator.is_free();
        until("the dump", Duration::from_secs(10), || self.dumps().len() == 1);
        assert!(run.runs());
        let pid = self.dumps()[0];
        (run, pid)
    }

    /// The dumps of this database that run.
    fn dumps(&self) -> Vec<u32> {
        let mut ps = Command::new("ps");
        ps.args(["-e", "-o", "pid=,stat=,args="]);
        let of_ours = |line: &&str| line.contains("--result-file=") && line.contains(&self.database);
        let alive = |line: &&str| !line.split_whitespace().nth(1).unwrap().starts_with('Z');
        tool(ps)
            .lines()
            .filter(of_ours)
            .filter(alive)
            .map(|l| l.split_whitespace().next().unwrap().parse().unwrap())
            .collect()
    }

    fn nothing_left(&self) {
        self.simulator.is_free();
        self.bk.no_child_left();
        assert_eq!(self.dumps(), [0; 0], "an orphan that writes on");
        assert_eq!(self.bk.stored(), [""; 0]);
        staging_is_empty(&self.bk);
    }
}

#[test]
fn a_dump_that_is_killed() {
    let halted = Halted::new(mariadb());
    let (run, pid) = halted.run();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    run.end().fails(6, &["dump", "137"]);
    halted.nothing_left();
}

#[test]
fn a_server_that_is_killed_in_the_middle() {
    let server = Mariadb::start(&[]);
    let halted = Halted::new(&server);
    let (run, _) = halted.run();
    server.kill();
    run.end().fails(6, &["Lost connection", "the server ended"]);
    halted.nothing_left();
    halted.bk.run(&["check"]).fails(6, &["Can't connect"]);
}

#[test]
fn a_run_that_is_cancelled_leaves_no_orphan_that_writes_on() {
    let server = mariadb();
    let mut halted = Halted::new(server);
    let (run, _) = halted.run();
    run.signal(Signal::INT);
    run.end().fails(11, &["cancelled"]);
    halted.nothing_left();
    halted.holder.run("UNLOCK TABLES");
    until("no session is left", Duration::from_secs(5), || server.sessions(&halted.database) == 1);
    halted.bk.backup_id();
}

#[test]
fn a_table_that_is_changed_while_it_is_dumped_fails_the_run() {
    let server = mariadb();
    for statement in
        ["ALTER TABLE zz_last ADD x INT, ALGORITHM=COPY", "TRUNCATE TABLE zz_last", "ALTER TABLE zz_last ENGINE=InnoDB"]
    {
        let mut halted = Halted::new(server);
        let (run, _) = halted.run();
        halted.holder.run(statement);
        halted.holder.run("UNLOCK TABLES");
        run.end().fails(9, &["Table definition has changed", "migrations"]);
        halted.nothing_left();
    }
    let mut halted = Halted::new(server);
    let (run, _) = halted.run();
    halted.holder.run("DROP TABLE zz_last");
    run.end().fails(9, &["zz_last", "migrations"]);
    halted.nothing_left();
}

#[test]
fn a_table_that_is_dropped_before_the_dump_gets_to_its_database_is_missed() {
    let server = mariadb();
    let mut halted = Halted::new(server);
    let second = format!("{}-second", halted.database);
    server.create(&second, 10);
    server.sql(&second, "CREATE TABLE dropped (i INT)");
    let part = server.part("database", &[&halted.database, &second], "count-rows = false");
    halted.bk.config(&[&halted.bk.application(&halted.simulator, ""), &part]);
    let (run, _) = halted.run();
    server.sql(&second, "DROP TABLE dropped");
    halted.holder.run("UNLOCK TABLES");
    run.end().fails(9, &[&format!("{second}.dropped"), "consistency point"]);
    halted.nothing_left();
}

#[test]
fn a_dump_that_is_cut_off_is_never_published() {
    let server = mariadb();
    let bk = Bkhost::new();
    server.create(bk.instance(), 1000);
    let cut = r#"mysqldump "$@" || exit; for a; do case $a in --result-file=*) f=${a#*=} ;; esac; done
        [ -z "$f" ] || truncate -s -20 "$f""#;
    let part = server.part("database", &[bk.instance()], "");
    let programs =
        |script: &str| format!("[part.programs]\nmysqldump = \"{}\"\n", bk.program("fake-dump", script).display());
    bk.config(&[&application_none(), &part, &programs(cut)]);
    bk.run(&["run"]).fails(8, &["not complete"]);
    assert_eq!(bk.stored(), [""; 0]);
    // It ends well and has written nothing at all.
    bk.config(&[
        &application_none(),
        &part,
        &programs(r#"case "$*" in *--result-file=*) exit 0 ;; esac; exec mysqldump "$@""#),
    ]);
    assert_ne!(bk.run(&["run"]).code, 0);
    // It fails in the end, when all has been written.
    bk.config(&[
        &application_none(),
        &part,
        &programs(r#"mysqldump "$@"; case "$*" in *--result-file=*) exit 5 ;; esac"#),
    ]);
    assert_ne!(bk.run(&["run"]).code, 0);
    // The disk is full.
    let full = r#"a=("${@/--result-file=*/--result-file=/dev/full}"); exec mysqldump "${a[@]}""#;
    bk.config(&[&application_none(), &part, &programs(full)]);
    bk.run(&["run"]).fails(6, &["errno 28", "staging area is full"]);
    assert_eq!(bk.stored(), [""; 0]);
    staging_is_empty(&bk);
}

/// Row 4 of what went wrong at GitLab, for MySQL: what an older mysqldump does not know it leaves out, silently.
#[test]
fn an_older_mysqldump_than_the_server_is_a_failure_before_the_lock() {
    let (server, simulator) = (mariadb(), Simulator::start(&[]));
    let bk = Bkhost::new();
    server.create(bk.instance(), 10);
    // Another version, or the tool of another family. It would work, as far as it can tell.
    for (version, says) in [
        ("mysqldump  Ver 10.19 Distrib 10.5.1-MariaDB, for Linux (x86_64)", "older than the server"),
        ("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", "a tool of MySQL"),
    ] {
        let script = format!("case \"$*\" in *--version) echo '{version}' ;; *) exec mysqldump \"$@\" ;; esac");
        let programs = format!("[part.programs]\nmysqldump = \"{}\"\n", bk.program("fake-dump", &script).display());
        bk.config(&[&bk.application(&simulator, ""), &server.part("database", &[bk.instance()], ""), &programs]);
        bk.run(&["check"]).fails(6, &[says]);
        bk.run(&["run"]).fails(6, &[says]);
        assert_eq!((simulator.count("lock"), bk.stored()), (0, Vec::<String>::new()));
    }
}

#[test]
fn tables_that_no_snapshot_covers() {
    let server = mariadb();
    let bk = Bkhost::new();
    let database = bk.instance();
    server.create(database, 100);
    server.sql(
        database,
        "CREATE TABLE old (i INT) ENGINE=MyISAM; INSERT INTO old VALUES (1), (2); CREATE TABLE a (i INT) ENGINE=Aria",
    );
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &server.part("database", &[database], "")]);
    bk.run(&["run"]).fails(6, &["old (MyISAM)", "a (Aria)", "non-transactional = \"lock\""]);
    assert_eq!(simulator.count("lock"), 0);

    let lock = server.part("database", &[database], "non-transactional = \"lock\"");
    bk.config(&[&bk.application(&simulator, "zero-downtime = true"), &lock]);
    bk.run(&["run"]).fails(3, &["zero-downtime", "copies"]);
    assert_eq!(simulator.count("lock"), 0);
    bk.config(&[&bk.application(&simulator, ""), &lock]);
    let manifest = bk.backup();
    assert_eq!(manifest["parts"][0]["snapshot"]["consistency"], "copied");
    let new = format!("{database}-new");
    restore(&bk, manifest["id"].as_str().unwrap(), Some(&new)).ok();
    assert_eq!(content(server, &new), content(server, database));

    // The dump is over before the application is free.
    let mut holder = server.session(database);
    holder.run("LOCK TABLES old WRITE, t WRITE, a WRITE");
    let mut run = bk.spawn(&["run", "--json"]);
    run.reaches("capture");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(simulator.locked() && run.runs());
    holder.run("UNLOCK TABLES");
    let _ = run.end().ok();

    // With only transactional tables the same setting keeps the lock short.
    server.sql(database, "ALTER TABLE old ENGINE=InnoDB; ALTER TABLE a ENGINE=InnoDB");
    assert_eq!(bk.backup()["parts"][0]["snapshot"]["consistency"], "exported");
    // Tables that cannot be read at all.
    server.sql(database, "CREATE VIEW broken AS SELECT * FROM old; DROP TABLE old");
    bk.run(&["check"]).fails(6, &["view", "broken"]);
}

#[test]
fn rights_and_passwords() {
    let server = mariadb();
    let bk = Bkhost::new();
    let database = bk.instance();
    server.create(database, 5000);
    let user = format!("u{}", std::process::id());
    let password = format!("geheim{}x", std::process::id());
    server.sql("", &format!("CREATE USER '{user}'@'localhost' IDENTIFIED BY '{password}'; GRANT SELECT ON `{database}`.t TO '{user}'@'localhost'"));
    std::fs::write(bk.path("secret"), format!("{password}\n")).unwrap();
    std::fs::write(bk.path("wrong"), "wrong\n").unwrap();
    for file in ["secret", "wrong"] {
        let mut chmod = Command::new("chmod");
        chmod.arg("600").arg(bk.path(file));
        tool(chmod);
    }
    let part = |file: &str| {
        let secret = format!("[part.secrets]\npassword = {{ file = \"{}\" }}\n", bk.path(file).display());
        server.part("database", &[database], &format!("username = \"{user}\"\n{secret}"))
    };
    bk.config(&[&application_none(), &part("wrong")]);
    let outcome = bk.run(&["run"]).fails(6, &["Access denied", "[part.secrets]"]);
    assert!(!outcome.stderr.contains("wrong\n"));

    // What the user may not see would be missing from the dump without an error.
    bk.config(&[&application_none(), &part("secret")]);
    bk.run(&["run"]).fails(6, &["SELECT, SHOW VIEW, TRIGGER, EVENT", "GRANT SELECT"]);
    server.sql("", &format!("GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON `{database}`.* TO '{user}'@'localhost'"));
    bk.run(&["run"]).fails(6, &["routines", "mysql.proc"]);
    server.sql("", &format!("GRANT SELECT ON mysql.proc TO '{user}'@'localhost'"));

    // These rights are enough; and the password is nowhere to be seen, while the dump waits for a table.
    let mut holder = server.session(database);
    holder.run("LOCK TABLES t WRITE");
    let mut run = bk.spawn(&["run", "--json", "-v"]);
    let mut seen = 0;
    until("the dump was looked at a few times", Duration::from_secs(20), || {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).into_owned();
            seen += u32::from(line.contains("--result-file=") && line.contains(database));
            assert!(!line.contains(&password), "{line}");
        }
        seen > 5 && run.runs()
    });
    holder.run("UNLOCK TABLES");
    let outcome = run.end().ok();
    assert!(!outcome.to_string().contains(&password));
    let mut grep = Command::new("grep");
    grep.args(["-rlaF", "--exclude=secret", &password]).arg(bk.path("")).arg(bk.state());
    assert_eq!(Running::start(grep, false).end().fails(1, &[]).stdout, "");

    // Without the right to create, a restore fails and leaves nothing.
    let id = outcome.json()["id"].as_str().unwrap().to_owned();
    let new = format!("{database}-new");
    restore(&bk, &id, Some(&new)).fails(4, &["denied"]);
    assert_eq!(server.databases(&new), [""; 0]);
    // TLS that is required and not there.
    bk.config(&[&application_none(), &server.part("database", &[database], "tls = \"required\"")]);
    bk.run(&["check"]).fails(6, &["not encrypted"]);
    bk.config(&[&application_none(), &server.part("database", &[database], "tls = \"verify\"")]);
    assert_ne!(bk.run(&["check"]).code, 0);
}

#[test]
fn a_restore_that_fails_drops_what_it_has_made_and_nothing_else() {
    let server = mariadb();
    let bk = Bkhost::new();
    let database = bk.instance();
    server.create(database, 3000);
    server.sql(database, "CREATE TABLE z (i INT)");
    let part = server.part("database", &[database], "");
    bk.config(&[&application_none(), &part]);
    let id = bk.backup_id();
    let new = format!("{database}-new");
    let load = |how: &str| {
        let script = format!(r#"case "$*" in *--database=*) {how} ;; esac; exec mysql "$@""#);
        let program = bk.program("fake-mysql", &script).display().to_string();
        bk.config(&[&application_none(), &part, &format!("[part.programs]\nmysql = \"{program}\"\n")]);
    };
    // It fails; it takes half of the dump and is content; it takes nothing.
    for (how, code) in
        [(r#"head -c 3000 >/dev/null; exit 1"#, 8), (r#"head -c 3000 | mysql "$@"; cat >/dev/null; exit 0"#, 7)]
    {
        load(how);
        assert_ne!(restore(&bk, &id, Some(&new)).code, 0, "{code}");
        assert_eq!(server.databases(&new), [""; 0]);
    }
    let mark = bk.path("began");
    load(&format!(r#"touch "{}"; head -c 5000 | mysql "$@"; sleep 60"#, mark.display()));
    let args = ["restore", &id, "--part", "database", "--to", &format!("database={new}"), "--confirm", bk.instance()];
    let run = bk.spawn(&args);
    until("the load", Duration::from_secs(20), || mark.exists());
    assert_eq!(server.databases(&new), [new.as_str()]);
    assert_eq!(server.sql("", &format!("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{new}' AND TABLE_NAME LIKE 'bkhost_restore%'")), "1");
    run.signal(Signal::INT);
    let outcome = run.end().fails(11, &["cancelled"]);
    assert!(outcome.elapsed < Duration::from_secs(20), "{outcome}");
    assert_eq!(server.databases(&new), [""; 0]);
    // The host is killed: the same again finds the half, knows it by its table, and begins anew.
    std::fs::remove_file(&mark).unwrap();
    let run = bk.spawn(&args);
    until("the load", Duration::from_secs(20), || mark.exists());
    run.signal(Signal::KILL);
    assert_eq!(run.end().code, -1);
    assert_eq!(server.databases(&new), [new.as_str()]);
    bk.config(&[&application_none(), &part]);
    restore(&bk, &id, Some(&new)).ok();
    assert_eq!(content(server, &new), content(server, database));
    bk.no_child_left();
    // The half of another restore has such a table too.
    server.sql("", &format!("DROP DATABASE `{new}`"));
    load(&format!(r#"touch "{}"; head -c 5000 | mysql "$@"; sleep 60"#, mark.display()));
    std::fs::remove_file(&mark).unwrap();
    let run = bk.spawn(&args);
    until("the load", Duration::from_secs(20), || mark.exists());
    run.signal(Signal::KILL);
    assert_eq!(run.end().code, -1);
    server.sql(&new, "ALTER TABLE bkhost_restore_is_not_complete COMMENT = 'bkhost-another-20261121-014200-4f2a9c'");
    bk.run(&["recover"]).ok();
    assert_eq!(server.databases(&new), [new.as_str()]);
    server.sql("", &format!("DROP DATABASE `{new}`"));
    // One that was there is neither filled nor dropped.
    server.sql("", &format!("CREATE DATABASE `{new}`"));
    bk.config(&[&application_none(), &part]);
    restore(&bk, &id, Some(&new)).fails(9, &["exist"]);
    assert_eq!(server.databases(&new), [new]);
    assert_eq!(server.databases(database).len(), 2);
}

#[test]
fn two_instances_side_by_side() {
    let server = mariadb();
    let instances: Vec<Bkhost> = (0..2).map(|_| Bkhost::new()).collect();
    for bk in &instances {
        server.create(bk.instance(), 20_000);
        bk.config(&[&application_none(), &server.part("database", &[bk.instance()], "")]);
    }
    let runs: Vec<Running> = instances.iter().map(|bk| bk.spawn(&["run", "--json"])).collect();
    let outcomes: Vec<Outcome> = runs.into_iter().map(|run| run.end().ok()).collect();
    for (bk, outcome) in instances.iter().zip(&outcomes) {
        let id = outcome.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(bk.stored(), [id.as_str()]);
        let new = format!("{}-new", bk.instance());
        restore(bk, &id, Some(&new)).ok();
        assert_eq!(content(server, &new), content(server, bk.instance()));
    }
}

#[test]
fn a_lock_that_does_not_grow_with_the_data() {
    let server = mariadb();
    let bk = Bkhost::new();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &server.part("database", &[bk.instance()], "count-rows = false")]);
    server.create(bk.instance(), 1000);
    let mut locks = Vec::new();
    for rows in [1000, 300_000] {
        server.sql(
            bk.instance(),
            &format!("INSERT INTO t SELECT {rows} + seq, REPEAT(MD5(seq), 2) FROM seq_1_to_{rows}"),
        );
        let begun = Instant::now();
        let manifest = bk.backup();
        let millis = |key: &str| manifest["application"][key].as_u64().unwrap();
        locks.push(millis("locked-ms") - millis("drain-ms"));
        println!("{rows} rows: locked {} ms, the run took {:?}", locks.last().unwrap(), begun.elapsed());
    }
    assert!(locks[1] < locks[0] + 500, "{locks:?}");
}

/// A port that nobody listens on.
fn free_port() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[test]
fn over_tls_and_without_a_binary_log() {
    let bk = Bkhost::new();
    // The server runs as another user, and has to read them.
    let certificates =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir();
    let certificates = certificates.unwrap();
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../host/src/application/bitbucket/tests/tls");
    for file in ["ca.pem", "server.pem", "server.key"] {
        let mut install = Command::new("install");
        install.args(["-m", "644", &format!("{ours}/{file}")]).arg(certificates.path());
        tool(install);
    }
    let file = |name: &str| certificates.path().join(name).display().to_string();
    let port = free_port();
    let server = Mariadb::start(&[
        "--tcp",
        &port,
        "--skip-log-bin",
        &format!("--ssl-ca={}", file("ca.pem")),
        &format!("--ssl-cert={}", file("server.pem")),
        &format!("--ssl-key={}", file("server.key")),
    ]);
    let database = bk.instance();
    server.create(database, 100);
    server.sql("", "CREATE USER secure@localhost REQUIRE SSL; GRANT ALL ON *.* TO secure@localhost");
    let part = |keys: &str| {
        let tcp = format!("host = \"127.0.0.1\"\nport = {port}\nusername = \"secure\"\n{keys}");
        server.part("database", &[database], &tcp)
    };
    let ca = format!("tls-ca = \"{}\"", file("ca.pem"));
    for keys in [format!("tls = \"verify\"\n{ca}"), "tls = \"required\"".to_owned()] {
        bk.config(&[&application_none(), &part(&keys)]);
        let manifest = bk.backup();
        let state = state(&manifest);
        assert!(state.get("position").is_none() && state.get("rows-exact").is_none(), "{state}");
        assert_eq!(counted(&bk, &manifest)[database]["t"], 100);
        let new = format!("{database}-{}", keys.len());
        restore(&bk, manifest["id"].as_str().unwrap(), Some(&new)).ok();
        assert_eq!(content(&server, &new), content(&server, database));
    }
    // A certificate of an authority that nobody named; no TLS where the server wants it.
    let other = format!("tls = \"verify\"\ntls-ca = \"{}\"", file("server.pem"));
    bk.config(&[&application_none(), &part(&other.replace("server.pem", "server.key"))]);
    bk.run(&["check"]).fails(6, &["TLS"]);
    bk.config(&[&application_none(), &part("tls = \"off\"")]);
    bk.run(&["check"]).fails(6, &["Access denied"]);
}

#[test]
fn where_nobody_else_writes_the_counts_are_exact() {
    let server = Mariadb::start(&[]);
    let bk = Bkhost::new();
    server.create(bk.instance(), 77);
    bk.config(&[&application_none(), &server.part("database", &[bk.instance()], "")]);
    let manifest = bk.backup();
    assert_eq!(state(&manifest)["rows-exact"], true, "{manifest}");
    assert_eq!(counted(&bk, &manifest)[bk.instance()]["t"], 77);
    // A run that is killed in the middle of its dump leaves nothing that writes on, and the next one cleans up.
    let halted = Halted::new(&server);
    let (run, _) = halted.run();
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    halted.simulator.is_free();
    until("recovered", Duration::from_secs(30), || halted.bk.run(&["recover"]).code == 0);
    halted.nothing_left();
}
