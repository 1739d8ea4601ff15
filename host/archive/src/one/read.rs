//! Takes the one large archive apart again, into objects of sets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::write::holes;
use super::{CONTENTS, Line, OURS, contents};
use crate::control::Control;
use crate::digest::{CountWriter, HashReader, HashWriter, Written};
use crate::encoding::{self, Keys, Opening};
use crate::entry::{Entry, Kind};
use crate::error::{Error, ErrorKind, Result, ResultExt as _};
use crate::names::show;
use crate::path::below;
use crate::tar::reader::{Item, TarReader};
use crate::tar::writer::TarWriter;

/// A manifest, or contents, that are larger are none.
const MAX_TEXT: u64 = 64 << 20;
/// So many sets build on each other at most, and so many parts and streams they have.
const MAX_OBJECTS: usize = 10_000;

/// A set that was taken out of an archive.
#[derive(Debug)]
pub struct Unpacked {
    /// The set on which the archive's builds, by its id; none: the archive's own.
    pub base: Option<String>,
    /// Its manifest, as it stands there.
    pub manifest: Vec<u8>,
    /// Its objects: zstd, in the directory that was given.
    pub objects: Vec<UnpackedObject>,
}

/// One object.
#[derive(Debug)]
pub struct UnpackedObject {
    /// What it was called in the archive, without what comes before all of the set's: `home` for the files of a part,
    /// `.bkhost/home.index.jsonl`, `database.dump`.
    pub name: String,
    /// Where it is.
    pub file: PathBuf,
    /// What was written.
    pub written: Written,
}

/// What an entry belongs to.
struct Place<'a> {
    base: Option<&'a str>,
    /// Without the set's prefix.
    rest: &'a [u8],
}

/// Reads a whole archive, named `file` in errors (what it is, its first bytes say), and writes what is in it into objects in the directory
/// `into`. Files are not compared with their index here: that is for who reads the objects.
///
/// # Errors
/// `Damaged` if it is cut short, altered, or not such an archive; `Denied` if no key opens it; `Io`; `Cancelled`.
pub fn unpack_one(
    from: impl Read + Send,
    file: &str,
    keys: &Keys,
    into: &Path,
    control: &Control,
) -> Result<Vec<Unpacked>> {
    let mut raw = HashReader::new(Box::new(from) as Box<dyn Read + Send>, control);
    let result = encoding::reader_by_content(keys, &mut raw).map_err(|opening| match opening {
        Opening::Locked(why) => crate::part::locked(file, &why),
        Opening::Broken(e) => broken(file, &e),
    });
    let result = result.and_then(|reader| {
        let mut unpacker = Unpacker {
            file,
            into,
            control,
            tar: TarReader::new(reader),
            sets: BTreeMap::new(),
            seen: Vec::new(),
            part: None,
            count: 0,
        };
        unpacker.all()?;
        Ok(unpacker.sets.into_values().collect())
    });
    control.check()?;
    match raw.failure() {
        Some(why) => Err(Error::new(ErrorKind::Io, format!("cannot read {file}")).because(why)),
        None => result,
    }
}

fn broken(file: &str, e: &std::io::Error) -> Error {
    damaged(file, format!("it cannot be read: {e}"))
}

fn damaged(file: &str, why: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Damaged,
        format!("{file} is not an archive that `bkhost export` wrote, or not all of it: {why}"),
    )
    .hint("was it copied whole? Export it again from the store; nothing was restored")
}

struct Unpacker<'a, 'b> {
    file: &'a str,
    into: &'a Path,
    control: &'a Control,
    tar: TarReader<Box<dyn Read + Send + 'b>>,
    sets: BTreeMap<Option<String>, Unpacked>,
    /// Our own files, as they came.
    seen: Vec<Line>,
    /// The part whose files come.
    part: Option<Part>,
    count: usize,
}

/// The tar archive of a part, being made again.
struct Part {
    base: Option<String>,
    name: String,
    path: PathBuf,
    tar: TarWriter<Output>,
}

impl Unpacker<'_, '_> {
    fn all(&mut self) -> Result<()> {
        loop {
            self.control.check()?;
            let item = self.tar.next().map_err(|e| broken(self.file, &e))?;
            let Some(item) = item else { return Err(damaged(self.file, "its contents are missing at its end")) };
            if item.entry.path == CONTENTS.as_bytes() {
                let bytes = self.text(&item)?;
                self.end_part()?;
                return self.judge(&bytes);
            }
            self.entry(&item)?;
        }
    }

    fn entry(&mut self, item: &Item) -> Result<()> {
        let path = item.entry.path.clone();
        let place = place(&path).ok_or_else(|| self.strange(item))?;
        let base = place.base.map(str::to_owned);
        let rest = place.rest;
        if rest == b".bkhost/manifest.json" {
            let bytes = self.text(item)?;
            self.saw(item, bytes.len() as u64, blake3::hash(&bytes));
            let set = Unpacked { base: base.clone(), manifest: bytes, objects: Vec::new() };
            return match self.sets.insert(base, set) {
                None => Ok(()),
                Some(_) => Err(self.strange(item)),
            };
        }
        if !self.sets.contains_key(&base) {
            return Err(damaged(self.file, "it does not begin with a manifest"));
        }
        let (first, _) = split_first(rest);
        let first = std::str::from_utf8(first).map_err(|_| self.strange(item))?.to_owned();
        if first.is_empty() || (first.starts_with('.') && first != OURS) {
            return Err(self.strange(item));
        }
        if first == OURS || first.contains('.') {
            self.end_part()?;
            return self.own_file(item, base, rest);
        }
        if self.part.as_ref().is_none_or(|part| part.name != first || part.base != base) {
            self.end_part()?;
            if self.sets.get(&base).is_some_and(|set| set.objects.iter().any(|object| object.name == first)) {
                return Err(self.strange(item));
            }
            let (path, output) = self.output()?;
            self.part = Some(Part { base, name: first.clone(), path, tar: TarWriter::new(output) });
        }
        self.moved(item, rest, first.as_bytes())
    }

    /// A file of a part, on its way back into the part's own archive.
    fn moved(&mut self, item: &Item, rest: &[u8], part: &[u8]) -> Result<()> {
        let path = below(rest, part).unwrap_or_default().to_vec();
        let mut shown = if path.is_empty() { b"./".to_vec() } else { path.clone() };
        if item.entry.kind == Kind::Directory && !shown.ends_with(b"/") {
            shown.push(b'/');
        }
        let own = item.entry.path.len().saturating_sub(rest.len());
        let link = match (&item.entry.link, item.entry.kind) {
            (Some(link), Kind::Hardlink) => {
                let link = link.get(own..).and_then(|link| below(link, part));
                Some(link.filter(|link| !link.is_empty()).ok_or_else(|| self.strange(item))?.to_vec())
            }
            (link, _) => link.clone(),
        };
        let entry = Entry { path, link, ..item.entry.clone() };
        let Some(target) = &mut self.part else { return Ok(()) };
        let cannot = || format!("cannot unpack `{}`", show(&item.entry.path));
        target.tar.begin(&entry, &shown, holes(item)).or_error(ErrorKind::Io, cannot)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.control.check()?;
            let read = self.tar.read(&mut buffer).map_err(|e| broken(self.file, &e))?;
            if read == 0 {
                return Ok(());
            }
            self.control.advance(read as u64);
            target.tar.content(buffer.get(..read).unwrap_or_default()).or_error(ErrorKind::Io, cannot)?;
        }
    }

    /// An index or a stream.
    fn own_file(&mut self, item: &Item, base: Option<String>, rest: &[u8]) -> Result<()> {
        let name = std::str::from_utf8(rest).map_err(|_| self.strange(item))?.to_owned();
        if item.entry.kind != Kind::File || holes(item).is_some() {
            return Err(self.strange(item));
        }
        let (path, mut output) = self.output()?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.control.check()?;
            let read = self.tar.read(&mut buffer).map_err(|e| broken(self.file, &e))?;
            if read == 0 {
                break;
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            hasher.update(bytes);
            self.control.advance(read as u64);
            output.write_all(bytes).or_error(ErrorKind::Io, || format!("cannot unpack {name}"))?;
        }
        self.saw(item, hasher.count(), hasher.finalize());
        let written = output.finish().or_error(ErrorKind::Io, || format!("cannot unpack {name}"))?;
        self.add(base, UnpackedObject { name, file: path, written })
    }

    fn add(&mut self, base: Option<String>, object: UnpackedObject) -> Result<()> {
        let Some(set) = self.sets.get_mut(&base) else { return Ok(()) };
        if set.objects.iter().any(|other| other.name == object.name) {
            return Err(damaged(self.file, format_args!("it has {} twice", object.name)));
        }
        set.objects.push(object);
        Ok(())
    }

    fn end_part(&mut self) -> Result<()> {
        let Some(Part { base, name, path, tar }) = self.part.take() else { return Ok(()) };
        let written =
            tar.finish().and_then(Output::finish).or_error(ErrorKind::Io, || format!("cannot unpack {name}"))?;
        self.add(base, UnpackedObject { name, file: path, written })
    }

    fn text(&mut self, item: &Item) -> Result<Vec<u8>> {
        if item.entry.kind != Kind::File || holes(item).is_some() || item.entry.size > MAX_TEXT {
            return Err(self.strange(item));
        }
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = self.tar.read(&mut buffer).map_err(|e| broken(self.file, &e))?;
            if read == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
    }

    fn saw(&mut self, item: &Item, bytes: u64, hash: blake3::Hash) {
        let path = String::from_utf8_lossy(&item.entry.path).into_owned();
        self.seen.push(Line { path, bytes, blake3: hash.to_hex().to_string() });
    }

    /// The end: the contents are those that came, and nothing comes after them.
    fn judge(&mut self, bytes: &[u8]) -> Result<()> {
        let expected = contents(&self.seen).or_error(ErrorKind::Internal, || "cannot write the archive's contents")?;
        if bytes != expected {
            let text = String::from_utf8_lossy(bytes);
            let known: Vec<Line> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let differs = self.seen.iter().find(|seen| !known.contains(seen));
            return Err(match differs {
                Some(line) => damaged(self.file, format_args!("`{}` in it is not what was written", line.path)),
                None => damaged(self.file, "something that its contents name is missing"),
            });
        }
        match self.tar.next().map_err(|e| broken(self.file, &e))? {
            None => Ok(()),
            Some(item) => Err(self.strange(&item)),
        }
    }

    fn output(&mut self) -> Result<(PathBuf, Output)> {
        self.count = self.count.saturating_add(1);
        if self.count > MAX_OBJECTS {
            return Err(damaged(self.file, "it has too many parts"));
        }
        let path = self.into.join(format!("object-{}", self.count));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.or_error(ErrorKind::Io, || format!("cannot make {}", path.display()))?;
        let output = Output::new(file).or_error(ErrorKind::Io, || format!("cannot write {}", path.display()))?;
        Ok((path, output))
    }

    fn strange(&self, item: &Item) -> Error {
        damaged(self.file, format_args!("`{}` does not belong into it", show(&item.entry.path)))
    }
}

/// The set that a path belongs to.
fn place(path: &[u8]) -> Option<Place<'_>> {
    let Some(rest) = path.strip_prefix(b".bkhost/sets/") else { return Some(Place { base: None, rest: path }) };
    let (id, rest) = split_first(rest);
    let id = std::str::from_utf8(id).ok()?;
    (!id.is_empty() && !rest.is_empty()).then_some(Place { base: Some(id), rest })
}

fn split_first(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|b| *b == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at.saturating_add(1)..).unwrap_or_default()),
        None => (path, &[]),
    }
}

/// An object on its way to the disk: zstd, fast, because it is read again at once and then removed.
struct Output(CountWriter<BufWriter<zstd::Encoder<'static, HashWriter<File>>>>);

impl Output {
    fn new(file: File) -> std::io::Result<Self> {
        let mut encoder = zstd::Encoder::new(HashWriter::new(file), 1)?;
        encoder.include_checksum(true)?;
        Ok(Self(CountWriter { inner: BufWriter::with_capacity(256 << 10, encoder), count: 0 }))
    }

    fn finish(self) -> std::io::Result<Written> {
        let CountWriter { inner, count } = self.0;
        Ok(inner.into_inner()?.finish()?.written(count))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
