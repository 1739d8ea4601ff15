//! PostgreSQL in a container: `via` in front of every command, through a stand-in for docker (`tests/standins/docker`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bkhost_tests::{Bkhost, Running, application_none, tool, until};
use rustix::process::Signal;

const PASSWORD: &str = "s3cret'\"$(x)";
const SUMS: &str = "SELECT count(*), md5(string_agg(id || m, ',' ORDER BY id)) FROM t";

/// A container with a PostgreSQL 16 that is only in there, and a database `app` that asks for a password.
struct Container {
    _holder: Running,
    docker: PathBuf,
    place: PathBuf,
    host: String,
}

impl Container {
    fn start(bk: &Bkhost, hide: &[&Path]) -> Self {
        let standin = Path::new(env!("CARGO_MANIFEST_DIR")).join("standins/docker");
        let place = bk.path("container");
        let mut command = Command::new(&standin);
        command.arg("run").arg(&place).args(["--hba", "local app,new all scram-sha-256"]);
        for directory in hide {
            std::fs::create_dir_all(directory).unwrap();
            command.arg("--hide").arg(directory);
        }
        let mut holder = Running::start(command, true);
        let host = holder.says("up ").split(' ').nth(1).unwrap().to_owned();
        let docker = bk.program("docker", &format!("exec {} \"$@\"", standin.display()));
        let this = Self { _holder: holder, docker, place, host };
        let password = PASSWORD.replace('\'', "''");
        this.sql("postgres", "CREATE DATABASE app");
        this.sql("postgres", &format!("ALTER ROLE postgres PASSWORD '{password}'"));
        this.sql("app", "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS m FROM generate_series(1, 5000) g");
        this
    }

    fn sql(&self, database: &str, statement: &str) -> String {
        let mut exec = Command::new(&self.docker);
        exec.args(["exec", "-e", "PGPASSWORD", "-e"]).arg(format!("PGHOST={}", self.host)).arg(&self.place);
        exec.args([
            "psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            database,
            "-c",
            statement,
        ]);
        exec.env("PGPASSWORD", PASSWORD);
        tool(exec).trim_end().to_owned()
    }

    fn part(&self, bk: &Bkhost, words: &str, keys: &str) -> String {
        std::fs::write(bk.path("secret"), PASSWORD).unwrap();
        std::fs::set_permissions(bk.path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        format!(
            "[[part]]\nname = \"database\"\nplugin = \"postgresql.wasm\"\nvia = [\"{}\", \"exec\", \"-i\", {words}\"{}\"]\n\
             [part.config]\nhost = \"{}\"\ndatabase = \"app\"\n{keys}\n[part.secrets]\npassword = {{ file = \"{}\" }}\n",
            self.docker.display(),
            self.place.display(),
            self.host,
            bk.path("secret").display()
        )
    }

    /// The arguments of all that was run in it.
    fn log(&self) -> String {
        std::fs::read_to_string(self.place.join("log")).unwrap()
    }

    fn connections(&self) -> String {
        self.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bkhost%'")
    }
}

const ENV: &str = "\"--env={env}\", ";

fn there_and_back(bk: &Bkhost, container: &Container) {
    let before = container.sql("app", SUMS);
    let id = bk.backup_id();
    container.sql("app", "DELETE FROM t WHERE id % 2 = 0");
    bk.run(&["restore", &id, "--to", "database=new", "--confirm", bk.instance()]).ok();
    assert_eq!(container.sql("new", SUMS), before);
    assert_eq!(container.connections(), "0");
    // The test itself has set the password with a command that it can be read in.
    let log: String = container.log().lines().filter(|line| line.starts_with("exec -i ")).collect();
    assert!(log.contains("--env=PGPASSWORD") && !log.contains("s3cret"), "{log}");
    bk.no_child_left();
}

#[test]
fn a_stream_out_of_a_container_that_sees_nothing_of_ours() {
    let bk = Bkhost::new();
    let container = Container::start(&bk, &[&bk.state().join("staging")]);
    // Tools of the machine itself would be too old; those of the container are found by its own PATH.
    bk.config(&[&application_none(), &container.part(&bk, ENV, "format = \"custom\"")]);
    let checked = bk.run(&["check"]).ok();
    assert!(checked.stdout.contains("pg_dump: 16."), "{checked}");
    there_and_back(&bk, &container);
    // Files in the staging area would not be seen.
    bk.config(&[&application_none(), &container.part(&bk, ENV, "")]);
    let checked = bk.run(&["check"]).fails(6, &["staging", "do not see the staging area"]);
    assert!(checked.stdout.contains("format = \"custom\""), "{checked}");
    // Without the environment there is no password, nor anything else.
    bk.config(&[&application_none(), &container.part(&bk, "", "format = \"custom\"")]);
    bk.run(&["check"]).fails(6, &["database app"]);
    assert_eq!(bk.list().len(), 1);
}

#[test]
fn the_example() {
    let bk = Bkhost::new();
    let container = Container::start(&bk, &[&bk.state().join("staging")]);
    let _ = container.part(&bk, ENV, "");
    bk.example(
        "postgresql-docker.toml",
        None,
        &[
            ("\"/usr/bin/docker\"", &format!("{:?}", container.docker)),
            ("\"postgres\"]", &format!("{:?}]", container.place)),
            ("\"/var/run/postgresql\"", &format!("{:?}", container.host)),
            ("[\"wiki\", \"accounts\"]", "[\"app\"]"),
            ("\"/etc/bkhost/postgres.password\"", &format!("{:?}", bk.path("secret"))),
        ],
    );
    there_and_back(&bk, &container);
}

#[test]
fn files_of_a_container_that_sees_the_staging_area() {
    let bk = Bkhost::new();
    let container = Container::start(&bk, &[]);
    bk.config(&[&application_none(), &container.part(&bk, ENV, "")]);
    there_and_back(&bk, &container);
}

#[test]
fn what_was_killed_outside_ends_inside() {
    let bk = Bkhost::new();
    let container = Container::start(&bk, &[]);
    bk.config(&[&application_none(), &container.part(&bk, ENV, "")]);
    for signal in [Signal::INT, Signal::KILL] {
        // A lock that the dump waits for: its client in the container does not notice that it was killed.
        let mut locker = Command::new(&container.docker);
        locker
            .args(["exec", "-i", "-e", "PGPASSWORD", "-e"])
            .arg(format!("PGHOST={}", container.host))
            .arg(&container.place);
        locker.args(["psql", "-X", "-q", "-A", "-t", "-U", "postgres", "-d", "app"]).env("PGPASSWORD", PASSWORD);
        let mut locker = Running::start(locker, true);
        locker.write("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n");
        locker.says("locked");
        let run = bk.spawn(&["run"]);
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bkhost %' AND wait_event_type = 'Lock'";
        until("the dump waits", Duration::from_secs(30), || container.sql("postgres", waiting) != "0");
        run.signal(signal);
        let code = run.end().code;
        if signal == Signal::KILL {
            bk.run(&["recover"]).ok();
        } else {
            assert_eq!(code, 11);
        }
        until("nothing is left at the server", Duration::from_secs(10), || container.connections() == "0");
        assert_eq!(bk.stored(), [""; 0]);
    }
}

#[test]
fn words_that_cannot_work_are_refused_with_their_line() {
    let bk = Bkhost::new();
    for (via, says) in [
        ("[\"docker\", \"exec\"]", "not an absolute path"),
        ("[\"/usr/bin/docker\", \"\"]", "empty"),
        ("[\"/bin/sh\", \"-c\"]", "hands its arguments to a shell"),
        ("[\"/usr/bin/ssh\"]", "names no machine"),
    ] {
        let part = format!(
            "[[part]]\nname = \"database\"\nplugin = \"postgresql.wasm\"\nvia = {via}\n[part.config]\ndatabase = \"app\"\n"
        );
        bk.config(&[&application_none(), &part]);
        bk.run(&["check"]).fails(3, &["bkhost.toml:", "`via`", says, "/usr/bin/docker"]);
    }
    // Somebody else's to change: nothing is run by it.
    let open = bk.program("docker", "touch \"$0.ran\"");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let part = format!(
        "[[part]]\nname = \"database\"\nplugin = \"postgresql.wasm\"\nvia = [\"{}\"]\n[part.config]\ndatabase = \"app\"\n",
        open.display()
    );
    bk.config(&[&application_none(), &part]);
    bk.run(&["check"]).fails(4, &["via", "can be written by"]);
    assert!(!bk.path("docker.ran").exists());
}
