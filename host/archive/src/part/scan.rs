//! Reads an archive side by side with its index, and checks each against the other.

use std::io::{self, BufReader, Read};

use super::blame::{PartObjects, Trouble, judge};
use super::content::hash_zeros;
use crate::control::Control;
use crate::digest::HashReader;
use crate::encoding::{self, Opening};
use crate::entry::Kind;
use crate::error::{Error, Result};
use crate::index::{IndexEntry, IndexReader};
use crate::tar::reader::{Item, TarReader};

/// Is given what a scan reads, after it was checked against the index; a file's content is only known to be right when
/// its `end` comes.
pub(crate) trait Visitor {
    /// An entry begins.
    fn begin(&mut self, item: &Item, line: &IndexEntry) -> Result<(), Fault>;
    /// Content of the file that began last, at this offset. Holes are left out.
    fn content(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// The entry that began last is complete.
    fn end(&mut self) -> Result<()>;
}

/// Why a scan ends early.
pub(crate) enum Fault {
    /// The archive is wrong: the hashes will tell which object it is.
    Archive(Trouble),
    /// Something else: reported as it is.
    Other(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// The archive is wrong at this file.
pub(super) fn wrong(file: &[u8], why: impl Into<String>) -> Fault {
    Fault::Archive(Trouble { why: why.into(), file: Some(file.to_vec()), locked: None })
}

/// Reads every byte of both objects.
pub(crate) fn scan(
    object: &mut (dyn Read + Send),
    index: &mut (dyn Read + Send),
    objects: &PartObjects<'_>,
    control: &Control,
    visitor: &mut dyn Visitor,
) -> Result<u64> {
    let mut data = HashReader::new(object, control);
    let mut lines = HashReader::new(index, control);
    let (entries, trouble) = match read_both(&mut data, &mut lines, objects, control, visitor) {
        Ok(entries) => (entries, None),
        Err(Fault::Other(error)) => return Err(error),
        Err(Fault::Archive(trouble)) => (0, Some(trouble)),
    };
    judge(&mut data, &mut lines, objects, trouble)?;
    control.finished();
    Ok(entries)
}

fn read_both(
    data: &mut HashReader<impl Read + Send>,
    lines: &mut HashReader<impl Read + Send>,
    objects: &PartObjects<'_>,
    control: &Control,
    visitor: &mut dyn Visitor,
) -> Result<u64, Fault> {
    let broken = |file: Option<&[u8]>, what: &str, e: &io::Error| {
        Fault::Archive(Trouble { why: format!("{what}: {e}"), file: file.map(<[u8]>::to_vec), locked: None })
    };
    let not_opened = |opening, file: &str| match opening {
        Opening::Locked(why) => Fault::Archive(Trouble { why, file: None, locked: Some(file.to_owned()) }),
        Opening::Broken(e) => broken(None, "it cannot be opened", &e),
    };
    let (data_file, index_file, keys) = (&objects.data.file, &objects.index.file, objects.keys);
    let lines = encoding::reader(index_file, keys, lines).map_err(|e| not_opened(e, index_file))?;
    let data = encoding::reader(data_file, keys, data).map_err(|e| not_opened(e, data_file))?;
    let mut tar = TarReader::new(data);
    let mut index = IndexReader::new(BufReader::new(lines));
    let mut buffer = vec![0; 256 << 10];
    let mut entries = 0u64;
    let mut last: Option<Vec<u8>> = None;
    loop {
        control.check()?;
        let line = index.next_entry().map_err(|e| broken(last.as_deref(), "the index cannot be read", &e))?;
        let expected = match &line {
            Some(line) => Some(line.path().ok_or_else(|| broken_line(last.as_deref()))?),
            None => None,
        };
        // Whatever goes wrong before the entry's own name is known is told of the one that should be here.
        let here = expected.as_deref().or(last.as_deref());
        let item = tar.next().map_err(|e| broken(here, "the archive cannot be read", &e))?;
        let (item, line) = match (item, line) {
            (Some(item), Some(line)) => (item, line),
            (None, None) => return Ok(entries),
            (Some(item), None) => return Err(wrong(&item.entry.path, "it is not in the index")),
            (None, Some(_)) => return Err(wrong(here.unwrap_or_default(), "it is not in the archive")),
        };
        let path = item.entry.path.as_slice();
        if expected.as_deref() != Some(path) {
            return Err(wrong(here.unwrap_or_default(), "the archive has another entry in its place"));
        }
        if let Some(difference) = line.difference(&item.entry) {
            return Err(wrong(path, difference));
        }
        visitor.begin(&item, &line)?;
        let hash = content(&mut tar, &item, &mut buffer, control, visitor)?;
        if line.blake3 != hash.map(|hash| hash.to_hex().to_string()) {
            return Err(wrong(path, "its content is not what was archived"));
        }
        visitor.end()?;
        entries = entries.saturating_add(1);
        last = expected;
    }
}

fn broken_line(last: Option<&[u8]>) -> Fault {
    Fault::Archive(Trouble {
        why: "a malformed line in the index".to_owned(),
        file: last.map(<[u8]>::to_vec),
        locked: None,
    })
}

/// Hands on the content of a file; gives its hash.
fn content(
    tar: &mut TarReader<impl Read>,
    item: &Item,
    buffer: &mut [u8],
    control: &Control,
    visitor: &mut dyn Visitor,
) -> Result<Option<blake3::Hash>, Fault> {
    if item.entry.kind != Kind::File {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    let mut end = 0u64;
    for segment in &item.segments {
        hash_zeros(&mut hasher, segment.offset.saturating_sub(end), control)?;
        end = segment.offset;
        let stop = segment.offset.saturating_add(segment.length);
        while end < stop {
            control.check()?;
            let most = usize::try_from(stop.saturating_sub(end)).unwrap_or(usize::MAX).min(buffer.len());
            let read = tar
                .read(buffer.get_mut(..most).unwrap_or_default())
                .map_err(|e| wrong(&item.entry.path, format!("the archive cannot be read: {e}")))?;
            if read == 0 {
                return Err(wrong(&item.entry.path, "the archive has too little of its content"));
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            hasher.update(bytes);
            visitor.content(end, bytes)?;
            control.advance(read as u64);
            end = end.saturating_add(read as u64);
        }
    }
    hash_zeros(&mut hasher, item.entry.size.saturating_sub(end), control)?;
    Ok(Some(hasher.finalize()))
}
