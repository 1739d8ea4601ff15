//! `mariadb-backup`: started, followed by what it says, waited for.

use std::time::{Duration, Instant};

use bkhost_sdk::exec::{self, Output, Process};
use bkhost_sdk::{Error, ErrorCode, Result, path, progress, staging};

use crate::Config;
use crate::server::connection;
use crate::version::Flavor;

/// Where the files go until the run's label is known: a name that `staging::remove_leftovers` knows.
pub(super) const NEXT: &str = "bkhost-next.data";
/// How long it may wait for other backups of the same server.
const BEGINS: Duration = Duration::from_secs(60);
/// How long the last stage may take. What ends it earlier is the application's max-lock-time.
const LAST: Duration = Duration::from_secs(3600);
/// The last line of a run that succeeded.
pub(super) const DONE: &str = "completed OK!";

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It connects, and waits for other backups.
    Begins,
    /// It copies while everybody writes.
    Copies,
    /// All is copied that can be copied so: it waits for us.
    Held,
    /// It fixes the consistency point.
    Fixes,
    /// The consistency point is behind it, and all files of that point are copied.
    Fixed,
}

/// What it says at the beginning of each stage.
const MARKS: [(&str, Stage); 4] = [
    ("Acquired locks for BACKUP STAGE START", Stage::Copies),
    ("Started BACKUP STAGE BLOCK_DDL", Stage::Held),
    ("Acquired locks for BACKUP STAGE BLOCK_DDL", Stage::Fixes),
    ("All tables unlocked", Stage::Fixed),
];

/// The message of a line: without the thread and the time.
fn message(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|rest| rest.get(4..)) {
        Some(rest) if line.as_bytes().get(3) == Some(&b']') => rest.get(20..).unwrap_or_default(),
        _ => line,
    }
}

/// Whether it waits for other backups. (Its own limit for that, `--startup-wait-timeout`, would make it wait for the very
/// statement that holds it, too.)
fn waits(stderr: &str) -> bool {
    stderr.lines().last().is_some_and(|line| message(line) == "Acquiring BACKUP LOCKS...")
}

pub(super) fn stage(stderr: &str) -> Stage {
    let of = |line: &str| {
        let message = message(line);
        MARKS.iter().find(|(mark, _)| message == *mark).map(|(_, stage)| *stage)
    };
    stderr.lines().rev().find_map(of).unwrap_or(Stage::Begins)
}

/// Start it.
pub(super) fn start(config: &Config) -> Result<Process> {
    connection(config, Flavor::Mariadb, exec::command("backup"))
        .slot("parallel", config.parallel.to_string())
        .slot("directory", staging::at(NEXT))
        .spawn()
}

/// Wait until it is held. False in a dry run.
pub(super) fn held(backup: &Process) -> Result<bool> {
    let mut told = Instant::now();
    let mut began = Instant::now();
    loop {
        let standing = backup.look()?;
        if !waits(&standing.stderr) {
            began = Instant::now();
        }
        match (standing.status, stage(&standing.stderr)) {
            (None, Stage::Begins) if began.elapsed() > BEGINS => {
                let message = format!("the server did not let a backup begin for {} s", BEGINS.as_secs());
                return Err(Error::conflict(message)
                    .hint("another backup of it is running, or LOCK TABLES: see SHOW FULL PROCESSLIST"));
            }
            (Some(0), Stage::Begins) if backup.wait(1000)?.planned => return Ok(false),
            (None, Stage::Held) => return Ok(true),
            (Some(0) | None, Stage::Fixes | Stage::Fixed) => return Err(let_go()),
            (Some(status), _) => return Err(failure("backup", status, &standing.stderr)),
            (None, _) => std::thread::sleep(Duration::from_millis(50)),
        }
        if told.elapsed() > Duration::from_secs(5) {
            progress::report("copy", size(&staging::at(NEXT)), None);
            told = Instant::now();
        }
    }
}

/// That it still is.
pub(super) fn still_held(backup: &Process) -> Result<()> {
    let standing = backup.look()?;
    match (standing.status, stage(&standing.stderr)) {
        (None, Stage::Held) => Ok(()),
        (Some(0) | None, _) => Err(let_go()),
        (Some(status), _) => Err(failure("backup", status, &standing.stderr)),
    }
}

fn let_go() -> Error {
    Error::conflict("mariadb-backup did not wait for the lock: its consistency point is before it")
        .hint("did somebody end the statement on bkhost_physical_backup.hold? Run again")
}

/// Wait until the consistency point is behind it.
pub(super) fn fixed(backup: &Process) -> Result<()> {
    let start = Instant::now();
    loop {
        let standing = backup.look()?;
        match (standing.status, stage(&standing.stderr)) {
            (Some(0) | None, Stage::Fixed) => return Ok(()),
            (Some(status), _) => return Err(failure("backup", status, &standing.stderr)),
            (None, _) if start.elapsed() > LAST => {
                return Err(Error::new(
                    ErrorCode::TimedOut,
                    "mariadb-backup did not fix its consistency point within an hour",
                )
                .detail("stderr", standing.stderr));
            }
            (None, _) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Wait for its end.
pub(super) fn ended(backup: &Process) -> Result<()> {
    loop {
        let standing = backup.look()?;
        match standing.status {
            Some(0) if done(&standing.stderr) => return Ok(()),
            Some(status) => return Err(failure("backup", status, &standing.stderr)),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Whether its last line says that it succeeded.
pub(super) fn done(stderr: &str) -> bool {
    stderr.lines().rev().find(|line| !line.trim().is_empty()).is_some_and(|line| message(line) == DONE)
}

/// Why it failed: what it said besides how far it was. It lists the user's rights when one is missing, with the hash of
/// the password: that is not repeated.
pub(super) fn failure(command: &str, status: i32, stderr: &str) -> Error {
    const PLAIN: [&str; 6] = ["Copying", "...done", "Start", "Stop ", "Finish", "[Note]"];
    let said: Vec<&str> = stderr
        .lines()
        .map(message)
        .filter(|line| !line.trim().is_empty() && !line.contains("GRANT ") && !line.contains("IDENTIFIED"))
        .filter(|line| !PLAIN.iter().any(|plain| line.trim_start().starts_with(plain) || line.contains("[Note]")))
        .collect();
    let tail = said.get(said.len().saturating_sub(20)..).unwrap_or_default().join("\n");
    // What went wrong is followed by what that led to.
    let bad = |line: &&&str| {
        let line = line.to_ascii_lowercase();
        ["error", "failed", "can't", "cannot", "denied", "no space"].iter().any(|word| line.contains(word))
    };
    let first = said.iter().find(bad).copied();
    let error = match first {
        Some(line) => Error::other(format!("mariadb-backup failed: {}", line.trim())),
        None => Error::other(format!("mariadb-backup failed with status {status}")),
    };
    let error = error.detail("command", command).detail("status", status.to_string()).detail("stderr", tail.as_str());
    let says = |texts: &[&str]| texts.iter().any(|text| tail.contains(text));
    if says(&["No space left", "errno: 28", "Errcode: 28"]) {
        error.hint("the staging area is full: it needs room for a copy of all of the server's files")
    } else if says(&["Access denied"]) {
        error.code(ErrorCode::Denied).hint("give the password in [part.secrets]: password = { env = \"MYSQL_PWD\" }")
    } else if says(&["missing required privilege"]) {
        error.code(ErrorCode::Denied).hint("GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO the user")
    } else if says(&["access rights", "Permission denied", "Errcode: 13", "errno: 13"]) {
        error
            .code(ErrorCode::Denied)
            .hint("the server's files are read by this: run the part as the server's user (run-as)")
    } else if says(&["Lock wait timeout"]) {
        error.code(ErrorCode::Conflict).hint("another backup of this server is running: one at a time is possible")
    } else if says(&["Lost connection", "gone away", "has gone"]) {
        error.code(ErrorCode::Unavailable).hint("the server ended, or its administrator ended the session")
    } else {
        error
    }
}

/// The bytes of the files below a guest path, as far as they can be seen.
pub(super) fn size(guest: &str) -> u64 {
    fn of(directory: &std::path::Path) -> u64 {
        let Ok(listing) = std::fs::read_dir(directory) else { return 0 };
        listing
            .flatten()
            .map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => of(&entry.path()),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            })
            .sum()
    }
    of(&path::local(guest))
}

/// A command that has ended well, and says so.
pub(super) fn proved(output: &Output) -> Result<()> {
    if output.status == 0 && done(&output.stderr) {
        return Ok(());
    }
    Err(failure(&output.command, output.status, &output.stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str = "[00] 2026-11-21 08:41:56 Acquired locks for BACKUP STAGE START\n\
        [01] 2026-11-21 08:41:56 Copying ./app/t.ibd to /x/app/t.ibd\n\
        [00] 2026-11-21 08:41:56 Finished BACKUP STAGE FLUSH\n\
        [00] 2026-11-21 08:41:56 Started BACKUP STAGE BLOCK_DDL\n";

    #[test]
    fn stages() {
        assert_eq!(stage(""), Stage::Begins);
        let waiting = "[00] 2026-11-21 08:41:56 Starting BACKUP STAGE START\n[00] 2026-11-21 08:41:56 Acquiring BACKUP LOCKS...\n";
        assert!(waits(waiting) && stage(waiting) == Stage::Begins && !waits(HELD) && !waits(""));
        assert_eq!(stage("[00] 2026-11-21 08:41:56 Acquired locks for BACKUP STAGE START\nx"), Stage::Copies);
        assert_eq!(stage(HELD), Stage::Held);
        let fixes = format!("{HELD}[00] 2026-11-21 08:41:56 Acquired locks for BACKUP STAGE BLOCK_DDL\n");
        assert_eq!(stage(&fixes), Stage::Fixes);
        assert_eq!(stage(&format!("{fixes}[00] 2026-11-21 08:41:56 All tables unlocked\n")), Stage::Fixed);
        // A half line, or one that only holds the words.
        assert_eq!(stage(&HELD.replace("BLOCK_DDL\n", "BLOCK")), Stage::Copies);
        assert_eq!(stage("[00] 2026-11-21 08:41:56 Copying ./All tables unlocked"), Stage::Begins);
        assert!(done("x\n[00] 2026-11-21 08:40:57 completed OK!\n\n") && !done("completed OK!\nno\n") && !done(""));
    }

    #[test]
    fn a_failure_says_why_and_tells_no_hash() {
        let stderr = "[00] 2026-11-21 08:47:03 Error: missing required privilege PROCESS on *.*\n\
            [00] 2026-11-21 08:47:03 Current privileges, as reported by 'SHOW GRANTS': \n\
            [00] 2026-11-21 08:47:03   1.GRANT RELOAD ON *.* TO `p`@`localhost` IDENTIFIED BY PASSWORD '*D821809F'\n";
        let error = failure("backup", 1, stderr);
        assert_eq!(error.code, ErrorCode::Denied);
        assert!(error.message.contains("missing required privilege PROCESS") && error.hint.is_some(), "{error:?}");
        assert!(!error.details.iter().any(|(_, text)| text.contains("D821809F")), "{error:?}");
        assert!(failure("backup", 137, HELD).message.contains("137"));
    }
}
