//! Walks a tree in a fixed order: depth first, names by their bytes, each directory before what is in it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::dirs::{DirStack, Listing, open_dir, open_dir_to_change};
use super::status::Status;
use super::{failed, is_gone};
use crate::error::Result;
use crate::exclude::Exclude;

/// What a walk meets. [`Walk::path`] and [`Walk::name`] tell where.
pub(crate) enum Step {
    /// A directory; what is in it follows, then its `Leave`.
    Enter { directory: Arc<OwnedFd>, status: Status },
    /// Anything else, in `parent`.
    Entry { parent: Arc<OwnedFd>, status: Status },
    /// The end of a directory.
    Leave { directory: Arc<OwnedFd>, parent: Option<Arc<OwnedFd>>, status: Status },
    /// Something that was listed, but is gone or was replaced.
    Vanished,
}

/// A walk under way.
pub(crate) struct Walk<'a> {
    exclude: &'a Exclude,
    one_file_system: bool,
    unlocking: bool,
    root: Option<OwnedFd>,
    device: (u32, u32),
    stack: Option<DirStack>,
    frames: Vec<Frame>,
    path: Vec<u8>,
    /// Where the last name begins in `path`.
    name: usize,
    /// The path has to be cut to this before the next step.
    cut: usize,
}

struct Frame {
    names: Listing,
    next: usize,
    path: usize,
    name: usize,
    status: Status,
}

impl<'a> Walk<'a> {
    /// A walk from an open directory, which has to be open for listing. Mount points below it are followed, unless
    /// `one_file_system`: then they are met as directories with nothing in them.
    pub(crate) fn new(root: OwnedFd, exclude: &'a Exclude, one_file_system: bool) -> Self {
        let (stack, frames, path) = (None, Vec::new(), Vec::new());
        Self {
            exclude,
            one_file_system,
            unlocking: false,
            root: Some(root),
            device: (0, 0),
            stack,
            frames,
            path,
            name: 0,
            cut: 0,
        }
    }

    /// The same for a tree whose directories are to be changed: those that cannot be looked into are given a mode.
    pub(crate) fn unlocking(self) -> Self {
        Self { unlocking: true, ..self }
    }

    /// The path of the last step from the root; the root itself is empty.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The last component of [`Walk::path`].
    pub(crate) fn name(&self) -> &[u8] {
        self.path.get(self.name..).unwrap_or_default()
    }

    /// After an `Enter`: the names in that directory that will be visited.
    pub(crate) fn names(&self) -> Option<&Listing> {
        self.frames.last().map(|frame| &frame.names)
    }

    /// The next step; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Step>> {
        if let Some(root) = self.root.take() {
            let status = Status::of(&root).map_err(|e| failed("read", b"", e))?;
            self.device = status.device;
            return self.enter(root, status).map(Some);
        }
        self.path.truncate(self.cut);
        let Some(frame) = self.frames.last_mut() else { return Ok(None) };
        let Some(name) = frame.names.get(frame.next) else { return self.leave().map(Some) };
        frame.next = frame.next.saturating_add(1);
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.name = self.path.len();
        self.path.extend_from_slice(name);
        self.visit().map(Some)
    }

    fn visit(&mut self) -> Result<Step> {
        let parent = self.top()?;
        let status = match Status::at(&parent, self.name()) {
            Ok(status) => status,
            Err(e) if is_gone(e) => return Ok(Step::Vanished),
            Err(e) => return Err(failed("read the status of", &self.path, e)),
        };
        if status.kind != FileType::Directory {
            return Ok(Step::Entry { parent, status });
        }
        let open = if self.unlocking { open_dir_to_change } else { open_dir };
        match open(&parent, self.name()) {
            Ok(directory) => {
                // Whatever is open now counts, should it be another one than a moment ago.
                let status = Status::of(&directory).map_err(|e| failed("read", &self.path, e))?;
                self.enter(directory, status)
            }
            Err(e) if is_gone(e) => Ok(Step::Vanished),
            Err(e) => Err(failed("open the directory", &self.path, e)),
        }
    }

    fn enter(&mut self, directory: OwnedFd, status: Status) -> Result<Step> {
        let names = if self.one_file_system && status.device != self.device {
            Listing::default()
        } else {
            match list(&directory, &mut self.path, self.exclude) {
                Ok(names) => names,
                // It was removed after it was opened.
                Err(e) if is_gone(e) && !self.frames.is_empty() => return Ok(Step::Vanished),
                Err(e) => return Err(failed("list the directory", &self.path, e)),
            }
        };
        self.frames.push(Frame { names, next: 0, path: self.path.len(), name: self.name, status });
        self.cut = self.path.len();
        let opened = match &mut self.stack {
            Some(stack) => stack.push(directory).cloned(),
            none => DirStack::new(directory).and_then(|stack| none.insert(stack).top().cloned()),
        };
        let directory = opened.map_err(|e| failed("read", &self.path, e))?;
        Ok(Step::Enter { directory, status })
    }

    fn leave(&mut self) -> Result<Step> {
        let stack = self.stack.as_mut().ok_or_else(|| failed("read", &self.path, Errno::BADF))?;
        let frame = self.frames.pop().ok_or_else(|| failed("read", &self.path, Errno::BADF))?;
        self.path.truncate(frame.path);
        self.name = frame.name;
        self.cut = self.frames.last().map_or(0, |above| above.path);
        let directory = stack.pop().map_err(|e| failed("go back up from the directory", &self.path, e))?;
        let parent = stack.top().ok().cloned();
        Ok(Step::Leave { directory, parent, status: frame.status })
    }

    fn top(&self) -> Result<Arc<OwnedFd>> {
        let top = self.stack.as_ref().map_or(Err(Errno::BADF), DirStack::top);
        top.cloned().map_err(|e| failed("read", &self.path, e))
    }
}

/// Lists a directory whose path is in `path` (used for the paths of its entries, and left as it was).
fn list(directory: &OwnedFd, path: &mut Vec<u8>, exclude: &Exclude) -> rustix::io::Result<Listing> {
    if exclude.is_empty() {
        return Listing::read(directory, |_, _| true);
    }
    let length = path.len();
    if length > 0 {
        path.push(b'/');
    }
    let base = path.len();
    let listing = Listing::read(directory, |name, is_directory| {
        path.truncate(base);
        path.extend_from_slice(name);
        !exclude.matches(path, name, is_directory)
    });
    path.truncate(length);
    listing
}
