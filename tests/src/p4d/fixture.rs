//! A server for a test, and somebody who submits all the time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Database, archive};
use crate::{Running, tool};

/// The root of a stand-in server, whose program is at `p4d`.
pub struct P4 {
    root: PathBuf,
    programs: PathBuf,
}

impl P4 {
    /// A server with metadata and a few files in an empty directory. `programs` is the directory of the stand-ins.
    #[must_use]
    #[track_caller]
    pub fn create(root: &Path, programs: &Path) -> Self {
        std::fs::create_dir_all(root).unwrap();
        let this = Self { root: root.to_owned(), programs: programs.to_owned() };
        let mut db = this.database();
        db.commit(&[("db.counters", &["journal", "0"]), ("db.depot", &["depot", "0", "", "depot/..."])]).unwrap();
        db.commit(&[("db.user", &["admin", "geheim", "super"]), ("db.user", &["dev", "x", "write"])]).unwrap();
        drop(db);
        std::fs::write(root.join("server.id"), "standin\n").unwrap();
        for n in 0..5 {
            this.submit(&format!("//depot/main/file{n}.txt"), format!("content {n}\nof a @file@\n").as_bytes(), true);
            this.submit(&format!("//depot/main/bin{n}"), &[n; 3000], false);
        }
        this
    }

    /// The same server at another root: what was restored there.
    #[must_use]
    pub fn at(&self, root: &Path) -> Self {
        Self { root: root.to_owned(), programs: self.programs.clone() }
    }

    /// P4ROOT.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its metadata, locked.
    #[must_use]
    #[track_caller]
    pub fn database(&self) -> Database {
        Database::open(&self.root, None).unwrap()
    }

    /// Set a configurable.
    #[track_caller]
    pub fn configure(&self, name: &str, value: &str) {
        self.database().commit(&[("db.config", &["any", "0", name, value])]).unwrap();
    }

    /// Submit one revision.
    #[track_caller]
    pub fn submit(&self, file: &str, content: &[u8], text: bool) -> u64 {
        archive::submit(&mut self.database(), file, content, text).unwrap()
    }

    /// What is to go wrong from now on; empty: nothing.
    pub fn fault(&self, fault: &str) {
        std::fs::write(self.root.join("standin-fault"), fault).unwrap();
    }

    /// How many checkpoints and rotations p4d was asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        std::fs::read_to_string(self.root.join("standin-log")).unwrap_or_default().lines().count()
    }

    /// A difference from the usual.
    pub fn option(&self, option: &str) {
        std::fs::write(self.root.join("standin-options"), format!("{option}\n")).unwrap();
    }

    /// Run `p4d -r ROOT` with these arguments, which has to succeed.
    #[track_caller]
    pub fn p4d(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.programs.join("standin-p4d"));
        command.arg("-r").arg(&self.root).args(arguments);
        tool(command)
    }

    /// Every record of the metadata but the counters, as a checkpoint has them.
    #[must_use]
    pub fn records(&self) -> String {
        let db = self.database();
        let records = ["db.change", "db.config", "db.depot", "db.rev", "db.user"];
        records.map(|table| super::checkpoint::tables(&db, Some(table), None)).concat()
    }

    /// What `p4 verify` would say of the metadata here and the versioned files in `depot`: nothing, if every revision is
    /// there and is what it was.
    #[must_use]
    pub fn verify(&self, depot: &Path) -> Vec<String> {
        archive::verify(&self.database(), depot)
    }

    /// How many revisions the metadata knows.
    #[must_use]
    pub fn revisions(&self) -> usize {
        self.database().table("db.rev").len()
    }

    /// Serve; the server and its port.
    #[must_use]
    #[track_caller]
    pub fn serve(&self) -> (Running, String) {
        let mut command = Command::new(self.programs.join("standin-p4d"));
        command.arg("-r").arg(&self.root).args(["-p", "127.0.0.1:0"]);
        let mut running = Running::start(command, false);
        let line = running.says("starting");
        let port = line.split_whitespace().last().unwrap().to_owned();
        (running, port)
    }

    /// Where the stand-in for `p4d` or `p4` is.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(format!("standin-{name}"))
    }

    /// `[part.programs]` for the stand-ins.
    #[must_use]
    pub fn programs(&self) -> String {
        format!("[part.programs]\np4d = {:?}\np4 = {:?}\n", self.program("p4d"), self.program("p4"))
    }

    /// Submit all the time, until this is dropped or stopped.
    #[must_use]
    pub fn submitter(&self) -> Submitter {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (root, ours, counts) = (self.root.clone(), Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            let mut n = 0_u64;
            while !ours.load(Ordering::Relaxed) {
                n += 1;
                let file = format!("//depot/busy/file{}", n % 7);
                let text = n.is_multiple_of(2);
                let mut db = Database::open(&root, None).unwrap();
                archive::submit(
                    &mut db,
                    &format!("{file}{}", if text { ".txt" } else { "" }),
                    format!("{n}\n").as_bytes(),
                    text,
                )
                .unwrap();
                drop(db);
                counts.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        Submitter { stop, count, thread: Some(thread) }
    }
}

/// Somebody who submits all the time.
pub struct Submitter {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Submitter {
    /// Submits so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the submitter failed");
    }
}
