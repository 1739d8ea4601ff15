//! One entry to be copied again.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev, mknodat, openat, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::copy;
use crate::control::Control;
use crate::error::Result;
use crate::fs::attributes::AttributeReader;
use crate::fs::open::Opener;
use crate::fs::place::Place;
use crate::fs::status::Status;
use crate::fs::{failed, is_gone};
use crate::part::{Metadata, Refused, apply};
use crate::path::split;

/// What to copy: anything but a directory.
pub(super) struct Job {
    pub(super) path: Vec<u8>,
    /// The directory it is in.
    pub(super) from: Arc<OwnedFd>,
    /// The directory it is copied into.
    pub(super) to: Arc<OwnedFd>,
    /// What the walk saw.
    pub(super) status: Status,
}

/// What became of it.
pub(super) enum Outcome {
    /// The copy is there.
    Done(Box<Done>),
    /// The source is gone; so is its copy.
    Gone,
    /// A device node that this user may not make.
    NotMade,
}

/// A copy that was made.
pub(super) struct Done {
    /// The source when it was read.
    pub(super) source: Status,
    pub(super) copy: Status,
    pub(super) written: u64,
    pub(super) refused: Refused,
    /// The source was another one after reading.
    pub(super) changed: bool,
}

/// Copies; keeps its buffers.
#[derive(Default)]
pub(super) struct Copier {
    opener: Opener,
    attributes: AttributeReader,
}

impl Copier {
    pub(super) fn run(&mut self, job: &Job, control: &Control) -> Result<Outcome> {
        control.check()?;
        let name = split(&job.path).1;
        match unlinkat(&job.to, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed("replace the copy of", &job.path, e)),
        }
        if job.status.kind == FileType::RegularFile { self.file(job, name, control) } else { self.special(job, name) }
    }

    fn file(&mut self, job: &Job, name: &[u8], control: &Control) -> Result<Outcome> {
        let path = &job.path;
        let Some(from) = self.opener.open(&job.from, name).map_err(|e| failed("open", path, e))? else {
            return Ok(Outcome::Gone);
        };
        let before = from.status;
        let attributes =
            self.attributes.read(&Place::open(&from.file)).map_err(|e| failed("read the attributes of", path, e))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(&job.to, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed("copy", path, e))?;
        let written = copy::content(&from, &to, path, control)?;
        let metadata = Metadata {
            uid: before.uid,
            gid: before.gid,
            mode: Some(before.mode),
            mtime: before.mtime,
            attributes: &attributes,
            directory: false,
        };
        let refused = apply(&Place::open(&to), &metadata).map_err(|e| failed("copy", path, e))?;
        let after = Status::of(&from.file).map_err(|e| failed("read the status of", path, e))?;
        let copy = Status::of(&to).map_err(|e| failed("read the status of the copy of", path, e))?;
        let changed = !before.unchanged(&after);
        Ok(Outcome::Done(Box::new(Done { source: before, copy, written, refused, changed })))
    }

    fn special(&mut self, job: &Job, name: &[u8]) -> Result<Outcome> {
        let (path, status) = (&job.path, &job.status);
        let private = Mode::RUSR | Mode::WUSR;
        let (major, minor) = status.special;
        let made = if status.kind == FileType::Symlink {
            match readlinkat(&job.from, name, Vec::new()) {
                Ok(target) => symlinkat(target.as_c_str(), &job.to, name),
                Err(e) if is_gone(e) || e == Errno::INVAL => return Ok(Outcome::Gone),
                Err(e) => return Err(failed("read the link", path, e)),
            }
        } else {
            mknodat(&job.to, name, status.kind, private, makedev(major, minor))
        };
        match made {
            Ok(()) => {}
            Err(Errno::PERM) if status.kind != FileType::Symlink => return Ok(Outcome::NotMade),
            Err(e) => return Err(failed("copy", path, e)),
        }
        let attributes = match self.attributes.read(&Place::name(&job.from, name)) {
            Ok(attributes) => attributes,
            Err(e) if is_gone(e) => Default::default(),
            Err(e) => return Err(failed("read the attributes of", path, e)),
        };
        let place = Place::name(&job.to, name);
        let metadata = Metadata {
            uid: status.uid,
            gid: status.gid,
            mode: (status.kind != FileType::Symlink).then_some(status.mode),
            mtime: status.mtime,
            attributes: &attributes,
            directory: false,
        };
        let refused = apply(&place, &metadata).map_err(|e| failed("copy", path, e))?;
        let copy = Status::at(&job.to, name).map_err(|e| failed("read the status of the copy of", path, e))?;
        match Status::at(&job.from, name) {
            Ok(after) => {
                let changed = !status.unchanged(&after);
                Ok(Outcome::Done(Box::new(Done { source: *status, copy, written: 0, refused, changed })))
            }
            Err(e) if is_gone(e) => match unlinkat(&job.to, name, AtFlags::empty()) {
                Ok(()) => Ok(Outcome::Gone),
                Err(e) => Err(failed("remove the copy of", path, e)),
            },
            Err(e) => Err(failed("read the status of", path, e)),
        }
    }
}
