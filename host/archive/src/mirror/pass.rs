//! One pass over the source.
//!
//! The walk decides what each entry needs. What takes long goes to the pool; all results, and what depends on earlier
//! ones (hard links, the times of directories, the records), are dealt with in the order of the walk.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, linkat, mkdirat, unlinkat};
use rustix::io::Errno;

use super::job::{Copier, Done, Job, Outcome};
use super::pool::{Pool, Queue, Ticket};
use super::state::{Record, Stamp, StateReader, StateWriter};
use super::sync::{before, now, write_out};
use super::{Copied, MirrorOptions, Pass};
use crate::control::Control;
use crate::entry::Time;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::attributes::{AttributeReader, remove_others};
use crate::fs::dirs::{DirStack, Listing, open_below, open_dir_to_change, reopen};
use crate::fs::failed;
use crate::fs::links::{LinkTable, Name};
use crate::fs::place::Place;
use crate::fs::remove::remove;
use crate::fs::status::{Identity, Status};
use crate::fs::walk::{Step, Walk};
use crate::part::{Metadata, Refused, apply};
use crate::path::split;

/// So many entries may be under way…
const UNDER_WAY: usize = 512;
/// … in so many directories, which are all open.
const DIRECTORIES: usize = 32;

/// An entry that is not complete.
enum Pending {
    Copy { path: Vec<u8>, ticket: Ticket },
    Keep(Record),
    Link { job: Job, first: Vec<u8> },
    Leave { path: Vec<u8>, from: Arc<OwnedFd>, to: Arc<OwnedFd>, status: Status },
}

struct Run<'a> {
    options: &'a MirrorOptions,
    control: &'a Control,
    pool: &'a Pool,
    root: &'a OwnedFd,
    root_identity: Identity,
    last: Option<StateReader>,
    records: StateWriter,
    /// Files that changed after this are not recorded. `None`: no file is.
    settled: Option<Time>,
    stack: Option<DirStack>,
    device: Option<(u32, u32)>,
    links: LinkTable,
    queue: VecDeque<Pending>,
    leaving: usize,
    attributes: AttributeReader,
    copier: Copier,
    copied: Copied,
    unsettled: u64,
}

/// Runs a pass. Gives what it did, and the number of files that the next one will copy again in any case.
pub(super) fn run(from: &OwnedFd, to: &OwnedFd, options: &MirrorOptions, control: &Control) -> Result<(Copied, u64)> {
    let (inner, stop) = control.child();
    let (jobs, queue) = Queue::new();
    std::thread::scope(|scope| {
        let pool = Pool::start(scope, &queue, jobs, options.threads, &inner);
        let result = start(from, to, options, &inner, &pool);
        if result.is_err() {
            stop.cancel();
        }
        // The threads end when there can be no more jobs.
        drop(pool);
        result
    })
}

fn start(
    from: &OwnedFd,
    to: &OwnedFd,
    options: &MirrorOptions,
    control: &Control,
    pool: &Pool,
) -> Result<(Copied, u64)> {
    let last = StateReader::open(&options.state);
    // Without records everything is copied anyway: then they are worth the wait, also in a final pass.
    let records_new = options.pass == Pass::Live || last.is_none();
    let mut run = Run {
        options,
        control,
        pool,
        root: to,
        root_identity: Status::of(to).map_err(|e| failed("read the destination of", b"", e))?.identity(),
        last,
        records: StateWriter::create(&options.state)?,
        settled: records_new.then(|| before(now(), options.settle)),
        stack: None,
        device: None,
        links: LinkTable::default(),
        queue: VecDeque::new(),
        leaving: 0,
        attributes: AttributeReader::default(),
        copier: Copier::default(),
        copied: Copied::default(),
        unsettled: 0,
    };
    let root = reopen(from).map_err(|e| failed("open the source directory", b"", e))?;
    let mut walk = Walk::new(root, &options.exclude, options.one_file_system);
    while let Some(step) = walk.next()? {
        control.check()?;
        run.step(&walk, step)?;
        while run.queue.len() > UNDER_WAY || run.leaving > DIRECTORIES {
            run.complete_next()?;
        }
    }
    while !run.queue.is_empty() {
        run.complete_next()?;
    }
    run.records.finish()?;
    Ok((run.copied, run.unsettled))
}

impl Run<'_> {
    fn step(&mut self, walk: &Walk<'_>, step: Step) -> Result<()> {
        let path = walk.path();
        match step {
            Step::Enter { directory, status } => self.enter(walk, &directory, &status),
            Step::Entry { parent, status } => self.entry(path, walk.name(), parent, &status),
            Step::Leave { directory, status, .. } => {
                let stack = self.stack.as_mut().ok_or_else(|| failed("copy", path, Errno::BADF))?;
                let to = if stack.depth() > 1 { stack.pop() } else { stack.top().cloned() };
                let to = to.map_err(|e| failed("go back up from the copy of", path, e))?;
                self.queue.push_back(Pending::Leave { path: path.to_vec(), from: directory, to, status });
                self.leaving = self.leaving.saturating_add(1);
                Ok(())
            }
            Step::Vanished => {
                self.removed(path, walk.name())?;
                self.vanished(path);
                Ok(())
            }
        }
    }

    fn enter(&mut self, walk: &Walk<'_>, from: &OwnedFd, status: &Status) -> Result<()> {
        let (path, name) = (walk.path(), walk.name());
        if status.identity() == self.root_identity {
            return Err(Error::new(ErrorKind::Conflict, "the destination of the copy lies in its source")
                .hint("choose a destination outside of the source, and the other way round"));
        }
        if self.settled.is_some() && self.device != Some(status.device) {
            self.device = Some(status.device);
            if !write_out(from, self.control)? {
                self.settled = None;
            }
        }
        self.copied.entries = self.copied.entries.saturating_add(1);
        let fail = |e| failed("copy the directory", path, e);
        let to = match &mut self.stack {
            Some(stack) => {
                let parent = stack.top().cloned().map_err(fail)?;
                let removed = &mut self.copied.removed;
                let directory = match open_dir_to_change(&parent, name) {
                    Ok(directory) => directory,
                    Err(e) => {
                        if e != Errno::NOENT {
                            *removed = removed.saturating_add(remove(&parent, name, self.control)?);
                        }
                        mkdirat(&parent, name, Mode::RWXU).map_err(fail)?;
                        open_dir_to_change(&parent, name).map_err(fail)?
                    }
                };
                stack.push(directory).cloned().map_err(fail)?
            }
            none => {
                let stack = DirStack::new(reopen(self.root).map_err(fail)?).map_err(fail)?;
                none.insert(stack).top().cloned().map_err(fail)?
            }
        };
        let mode = Status::of(&to).map_err(fail)?.mode;
        if mode & 0o700 != 0o700 {
            Place::open(&to).set_mode(mode | 0o700).map_err(fail)?;
        }
        let keep = walk.names();
        for name in Listing::read(&to, |_, _| true).map_err(fail)?.iter() {
            if !keep.is_some_and(|keep| keep.contains(name)) {
                self.copied.removed = self.copied.removed.saturating_add(remove(&to, name, self.control)?);
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &[u8], name: &[u8], from: Arc<OwnedFd>, status: &Status) -> Result<()> {
        if matches!(status.kind, FileType::Socket | FileType::Unknown) {
            return self.removed(path, name);
        }
        self.copied.entries = self.copied.entries.saturating_add(1);
        let to = self.top(path)?;
        let copy = match Status::at(&to, name) {
            Ok(copy) if copy.kind == FileType::Directory => {
                self.removed(path, name)?;
                None
            }
            Ok(copy) => Some(copy),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(failed("read the status of the copy of", path, e)),
        };
        let job = Job { path: path.to_vec(), from, to, status: *status };
        match self.links.look(status) {
            Name::First => {}
            Name::Changed => self.copied.changed.push(path),
            Name::Another(first) => {
                self.queue.push_back(Pending::Link { job, first });
                return Ok(());
            }
        }
        self.links.insert(path, status);
        if status.kind == FileType::RegularFile {
            self.copied.bytes = self.copied.bytes.saturating_add(status.size);
        }
        let record = self.last.as_mut().and_then(|last| last.get(path));
        let pending = match (record, copy) {
            (Some(record), Some(copy)) if copy.kind == status.kind && record == described(path, status, &copy) => {
                self.control.advance(status.size);
                Pending::Keep(record)
            }
            _ => Pending::Copy { path: path.to_vec(), ticket: self.pool.submit(job)? },
        };
        self.queue.push_back(pending);
        Ok(())
    }

    fn complete_next(&mut self) -> Result<()> {
        match self.queue.pop_front() {
            None => Ok(()),
            Some(Pending::Keep(record)) => self.records.push(&record),
            Some(Pending::Copy { path, ticket }) => {
                let outcome = ticket.wait()?;
                self.copied(path, &outcome)
            }
            Some(Pending::Link { job, first }) => self.link(job, &first),
            Some(Pending::Leave { path, from, to, status }) => {
                self.leaving = self.leaving.saturating_sub(1);
                self.leave(&path, &from, &to, &status)
            }
        }
    }

    fn copied(&mut self, path: Vec<u8>, outcome: &Outcome) -> Result<()> {
        match outcome {
            Outcome::Gone => {
                self.copied.entries = self.copied.entries.saturating_sub(1);
                self.vanished(&path);
            }
            Outcome::NotMade => self.copied.not_made.push(&path),
            Outcome::Done(done) => {
                let Done { source, copy, written, refused, changed } = done.as_ref();
                self.copied.updated = self.copied.updated.saturating_add(1);
                self.copied.written = self.copied.written.saturating_add(*written);
                self.refused(&path, *refused);
                if *changed {
                    self.copied.changed.push(&path);
                }
                if !changed && self.settled.is_some_and(|settled| source.ctime < settled) {
                    self.records.push(&described(&path, source, copy))?;
                } else {
                    self.unsettled = self.unsettled.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    /// A further name of a file whose copy is complete.
    fn link(&mut self, job: Job, first: &[u8]) -> Result<()> {
        let (parent, first_name) = split(first);
        let name = split(&job.path).1;
        let fail = |e| failed("link the copy of", &job.path, e);
        let linked = (|| {
            let directory = open_below(self.root, parent)?;
            let target = Status::at(&directory, first_name)?;
            match Status::at(&job.to, name) {
                Ok(present) if present.identity() == target.identity() => return Ok(false),
                Ok(_) => unlinkat(&job.to, name, AtFlags::empty())?,
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
            linkat(&directory, first_name, &job.to, name, AtFlags::empty()).map(|()| true)
        })();
        match linked {
            Ok(made) => {
                self.copied.updated = self.copied.updated.saturating_add(u64::from(made));
                Ok(())
            }
            // The first name was gone when it was to be copied, or cannot have more: this is a copy of its own.
            Err(Errno::NOENT | Errno::MLINK) => {
                let outcome = self.copier.run(&job, self.control)?;
                self.copied(job.path, &outcome)
            }
            Err(e) => Err(fail(e)),
        }
    }

    /// Nothing more comes into this directory.
    fn leave(&mut self, path: &[u8], from: &OwnedFd, to: &OwnedFd, status: &Status) -> Result<()> {
        let fail = |e| failed("copy the directory", path, e);
        let attributes = self.attributes.read(&Place::open(from)).map_err(fail)?;
        let place = Place::open(to);
        let present = self.attributes.read(&place).map_err(fail)?;
        remove_others(&place, &present, &attributes).map_err(fail)?;
        let metadata = Metadata {
            uid: status.uid,
            gid: status.gid,
            mode: Some(status.mode),
            mtime: status.mtime,
            attributes: &attributes,
            directory: true,
        };
        let refused = apply(&place, &metadata).map_err(fail)?;
        self.refused(path, refused);
        // Names may have come after it was listed.
        if !status.unchanged(&Status::of(from).map_err(fail)?) {
            self.copied.changed.push(path);
        }
        Ok(())
    }

    fn refused(&mut self, path: &[u8], refused: Refused) {
        if refused.owner {
            self.copied.owners_not_set.push(path);
        }
        if refused.attributes > 0 {
            self.copied.attributes_not_set.push(path);
        }
    }

    /// A live pass leaves it to the next.
    fn vanished(&mut self, path: &[u8]) {
        if self.options.pass == Pass::Final {
            self.copied.changed.push(path);
        }
    }

    /// Removes a copy whose source is not there.
    fn removed(&mut self, path: &[u8], name: &[u8]) -> Result<()> {
        let count = remove(self.top(path)?, name, self.control)?;
        self.copied.removed = self.copied.removed.saturating_add(count);
        Ok(())
    }

    fn top(&self, path: &[u8]) -> Result<Arc<OwnedFd>> {
        let top = self.stack.as_ref().map_or(Err(Errno::BADF), DirStack::top);
        top.cloned().map_err(|e| failed("copy", path, e))
    }
}

/// The record of a file and its copy.
fn described(path: &[u8], source: &Status, copy: &Status) -> Record {
    let stamp = Stamp::of(copy);
    let copy = if source.links > 1 { stamp.without_ctime() } else { stamp };
    Record { path: path.to_vec(), source: Stamp::of(source), copy }
}
