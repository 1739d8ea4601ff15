//! A MariaDB server that tests share, or one for a test that does things to it.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Outcome, Running, script, tool};

/// A server. It stops when this is dropped.
pub struct Mariadb {
    _holder: Running,
    socket: String,
    pid: i32,
}

/// The server that tests share; each makes databases of its own. It starts when the first test needs it.
pub fn mariadb() -> &'static Mariadb {
    static SERVER: OnceLock<Mariadb> = OnceLock::new();
    SERVER.get_or_init(|| Mariadb::start(&[]))
}

/// A session of the client that is written to.
pub struct Session(Running);

impl Session {
    /// Run a statement to its end.
    #[track_caller]
    pub fn run(&mut self, statement: &str) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.write(&format!("{statement}; SELECT 'done {number};';\n"));
        self.0.says(&format!("done {number};"));
    }

    /// Run a statement with 1, 2, 3, … in the place of each `{}`, all the time.
    #[must_use]
    pub fn repeat(mut self, statement: &'static str) -> Repeating {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut n = 0;
            while !stopped.load(Ordering::Acquire) {
                n += 1;
                self.run(&statement.replace("{}", &n.to_string()));
            }
            n
        });
        Repeating { stop, thread: Some(thread) }
    }
}

/// A statement that is run all the time, until this is stopped or dropped.
pub struct Repeating {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u32>>,
}

impl Repeating {
    /// Stop it; the last number.
    pub fn stop(mut self) -> u32 {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Repeating {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl Mariadb {
    /// Start one with these options: those of `mariadb.sh`, then those of the server.
    #[must_use]
    pub fn start(options: &[&str]) -> Self {
        let mut command = Command::new(script("mariadb.sh"));
        command.arg("run").args(options).args(["--", "bash", "-c", "echo \"server $SOCKET $PID\"; read -r _"]);
        let mut holder = Running::start(command, true);
        let line = holder.says("server ");
        let words: Vec<_> = line.split(' ').collect();
        Self { socket: words[1].to_owned(), pid: words[2].parse().unwrap(), _holder: holder }
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// Kill it, as a power cut would.
    pub fn kill(&self) {
        kill_process(Pid::from_raw(self.pid).unwrap(), Signal::KILL).unwrap();
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["--no-defaults", "--user=root", "--default-character-set=utf8mb4"]);
        command.arg(format!("--socket={}", self.socket));
        command
    }

    /// A session with a database of it.
    #[must_use]
    pub fn session(&self, database: &str) -> Session {
        let mut command = self.client("mariadb");
        command.args(["--batch", "--skip-column-names", "--unbuffered"]).arg(format!("--database={database}"));
        Session(Running::start(command, true))
    }

    /// What a statement returns: rows, their columns separated by tabs.
    #[track_caller]
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let mut command = self.client("mariadb");
        command.args(["--batch", "--raw", "--skip-column-names"]).arg(format!("--database={database}"));
        command.arg(format!("--execute={statement}"));
        tool(command).trim_end().to_owned()
    }

    /// How a statement ended, that may fail.
    #[track_caller]
    pub fn tries(&self, statement: &str) -> Outcome {
        let mut command = self.client("mariadb");
        command.arg(format!("--execute={statement}"));
        Running::start(command, false).end()
    }

    /// A name as an identifier.
    #[must_use]
    pub fn quoted(name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    /// Make a database with a table `t` of so many rows.
    #[track_caller]
    pub fn create(&self, database: &str, rows: u32) {
        self.sql("", &format!("CREATE DATABASE {}", Self::quoted(database)));
        self.sql(
            database,
            &format!(
                "CREATE TABLE t (id INT PRIMARY KEY, m VARCHAR(64)) ENGINE=InnoDB; \
                 INSERT INTO t SELECT seq, MD5(seq) FROM seq_1_to_{rows}"
            ),
        );
    }

    /// The databases whose names begin like this.
    #[track_caller]
    pub fn databases(&self, prefix: &str) -> Vec<String> {
        let all = self.sql("", "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1");
        all.lines().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// How many sessions use a database.
    #[track_caller]
    pub fn sessions(&self, database: &str) -> u32 {
        let count = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '{database}'");
        self.sql("", &count).parse().unwrap()
    }

    /// A `[[part]]` for databases of it, with these further keys of `[part.config]`.
    #[must_use]
    pub fn part(&self, name: &str, databases: &[&str], keys: &str) -> String {
        let quoted: Vec<String> =
            databases.iter().map(|name| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))).collect();
        format!(
            "[[part]]\nname = \"{name}\"\nplugin = \"mysql.wasm\"\n[part.config]\nsocket = \"{}\"\ndatabases = [{}]\n{keys}\n",
            self.socket,
            quoted.join(", ")
        )
    }
}
