//! PostgreSQL whose files a disk part captures: what is restored is whole, and what would not be is refused.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bkhost_tests::{Bkhost, Btrfs, PgFiles, Running, application_none, directory_part, tool, until, zfs};

/// Moves money from one account to the other, and notes each move in the same transaction.
struct Transfers {
    stop: Arc<AtomicBool>,
    /// The last one that was committed.
    committed: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Transfers {
    fn start(server: &PgFiles) -> Self {
        server.sql(
            "CREATE TABLE IF NOT EXISTS account (id int PRIMARY KEY, balance int); \
             INSERT INTO account VALUES (1, 1000000), (2, 0) ON CONFLICT DO NOTHING; \
             CREATE TABLE IF NOT EXISTS move (n int PRIMARY KEY, filler text)",
        );
        let mut psql = Running::start(server.psql(&[]), true);
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let thread = std::thread::spawn({
            let (stop, committed) = (Arc::clone(&stop), Arc::clone(&committed));
            move || {
                for n in 1.. {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    psql.write(&format!(
                        "BEGIN; UPDATE account SET balance = balance - 1 WHERE id = 1; INSERT INTO move VALUES ({n}, repeat('x', 500)); \
                         UPDATE account SET balance = balance + 1 WHERE id = 2; COMMIT;\n\\echo done {n};\n"
                    ));
                    psql.says(&format!("done {n};"));
                    committed.store(n, Ordering::Release);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { stop, committed, thread: Some(thread) }
    }

    fn committed(&self) -> u32 {
        self.committed.load(Ordering::Acquire)
    }

    fn wait(&self, more: u32) {
        let until_then = self.committed() + more;
        until("transfers go on", Duration::from_secs(30), || self.committed() >= until_then);
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Every transfer that the server has is whole, none is missing before another, and the index agrees. How many there are.
fn whole(server: &PgFiles) -> u32 {
    let found = server.sql(
        "SELECT (SELECT sum(balance) FROM account) || ' ' || (SELECT balance FROM account WHERE id = 2) || ' ' || \
         (SELECT count(*) FROM move) || ' ' || (SELECT max(n) FROM move)",
    );
    let numbers: Vec<u32> = found.split(' ').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers[0], 1_000_000, "none is half there: {found}");
    assert!(numbers[1] == numbers[2] && numbers[2] == numbers[3], "none is missing before another: {found}");
    server.sql("CREATE EXTENSION IF NOT EXISTS amcheck");
    server.sql("SELECT bt_index_check(c.oid, true) FROM pg_class c WHERE relname IN ('move_pkey', 'account_pkey')");
    numbers[3]
}

fn database(server: &PgFiles, disk: &str, keys: &str) -> String {
    format!(
        "[[part]]\nname = \"database\"\nplugin = \"postgresql-fslevel.wasm\"\n[part.config]\ndisk-part = \"{disk}\"\n\
         data-directory = {:?}\nhost = {:?}\n{keys}\n",
        server.data(),
        server.socket()
    )
}

fn after(part: &str) -> String {
    part.replacen("[part.config]", "after = [\"database\"]\n[part.config]", 1)
}

fn around(server: &PgFiles, also: &[Vec<String>]) -> String {
    let mut then = also.to_vec();
    then.push(server.starting());
    format!("[restore]\nbefore = [{:?}]\nafter = {then:?}\nalways = true\n", server.stopping())
}

/// The example, on a real btrfs.
#[test]
fn every_transfer_is_whole_after_a_restore_on_btrfs() {
    let (btrfs, bk) = (Btrfs::new(600), Bkhost::new());
    let server = PgFiles::start(&btrfs.create("@postgresql"), &[]);
    let example = include_str!("../../../host/examples/postgresql-fslevel-btrfs.toml");
    let (head, tail) = example.split_once("before = ").unwrap();
    let (_, rest) = tail.split_once("always = true").unwrap();
    let restore = around(&server, &[]);
    let text = format!("{head}{}{rest}", restore.trim_start_matches("[restore]\n").trim_end())
        .replace("\"database\"\n\n[application]", &format!("{:?}\n\n[application]", bk.instance()))
        .replace("/mnt/pool/snapshots", &btrfs.text("snaps"))
        .replace("/mnt/pool", btrfs.point().to_str().unwrap())
        .replace("\"/var/run/postgresql\"", &format!("{:?}", server.socket()))
        .replace("\"/backups\"", &format!("{:?}", bk.path("backups")));
    std::fs::write(bk.path("bkhost.toml"), text).unwrap();

    let transfers = Transfers::start(&server);
    transfers.wait(20);
    let before = transfers.committed();
    let set = bk.backup();
    let id = set["id"].as_str().unwrap();
    let most = transfers.committed() + 1;
    transfers.wait(20);
    let second = bk.backup();
    assert_eq!(second["parts"][1]["snapshot"]["base"], set["id"], "only what has changed");
    drop(transfers);
    let state = &set["parts"][0]["snapshot"]["state"]["server"];
    for key in ["lsn", "redo_lsn", "system_identifier", "version"] {
        assert!(state[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {set}");
    }
    // It is not restored under the server: nothing happens to its files.
    let with = std::fs::read_to_string(bk.path("bkhost.toml")).unwrap();
    let without = with.replace(&restore, "[restore]\n");
    std::fs::write(bk.path("bkhost.toml"), without).unwrap();
    let live = btrfs.uuid(&btrfs.path("@postgresql"));
    bk.run(&["restore", id, "--confirm", bk.instance()]).fails(9, &["works on", "stop it first"]);
    assert_eq!(btrfs.uuid(&btrfs.path("@postgresql")), live);
    std::fs::write(bk.path("bkhost.toml"), with).unwrap();
    // Everything is destroyed.
    server.sql("DROP TABLE account, move");
    server.stop();
    std::fs::remove_dir_all(server.data().join("base")).unwrap();
    std::fs::remove_dir_all(server.data().join("pg_wal")).unwrap();
    let restored = bk.run(&["restore", id, "--confirm", bk.instance()]);
    assert_eq!(restored.code, 0, "{restored}\n{}", server.log());
    assert!(restored.stderr.contains("recovers from"), "{restored}");
    let found = whole(&server);
    assert!((before..=most).contains(&found), "{before} had been committed before, {most} after; {found} are there");

    // From the archive, elsewhere: another server finds the same.
    server.stop();
    let to = btrfs.text("elsewhere");
    let second = second["id"].as_str().unwrap();
    let files = format!("files={to}");
    bk.run(&["restore", second, "--to", &files, "--to", "database=elsewhere", "--confirm", bk.instance()]).ok();
    let again = server.starting()[2].replace(server.data().to_str().unwrap(), &format!("{to}/data"));
    let mut start = Command::new("/bin/sh");
    start.args(["-c", &format!("{} >/dev/null 2>&1", again.replace("exec ", ""))]);
    tool(start);
    assert!(whole(&server) > found);
    let mut stop = Command::new("/bin/sh");
    stop.args(["-c", &again.replace("-w -t 60 start", "-m immediate -w stop")]);
    tool(stop);
}

#[test]
fn every_transfer_is_whole_after_a_restore_on_zfs() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(&format!("pg-{}", bk.instance()));
    let inside = zfs.zfs(&["get", "-H", "-o", "value", "mountpoint", &dataset]);
    let server = PgFiles::start(Path::new(&inside), &zfs.wrapper());
    // zfs-fuse leaves names of before a rollback in the kernel's cache.
    let remount = ["/bin/sh", "-c", &format!("zfs unmount '{dataset}' && zfs mount '{dataset}'")].map(str::to_owned);
    bk.config(&[
        &application_none(),
        &database(&server, "files", ""),
        &after(&zfs.part("files", &[&dataset])),
        &around(&server, &[remount.to_vec()]),
    ]);
    let transfers = Transfers::start(&server);
    transfers.wait(20);
    let before = transfers.committed();
    let id = bk.backup_id();
    let most = transfers.committed() + 1;
    transfers.wait(20);
    drop(transfers);
    server.sql("DROP TABLE account, move");
    let restored = bk.run(&["restore", &id, "--confirm", bk.instance()]);
    assert_eq!(restored.code, 0, "{restored}\n{}", server.log());
    let found = whole(&server);
    assert!((before..=most).contains(&found), "{before} had been committed before, {most} after; {found} are there");
}

/// A directory of the server's user.
fn own(btrfs: &Btrfs, name: &str) -> PathBuf {
    let path = btrfs.path(name);
    std::fs::create_dir_all(&path).unwrap();
    let mut chown = Command::new("chown");
    chown.arg("postgres:postgres").arg(&path);
    tool(chown);
    path
}

#[test]
fn what_is_not_captured_is_refused() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let server = PgFiles::start(&btrfs.create("pg"), &[]);
    for other in ["other", "pg/nested"] {
        btrfs.create(other);
    }
    let own = |name: &str| own(&btrfs, name).to_str().unwrap().to_owned();
    let disk = |subvolumes: &[&str]| after(&btrfs.part("files", subvolumes, "nested = \"skip\""));
    let fits = |part: &str, disk: &str| {
        bk.config(&[&application_none(), part, disk]);
        bk.run(&["check"]).ok();
    };
    let refused = |part: &str, disk: &str, says: &[&str]| {
        bk.config(&[&application_none(), part, disk]);
        let outcome = bk.run(&["check"]);
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.code > 1 && says.iter().all(|text| all.contains(text)), "{says:?}: {outcome}");
    };
    let plain = database(&server, "files", "");
    fits(&plain, &disk(&["pg"]));
    // The parts.
    refused(&plain, &btrfs.part("files", &["pg"], "nested = \"skip\""), &["after = [\"database\"]"]);
    refused(&database(&server, "disk", ""), &disk(&["pg"]), &["no other part `disk`", "files"]);
    refused(&database(&server, "database", ""), &disk(&["pg"]), &["no other part `database`"]);
    refused(&plain, &disk(&["other"]), &["is on no volume that the part files captures"]);
    let copied = after(&directory_part("files", &btrfs.path("pg")));
    refused(&plain, &copied, &["directory of part `files` cannot tell what it captures"]);
    // The directory.
    let copy = own("other/copy");
    let mut cp = Command::new("cp");
    cp.args(["-a"]).arg(server.data()).arg(&copy);
    tool(cp);
    let elsewhere = plain.replace(server.data().to_str().unwrap(), &format!("{copy}/data"));
    refused(&elsewhere, &disk(&["other"]), &["is not the data directory of the server that answers"]);
    btrfs.btrfs(&["subvolume", "create", server.data().join("base/extra").to_str().unwrap()]);
    refused(&plain, &disk(&["pg"]), &["on other volumes", "base/extra"]);
    btrfs.delete("pg/data/base/extra");
    fits(&plain, &disk(&["pg"]));
    // Tablespaces: outside, outside and named, at another instant, and on the volume itself.
    let (far, near) = (own("other/space"), own("pg/space"));
    server.sql(&format!("CREATE TABLESPACE s LOCATION '{far}'"));
    refused(&plain, &disk(&["pg"]), &["the tablespace s lies outside", &far]);
    let named = database(&server, "files", &format!("tablespaces = [{far:?}]"));
    refused(&named, &disk(&["pg"]), &["the tablespace s", "is on no volume"]);
    refused(&named, &disk(&["pg", "other"]), &["the tablespace s", "at one instant"]);
    server.sql("DROP TABLESPACE s");
    server.sql(&format!("CREATE TABLESPACE s LOCATION '{near}'"));
    refused(&plain, &disk(&["pg"]), &["the tablespace s lies outside", &near]);
    let named = database(&server, "files", &format!("tablespaces = [{near:?}]"));
    fits(&named, &disk(&["pg"]));
    server.sql("DROP TABLESPACE s");
    // What a crash would not leave recoverable.
    for setting in ["fsync", "full_page_writes"] {
        server.set(setting, "off");
        refused(&plain, &disk(&["pg"]), &[&format!("{setting} is off")]);
        server.set(setting, "on");
    }
    // WAL elsewhere, be it on the same volume.
    server.stop();
    let wal = btrfs.path("pg/wal");
    std::fs::rename(server.data().join("pg_wal"), &wal).unwrap();
    std::os::unix::fs::symlink(&wal, server.data().join("pg_wal")).unwrap();
    server.again();
    refused(&plain, &disk(&["pg"]), &["pg_wal in the data directory is a symbolic link"]);
    bk.run(&["run"]).fails(6, &["pg_wal"]);
    assert!(btrfs.snaps().is_empty() && bk.stored().is_empty());
}

/// The server may be changed after the check, and while the files are captured.
#[test]
fn what_changes_after_the_check_is_noticed() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let server = PgFiles::start(&btrfs.create("pg"), &[]);
    let disk = after(&btrfs.part("files", &["pg"], "nested = \"skip\""));
    let space = own(&btrfs, "pg/space");
    let keys = format!("tablespaces = [{space:?}]");
    let psql = format!("/usr/bin/psql -X -q -h '{}' -U postgres -d postgres", server.socket());
    // Before the capture: with the checkpoint of the preparation.
    let off = bk.program(
        "psql-off",
        &format!(
            "if [ \"${{@: -1}}\" = CHECKPOINT ]; then {psql} -c 'ALTER SYSTEM SET fsync = off' -c 'SELECT pg_reload_conf()' >&2; sleep 0.5; fi\n\
             exec /usr/bin/psql \"$@\""
        ),
    );
    let with = |program: &Path| format!("{}[part.programs]\npsql = {program:?}\n", database(&server, "files", &keys));
    bk.config(&[&application_none(), &with(&off), &disk]);
    bk.run(&["run"]).fails(9, &["fsync is off"]);
    assert!(btrfs.snaps().is_empty() && bk.stored().is_empty());
    server.set("fsync", "on");
    // While the files are captured.
    let mark = bk.path("captured");
    let late = bk.program(
        "btrfs-late",
        &format!(
            "if [ \"$2\" = snapshot ]; then /usr/bin/btrfs \"$@\" || exit; touch '{}'; exec {psql} -c \"CREATE TABLESPACE late LOCATION '{}'\" >&2; fi\n\
             exec /usr/bin/btrfs \"$@\"",
            mark.display(),
            space.display()
        ),
    );
    let disk_late = format!("{disk}[part.programs]\nbtrfs = {late:?}\n");
    bk.config(&[&application_none(), &database(&server, "files", &keys), &disk_late]);
    bk.run(&["run"]).fails(9, &["the tablespaces of the server changed while the files were captured"]);
    assert!(mark.exists() && btrfs.snaps().is_empty() && bk.stored().is_empty());
    server.sql("DROP TABLESPACE late");
    bk.config(&[&application_none(), &database(&server, "files", &keys), &disk]);
    // What takes the longer the more files there are, the look through them, is had before the lock and after it.
    let events = bk.run(&["run", "--json"]).ok().events();
    let at = |what: &str, phase: &str| events.iter().position(|e| e["event"] == what && e["phase"] == phase).unwrap();
    let looks: Vec<usize> = (0..events.len())
        .filter(|&n| events[n]["what"].as_str().is_some_and(|what| what.contains("look through")))
        .collect();
    let within = |phase: &str| {
        let (from, to) = (at("phase-started", phase), at("phase-ended", phase));
        looks.iter().filter(|&&look| (from..to).contains(&look)).count()
    };
    let after = looks.iter().filter(|&&look| look > at("phase-ended", "capture")).count();
    assert_eq!((within("check"), within("prepare"), within("capture"), after), (1, 1, 0, 1), "{looks:?}");
    assert_eq!(looks.len(), 3);
}
