//! Restores a source from an archive into an empty directory.
//!
//! Nothing in an archive can lead out of that directory: every entry has to be in the directory that the archive itself
//! made just before and that is still open, and is made by its plain name in it, never through a symbolic link.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dev, FileType, Mode, OFlags, ftruncate, linkat, makedev, mkdirat, mknodat, openat, symlinkat,
};
use rustix::io::{Errno, pwrite};

use super::blame::PartObjects;
use super::metadata::{Metadata, apply};
use super::scan::{Fault, Visitor, scan, wrong};
use super::select::{Selection, Wanted};
use super::write::file_name;
use crate::control::Control;
use crate::entry::{Attributes, Entry, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::dirs::{DirStack, Listing, open_below, open_dir, reopen};
use crate::fs::failed;
use crate::fs::owners::Owners;
use crate::fs::place::Place;
use crate::fs::status::Status;
use crate::index::IndexEntry;
use crate::names::{Named, show};
use crate::path::{below, join, split};
use crate::tar::reader::Item;

/// Whom files are given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OwnersBy {
    /// The user and group of the archived name; those of the number where this machine has no such name.
    #[default]
    Name,
    /// The archived numbers.
    Number,
}

/// How to extract.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtractOptions {
    /// Whom files are given to.
    pub owners: OwnersBy,
}

/// What was extracted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Entries of the source.
    pub entries: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// Entries that could not be given their owner: they belong to whoever ran this, without set-user-ID bits.
    pub owners_not_set: Named,
    /// Entries that could not be given all of their extended attributes and ACLs.
    pub attributes_not_set: Named,
    /// Device nodes that this user may not make.
    pub not_made: Named,
    /// Entries of users or groups whose names this machine does not know: they got the archived numbers.
    pub owners_unknown: Named,
}

/// Writes the archived source `source` into the empty directory `into`: a tree's content directly into it (and the
/// tree's own owner, mode, times and attributes onto it), a file under the last component of its name. Everything is
/// checked against the index while it is written, and on disk when this returns.
///
/// # Errors
/// `Conflict` if the directory is not empty; `NotFound` if the archive has no such source; `Damaged` as
/// [`super::verify_part`], and for an archive that tries to leave the directory; `Store`; `Io`; `Cancelled`. What was
/// written until then stays.
pub fn extract_part(
    mut object: impl Read + Send,
    mut index: impl Read + Send,
    objects: &PartObjects<'_>,
    source: &str,
    into: impl AsFd,
    options: &ExtractOptions,
    control: &Control,
) -> Result<Extracted> {
    extract((&mut object, &mut index), objects, source, None, into.as_fd(), options, control)
}

/// Writes what was chosen of an archive into the empty directory `into`, each entry under its whole path; directories on
/// the way to it with what the archive knows of them. `aside`, an empty directory on the same file system, is needed
/// meanwhile. The whole archive is read and checked all the same.
///
/// # Errors
/// As [`extract_part`].
pub fn extract_paths(
    mut object: impl Read + Send,
    mut index: impl Read + Send,
    objects: &PartObjects<'_>,
    selection: &Selection,
    (into, aside): (impl AsFd, impl AsFd),
    options: &ExtractOptions,
    control: &Control,
) -> Result<Extracted> {
    let chosen = Some((selection, aside.as_fd()));
    extract((&mut object, &mut index), objects, "", chosen, into.as_fd(), options, control)
}

fn extract(
    (object, index): (&mut (dyn Read + Send), &mut (dyn Read + Send)),
    objects: &PartObjects<'_>,
    source: &str,
    chosen: Option<(&Selection, BorrowedFd<'_>)>,
    into: BorrowedFd<'_>,
    options: &ExtractOptions,
    control: &Control,
) -> Result<Extracted> {
    let root = reopen(into).map_err(|e| failed("open the target directory", b"", e))?;
    refuse_if_not_empty(&root)?;
    let opened = |e| failed("open the target directory", b"", e);
    let mut extractor = Extractor {
        stack: DirStack::new(reopen(&root).map_err(opened)?).map_err(opened)?,
        directories: Vec::new(),
        root,
        source,
        chosen,
        by_name: options.owners == OwnersBy::Name,
        owners: if options.owners == OwnersBy::Name { Owners::load()? } else { Owners::default() },
        open: None,
        done: Extracted::default(),
    };
    scan(object, index, objects, control, &mut extractor)?;
    extractor.leave_all()?;
    if extractor.done.entries == 0 {
        return Err(Error::new(ErrorKind::NotFound, format!("`{}` has no source `{source}`", objects.data.file)));
    }
    rustix::fs::syncfs(&extractor.root).map_err(|e| failed("write everything to the disk of", b"", e))?;
    Ok(extractor.done)
}

fn refuse_if_not_empty(root: &OwnedFd) -> Result<()> {
    let names = Listing::read(root, |_, _| true).map_err(|e| failed("list the target directory", b"", e))?;
    let Some(first) = names.get(0) else { return Ok(()) };
    let error = Error::new(ErrorKind::Conflict, format!("the target directory is not empty: it has `{}`", show(first)));
    Err(match names.iter().eq([b"lost+found".as_slice()]) {
        true => error.hint("the top of a new file system has this directory: restore into a directory below it"),
        false => error.hint("restore into a new directory, or move away what is there"),
    })
}

struct Extractor<'a> {
    root: OwnedFd,
    source: &'a str,
    /// Only these entries, and where what is needed for others is kept aside.
    chosen: Option<(&'a Selection, BorrowedFd<'a>)>,
    owners: Owners,
    by_name: bool,
    stack: DirStack,
    /// The directories that are open, the tree's own first: they get their times when nothing more comes into them.
    directories: Vec<Restored>,
    /// The file that is being written.
    open: Option<(Restored, OwnedFd)>,
    done: Extracted,
}

/// An entry, with what it is to be given here.
struct Restored {
    entry: Entry,
    /// Its path in the target.
    path: Vec<u8>,
    uid: u32,
    gid: u32,
    attributes: Attributes,
}

impl Visitor for Extractor<'_> {
    fn begin(&mut self, item: &Item, line: &IndexEntry) -> Result<(), Fault> {
        let entry = &item.entry;
        if let Some((selection, aside)) = self.chosen {
            return match selection.wants(&entry.path, entry.kind) {
                Wanted::No => Ok(()),
                Wanted::Held(number) => {
                    let restored = self.owned(entry, line, entry.path.clone());
                    self.make(restored, &aside.try_clone_to_owned().map_err(kept_aside)?, number.to_string().as_bytes())
                }
                Wanted::Yes => {
                    let restored = self.owned(entry, line, entry.path.clone());
                    self.done.entries = self.done.entries.saturating_add(1);
                    self.go_towards(split(&restored.path).0)?;
                    self.make_here(restored)
                }
            };
        }
        let Some(rest) = below(&entry.path, self.source.as_bytes()) else {
            self.leave_all()?;
            return Ok(());
        };
        let single = rest.is_empty() && entry.kind == Kind::File;
        let path = if single { file_name(self.source).to_vec() } else { rest.to_vec() };
        let restored = self.owned(entry, line, path);
        self.done.entries = self.done.entries.saturating_add(1);
        if restored.path.is_empty() {
            if entry.kind != Kind::Directory || !self.directories.is_empty() {
                return Err(wrong(&entry.path, "the top of the source is not a directory"));
            }
            self.directories.push(restored);
            return Ok(());
        }
        if !single {
            self.go_to(split(&restored.path).0, &entry.path)?;
        } else if self.done.entries > 1 {
            return Err(wrong(&entry.path, "the archive has it twice"));
        }
        self.make_here(restored)
    }

    fn content(&mut self, offset: u64, mut bytes: &[u8]) -> Result<()> {
        let Some((restored, file)) = &self.open else { return Ok(()) };
        let mut at = offset;
        while !bytes.is_empty() {
            match pwrite(file, bytes, at) {
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    at = at.saturating_add(written as u64);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed("write", &restored.path, e)),
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let Some((restored, file)) = self.open.take() else { return Ok(()) };
        self.done.bytes = self.done.bytes.saturating_add(restored.entry.size);
        self.give(&Place::open(&file), &restored)
    }
}

impl Extractor<'_> {
    /// Leaves directories until the one at `parent` is on top. It has to be one of the open ones.
    fn go_to(&mut self, parent: &[u8], path: &[u8]) -> Result<(), Fault> {
        while let Some(top) = self.directories.last() {
            if top.path == parent {
                return Ok(());
            }
            self.leave()?;
        }
        Err(wrong(path, "its directory does not come before it"))
    }

    /// The same where not every directory is in the archive: those above a source's name are not.
    fn go_towards(&mut self, parent: &[u8]) -> Result<(), Fault> {
        while self.directories.last().is_some_and(|top| below(parent, &top.path).is_none()) {
            self.leave()?;
        }
        loop {
            let top = self.directories.last().map_or(&b""[..], |top| top.path.as_slice());
            let Some(rest) = below(parent, top).filter(|rest| !rest.is_empty()) else { return Ok(()) };
            let name = rest.split(|b| *b == b'/').next().unwrap_or_default();
            let path = join(top, name);
            let status = Status::of(&self.root).map_err(|e| failed("read the status of", b"", e))?;
            self.make_here(plain_directory(path, &status))?;
        }
    }

    /// Completes the directory on top.
    fn leave(&mut self) -> Result<()> {
        let Some(restored) = self.directories.pop() else { return Ok(()) };
        let directory = if self.stack.depth() > 1 { self.stack.pop() } else { self.stack.top().cloned() };
        let directory = directory.map_err(|e| failed("go back up from the directory", &restored.path, e))?;
        self.give(&Place::open(&directory), &restored)
    }

    fn leave_all(&mut self) -> Result<()> {
        while !self.directories.is_empty() {
            self.leave()?;
        }
        Ok(())
    }

    /// Makes an entry in the directory on top.
    fn make_here(&mut self, restored: Restored) -> Result<(), Fault> {
        let directory = self.stack.top().cloned().map_err(|e| failed("write", &restored.path, e))?;
        let name = split(&restored.path).1.to_vec();
        self.make(restored, &directory, &name)
    }

    /// Makes an entry as `name` of an open directory, which for a directory has to be the one on top.
    fn make(&mut self, restored: Restored, directory: &OwnedFd, name: &[u8]) -> Result<(), Fault> {
        let (entry, path) = (&restored.entry, restored.path.as_slice());
        let private = Mode::RUSR | Mode::WUSR;
        let made = match entry.kind {
            Kind::Directory => {
                mkdirat(directory, name, Mode::RWXU).map_err(|e| twice(path, e))?;
                let opened = open_dir(directory, name).and_then(|made| self.stack.push(made).map(|_| ()));
                opened.map_err(|e| failed("open", path, e))?;
                self.directories.push(restored);
                return Ok(());
            }
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(directory, name, flags, private).map_err(|e| twice(path, e))?;
                // The end may be a hole.
                ftruncate(&file, entry.size).map_err(|e| failed("write", path, e))?;
                self.open = Some((restored, file));
                return Ok(());
            }
            Kind::Hardlink => return self.hard_link(entry, directory, name, path),
            Kind::Symlink => symlinkat(entry.link.as_deref().unwrap_or_default(), directory, name),
            Kind::Fifo => mknodat(directory, name, FileType::Fifo, private, 0),
            Kind::CharDevice => mknodat(directory, name, FileType::CharacterDevice, private, device(entry)),
            Kind::BlockDevice => mknodat(directory, name, FileType::BlockDevice, private, device(entry)),
        };
        match made {
            Ok(()) => Ok(self.give(&Place::name(directory, name), &restored)?),
            Err(Errno::PERM) if entry.device.is_some() => {
                self.done.not_made.push(path);
                Ok(())
            }
            Err(e) => Err(twice(path, e)),
        }
    }

    fn hard_link(&self, entry: &Entry, directory: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), Fault> {
        let target = entry.link.as_deref().and_then(|link| below(link, self.source.as_bytes()));
        let Some(target) = target.filter(|target| !target.is_empty()) else {
            return Err(wrong(&entry.path, "it is a hard link to something outside of its source"));
        };
        let aside = self.chosen.and_then(|(selection, aside)| Some((selection.held(target)?, aside)));
        let linked = match aside {
            Some((number, aside)) => linkat(aside, number.to_string(), directory, name, AtFlags::empty()),
            None => {
                let (parent, first) = split(target);
                open_below(&self.root, parent).and_then(|d| linkat(&d, first, directory, name, AtFlags::empty()))
            }
        };
        match linked {
            Ok(()) => Ok(()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::PERM) => {
                Err(wrong(&entry.path, "it is a hard link to a file that does not come before it"))
            }
            Err(e) => Err(failed("link", path, e).into()),
        }
    }

    fn give(&mut self, place: &Place<'_>, restored: &Restored) -> Result<()> {
        let Restored { entry, path, uid, gid, attributes } = restored;
        let metadata = Metadata {
            uid: *uid,
            gid: *gid,
            mode: (entry.kind != Kind::Symlink).then_some(entry.mode),
            mtime: entry.mtime,
            attributes,
            directory: entry.kind == Kind::Directory,
        };
        let refused = apply(place, &metadata).map_err(|e| failed("set the owner, mode and time of", path, e))?;
        if refused.owner {
            self.done.owners_not_set.push(path);
        }
        if refused.attributes > 0 {
            self.done.attributes_not_set.push(path);
        }
        Ok(())
    }

    /// Whom an entry, and the lines of its ACLs, belong to here. The tables are empty when numbers count.
    fn owned(&mut self, entry: &Entry, line: &IndexEntry, path: Vec<u8>) -> Restored {
        let user = entry.user.as_deref().filter(|_| self.by_name);
        let group = entry.group.as_deref().filter(|_| self.by_name);
        let (known_user, known_group) =
            (user.map(|name| self.owners.uid(name)), group.map(|name| self.owners.gid(name)));
        if known_user == Some(None) || known_group == Some(None) {
            self.done.owners_unknown.push(&path);
        }
        let uid = known_user.flatten().unwrap_or(entry.uid);
        let gid = known_group.flatten().unwrap_or(entry.gid);
        let user = |id| line.acl_users.get(&id).and_then(|name| self.owners.uid(name)).unwrap_or(id);
        let group = |id| line.acl_groups.get(&id).and_then(|name| self.owners.gid(name)).unwrap_or(id);
        let mut attributes = entry.attributes.clone();
        for acl in [&mut attributes.access, &mut attributes.default].into_iter().flatten() {
            *acl = acl.map_ids(user, group);
        }
        Restored { entry: entry.clone(), path, uid, gid, attributes }
    }
}

/// A directory that is not in the archive.
fn plain_directory(path: Vec<u8>, like: &Status) -> Restored {
    let entry = Entry {
        path: path.clone(),
        kind: Kind::Directory,
        mode: 0o755,
        uid: like.uid,
        gid: like.gid,
        user: None,
        group: None,
        size: 0,
        mtime: like.mtime,
        link: None,
        device: None,
        attributes: Attributes::default(),
    };
    Restored { entry, path, uid: like.uid, gid: like.gid, attributes: Attributes::default() }
}

fn kept_aside(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "could not keep a file aside").because(error)
}

fn device(entry: &Entry) -> Dev {
    let (major, minor) = entry.device.unwrap_or_default();
    makedev(major, minor)
}

/// The error for something that could not be made: in a directory that was empty, nothing can be there already.
fn twice(path: &[u8], errno: Errno) -> Fault {
    match errno {
        Errno::EXIST => wrong(path, "the archive has it twice"),
        e => failed("make", path, e).into(),
    }
}
