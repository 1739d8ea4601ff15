//! Reads the tar archives that [`super::writer`] writes, from a source that may be damaged or hostile.

use std::io::{self, Read};

use super::header::{Field, Header, TypeFlag};
use super::pax::{parse, take_attribute};
use super::{BLOCK, padding};
use crate::entry::{Attributes, Entry, Kind, Time};
use crate::fs::sparse::Segment;
use crate::path::normalize;

/// The most that is read into memory for one entry's records, or for its sparse map.
const MAX_EXTENDED: u64 = 64 << 20;

/// An archive being read.
pub(crate) struct TarReader<R> {
    inner: R,
    /// The content of the open entry that was not read yet.
    open: u64,
    padding: usize,
}

/// An entry, and where its content goes.
pub(crate) struct Item {
    pub(crate) entry: Entry,
    /// For a file: the stretches of data in the order in which they are stored. Everything else in it is a hole.
    pub(crate) segments: Vec<Segment>,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, open: 0, padding: 0 }
    }

    /// The next entry; `None` at the end of the archive. Content of the last one that was not read is skipped.
    pub(crate) fn next(&mut self) -> io::Result<Option<Item>> {
        self.skip_content()?;
        let mut header = self.header()?;
        let mut extended = None;
        if header.kind() == TypeFlag::PAX {
            extended = Some(self.block_of(&header)?);
            header = self.header()?;
            if header.is_zero() || header.kind() == TypeFlag::PAX {
                return Err(bad("an extended header without an entry"));
            }
        }
        if header.is_zero() {
            self.end()?;
            return Ok(None);
        }
        let records = match &extended {
            Some(bytes) => parse(bytes).ok_or_else(|| bad("a malformed extended header"))?,
            None => Vec::new(),
        };
        self.item(&header, &records).map(Some)
    }

    /// Reads content of the open entry: as much as fits, 0 at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.open).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.open = self.open.saturating_sub(read as u64);
        if self.open == 0 {
            self.skip_padding()?;
        }
        Ok(read)
    }

    fn item(&mut self, header: &Header, records: &[(&[u8], &[u8])]) -> io::Result<Item> {
        let number = |field, what: &str| header.number(field).ok_or_else(|| bad(format!("a {what} that is no number")));
        let mut fields = Fields {
            name: header.text(Field::NAME).to_vec(),
            link: header.text(Field::LINK).to_vec(),
            uid: number(Field::UID, "user")?,
            gid: number(Field::GID, "group")?,
            size: number(Field::SIZE, "size")?,
            mtime: Time { seconds: i64::try_from(number(Field::MTIME, "time")?).unwrap_or(i64::MAX), nanos: 0 },
            user: header.text(Field::USER).to_vec(),
            group: header.text(Field::GROUP).to_vec(),
            real_size: None,
            attributes: Attributes::default(),
        };
        let prefix = header.text(Field::PREFIX);
        if !prefix.is_empty() {
            fields.name = [prefix, b"/", &fields.name].concat();
        }
        for (keyword, value) in records {
            fields.take(keyword, value)?;
        }
        let kind = match header.kind() {
            TypeFlag::FILE => Kind::File,
            TypeFlag::HARDLINK => Kind::Hardlink,
            TypeFlag::SYMLINK => Kind::Symlink,
            TypeFlag::CHAR => Kind::CharDevice,
            TypeFlag::BLOCK => Kind::BlockDevice,
            TypeFlag::DIRECTORY => Kind::Directory,
            TypeFlag::FIFO => Kind::Fifo,
            TypeFlag(other) => return Err(bad(format!("an entry of the unknown type {other:#04x}"))),
        };
        if kind != Kind::File && (fields.size > 0 || fields.real_size.is_some()) {
            return Err(bad("content for an entry that is no file"));
        }
        let path = |raw: &[u8]| normalize(raw).map_err(|why| bad(format!("a path that {why}")));
        let link = match kind {
            Kind::Hardlink => Some(path(&fields.link)?),
            Kind::Symlink => Some(fields.link.clone()),
            _ => None,
        };
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                Some((number(Field::MAJOR, "device")?, number(Field::MINOR, "device")?))
            }
            _ => None,
        };
        let small = |n: u64| u32::try_from(n).map_err(|_| bad("a number out of range"));
        let entry = Entry {
            path: path(&fields.name)?,
            kind,
            mode: small(number(Field::MODE, "mode")?)? & 0o7777,
            uid: small(fields.uid)?,
            gid: small(fields.gid)?,
            user: text(&fields.user),
            group: text(&fields.group),
            size: fields.real_size.unwrap_or(fields.size),
            mtime: fields.mtime,
            link,
            device: device.map(|(major, minor)| Ok::<_, io::Error>((small(major)?, small(minor)?))).transpose()?,
            attributes: fields.attributes,
        };
        self.open = fields.size;
        self.padding = padding(fields.size);
        let segments = match fields.real_size {
            Some(_) => self.sparse_map(entry.size)?,
            None if entry.size > 0 => vec![Segment { offset: 0, length: entry.size }],
            None => Vec::new(),
        };
        if self.open == 0 {
            self.skip_padding()?;
        }
        Ok(Item { entry, segments })
    }

    /// Reads the map of a file with holes, which comes before its data.
    fn sparse_map(&mut self, size: u64) -> io::Result<Vec<Segment>> {
        let wrong = || bad("a malformed map of a file with holes");
        let (mut block, mut at, mut budget) = ([0; BLOCK], BLOCK, MAX_EXTENDED);
        let mut number = || -> io::Result<u64> {
            let mut value = 0u64;
            loop {
                if at == BLOCK {
                    budget = budget.checked_sub(BLOCK as u64).ok_or_else(wrong)?;
                    self.open = self.open.checked_sub(BLOCK as u64).ok_or_else(wrong)?;
                    self.inner.read_exact(&mut block)?;
                    at = 0;
                }
                let byte = block.get(at).copied().unwrap_or(0);
                at = at.saturating_add(1);
                match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte.wrapping_sub(b'0'));
                        value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or_else(wrong)?;
                    }
                    b'\n' => return Ok(value),
                    _ => return Err(wrong()),
                }
            }
        };
        let mut segments = Vec::new();
        let (mut end, mut stored) = (0u64, 0u64);
        for _ in 0..number()? {
            let segment = Segment { offset: number()?, length: number()? };
            if segment.offset < end {
                return Err(wrong());
            }
            end = segment.offset.checked_add(segment.length).filter(|end| *end <= size).ok_or_else(wrong)?;
            stored = stored.checked_add(segment.length).ok_or_else(wrong)?;
            if segment.length > 0 {
                segments.push(segment);
            }
        }
        if stored == self.open { Ok(segments) } else { Err(wrong()) }
    }

    fn header(&mut self) -> io::Result<Header> {
        let mut header = Header([0; BLOCK]);
        self.inner.read_exact(&mut header.0)?;
        if header.is_zero() || header.is_valid() { Ok(header) } else { Err(bad("a header that is not one of tar")) }
    }

    /// The content of a header's entry, in memory.
    fn block_of(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.number(Field::SIZE).filter(|size| *size <= MAX_EXTENDED);
        let size = size.ok_or_else(|| bad("an extended header of a wrong size"))?;
        let mut bytes = Vec::new();
        (&mut self.inner).take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.padding = padding(size);
        self.skip_padding()?;
        Ok(bytes)
    }

    /// After the first block of zeros: a second one, and nothing but zeros after it.
    fn end(&mut self) -> io::Result<()> {
        self.inner.read_exact(&mut [0; BLOCK])?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = self.inner.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            if buffer.iter().take(read).any(|b| *b != 0) {
                return Err(bad("something after its end"));
            }
        }
    }

    fn skip_content(&mut self) -> io::Result<()> {
        if self.open == 0 {
            return Ok(());
        }
        let mut buffer = vec![0; 64 << 10];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    fn skip_padding(&mut self) -> io::Result<()> {
        let padding = std::mem::take(&mut self.padding);
        self.inner.read_exact([0; BLOCK].get_mut(..padding).unwrap_or_default())
    }
}

/// What a header and its records say.
struct Fields {
    name: Vec<u8>,
    link: Vec<u8>,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: Time,
    user: Vec<u8>,
    group: Vec<u8>,
    real_size: Option<u64>,
    attributes: Attributes,
}

impl Fields {
    fn take(&mut self, keyword: &[u8], value: &[u8]) -> io::Result<()> {
        let wrong = || bad(format!("a malformed record `{}`", String::from_utf8_lossy(keyword)));
        let text = || std::str::from_utf8(value).map_err(|_| wrong());
        let number = || text()?.parse::<u64>().map_err(|_| wrong());
        match keyword {
            b"path" | b"GNU.sparse.name" => self.name = value.to_vec(),
            b"linkpath" => self.link = value.to_vec(),
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"size" => self.size = number()?,
            b"mtime" => self.mtime = text()?.parse().map_err(|()| wrong())?,
            b"uname" => self.user = value.to_vec(),
            b"gname" => self.group = value.to_vec(),
            b"GNU.sparse.realsize" => self.real_size = Some(number()?),
            b"GNU.sparse.major" if value == b"1" => {}
            b"GNU.sparse.minor" if value == b"0" => {}
            _ if take_attribute(&mut self.attributes, keyword, value) == Some(true) => {}
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(bytes).into_owned()).filter(|text| !text.is_empty())
}
