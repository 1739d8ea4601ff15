//! Writes a tar archive.

use std::io::{self, Write};

use super::header::{Field, Header, TypeFlag};
use super::pax::{Records, push_attributes};
use super::{BLOCK, padding};
use crate::entry::{Entry, Kind, Time};
use crate::fs::sparse::Segment;

/// tar writes in units of 20 blocks; what ends in the middle of one makes some readers warn.
const RECORD: u64 = 20 * BLOCK as u64;

/// An archive under way.
pub(crate) struct TarWriter<W> {
    inner: W,
    written: u64,
    /// The content of the open entry that is still to come.
    open: u64,
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, written: 0, open: 0, padding: 0 }
    }

    /// Begins an entry whose name in the archive is `name`: its path, in the spelling that tar shows. For a file, its
    /// content has to follow: `entry.size` bytes, or for one with holes the bytes of its `segments`.
    pub(crate) fn begin(&mut self, entry: &Entry, name: &[u8], segments: Option<&[Segment]>) -> io::Result<()> {
        let map = segments.map(|segments| sparse_map(segments, entry.size));
        let (data, stored) = match (&map, segments) {
            (Some(map), Some(segments)) => {
                let data = segments.iter().fold(0u64, |sum, s| sum.saturating_add(s.length));
                (data, data.saturating_add(map.len() as u64))
            }
            _ => (entry.size, entry.size),
        };
        let mut records = Records::default();
        let mut header = Header::new(type_flag(entry.kind));
        if map.is_some() {
            records.push(b"GNU.sparse.major", b"1");
            records.push(b"GNU.sparse.minor", b"0");
            records.push(b"GNU.sparse.name", name);
            records.push(b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
            header.put(Field::NAME, b"GNUSparseFile.0/file");
        } else if !header.put(Field::NAME, name) {
            records.push(b"path", name);
        }
        if let Some(link) = &entry.link
            && !header.put(Field::LINK, link)
        {
            records.push(b"linkpath", link);
        }
        fill(&mut header, &mut records, entry, stored);
        push_attributes(&mut records, &entry.attributes);
        if !records.bytes.is_empty() {
            self.extended(&records, entry.mtime)?;
        }
        header.seal();
        self.write(&header.0)?;
        if let Some(map) = map {
            self.write(&map)?;
        }
        self.open = data;
        self.padding = padding(stored);
        self.end_if_complete()
    }

    /// Content of the open entry.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open = (self.open.checked_sub(bytes.len() as u64))
            .ok_or_else(|| io::Error::other("more content than the entry's header announced"))?;
        self.write(bytes)?;
        self.end_if_complete()
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if self.open > 0 {
            return Err(io::Error::other("less content than the entry's header announced"));
        }
        self.write(&[0; 2 * BLOCK])?;
        while !self.written.is_multiple_of(RECORD) {
            self.write(&[0; BLOCK])?;
        }
        Ok(self.inner)
    }

    fn end_if_complete(&mut self) -> io::Result<()> {
        if self.open == 0 && self.padding > 0 {
            let padding = std::mem::take(&mut self.padding);
            self.write([0; BLOCK].get(..padding).unwrap_or_default())?;
        }
        Ok(())
    }

    fn extended(&mut self, records: &Records, mtime: Time) -> io::Result<()> {
        let length = records.bytes.len() as u64;
        let mut header = Header::new(TypeFlag::PAX);
        header.put(Field::NAME, b"PaxHeaders.0/entry");
        header.put_number(Field::MODE, 0o644);
        header.put_number(Field::UID, 0);
        header.put_number(Field::GID, 0);
        header.put_number(Field::SIZE, length);
        header.put_number(Field::MTIME, u64::try_from(mtime.seconds).unwrap_or(0));
        header.seal();
        self.write(&header.0)?;
        self.write(&records.bytes)?;
        self.write([0; BLOCK].get(..padding(length)).unwrap_or_default())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.inner.write_all(bytes)
    }
}

fn type_flag(kind: Kind) -> TypeFlag {
    match kind {
        Kind::File => TypeFlag::FILE,
        Kind::Directory => TypeFlag::DIRECTORY,
        Kind::Symlink => TypeFlag::SYMLINK,
        Kind::Hardlink => TypeFlag::HARDLINK,
        Kind::Fifo => TypeFlag::FIFO,
        Kind::CharDevice => TypeFlag::CHAR,
        Kind::BlockDevice => TypeFlag::BLOCK,
    }
}

fn fill(header: &mut Header, records: &mut Records, entry: &Entry, stored: u64) {
    let mut number = |header: &mut Header, field: Field, keyword: &[u8], value: u64| {
        header.put_number(field, value);
        // 3 bits per digit, one digit less than the field is long.
        let digits = u32::try_from(field.len().saturating_sub(1)).unwrap_or(0);
        if value.checked_shr(digits.saturating_mul(3)).unwrap_or(0) > 0 {
            records.push(keyword, value.to_string().as_bytes());
        }
    };
    number(header, Field::SIZE, b"size", stored);
    number(header, Field::UID, b"uid", entry.uid.into());
    number(header, Field::GID, b"gid", entry.gid.into());
    header.put_number(Field::MODE, entry.mode.into());
    let seconds = u64::try_from(entry.mtime.seconds).ok().filter(|s| *s < 1 << 33);
    header.put_number(Field::MTIME, seconds.unwrap_or(0));
    if seconds.is_none() || entry.mtime.nanos > 0 {
        records.push(b"mtime", entry.mtime.to_string().as_bytes());
    }
    for (field, keyword, name) in [(Field::USER, b"uname", &entry.user), (Field::GROUP, b"gname", &entry.group)] {
        // These fields need a NUL at their end.
        if let Some(name) = name
            && (!header.put(field, name.as_bytes()) || name.len() == field.len() || !name.is_ascii())
        {
            records.push(keyword, name.as_bytes());
        }
    }
    let (major, minor) = entry.device.unwrap_or((0, 0));
    header.put_number(Field::MAJOR, major.into());
    header.put_number(Field::MINOR, minor.into());
}

/// The map that GNU's sparse format 1.0 puts before the data: decimal numbers, one a line, padded to whole blocks.
fn sparse_map(segments: &[Segment], size: u64) -> Vec<u8> {
    let end = segments.last().map_or(0, |s| s.offset.saturating_add(s.length));
    // A hole at the end is told by an empty stretch.
    let tail = (end < size).then_some(Segment { offset: size, length: 0 });
    let mut text = format!("{}\n", segments.len().saturating_add(tail.iter().len()));
    for segment in segments.iter().chain(&tail) {
        text.push_str(&format!("{}\n{}\n", segment.offset, segment.length));
    }
    let mut map = text.into_bytes();
    let padding = padding(map.len() as u64);
    map.resize(map.len().saturating_add(padding), 0);
    map
}
