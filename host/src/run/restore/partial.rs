//! A directory that is restored beside its place, and comes into it when it is whole: by one rename, or, where the target
//! is there already, by one rename for each thing at its top. Until then the target is as it was.

use std::fs::File;
use std::io::ErrorKind as IoKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::archive::{Control, SetId, Settled, changed_at, remove_tree, settle, settle_metadata};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// What the names of these directories hold; the id of the restore follows.
const MARK: &str = ".bkhost-partial-";

/// How what is in a partial directory comes into its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The directory itself becomes the target, which is not there.
    Rename,
    /// All that is in it goes into the target, which is empty, and its owner, mode and times onto it.
    Fill,
    /// What is in its `tree` goes into the target beside what is there.
    Merge,
    /// The same, and files take the place of files.
    Replace,
}

/// A directory that is written to until what is restored is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Partial {
    /// The directory.
    pub path: PathBuf,
    /// Where what is in it goes.
    pub target: PathBuf,
    /// How.
    pub how: How,
    /// Directories above it that had to be made, the topmost first.
    pub made: Vec<PathBuf>,
}

impl Partial {
    /// For the whole of a directory: `target` is empty or not there.
    pub(super) fn whole(target: &Path, id: &SetId) -> Result<Self> {
        if exists(target)? {
            let path = target.join(format!("{MARK}{id}"));
            return Ok(Self { path, target: target.to_owned(), how: How::Fill, made: Vec::new() });
        }
        let mut name = target.as_os_str().to_owned();
        name.push(format!("{MARK}{id}"));
        let made = missing(target.parent())?;
        Ok(Self { path: PathBuf::from(name), target: target.to_owned(), how: How::Rename, made })
    }

    /// For some of what belongs into the directory `target`.
    pub(super) fn some(target: &Path, id: &SetId, replace: bool) -> Result<Self> {
        let how = if replace { How::Replace } else { How::Merge };
        let path = target.join(format!("{MARK}{id}"));
        Ok(Self { path, target: target.to_owned(), how, made: missing(Some(target))? })
    }

    /// Where what was chosen is written to, and where the rest of it is kept meanwhile.
    pub(super) fn inner(&self) -> (PathBuf, PathBuf) {
        (self.path.join("tree"), self.path.join("aside"))
    }

    /// Make it.
    pub(super) fn make(&self) -> Result<()> {
        let cannot = |path: &Path| format!("cannot make the directory {}", path.display());
        for path in &self.made {
            std::fs::create_dir(path).or_error(ErrorKind::Io, || cannot(path))?;
        }
        std::fs::create_dir(&self.path).or_error(ErrorKind::Io, || cannot(&self.path))?;
        match self.how {
            How::Rename => Ok(()),
            // Whoever may write into the target has to be able to write into this.
            How::Fill => {
                let (from, into) = (open(&self.target)?, open(&self.path)?);
                let time = changed_at(&from)?;
                settle_metadata(from, into, time)
            }
            How::Merge | How::Replace => {
                let (tree, aside) = self.inner();
                [tree, aside]
                    .iter()
                    .try_for_each(|dir| std::fs::create_dir(dir).or_error(ErrorKind::Io, || cannot(dir)))
            }
        }
    }

    /// When what is restored last changed at its top. To be asked before anything is taken out of it.
    pub(super) fn changed(&self) -> Result<String> {
        Ok(changed_at(open(&self.path)?)?.to_string())
    }

    /// Bring what is in it into its place, and remove it. Once begun, this has to be gone on with until it succeeds; if the
    /// directory is gone, it has. `changed` is what [`Partial::changed`] gave.
    pub(super) fn settle(&self, changed: &str, control: &Control) -> Result<()> {
        if !exists(&self.path)? {
            return Ok(());
        }
        match self.how {
            How::Rename => self.rename(),
            How::Fill => {
                let (from, into) = (open(&self.path)?, open(&self.target)?);
                self.nothing_in_the_way(&settle(&from, &into, false, control)?)?;
                let time = match changed.parse() {
                    Ok(time) => time,
                    Err(()) => changed_at(&from)?,
                };
                settle_metadata(&from, &into, time)?;
                self.remove(control)?;
                // That was a change of the target too.
                settle_metadata(&from, &into, time)
            }
            How::Merge | How::Replace => {
                let tree = self.inner().0;
                // It was interrupted in the middle of its removal.
                if exists(&tree)? {
                    let replace = self.how == How::Replace;
                    let settled = settle(open(&tree)?, open(&self.target)?, replace, control)?;
                    self.nothing_in_the_way(&settled)?;
                }
                self.remove(control)
            }
        }
    }

    fn nothing_in_the_way(&self, settled: &Settled) -> Result<()> {
        let Some(first) = settled.in_the_way.names.first() else { return Ok(()) };
        let target = self.target.display();
        Err(Error::new(
            ErrorKind::Conflict,
            format!("{} files are in the way in {target}, such as `{first}`", settled.in_the_way.total),
        )
        .hint("restore to another place with --to, or let files take the place of files with --replace"))
    }

    fn rename(&self) -> Result<()> {
        let (from, to) = (&self.path, &self.target);
        let renamed = match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // A file system that knows no flags.
            Err(Errno::INVAL | Errno::NOSYS) if !exists(to)? => renameat(CWD, from, CWD, to),
            result => result,
        };
        let cannot = || format!("cannot rename {} to {}", from.display(), to.display());
        match renamed {
            Ok(()) => {}
            Err(e @ (Errno::EXIST | Errno::NOTEMPTY)) => {
                let error = Error::new(ErrorKind::Conflict, cannot()).because(e);
                return Err(error.hint("it has come into being while it was restored: move it away and try again"));
            }
            Err(e) => return Err(e).or_error(ErrorKind::Io, cannot),
        }
        let Some(parent) = to.parent() else { return Ok(()) };
        File::open(parent)
            .and_then(|dir| dir.sync_all())
            .or_error(ErrorKind::Io, || format!("cannot sync {}", parent.display()))
    }

    /// Remove it, and what had to be made for it and is empty.
    pub(super) fn clear(&self, control: &Control) -> Result<()> {
        self.remove(control)?;
        for path in self.made.iter().rev() {
            match std::fs::remove_dir(path) {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), IoKind::NotFound | IoKind::DirectoryNotEmpty) => {}
                Err(e) => return Err(e).or_error(ErrorKind::Io, || format!("cannot remove {}", path.display())),
            }
        }
        Ok(())
    }

    fn remove(&self, control: &Control) -> Result<()> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(()) };
        // Whatever a journal says: nothing else than what has such a name is ever removed.
        if !name.to_string_lossy().contains(MARK) || !exists(parent)? {
            return Ok(());
        }
        // What was never made may be where nothing can be: on a read-only file system, under a name that is too long.
        let found = std::fs::symlink_metadata(&self.path).map_err(|e| e.kind());
        if matches!(found, Err(IoKind::NotFound | IoKind::InvalidFilename)) {
            return Ok(());
        }
        remove_tree(open(parent)?, name.as_bytes(), control)
            .map(|_| ())
            .map_err(|e| e.within(format!("removing {}", self.path.display())))
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).or_error(ErrorKind::Io, || format!("cannot open {}", path.display()))
}

fn exists(path: &Path) -> Result<bool> {
    std::fs::exists(path).or_error(ErrorKind::Io, || format!("cannot look at {}", path.display()))
}

/// The directories of a path that are not there, the topmost first.
fn missing(path: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for path in path.into_iter().flat_map(Path::ancestors) {
        if path.as_os_str().is_empty() || exists(path)? {
            break;
        }
        missing.insert(0, path.to_owned());
    }
    Ok(missing)
}
