//! Opening a store, and the few operations that everything else here is made of.

use std::future::Future;
use std::path::{Path, PathBuf};

use opendal::{Operator, services};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::error::{failed, failed_io};
use super::local;
use crate::archive::{Keys, SetId, check_name};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// The file that says that a set is not complete.
pub(super) const MARKER: &str = "in-progress";

/// A place for sets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    location: String,
    /// What opendal's file service does not do: modes, and directories on disk before their files count.
    pub(super) root: PathBuf,
    pub(super) op: Operator,
    handle: Handle,
    keys: Keys,
}

impl Store {
    /// Opens an existing store: an absolute path to a directory.
    ///
    /// # Errors
    /// `Config` for a location of another form, `NotFound` for a directory that does not exist, `Store` if it cannot be
    /// opened, `Internal` outside of a tokio runtime.
    pub fn open(location: &str) -> Result<Self> {
        let root = local_path(location)?;
        let handle =
            Handle::try_current().or_error(ErrorKind::Internal, || "a store was opened outside of the runtime")?;
        match std::fs::metadata(&root) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(Error::new(ErrorKind::Store, format!("the store {location} is not a directory"))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::NotFound, format!("the store {location} does not exist"))
                    .hint("is its file system mounted? The first run creates the directory, if its parent exists"));
            }
            Err(e) => return Err(failed_io(e, format!("cannot open the store {location}"))),
        }
        let op = Operator::new(services::Fs::default().root(&root.to_string_lossy()))
            .map_err(|e| failed(e, format!("cannot open the store {location}")))?;
        Ok(Self { location: location.to_owned(), root, op, handle, keys: Keys::default() })
    }

    /// Opens a store, and makes its directory (for its owner only) if only the last component of the path is missing.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_or_create(location: &str) -> Result<Self> {
        let root = local_path(location)?;
        // Not the parents: a store on a file system that is not mounted would end up on the one below.
        match local::make_dir(&root) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::NotFound, format!("the store {location} does not exist"))
                    .hint(format!("is its file system mounted? If so: mkdir -p {location}")));
            }
            Err(e) => return Err(failed_io(e, format!("cannot make the store {location}"))),
        }
        Self::open(location)
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

    /// The location as it was given.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The bytes that are free for this user; none if the file system does not tell.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        local::free_bytes(&self.root)
    }

    /// Checks, by making and removing a file, that sets can be written.
    ///
    /// # Errors
    /// `Store`, with the reason: read-only, full, no rights.
    pub fn check_writable(&self) -> Result<()> {
        local::probe(&self.root).map_err(|e| failed_io(e, format!("cannot write to the store {}", self.location)))
    }

    /// Runs an operation of the backend to its end. On a thread that drives other tasks, those move elsewhere first.
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        match self.handle.runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(|| self.handle.block_on(future)),
            _ => self.handle.block_on(future),
        }
    }

    /// What a future's value is dropped under; unlike [`Store::wait`] possible everywhere.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The path of a set's directory.
    pub(super) fn set_path(&self, instance: &str, id: &SetId) -> PathBuf {
        self.root.join(instance).join(id.as_str())
    }

    /// The names in a directory below the root, sorted; empty if it does not exist. With whether each is a directory.
    pub(super) fn names(&self, directory: &str) -> Result<Vec<(String, bool)>> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let entries = self
            .wait(self.op.list(&prefix))
            .map_err(|e| failed(e, format!("cannot list {directory} in the store {}", self.location)))?;
        let mut names: Vec<(String, bool)> = entries
            .iter()
            .filter_map(|entry| {
                let name = entry.path().strip_prefix(&prefix)?;
                let plain = name.trim_end_matches('/');
                (!plain.is_empty()).then(|| (plain.to_owned(), name.ends_with('/')))
            })
            .collect();
        names.sort();
        Ok(names)
    }
}

/// The directory that a location means.
fn local_path(location: &str) -> Result<PathBuf> {
    check_location(location).map_err(|(message, hint)| Error::new(ErrorKind::Config, message).hint(hint))?;
    Ok(Path::new(location).to_path_buf())
}

/// Whether this build has a store for a location.
///
/// # Errors
/// What is wrong, and a hint.
pub fn check_location(location: &str) -> Result<(), (String, String)> {
    if let Some((scheme, _)) = location.split_once("://") {
        let message = match scheme {
            "s3" | "gs" | "azblob" | "sftp" | "webdav" | "http" | "https" => {
                format!("stores of the kind `{scheme}://` are not in this build")
            }
            _ => format!("there is no kind of store `{}://`", scheme.escape_debug()),
        };
        return Err((message, "write an absolute path to a directory, such as \"/backups\"".to_owned()));
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
