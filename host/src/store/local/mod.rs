//! A directory as a place for sets. Modes from the first moment, names and contents on disk before they count.

mod claim;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::DRAFT;
use super::backend::{Backend, Entry, EntryKind, Sink, Source};

/// So much is written at once: large enough that system calls do not matter.
const CHUNK: usize = 1 << 20;

/// A directory of this machine.
#[derive(Debug)]
pub(super) struct Local {
    root: PathBuf,
}

impl Local {
    /// Opens a directory; makes it first, for its owner only, if asked to. `NotFound`, `NotADirectory`.
    pub(super) fn open(root: &Path, create: bool) -> io::Result<Self> {
        if create {
            // Not the parents: a store on a file system that is not mounted would end up on the one below.
            match make_dir(root) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
        }
        if !fs::metadata(root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root: root.to_owned() })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl Backend for Local {
    fn entries(&self, dir: &str) -> io::Result<Option<Vec<Entry>>> {
        let listed = match fs::read_dir(self.path(dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut entries = Vec::new();
        for entry in listed {
            let entry = entry?;
            let kind = match entry.metadata() {
                Ok(meta) if meta.is_dir() => EntryKind::Directory,
                Ok(meta) if meta.is_file() => EntryKind::File(meta.len()),
                Ok(_) => EntryKind::Other,
                // Removed meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), kind });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(entries))
    }

    fn make_dir(&self, dir: &str) -> io::Result<bool> {
        let path = self.path(dir);
        if let Some(above) = path.parent().filter(|above| *above != self.root) {
            existing(make_dir(above))?;
        }
        existing(make_dir(&path))
    }

    fn settle(&self, dir: &str) -> io::Result<()> {
        found(sync_dir(&self.path(dir))).map(|_| ())
    }

    fn forget_uploads(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let path = self.path(dir);
        match fs::remove_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| sync_parent(&path)),
        }
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<bool> {
        let whole = self.path(path);
        if fs::symlink_metadata(&whole).is_ok() {
            return Ok(false);
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (now, next) = (jiff::Timestamp::now().as_nanosecond(), NEXT.fetch_add(1, Ordering::Relaxed));
        let draft = whole.with_file_name(format!("{DRAFT}{}-{now}-{next}", std::process::id()));
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            // The names that are there already are on disk before this one, which may vouch for them.
            sync_parent(&whole)?;
            rename_new(&draft, &whole)
        });
        if !matches!(written, Ok(true)) {
            let _ = fs::remove_file(&draft);
        }
        sync_parent(&whole)?;
        written
    }

    fn get(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = found(open(&self.path(path)))? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn create(&self, path: &str) -> io::Result<Option<Box<dyn Sink>>> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(path)) {
            Ok(file) => Ok(Some(Box::new(LocalSink(BufWriter::with_capacity(CHUNK, file))))),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn open(&self, path: &str) -> io::Result<Option<Source>> {
        let Some(file) = found(open(&self.path(path)))? else { return Ok(None) };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        Ok(Some((meta.len(), Box::new(io::BufReader::with_capacity(CHUNK, file)))))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        found(fs::remove_file(self.path(path))).map(|_| ())
    }

    fn change(&self, path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> io::Result<bool> {
        claim::change(&self.path(path), old, new)
    }

    fn held(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        claim::held(&self.path(path))
    }

    fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.root).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }

    fn probe(&self) -> io::Result<Vec<String>> {
        // The name of a process' own: two checks at once must not meet.
        let path = self.root.join(format!(".bkhost-check-{}", std::process::id()));
        let written =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).and_then(|mut file| {
                file.write_all(b"check\n")?;
                file.sync_all()
            });
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => written.and(Err(e)),
            _ => written,
        }
        .map(|()| Vec::new())
    }

    fn cancelled_by(&self, _: &CancellationToken) -> Option<Arc<dyn Backend>> {
        None
    }
}

struct LocalSink(BufWriter<File>);

impl Write for LocalSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for LocalSink {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_ref().sync_all()
    }
}

/// Does not wait for whom a pipe would wait for that somebody has put there.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// What is not there is no error.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// False if it was there already.
fn existing(made: io::Result<()>) -> io::Result<bool> {
    match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    }
}

/// Gives a file a name that nothing has: false if something has it.
fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // A file system that cannot do it in one step (NFS): nobody else writes to a set, and it was looked before.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(from, to).map(|()| true),
        Err(e) => Err(e.into()),
    }
}

/// Makes a directory for its owner only, and makes sure that it is there after a power cut. Fails if it exists.
fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    sync_parent(path)
}

/// Makes what is in a directory survive a power cut: names, not contents.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_dir)
}
