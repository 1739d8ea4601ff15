//! What a pass remembers for the next: one record for each file whose copy can be trusted, in the order of the walk.
//!
//! The file: a line of magic, the boot's id, the records, and a BLAKE3 hash over all of it. A file that is not whole
//! counts as none.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Take, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::digest::HashWriter;
use crate::entry::Time;
use crate::error::{ErrorKind, Result, ResultExt as _};
use crate::fs::status::Status;
use crate::path::walk_order;

const MAGIC: &[u8] = b"bkhost mirror 1\n";
const HASH: u64 = blake3::OUT_LEN as u64;
const MAX_PATH: u32 = 1 << 24;

/// A file as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    mtime: Time,
    ctime: Time,
}

impl Stamp {
    pub(super) fn of(status: &Status) -> Self {
        Self { inode: status.inode, size: status.size, mtime: status.mtime, ctime: status.ctime }
    }

    /// Further hard links to a file change its change time.
    pub(super) fn without_ctime(self) -> Self {
        Self { ctime: Time::default(), ..self }
    }
}

/// A file that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) path: Vec<u8>,
    pub(super) source: Stamp,
    pub(super) copy: Stamp,
}

/// The id of this boot; empty if the system does not tell.
fn boot_id() -> Vec<u8> {
    let mut id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.resize(if id.is_empty() { 0 } else { 40 }, b'\n');
    id
}

/// Reads the records of the last pass.
pub(super) struct StateReader {
    inner: BufReader<Take<File>>,
    next: Option<Record>,
}

impl StateReader {
    /// Opens the file; `None` if there is none, or it is not whole, or from another boot.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len().checked_sub(HASH)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader((&mut file).take(length)).ok()?;
        let mut hash = [0; blake3::OUT_LEN];
        file.read_exact(&mut hash).ok()?;
        if hasher.finalize() != hash {
            return None;
        }
        file.rewind().ok()?;
        let boot = boot_id();
        let mut head = vec![0; MAGIC.len().saturating_add(boot.len())];
        let mut inner = BufReader::with_capacity(256 << 10, file.take(length));
        inner.read_exact(&mut head).ok()?;
        if boot.is_empty() || head != [MAGIC, &boot].concat() {
            return None;
        }
        let mut reader = Self { inner, next: None };
        reader.next = reader.read();
        Some(reader)
    }

    /// The record of this path. Paths have to be asked for in the order of a walk.
    pub(super) fn get(&mut self, path: &[u8]) -> Option<Record> {
        while let Some(record) = &self.next {
            match walk_order(&record.path, path) {
                std::cmp::Ordering::Less => self.next = self.read(),
                std::cmp::Ordering::Equal => {
                    let following = self.read();
                    return std::mem::replace(&mut self.next, following);
                }
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }

    fn read(&mut self) -> Option<Record> {
        let length = u32::from_le_bytes(self.array()?);
        if length > MAX_PATH {
            return None;
        }
        let mut path = Vec::new();
        (&mut self.inner).take(length.into()).read_to_end(&mut path).ok()?;
        Some(Record { path, source: self.stamp()?, copy: self.stamp()? })
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            inode: u64::from_le_bytes(self.array()?),
            size: u64::from_le_bytes(self.array()?),
            mtime: self.time()?,
            ctime: self.time()?,
        })
    }

    fn time(&mut self) -> Option<Time> {
        Some(Time { seconds: i64::from_le_bytes(self.array()?), nanos: u32::from_le_bytes(self.array()?) })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Writes the records of this pass beside those of the last.
pub(super) struct StateWriter {
    inner: HashWriter<BufWriter<File>>,
    new: PathBuf,
    path: PathBuf,
}

impl StateWriter {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let open = || format!("could not write `{}`", new.display());
        let mut inner = HashWriter::new(BufWriter::with_capacity(256 << 10, file.or_error(ErrorKind::Io, open)?));
        inner.write_all(MAGIC).and_then(|()| inner.write_all(&boot_id())).or_error(ErrorKind::Io, open)?;
        Ok(Self { inner, new, path: path.to_owned() })
    }

    pub(super) fn push(&mut self, record: &Record) -> Result<()> {
        self.write(record).or_error(ErrorKind::Io, || format!("could not write `{}`", self.new.display()))
    }

    /// Puts the new file in the place of the old one. It need not be on disk: after a crash it does not count.
    pub(super) fn finish(self) -> Result<()> {
        let Self { inner, new, path } = self;
        let (mut file, hash) = inner.into_parts();
        file.write_all(hash.as_bytes())
            .and_then(|()| file.flush())
            .and_then(|()| std::fs::rename(&new, &path))
            .or_error(ErrorKind::Io, || format!("could not write `{}`", path.display()))
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let length = u32::try_from(record.path.len()).map_err(io::Error::other)?;
        self.inner.write_all(&length.to_le_bytes())?;
        self.inner.write_all(&record.path)?;
        for Stamp { inode, size, mtime, ctime } in [&record.source, &record.copy] {
            self.inner.write_all(&inode.to_le_bytes())?;
            self.inner.write_all(&size.to_le_bytes())?;
            for time in [mtime, ctime] {
                self.inner.write_all(&time.seconds.to_le_bytes())?;
                self.inner.write_all(&time.nanos.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str, inode: u64) -> Record {
        let time = Time { seconds: -5, nanos: 7 };
        let stamp = Stamp { inode, size: 3, mtime: time, ctime: Time { seconds: 1 << 40, nanos: 999_999_999 } };
        Record { path: path.as_bytes().to_vec(), source: stamp, copy: stamp.without_ctime() }
    }

    fn written(path: &Path) {
        let mut writer = StateWriter::create(path).unwrap();
        for (inode, path) in (1..).zip(["a", "b/c", "b/d", "b.x"]) {
            writer.push(&record(path, inode)).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn records_are_found_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        assert!(StateReader::open(&path).is_none());
        written(&path);
        let mut reader = StateReader::open(&path).unwrap();
        assert_eq!(reader.get(b"Z"), None);
        assert_eq!(reader.get(b"a"), Some(record("a", 1)));
        assert_eq!(reader.get(b"b/c/x"), None);
        assert_eq!(reader.get(b"b/d"), Some(record("b/d", 3)));
        assert_eq!(reader.get(b"b.x"), Some(record("b.x", 4)));
        assert_eq!(reader.get(b"c"), None);
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        written(&path);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(StateReader::open(&path).is_none(), "byte {at}");
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(StateReader::open(&path).is_none());
        std::fs::write(&path, &good).unwrap();
        assert!(StateReader::open(&path).is_some());
    }

    #[test]
    fn records_of_another_boot_do_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        written(&path);
        let mut content = std::fs::read(&path).unwrap();
        content.truncate(content.len() - blake3::OUT_LEN);
        content[MAGIC.len()] ^= 1;
        let hash = blake3::hash(&content);
        content.extend(hash.as_bytes());
        std::fs::write(&path, content).unwrap();
        assert!(StateReader::open(&path).is_none());
    }
}
