//! Compares files that were restored with the index: reads them again as a backup would, and shares nothing with what wrote
//! them.

use std::cmp::Ordering;
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, readlinkat};

use super::blame::{PartObjects, compare, damaged, locked, store_failed};
use super::content::FileReader;
use super::write::file_name;
use crate::control::Control;
use crate::digest::HashReader;
use crate::encoding::{self, Opening};
use crate::entry::Kind;
use crate::error::{Error, ErrorKind, Result};
use crate::exclude::Exclude;
use crate::fs::attributes::AttributeReader;
use crate::fs::dirs::{open_below, reopen};
use crate::fs::failed;
use crate::fs::open::Opener;
use crate::fs::place::Place;
use crate::fs::sparse;
use crate::fs::status::Status;
use crate::fs::walk::{Step, Walk};
use crate::index::{IndexEntry, IndexReader};
use crate::names::{MAX_NAMES, show};
use crate::path::{below, split, walk_order};
use crate::tar::attribute_digest;

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Entries of the index that were looked for.
    pub entries: u64,
    /// Bytes of file content that were read.
    pub bytes: u64,
    /// How many files are not what the index says.
    pub different: u64,
    /// The first [`MAX_NAMES`] of them: the file, and what is different.
    pub differences: Vec<(String, String)>,
}

impl Compared {
    /// Adds what another comparison found.
    pub fn add(&mut self, other: &Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.different = self.different.saturating_add(other.different);
        let room = MAX_NAMES.saturating_sub(self.differences.len());
        self.differences.extend(other.differences.iter().take(room).cloned());
    }
}

/// Compares what was extracted of `source` into `into` with the index: type, content, mode, size, time, link, device and,
/// for root, owner (by number) and attributes. Nothing may be missing, and nothing may be there besides.
///
/// # Errors
/// `Damaged` if the index is not what was written; `Store`; `Io` if the files cannot be read; `NotFound` if there is no such
/// source; `Cancelled`.
pub fn compare_source(
    mut index: impl Read + Send,
    objects: &PartObjects<'_>,
    source: &str,
    into: impl AsFd,
    control: &Control,
) -> Result<Compared> {
    let mut raw = HashReader::new(&mut index as &mut (dyn Read + Send), control);
    let result = against(&mut raw, objects, source, &into, control);
    // An index that is damaged says nothing about files: that is told first.
    let whole = match raw.finish() {
        Ok(read) => compare(&read, objects.index).map_or(Ok(()), |why| Err(damaged(&objects.index.file, None, &why))),
        Err(e) => Err(match raw.failure() {
            Some(why) => store_failed(&objects.index.file, why),
            None => Error::new(ErrorKind::Cancelled, "stopped before everything was compared").because(e),
        }),
    };
    whole?;
    result
}

fn against(
    raw: &mut HashReader<&mut (dyn Read + Send)>,
    objects: &PartObjects<'_>,
    source: &str,
    into: &impl AsFd,
    control: &Control,
) -> Result<Compared> {
    let file = objects.index.file.as_str();
    let content = encoding::reader(file, objects.keys, raw).map_err(|opening| match opening {
        Opening::Locked(why) => locked(file, &why),
        Opening::Broken(e) => damaged(file, None, &format!("the index cannot be read: {e}")),
    })?;
    let mut lines = Lines { inner: IndexReader::new(BufReader::new(content)), file, source };
    let root = reopen(into.as_fd()).map_err(|e| failed("open the restored directory", b"", e))?;
    let walked = reopen(into.as_fd()).map_err(|e| failed("open the restored directory", b"", e))?;
    let exclude = Exclude::default();
    let mut walk = Walk::new(walked, &exclude, false);
    let mut judge = Judge {
        root,
        source,
        control,
        as_root: rustix::process::geteuid().is_root(),
        opener: Opener::default(),
        reader: FileReader::default(),
        attributes: AttributeReader::default(),
        done: Compared::default(),
    };
    let mut line = lines.next()?;
    // A source that is one file has no line for the directory it is in.
    let single = line.as_ref().is_some_and(|(path, line)| !path.is_empty() || line.kind != Kind::Directory);
    while let Some(step) = walk.next()? {
        control.check()?;
        let (there, status) = match &step {
            Step::Enter { directory, status } => (Place::open(directory), status),
            Step::Entry { parent, status } => (Place::name(parent, walk.name()), status),
            Step::Leave { .. } => continue,
            Step::Vanished => {
                judge.differs(walk.path(), "it vanished while it was compared");
                continue;
            }
        };
        if single && walk.path().is_empty() {
            continue;
        }
        // Lines that the walk has passed: not there.
        while let Some((path, entry)) = line.take_if(|(path, _)| walk_order(path, walk.path()) == Ordering::Less) {
            judge.missing(&path, &entry);
            line = lines.next()?;
        }
        match line.take_if(|(path, _)| path == walk.path()) {
            Some((path, entry)) => {
                let parent = match &step {
                    Step::Entry { parent, .. } => Some((&**parent, walk.name())),
                    _ => None,
                };
                judge.compare(&path, &entry, there, parent, status)?;
                line = lines.next()?;
            }
            None => judge.differs(walk.path(), "it is not in the index"),
        }
    }
    while let Some((path, entry)) = line {
        judge.missing(&path, &entry);
        line = lines.next()?;
    }
    if judge.done.entries == 0 {
        return Err(Error::new(ErrorKind::NotFound, format!("`{}` has no source `{source}`", objects.index.file)));
    }
    control.finished();
    Ok(judge.done)
}

/// The lines of one source, with their paths in it.
struct Lines<'a, R> {
    inner: IndexReader<R>,
    file: &'a str,
    source: &'a str,
}

impl<R: std::io::BufRead> Lines<'_, R> {
    fn next(&mut self) -> Result<Option<(Vec<u8>, IndexEntry)>> {
        let wrong = |why: &str| damaged(self.file, None, why);
        loop {
            let Some(line) = self.inner.next_entry().map_err(|e| wrong(&format!("the index cannot be read: {e}")))?
            else {
                return Ok(None);
            };
            let path = line.path().ok_or_else(|| wrong("a malformed line in the index"))?;
            let Some(rest) = below(&path, self.source.as_bytes()) else { continue };
            let alone = rest.is_empty() && line.kind != Kind::Directory;
            return Ok(Some((if alone { file_name(self.source).to_vec() } else { rest.to_vec() }, line)));
        }
    }
}

struct Judge<'a> {
    root: OwnedFd,
    source: &'a str,
    control: &'a Control,
    as_root: bool,
    opener: Opener,
    reader: FileReader,
    attributes: AttributeReader,
    done: Compared,
}

impl Judge<'_> {
    fn differs(&mut self, path: &[u8], what: &str) {
        self.done.different = self.done.different.saturating_add(1);
        if self.done.differences.len() < MAX_NAMES {
            self.done.differences.push((show(path), what.to_owned()));
        }
    }

    fn missing(&mut self, path: &[u8], line: &IndexEntry) {
        self.done.entries = self.done.entries.saturating_add(1);
        // Only root may make devices, and an extraction by another user says so.
        if self.as_root || !matches!(line.kind, Kind::CharDevice | Kind::BlockDevice) {
            self.differs(path, "it is missing");
        }
    }

    fn compare(
        &mut self,
        path: &[u8],
        line: &IndexEntry,
        place: Place<'_>,
        parent: Option<(&OwnedFd, &[u8])>,
        status: &Status,
    ) -> Result<()> {
        self.done.entries = self.done.entries.saturating_add(1);
        let found = match line.kind {
            Kind::Hardlink => self.hard_link(line, status),
            _ => self.difference(path, line, place, parent, status)?,
        };
        if let Some(what) = found {
            self.differs(path, &what);
        }
        Ok(())
    }

    /// A further name has to be one of the same file; what that is was compared under its first name.
    fn hard_link(&self, line: &IndexEntry, status: &Status) -> Option<String> {
        let target = line.link().and_then(|link| below(&link, self.source.as_bytes()).map(<[u8]>::to_vec))?;
        let (directory, name) = split(&target);
        let first = open_below(&self.root, directory).and_then(|directory| Status::at(&directory, name));
        match first {
            Ok(first) if first.identity() == status.identity() => None,
            _ => Some(format!("it is no further name of `{}`", show(&target))),
        }
    }

    /// The first that is different.
    fn difference(
        &mut self,
        path: &[u8],
        line: &IndexEntry,
        place: Place<'_>,
        parent: Option<(&OwnedFd, &[u8])>,
        status: &Status,
    ) -> Result<Option<String>> {
        let kind = kind_of(status.kind);
        if kind != Some(line.kind) {
            return Ok(Some(format!("it is a {:?}, the index says {:?}", status.kind, line.kind)));
        }
        let size = if line.kind == Kind::File { status.size } else { 0 };
        if size != line.size {
            return Ok(Some(format!("it has {size} bytes, the index says {}", line.size)));
        }
        if let Some(what) = self.content(path, line, parent)? {
            return Ok(Some(what));
        }
        if let Some(link) = line.link() {
            let (directory, name) = parent.unzip();
            let read = directory.zip(name).and_then(|(directory, name)| readlinkat(directory, name, Vec::new()).ok());
            if read.is_none_or(|read| read.as_bytes() != link) {
                return Ok(Some("it links to something else".to_owned()));
            }
        }
        // Whoever is not root may not set all bits of what is somebody else's.
        let bits = if self.as_root { 0o7777 } else { 0o777 };
        let (mode, expected) = (status.mode & bits, u32::from_str_radix(&line.mode, 8).unwrap_or(u32::MAX) & bits);
        if line.kind != Kind::Symlink && mode != expected {
            return Ok(Some(format!("its mode is {mode:04o}, the index says {expected:04o}")));
        }
        if self.as_root && (status.uid, status.gid) != (line.uid, line.gid) {
            let (uid, gid) = (status.uid, status.gid);
            return Ok(Some(format!("it belongs to {uid}:{gid}, the index says {}:{}", line.uid, line.gid)));
        }
        if status.mtime.to_string() != line.mtime {
            return Ok(Some(format!("its time is {}, the index says {}", status.mtime, line.mtime)));
        }
        if line.device.is_some_and(|device| device != status.special) {
            return Ok(Some(format!("it is the device {:?}, the index says {:?}", status.special, line.device)));
        }
        if self.as_root {
            let there = self.attributes.read(&place).map_err(|e| failed("read the attributes of", path, e))?;
            if attribute_digest(&there).map(|hash| hash.to_hex().to_string()) != line.attributes {
                return Ok(Some("its extended attributes or ACLs are not those of the index".to_owned()));
            }
        }
        Ok(None)
    }

    fn content(&mut self, path: &[u8], line: &IndexEntry, parent: Option<(&OwnedFd, &[u8])>) -> Result<Option<String>> {
        let (Kind::File, Some((parent, name))) = (line.kind, parent) else { return Ok(None) };
        let Some(opened) = self.opener.open(parent, name).map_err(|e| failed("open", path, e))? else {
            return Ok(Some("it vanished while it was compared".to_owned()));
        };
        let map = sparse::map(&opened.file, &opened.status).map_err(|e| failed("read", path, e))?;
        let read = self.reader.read(&opened, map.as_deref(), path, self.control, |bytes| {
            self.done.bytes = self.done.bytes.saturating_add(bytes.len() as u64);
            Ok(())
        })?;
        let hash = read.hash.to_hex().to_string();
        Ok((line.blake3.as_deref() != Some(&hash)).then(|| "its content is not what was archived".to_owned()))
    }
}

fn kind_of(kind: FileType) -> Option<Kind> {
    Some(match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        _ => return None,
    })
}
