//! Writes a sequence number to a file and to a table, all the time.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::{Postgres, Running};

/// How long it rests after each number.
const REST: Duration = Duration::from_millis(2);

/// A writer at work.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<SystemTime>>>,
}

impl Writer {
    /// Append 1, 2, 3, … as lines to `file`, and insert them into the table `seq` of `database`. The next number is written
    /// only when this one is in both.
    #[must_use]
    #[track_caller]
    pub fn start(file: &Path, postgres: &Postgres, database: &str) -> Self {
        postgres.sql(database, "CREATE TABLE seq (n integer PRIMARY KEY)");
        let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
        let mut psql = postgres.client("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database]);
        let mut psql = Running::start(psql, true);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut written = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                let n = written.len() + 1;
                psql.write(&format!("INSERT INTO seq VALUES ({n}) RETURNING 'done ' || n || ';';\n"));
                psql.says(&format!("done {n};"));
                writeln!(file, "{n}").unwrap();
                written.push(SystemTime::now());
                std::thread::sleep(REST);
            }
            written
        });
        Self { stop, thread: Some(thread) }
    }

    /// Stop; when each number was in both places, the first of them being 1.
    #[must_use]
    pub fn stop(mut self) -> Vec<SystemTime> {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
