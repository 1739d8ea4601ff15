//! Compiled code, cached on disk: a warm start takes milliseconds where a compilation takes seconds.
//!
//! What is loaded here runs natively, outside of any sandbox. So the directory belongs to us alone, every file carries
//! the hash of its content, and what does not fit exactly is compiled anew. Nobody else's compiled code is ever loaded.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::engine::WASMTIME_VERSION;
use crate::error::{Error, ErrorKind, Result, ResultExt};

const HASH: usize = blake3::OUT_LEN;

/// The cache.
pub(super) struct Cache {
    path: PathBuf,
    directory: OwnedFd,
    /// What compiled code depends on besides the component: the first part of every file name.
    generation: String,
}

impl Cache {
    /// Opens the cache, making its directory where there is none.
    pub(super) fn open(path: &Path, engine: &Engine) -> Result<Self> {
        create_private(path)?;
        let directory = rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .or_error(ErrorKind::Io, || format!("cannot open the cache of compiled plugins {}", path.display()))?;
        let stat = rustix::fs::fstat(&directory)
            .or_error(ErrorKind::Io, || format!("cannot look at the cache of compiled plugins {}", path.display()))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("the cache of compiled plugins {} is open to others", path.display()),
            )
            .hint(format!(
                "what is in it runs outside of the sandbox: remove it (`rm -r {}`), bkhost makes it anew",
                path.display()
            )));
        }
        Ok(Self { path: path.to_owned(), directory, generation: generation(engine) })
    }

    /// The compiled code of the component with this digest, if it is there and sound.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let name = self.name(digest);
        let content = match self.read(&name) {
            Ok(content) => content?,
            Err(e) => {
                tracing::warn!("{}/{name}: {e}: compiling anew", self.path.display());
                return None;
            }
        };
        let (expected, code) = content.split_at_checked(HASH)?;
        if blake3::hash(code).as_bytes() != expected {
            tracing::warn!("{}/{name} is damaged: compiling anew", self.path.display());
            return None;
        }
        // SAFETY: `code` was made by `precompile_component` of this very version, with this configuration, and is
        // unmodified: its name says for which engine it was made, its hash was checked over the bytes that are passed
        // on, and only this module writes into a directory that, as an open descriptor, was seen to belong to us and to
        // nobody else. Whoever can write there can already do all that we can.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize(engine, code) };
        component.inspect_err(|e| tracing::warn!("{}/{name}: {e}: compiling anew", self.path.display())).ok()
    }

    /// Keeps compiled code, and drops what other versions left.
    pub(super) fn store(&self, digest: &str, code: &[u8]) -> Result<()> {
        let name = self.name(digest);
        self.write(&name, code).or_error(ErrorKind::Io, || format!("cannot write {}/{name}", self.path.display()))?;
        if let Err(e) = self.prune() {
            tracing::debug!("cannot tidy {}: {e}", self.path.display());
        }
        Ok(())
    }

    fn name(&self, digest: &str) -> String {
        format!("{}-{digest}", self.generation)
    }

    fn read(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        let ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_uid == rustix::process::geteuid().as_raw()
            && stat.st_mode & 0o022 == 0;
        if !ours {
            return Err(std::io::Error::other("it is not a file of ours alone"));
        }
        let mut content = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or_default());
        File::from(file).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    fn write(&self, name: &str, code: &[u8]) -> std::io::Result<()> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)?;
        let temporary = format!("{}-new-{:016x}", self.generation, u64::from_ne_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        let written = file
            .write_all(blake3::hash(code).as_bytes())
            .and_then(|()| file.write_all(code))
            .and_then(|()| Ok(rustix::fs::renameat(&self.directory, temporary.as_str(), &self.directory, name)?));
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&self.directory, temporary.as_str(), AtFlags::empty());
        }
        written
    }

    fn prune(&self) -> std::io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let name = entry?.file_name().to_owned();
            let bytes = name.to_bytes();
            if bytes != b"." && bytes != b".." && !bytes.starts_with(self.generation.as_bytes()) {
                rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty())?;
            }
        }
        Ok(())
    }
}

fn create_private(path: &Path) -> Result<()> {
    let failed = || format!("cannot make the cache of compiled plugins {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).or_error(ErrorKind::Io, failed)?;
    }
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(e).or_error(ErrorKind::Io, failed),
    }
}

fn generation(engine: &Engine) -> String {
    let mut compatibility = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    let text =
        format!("wasmtime {WASMTIME_VERSION} bkhost {} {:016x}", env!("CARGO_PKG_VERSION"), compatibility.finish());
    blake3::hash(text.as_bytes()).to_hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    /// The smallest component: a header.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    const DIGEST: &str = "0123";

    struct Fixture {
        _root: tempfile::TempDir,
        path: PathBuf,
        engine: Engine,
        cache: Cache,
    }

    fn fixture() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state/aot");
        let engine = super::super::engine::new().unwrap();
        let cache = Cache::open(&path, &engine).unwrap();
        Fixture { _root: root, path, engine, cache }
    }

    fn stored() -> (Fixture, PathBuf) {
        let f = fixture();
        f.cache.store(DIGEST, &f.engine.precompile_component(EMPTY).unwrap()).unwrap();
        let file = f.path.join(f.cache.name(DIGEST));
        assert!(f.cache.load(&f.engine, DIGEST).is_some());
        (f, file)
    }

    #[test]
    fn what_was_stored_is_private_and_loads() {
        let (f, file) = stored();
        assert_eq!(fs::metadata(&f.path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&f.path).unwrap().count(), 1, "no temporary file stays");
        assert!(f.cache.load(&f.engine, "4567").is_none());
    }

    #[test]
    fn a_damaged_file_is_not_loaded() {
        let (f, file) = stored();
        let good = fs::read(&file).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bad in [&flipped[..], &good[..good.len() - 1], &good[..HASH], &good[..10], b"", b"\x7fELF"] {
            fs::write(&file, bad).unwrap();
            assert!(f.cache.load(&f.engine, DIGEST).is_none());
        }
        fs::write(&file, good).unwrap();
        assert!(f.cache.load(&f.engine, DIGEST).is_some());
    }

    #[test]
    fn a_file_that_others_can_write_is_not_loaded() {
        let (f, file) = stored();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(f.cache.load(&f.engine, DIGEST).is_none());
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let (f, file) = stored();
        let elsewhere = f._root.path().join("elsewhere");
        fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert!(f.cache.load(&f.engine, DIGEST).is_none());
    }

    #[test]
    fn a_directory_that_is_open_to_others_is_refused() {
        let (f, _) = stored();
        fs::set_permissions(&f.path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Cache::open(&f.path, &f.engine).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint_text().unwrap().contains("rm -r"), "{error:?}");
    }

    #[test]
    fn what_another_version_compiled_is_dropped() {
        let (f, file) = stored();
        let old = f.path.join(format!("{:016x}-{DIGEST}", 7));
        fs::copy(&file, &old).unwrap();
        f.cache.store("4567", &f.engine.precompile_component(EMPTY).unwrap()).unwrap();
        assert!(!old.exists());
        assert!(file.exists());
    }
}
