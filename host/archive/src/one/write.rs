//! Writes the one large archive.

use std::io::{BufWriter, Read, Write};

use super::{CONTENTS, Line, contents};
use crate::control::Control;
use crate::digest::{CountWriter, Written};
use crate::encoding::{Encoder, Format, Keys};
use crate::entry::{Attributes, Entry, Kind, Time};
use crate::error::{ErrorKind, Result, ResultExt as _};
use crate::fs::sparse::Segment;
use crate::index::IndexEntry;
use crate::object::ObjectRecord;
use crate::part::{Fault, PartObjects, Visitor, scan};
use crate::path::join;
use crate::stream::StreamReader;
use crate::tar::reader::Item;
use crate::tar::writer::TarWriter;

/// Where it goes.
type Sink<'a> = CountWriter<BufWriter<Encoder<'a>>>;

/// One large archive under way.
pub struct OneWriter<'a> {
    tar: TarWriter<Sink<'a>>,
    lines: Vec<Line>,
    time: Time,
}

const CANNOT: &str = "cannot write the archive";

impl<'a> OneWriter<'a> {
    /// Begins one. `seconds` is the time of modification of what has none of its own, since 1970.
    ///
    /// # Errors
    /// `Io` if it cannot be written.
    pub fn new(to: &'a mut dyn Write, format: &Format, seconds: i64) -> Result<Self> {
        let encoder = Encoder::new(format, to).or_error(ErrorKind::Io, || CANNOT)?;
        let sink = CountWriter { inner: BufWriter::with_capacity(256 << 10, encoder), count: 0 };
        Ok(Self { tar: TarWriter::new(sink), lines: Vec::new(), time: Time { seconds, nanos: 0 } })
    }

    /// A file of these bytes.
    ///
    /// # Errors
    /// `Io` if it cannot be written.
    pub fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.raw(path, bytes)?;
        self.lines.push(Line {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes).to_hex().to_string(),
        });
        Ok(())
    }

    fn raw(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.begin(path, bytes.len() as u64)?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.tar.content(bytes).or_error(ErrorKind::Io, || CANNOT)
    }

    /// A file of what a stored stream or index holds.
    ///
    /// # Errors
    /// `Damaged` if that is not what was written, `Denied` if no key opens it, `Store` if it cannot be read; `Io`.
    pub fn object(
        &mut self,
        path: &str,
        object: impl Read + Send,
        expected: &ObjectRecord,
        keys: &Keys,
        control: &Control,
    ) -> Result<()> {
        let mut reader = StreamReader::new(object, expected, keys, control)?;
        self.begin(path, expected.content_bytes)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = reader.read(&mut buffer).map_err(|e| crate::stream::told(e, &expected.file))?;
            if read == 0 {
                break;
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            hasher.update(bytes);
            self.tar.content(bytes).or_error(ErrorKind::Io, || CANNOT)?;
        }
        self.lines.push(Line {
            path: path.to_owned(),
            bytes: hasher.count(),
            blake3: hasher.finalize().to_hex().to_string(),
        });
        Ok(())
    }

    /// The files of a part's archive, below the directory `below`. Everything is compared with the index on the way.
    ///
    /// # Errors
    /// As [`crate::verify_part`]; `Io`.
    pub fn part(
        &mut self,
        below: &str,
        mut object: impl Read + Send,
        mut index: impl Read + Send,
        objects: &PartObjects<'_>,
        control: &Control,
    ) -> Result<u64> {
        let mut visitor = Moved { tar: &mut self.tar, below: below.as_bytes() };
        scan(&mut object, &mut index, objects, control, &mut visitor)
    }

    /// Writes the end. What went through.
    ///
    /// # Errors
    /// `Io` if it cannot be written.
    pub fn finish(mut self) -> Result<Written> {
        let bytes = contents(&self.lines).or_error(ErrorKind::Internal, || "cannot write the archive's contents")?;
        self.raw(CONTENTS, &bytes)?;
        let end = || -> std::io::Result<Written> {
            let CountWriter { inner, count } = self.tar.finish()?;
            Ok(inner.into_inner()?.finish()?.written(count))
        };
        end().or_error(ErrorKind::Io, || CANNOT)
    }

    fn begin(&mut self, path: &str, size: u64) -> Result<()> {
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            kind: Kind::File,
            mode: 0o600,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            size,
            mtime: self.time,
            link: None,
            device: None,
            attributes: Attributes::default(),
        };
        self.tar.begin(&entry, path.as_bytes(), None).or_error(ErrorKind::Io, || CANNOT)
    }
}

/// The map of a file, where it has holes.
pub(super) fn holes(item: &Item) -> Option<&[Segment]> {
    let whole = match item.segments.as_slice() {
        [] => item.entry.size == 0,
        [one] => one.offset == 0 && one.length == item.entry.size,
        _ => false,
    };
    (!whole && item.entry.kind == Kind::File).then_some(&item.segments)
}

/// Entries on their way to another directory.
struct Moved<'a, 'b> {
    tar: &'a mut TarWriter<Sink<'b>>,
    below: &'a [u8],
}

impl Visitor for Moved<'_, '_> {
    fn begin(&mut self, item: &Item, _: &IndexEntry) -> Result<(), Fault> {
        let path = join(self.below, &item.entry.path);
        let mut shown = path.clone();
        if item.entry.kind == Kind::Directory {
            shown.push(b'/');
        }
        let link = match (&item.entry.link, item.entry.kind) {
            (Some(link), Kind::Hardlink) => Some(join(self.below, link)),
            (link, _) => link.clone(),
        };
        let entry = Entry { path, link, ..item.entry.clone() };
        self.tar.begin(&entry, &shown, holes(item)).or_error(ErrorKind::Io, || CANNOT).map_err(Fault::Other)
    }

    fn content(&mut self, _: u64, bytes: &[u8]) -> Result<()> {
        self.tar.content(bytes).or_error(ErrorKind::Io, || CANNOT)
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}
