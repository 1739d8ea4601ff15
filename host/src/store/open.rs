//! Opening a store.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::backend::{Backend, Bucket, Entry, EntryKind};
use super::error::failed_io;
use super::local::Local;
use super::s3::{self, S3};
use crate::archive::{Keys, SetId, check_name};
use crate::config::StoreConfig;
use crate::error::{Error, ErrorKind, Result};

/// So many small files are read at once.
const AT_ONCE: usize = 16;

/// A place for sets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    name: Arc<str>,
    location: String,
    pub(super) backend: Arc<dyn Backend>,
    keys: Keys,
}

impl Store {
    /// Opens an existing store by its location alone: an absolute path to a directory, or `s3://bucket/prefix`, for which
    /// the environment then has the rest.
    ///
    /// # Errors
    /// `Config` for a location of another form, `NotFound` for a directory that does not exist, `Store` if it cannot be
    /// opened.
    pub fn open(location: &str) -> Result<Self> {
        check_location(location).map_err(|(message, hint)| Error::new(ErrorKind::Config, message).hint(hint))?;
        if s3::is_location(location) {
            return Self::bucket(&StoreConfig::at(location), s3::Secrets::default());
        }
        Self::directory(&StoreConfig::at(location), false)
    }

    /// As [`Store::open`]; makes the directory (for its owner only) if only the last component of the path is missing.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_or_create(location: &str) -> Result<Self> {
        check_location(location).map_err(|(message, hint)| Error::new(ErrorKind::Config, message).hint(hint))?;
        if s3::is_location(location) { Self::open(location) } else { Self::directory(&StoreConfig::at(location), true) }
    }

    /// Opens a store of the configuration. With `create`, as [`Store::open_or_create`].
    ///
    /// # Errors
    /// As [`Store::open`]; `Config` if a secret cannot be had.
    pub async fn configured(config: &StoreConfig, create: bool) -> Result<Self> {
        let location = config.to.as_str();
        if s3::is_location(location) {
            let secrets = s3::Secrets::resolve(config).await?;
            return Self::bucket(config, secrets);
        }
        check_location(location).map_err(|(message, hint)| Error::new(ErrorKind::Config, message).hint(hint))?;
        Self::directory(config, create)
    }

    fn bucket(config: &StoreConfig, secrets: s3::Secrets) -> Result<Self> {
        let s3 = S3::open(config, secrets)?;
        Ok(Self::new(config.name(), s3.location(), s3))
    }

    fn new(name: String, location: String, backend: impl Backend + 'static) -> Self {
        Self { name: name.into(), location, backend: Arc::new(backend), keys: Keys::default() }
    }

    fn directory(config: &StoreConfig, create: bool) -> Result<Self> {
        let location = config.to.as_str();
        let local = Local::open(Path::new(location), create).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let error = Error::new(ErrorKind::NotFound, format!("the store {location} does not exist"));
                if create {
                    error.hint(format!("is its file system mounted? If so: mkdir -p {location}"))
                } else {
                    error.hint("is its file system mounted? The first run creates the directory, if its parent exists")
                }
            }
            std::io::ErrorKind::NotADirectory => {
                Error::new(ErrorKind::Store, format!("the store {location} is not a directory"))
            }
            _ => failed_io(e, format!("cannot open the store {location}")),
        })?;
        Ok(Self::new(config.name(), location.to_owned(), local))
    }

    /// The same store, with what opens the encrypted objects in it.
    #[must_use]
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// What opens the encrypted objects in it.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The same store, whose waits for a server end when this is fired.
    #[must_use]
    pub fn cancelled_by(&self, cancel: &CancellationToken) -> Self {
        let backend = self.backend.cancelled_by(cancel).unwrap_or_else(|| Arc::clone(&self.backend));
        Self { backend, ..self.clone() }
    }

    /// What the configuration, or else its location, calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is: its location as it was given, and for a bucket that is not Amazon's the server.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Where other tools find it, if it is a bucket.
    #[must_use]
    pub fn remote(&self) -> Option<Bucket> {
        self.backend.bucket()
    }

    /// The bytes that are free for this user; none if that is not known.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        self.backend.free_bytes()
    }

    /// Checks, by writing and removing something, that sets can be written. Gives what this store does not guarantee, in
    /// sentences.
    ///
    /// # Errors
    /// `Store`, with the reason: read-only, full, no rights, no such bucket.
    pub fn check_writable(&self) -> Result<Vec<String>> {
        self.backend.probe().map_err(|e| failed_io(e, format!("cannot write to the store {}", self.location)))
    }

    /// The contents of small files, in their order.
    pub(super) fn get_all(&self, paths: &[String], max: u64) -> Vec<io::Result<Option<Vec<u8>>>> {
        side_by_side(paths, |path| self.backend.get(path, max))
    }

    /// What stands in a directory below the root, sorted; empty if it does not exist.
    pub(super) fn entries(&self, dir: &str) -> Result<Vec<Entry>> {
        let entries = self.backend.entries(dir);
        let entries = entries.map_err(|e| failed_io(e, format!("cannot list {dir} in the store {}", self.location)))?;
        Ok(entries.unwrap_or_default())
    }

    /// The names in a directory below the root, sorted; empty if it does not exist. With whether each is a directory.
    pub(super) fn names(&self, dir: &str) -> Result<Vec<(String, bool)>> {
        let entries = self.entries(dir)?;
        Ok(entries.into_iter().map(|entry| (entry.name, entry.kind == EntryKind::Directory)).collect())
    }
}

/// Does something with each item, several at once, and gives the results in their order: a bucket answers each request after
/// a while.
pub(super) fn side_by_side<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let share = items.len().div_ceil(AT_ONCE).max(1);
    let work = &work;
    std::thread::scope(|scope| {
        let shares: Vec<_> = items
            .chunks(share)
            .map(|items| (items, scope.spawn(move || items.iter().map(work).collect::<Vec<_>>())))
            .collect();
        // One that could not do its share has panicked: here, then.
        let again = |items: &[I]| items.iter().map(work).collect();
        shares.into_iter().flat_map(|(items, share)| share.join().unwrap_or_else(|_| again(items))).collect()
    })
}

/// Whether this build has a store for a location.
///
/// # Errors
/// What is wrong, and a hint.
pub fn check_location(location: &str) -> Result<(), (String, String)> {
    if s3::is_location(location) {
        return s3::check_location(location);
    }
    if let Some((scheme, _)) = location.split_once("://") {
        let message = match scheme {
            "gs" | "azblob" | "sftp" | "webdav" | "http" | "https" => {
                format!("stores of the kind `{scheme}://` are not in this build")
            }
            _ => format!("there is no kind of store `{}://`", scheme.escape_debug()),
        };
        let hint = "write an absolute path to a directory, such as \"/backups\", or \"s3://bucket/prefix\"";
        return Err((message, hint.to_owned()));
    }
    if !location.starts_with('/') {
        return Err((
            format!("the store `{}` is not an absolute path", location.escape_debug()),
            "write where it is from the root, such as \"/backups\": a timer runs elsewhere than you do".to_owned(),
        ));
    }
    Ok(())
}

/// The directory of a set, relative to the root. `instance` is checked: it is the only part that is not typed.
pub(super) fn set_dir(instance: &str, id: &SetId) -> Result<String> {
    check_name("an instance", instance)?;
    Ok(format!("{instance}/{id}"))
}
