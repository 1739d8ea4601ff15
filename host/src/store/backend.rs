//! What a place for sets has to be able to do. Everything else of a store is made of this, and is the same for all.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

/// What stands in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: EntryKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Directory,
    /// A file of so many bytes.
    File(u64),
    /// Something that no store makes.
    Other,
}

/// An object that is being written. Dropped before its end, it leaves nothing that counts.
pub(super) trait Sink: Write + Send {
    /// Ends it: its bytes survive a power cut when this returns.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// An object that is read: its size, and its bytes from front to back.
pub(super) type Source = (u64, Box<dyn Read + Send>);

/// Where other tools find what lies in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// `s3://bucket/prefix`, without a `/` at its end.
    pub url: String,
    /// The server, if it is not Amazon's.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
}

/// A place. Paths are relative, of names that were checked, with `/` between them. Everything blocks.
///
/// An error may hold one of ours, with a hint: see [`io::Error::get_ref`].
pub(super) trait Backend: fmt::Debug + Send + Sync {
    /// What stands in a directory, sorted by name; none if it does not exist.
    fn entries(&self, dir: &str) -> io::Result<Option<Vec<Entry>>>;

    /// Makes a directory (and the one above) of which nothing is there yet: false if something is.
    fn make_dir(&self, dir: &str) -> io::Result<bool>;

    /// What the directory holds is there after a power cut.
    fn settle(&self, dir: &str) -> io::Result<()>;

    /// Removes what uploads that never ended left in the directory: nothing that a listing shows.
    fn forget_uploads(&self, dir: &str) -> io::Result<()>;

    /// Removes an empty directory. One that is gone is no error.
    fn remove_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes a small file, whole or not at all: false, and nothing is changed, if it exists.
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<bool>;

    /// The bytes of a small file, of which at most `max` are read; none if it does not exist.
    fn get(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>>;

    /// Begins an object; none if it exists.
    fn create(&self, path: &str) -> io::Result<Option<Box<dyn Sink>>>;

    /// Opens an object; none if it does not exist.
    fn open(&self, path: &str) -> io::Result<Option<Source>>;

    /// Removes a file. One that is gone is no error.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Changes a small file that others compete for, from `old` (none: there is none) to `new` (none: remove it). False, and
    /// nothing is changed, if it holds something else.
    fn change(&self, path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> io::Result<bool>;

    /// What such a file holds.
    fn held(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// The bytes that are free for this user; none if that is not known.
    fn free_bytes(&self) -> Option<u64>;

    /// Tries, without leaving anything, whether sets can be written. Gives what is not guaranteed here, in sentences.
    fn probe(&self) -> io::Result<Vec<String>>;

    /// Where other tools find it; none if it is a directory.
    fn bucket(&self) -> Option<Bucket> {
        None
    }

    /// The same place, whose waits end when this is fired.
    fn cancelled_by(&self, cancel: &CancellationToken) -> Option<Arc<dyn Backend>>;
}
