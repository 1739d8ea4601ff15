//! How a guard tells what it does: through its run while that lives, and on stderr after that.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::message::FromGuard;
use crate::report::{Event, Lines, Reporter, Sink, Verbosity};

/// So many lines may wait for a reader of stderr.
const WAITING: usize = 256;

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

/// Waits until everything is written.
pub(super) struct Written(Receiver<()>);

impl Written {
    /// To be called when the reporter is gone. Does not wait long for a reader who does not read.
    pub(super) fn wait(&self) {
        let _ = self.0.recv_timeout(Duration::from_secs(1));
    }
}

impl Stderr {
    fn new() -> (Self, Written) {
        let (lines, receiver) = sync_channel::<Vec<u8>>(WAITING);
        let (done, written) = sync_channel(1);
        std::thread::spawn(move || {
            for line in receiver {
                let _ = io::stderr().write_all(&line);
            }
            let _ = done.send(());
        });
        (Self(lines), Written(written))
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

pub(super) fn through_the_run(to_run: UnboundedSender<FromGuard>) -> Reporter {
    Reporter::new(vec![Box::new(ThroughTheRun(to_run))])
}

pub(super) fn on_stderr() -> (Reporter, Written) {
    let (stderr, written) = Stderr::new();
    (Reporter::new(vec![Box::new(Lines::new(stderr, Verbosity::Normal))]), written)
}
