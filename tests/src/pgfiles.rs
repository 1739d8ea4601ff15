//! A PostgreSQL server whose data directory is where the test wants it: on a file system that is captured.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Running, script, tool, until};

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A server in a directory of its own, which syncs. Stopped when this is dropped.
pub struct PgFiles {
    /// What makes a command run where its files are.
    wrapper: Vec<String>,
    dir: PathBuf,
}

impl PgFiles {
    /// A server in this directory; `wrapper` is what a command needs to see it.
    #[must_use]
    #[track_caller]
    pub fn start(dir: &Path, wrapper: &[String]) -> Self {
        let server = Self { wrapper: wrapper.to_vec(), dir: dir.to_owned() };
        let script = script("postgres.sh");
        let dir = dir.to_str().unwrap();
        tool(server.command(script.to_str().unwrap(), &["start", dir, "--set", "fsync = on"]));
        server
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut all = self.wrapper.clone();
        all.push(program.to_owned());
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        let mut command = Command::new(&all[0]);
        command.args(&all[1..]);
        command
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The directory of its socket.
    #[must_use]
    pub fn socket(&self) -> String {
        self.dir.join("sock").to_str().unwrap().to_owned()
    }

    /// The command that stops it: as a power cut would.
    #[must_use]
    pub fn stopping(&self) -> Vec<String> {
        [script("postgres.sh").to_str().unwrap(), "stop", self.dir.to_str().unwrap()].map(str::to_owned).to_vec()
    }

    /// The command that starts it again, and comes back when its recovery is over.
    #[must_use]
    pub fn starting(&self) -> Vec<String> {
        // The snapshot's postmaster.pid names the server of then. Where nobody reaps what is dead, as in some containers,
        // PostgreSQL takes that for alive.
        let pid = self.data().join("postmaster.pid");
        let (pid, sock) = (pid.display(), self.socket());
        let pg_ctl = format!(
            "cd / && case $(ps -o stat= -p \"$(head -n 1 '{pid}')\") in Z*) rm -f '{pid}' '{sock}'/.s.PGSQL.*.lock ;; esac; exec setpriv --reuid=postgres --regid=postgres --clear-groups {BIN}/pg_ctl -D '{}' -l '{}' -w -t 60 start",
            self.data().display(),
            self.dir.join("server.log").display()
        );
        ["/bin/sh", "-c", &pg_ctl].map(str::to_owned).to_vec()
    }

    /// What it has logged: the last of it.
    #[must_use]
    pub fn log(&self) -> String {
        let log = self.dir.join("server.log");
        Running::start(self.command("tail", &["-n", "40", log.to_str().unwrap()]), false).end().stdout
    }

    /// Stop it.
    #[track_caller]
    pub fn stop(&self) {
        let stop = self.stopping();
        tool(self.command(&stop[0], &[&stop[1], &stop[2]]));
    }

    /// Start it again.
    #[track_caller]
    pub fn again(&self) {
        let start = self.starting();
        // It goes on: nothing of it may hold the test's pipes.
        let quiet = format!("{} >/dev/null 2>&1", start[2].replace("exec ", ""));
        tool(self.command(&start[0], &[&start[1], &quiet]));
    }

    /// A client with these arguments.
    #[must_use]
    pub fn psql(&self, args: &[&str]) -> Command {
        let socket = self.socket();
        let mut all =
            vec!["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", &socket, "-U", "postgres", "-d", "postgres"];
        all.extend(args);
        self.command("psql", &all)
    }

    /// What a statement returns.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        tool(self.psql(&["-c", statement])).trim_end().to_owned()
    }

    /// Set something of its configuration, and wait until it is so.
    #[track_caller]
    pub fn set(&self, name: &str, value: &str) {
        self.sql(&format!("ALTER SYSTEM SET {name} = {value}"));
        self.sql("SELECT pg_reload_conf()");
        until(&format!("{name} = {value}"), Duration::from_secs(20), || self.sql(&format!("SHOW {name}")) == value);
    }
}

impl Drop for PgFiles {
    fn drop(&mut self) {
        let stop = self.stopping();
        let _ = Running::start(self.command(&stop[0], &[&stop[1], &stop[2]]), false).end();
    }
}
