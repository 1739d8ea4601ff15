//! gzip on all processors: the content is cut into blocks, each compressed on a thread of its own into a gzip member of its
//! own. A gzip file is a row of members, for every reader of the format; what it costs in size is about a hundredth.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

/// The content of a member.
const BLOCK: usize = 1 << 20;

/// A block, and where its member goes.
type Job = (Vec<u8>, Sender<io::Result<Vec<u8>>>);

/// Compresses what is written to it.
pub(crate) struct GzipWriter<W> {
    to: W,
    block: Vec<u8>,
    jobs: Option<SyncSender<Job>>,
    /// The members that are being made, in their order.
    members: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    /// So many may be under way: memory is bounded by it.
    most: usize,
    threads: Vec<JoinHandle<()>>,
    begun: bool,
}

impl<W: Write> GzipWriter<W> {
    pub(super) fn new(level: u32, threads: u32, to: W) -> io::Result<Self> {
        let count = usize::try_from(threads.max(1)).unwrap_or(1);
        let (jobs, taken) = sync_channel::<Job>(count);
        let taken = Arc::new(Mutex::new(taken));
        let threads = (0..count)
            .map(|_| {
                let taken = Arc::clone(&taken);
                std::thread::Builder::new().name("gzip".to_owned()).spawn(move || work(&taken, level))
            })
            .collect::<io::Result<_>>()?;
        let most = count.saturating_mul(2);
        Ok(Self { to, block: Vec::new(), jobs: Some(jobs), members: VecDeque::new(), most, threads, begun: false })
    }

    fn send(&mut self) -> io::Result<()> {
        if self.members.len() >= self.most {
            self.take()?;
        }
        let block = std::mem::take(&mut self.block);
        let (done, member) = channel();
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send((block, done)).map_err(|_| gone())?;
        self.begun = true;
        self.members.push_back(member);
        Ok(())
    }

    /// Waits for the oldest member, and writes it.
    fn take(&mut self) -> io::Result<()> {
        let Some(member) = self.members.pop_front() else { return Ok(()) };
        self.to.write_all(&member.recv().map_err(|_| gone())??)
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> io::Result<W> {
        // A file without a member is none.
        if !self.block.is_empty() || !self.begun {
            self.send()?;
        }
        while !self.members.is_empty() {
            self.take()?;
        }
        self.jobs = None;
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| gone())?;
        }
        Ok(self.to)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.capacity() == 0 {
            self.block.reserve_exact(BLOCK);
        }
        let room = BLOCK.saturating_sub(self.block.len());
        let (now, _) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.block.extend_from_slice(now);
        if self.block.len() >= BLOCK {
            self.send()?;
        }
        Ok(now.len())
    }

    /// Nothing: a member is written when it is whole.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses has ended early")
}

fn work(jobs: &Mutex<Receiver<Job>>, level: u32) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // The writer is gone: so is the work.
        let Ok((block, done)) = job else { return };
        let _ = done.send(member(&block, level));
    }
}

fn member(block: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(block.len() / 2), Compression::new(level));
    encoder.write_all(block)?;
    encoder.finish()
}

/// Decompresses `from`.
pub(super) fn reader<R: Read>(from: R) -> MultiGzDecoder<BufReader<R>> {
    MultiGzDecoder::new(BufReader::with_capacity(256 << 10, from))
}
