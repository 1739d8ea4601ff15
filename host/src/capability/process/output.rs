//! What a command writes: pumped by tasks, kept within bounds.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Ending;

/// How long a pipe may be silent once the command has ended: then somebody who does not write holds it open.
const SILENCE: Duration = Duration::from_secs(2);
/// How much of stderr is kept.
const TAIL: usize = 64 << 10;

/// The end of a stream.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend(chunk);
        if let Some(surplus) = self.bytes.len().checked_sub(TAIL).filter(|n| *n > 0) {
            self.bytes.drain(..surplus);
            self.cut = true;
        }
    }

    /// What is there, and whether something before it was dropped.
    pub(super) fn content(&self) -> (Vec<u8>, bool) {
        (self.bytes.iter().copied().collect(), self.cut)
    }
}

/// The next bytes of a pipe; 0 at its end. After `ended`, only as long as something comes.
async fn next(pipe: &mut (impl AsyncRead + Unpin), buffer: &mut [u8], ended: &CancellationToken) -> usize {
    let silence = async {
        ended.cancelled().await;
        tokio::time::sleep(SILENCE).await;
    };
    tokio::select! {
        biased;
        read = pipe.read(buffer) => read.unwrap_or(0),
        () = silence => 0,
    }
}

/// Pumps stdout into a channel: whoever does not read slows the command down.
pub(super) async fn pump_stdout(mut pipe: impl AsyncRead + Unpin, ended: CancellationToken, to: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = next(&mut pipe, &mut buffer, &ended).await;
        let chunk = Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default());
        if chunk.is_empty() || to.send(chunk).await.is_err() {
            return;
        }
    }
}

/// Pumps stderr into a tail.
pub(super) async fn pump_stderr(mut pipe: impl AsyncRead + Unpin, ended: CancellationToken, to: Arc<Mutex<Tail>>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = next(&mut pipe, &mut buffer, &ended).await;
        if n == 0 {
            return;
        }
        to.lock().unwrap_or_else(PoisonError::into_inner).push(buffer.get(..n).unwrap_or_default());
    }
}

/// The stdout of a process, for the host to drain: not masked, never shown to the guest. Reads block, so it belongs on a
/// blocking thread. If the process is killed, a read fails: a stream that was cut off does not look complete.
#[derive(Debug)]
pub struct Output {
    pub(super) chunks: mpsc::Receiver<Bytes>,
    pub(super) current: Bytes,
    pub(super) ending: Arc<OnceLock<Ending>>,
}

impl io::Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                // Whatever ended it is decided before its pipes close.
                None => {
                    return match self.ending.get() {
                        Some(Ending::TimedOut) => {
                            Err(io::Error::new(io::ErrorKind::TimedOut, "the command ran over its deadline"))
                        }
                        Some(Ending::Cancelled | Ending::Killed) => Err(io::Error::other("the command was killed")),
                        Some(Ending::Exited) | None => Ok(0),
                    };
                }
            }
        }
        let n = self.current.len().min(buffer.len());
        if let Some(to) = buffer.get_mut(..n) {
            self.current.copy_to_slice(to);
        }
        Ok(n)
    }
}
