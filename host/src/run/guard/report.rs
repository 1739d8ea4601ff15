//! How a guard tells what it does: through its run while that lives. After that on stderr, in a log and to syslog; on
//! stderr only for a moment, since whoever waits for the end of the run's output must not wait for the application.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use rustix::stdio::dup2_stderr;
use tokio::sync::mpsc::UnboundedSender;

use super::message::FromGuard;
use crate::archive::SetId;
use crate::report::{Event, Lines, Reporter, Sink, Verbosity};

/// So many lines may wait for a reader of stderr.
const WAITING: usize = 256;
/// A log of this size is put aside, in the place of the one before it.
const LOG_MAX: u64 = 1 << 20;
/// Where the system's log listens.
const SYSLOG: &str = "/dev/log";

/// The guards' log of an instance.
pub(in crate::run) fn log_path(instance: &Path) -> PathBuf {
    instance.join("guard.log")
}

/// Tells the run.
struct ThroughTheRun(UnboundedSender<FromGuard>);

impl Sink for ThroughTheRun {
    fn event(&mut self, event: &Event) {
        let told = match event {
            Event::Call { what, .. } => FromGuard::Call { what: what.clone() },
            Event::Waiting { what, millis } => FromGuard::Waiting { what: what.clone(), millis: *millis },
            Event::Message { level, text, .. } => FromGuard::Message { level: *level, text: text.clone() },
            _ => return,
        };
        // A run that has ended hears nothing.
        let _ = self.0.send(told);
    }
}

/// Writes to stderr on a thread of its own: nobody may read it any more, and the guard must not wait for them.
struct Stderr(SyncSender<Vec<u8>>);

/// The end of the guard's stderr.
pub(super) struct Attached(Receiver<()>);

impl Attached {
    /// Wait until everything is written, when the reporter is gone. Not long: nobody may read it.
    pub(super) fn wait(&self) {
        let _ = self.0.recv_timeout(Duration::from_secs(1));
    }

    /// Let go of stderr: what is told from now on is in the log.
    pub(super) fn detach(&self) {
        // What was told a moment ago is still on its way.
        std::thread::sleep(Duration::from_millis(100));
        if let Ok(nowhere) = OpenOptions::new().write(true).open("/dev/null") {
            let _ = dup2_stderr(&nowhere);
        }
    }
}

impl Stderr {
    fn new() -> (Self, Attached) {
        let (lines, receiver) = sync_channel::<Vec<u8>>(WAITING);
        let (done, written) = sync_channel(1);
        std::thread::spawn(move || {
            for line in receiver {
                let _ = io::stderr().write_all(&line);
            }
            let _ = done.send(());
        });
        (Self(lines), Attached(written))
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A line that finds no room is lost.
        let _ = self.0.try_send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes each line, with the time and the run, to the log, and to syslog if there is one.
struct Log {
    file: Option<File>,
    syslog: PathBuf,
    run: SetId,
    line: Vec<u8>,
}

impl Log {
    fn open(path: &Path, syslog: &Path, run: &SetId) -> Self {
        if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_MAX) {
            let _ = std::fs::rename(path, path.with_extension("log.1"));
        }
        // Best effort: the disk may be what is broken.
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).ok();
        Self { file, syslog: syslog.to_owned(), run: run.clone(), line: Vec::new() }
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if let Some(file) = &mut self.file {
            let text = format!("{:.0} run {}: {line}\n", Timestamp::now(), self.run);
            let _ = file.write_all(text.as_bytes());
        }
        if let Ok(socket) = UnixDatagram::unbound() {
            // A system's log that is stuck must not hold the guard up.
            let _ = socket.set_nonblocking(true);
            // Facility daemon, severity error.
            let text = format!("<27>bkhost[{}]: run {}: {line}", std::process::id(), self.run);
            let _ = socket.send_to(text.as_bytes(), &self.syslog);
        }
        Ok(())
    }
}

pub(super) fn through_the_run(to_run: UnboundedSender<FromGuard>) -> Reporter {
    Reporter::new(vec![Box::new(ThroughTheRun(to_run))])
}

pub(super) fn after_the_run(instance: &Path, run: &SetId) -> (Reporter, Attached) {
    let (stderr, attached) = Stderr::new();
    let log = Log::open(&log_path(instance), Path::new(SYSLOG), run);
    let sinks: [Box<dyn Sink>; 2] =
        [Box::new(Lines::new(stderr, Verbosity::Normal)), Box::new(Lines::new(log, Verbosity::Normal))];
    (Reporter::new(sinks.into()), attached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_in_the_log_and_in_syslog() {
        let dir = tempfile::tempdir().unwrap();
        let (path, socket) = (log_path(dir.path()), dir.path().join("syslog"));
        let syslog = UnixDatagram::bind(&socket).unwrap();
        let run: SetId = "20261121-014200-4f2a9c".parse().unwrap();
        for _ in 0..2 {
            let mut log = Log::open(&path, &socket, &run);
            writeln!(log, "STILL LOCKED").unwrap();
            log.flush().unwrap();
            let mut told = [0; 200];
            let len = syslog.recv(&mut told).unwrap();
            let told = String::from_utf8_lossy(&told[..len]);
            assert!(told.starts_with("<27>bkhost[") && told.ends_with("run 20261121-014200-4f2a9c: STILL LOCKED"));
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap().matches("run 20261121-014200-4f2a9c: STILL LOCKED\n").count(),
            2
        );
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(LOG_MAX + 1).unwrap();
        let _ = Log::open(&path, &socket, &run);
        assert!(dir.path().join("guard.log.1").exists());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
