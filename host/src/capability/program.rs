//! Program files: where they are looked for, and which may be run.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Where programs of shipped plugins are looked for, in this order. Also the PATH that commands get.
pub(super) const SYSTEM_DIRS: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A program file that may be run, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    identity: (u64, u64, u64, i64, i64),
}

/// The first program of this name in the system's directories, else in those of `more`, of which a component may be or
/// hold one `*`: there, the one with the highest number.
pub(super) fn find(name: &str, more: &[String]) -> Option<PathBuf> {
    let usual = SYSTEM_DIRS.iter().map(|dir| Path::new(dir).join(name));
    usual.chain(more.iter().flat_map(|dir| expand(dir)).map(|dir| dir.join(name))).find(|path| path.is_file())
}

/// The directories that a pattern stands for, those with the highest number first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let (suffix, rest) = after.split_once('/').unwrap_or((after, ""));
    let mut found: Vec<(u64, PathBuf)> = std::fs::read_dir(format!("{parent}/"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()?;
            Some((number, entry.path().join(rest)))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

impl Program {
    /// Look at a program file: absolute, regular, executable, and nobody but root and us can change it or put another
    /// in its place.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub(super) fn check(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        if !path.is_absolute() {
            return Err(format!("{shown} is not an absolute path"));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("{shown} holds a `..`"));
        }
        let metadata = walk(path)?;
        if !metadata.is_file() {
            return Err(format!("{shown} is no regular file"));
        }
        guarded(path, &metadata)?;
        if metadata.mode() & 0o111 == 0 {
            return Err(format!("{shown} is not executable"));
        }
        let identity = (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        Ok(Self { path: path.to_owned(), identity })
    }

    /// Look again, right before it is run.
    ///
    /// # Errors
    /// It breaks a rule now, or it is another file than before.
    pub(super) fn check_again(&self) -> Result<(), String> {
        let now = Self::check(&self.path)?;
        if now == *self {
            return Ok(());
        }
        Err(format!("{} was replaced or changed after it was checked", self.path.display()))
    }
}

/// Follows the symbolic links of a path's last component, and looks at every directory on the way.
fn walk(path: &Path) -> Result<Metadata, String> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let real = parent.canonicalize().map_err(|e| format!("{}: {e}", parent.display()))?;
        for dir in parent.ancestors().chain(real.ancestors()) {
            let metadata = dir.metadata().map_err(|e| format!("{}: {e}", dir.display()))?;
            // In a sticky directory, others can add files but not replace ours.
            if metadata.mode() & 0o1000 == 0 || !trusted(metadata.uid()) {
                guarded(dir, &metadata)?;
            }
        }
        let metadata = path.symlink_metadata().map_err(|e| format!("{}: {e}", path.display()))?;
        if !metadata.file_type().is_symlink() {
            return Ok(metadata);
        }
        if !trusted(metadata.uid()) {
            return Err(format!("the symbolic link {} belongs to uid {}", path.display(), metadata.uid()));
        }
        let target = path.read_link().map_err(|e| format!("{}: {e}", path.display()))?;
        path = real.join(target);
    }
    Err(format!("{}: too many symbolic links", path.display()))
}

fn trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Nobody but root and us may change it.
fn guarded(path: &Path, metadata: &Metadata) -> Result<(), String> {
    if !trusted(metadata.uid()) {
        return Err(format!("{} belongs to uid {}, neither root nor us", path.display(), metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(format!("{} can be written by its group or by others (mode {mode:o})", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn script(dir: &Path, name: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_highest_number_is_looked_at_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["9.6", "9", "15", "16", "100x"] {
            fs::create_dir_all(dir.path().join(name).join("bin")).unwrap();
        }
        for name in ["9", "15"] {
            script(&dir.path().join(name).join("bin"), "no-such-program-anywhere", 0o755);
        }
        let pattern = format!("{}/*/bin", dir.path().display());
        let found = find("no-such-program-anywhere", std::slice::from_ref(&pattern));
        assert_eq!(found, Some(dir.path().join("15/bin/no-such-program-anywhere")));
        assert_eq!(expand(&pattern).len(), 3);
        assert_eq!(find("no-such-program-anywhere", &["/nonexistent/*/bin".to_owned()]), None);
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().unwrap();
        let good = script(dir.path(), "good", 0o755);
        Program::check(&good).unwrap();
        let refused = |path: &Path, why: &str| {
            let error = Program::check(path).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        refused(Path::new("good"), "absolute");
        refused(&dir.path().join("x/../good"), "`..`");
        refused(&dir.path().join("missing"), "No such file");
        refused(dir.path(), "no regular file");
        refused(&script(dir.path(), "plain", 0o644), "not executable");
        refused(&script(dir.path(), "group", 0o775), "group");
        refused(&script(dir.path(), "world", 0o757), "others");
        symlink("world", dir.path().join("link")).unwrap();
        refused(&dir.path().join("link"), "others");
        symlink("loop", dir.path().join("loop")).unwrap();
        refused(&dir.path().join("loop"), "too many");
        symlink("good", dir.path().join("fine")).unwrap();
        Program::check(&dir.path().join("fine")).unwrap();
        if rustix::process::geteuid().is_root() {
            let theirs = script(dir.path(), "theirs", 0o755);
            std::os::unix::fs::chown(&theirs, Some(12345), None).unwrap();
            refused(&theirs, "12345");
        }
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        let inside = script(&open, "p", 0o755);
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        refused(&inside, "others");
    }

    #[test]
    fn replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = script(dir.path(), "p", 0o755);
        let program = Program::check(&path).unwrap();
        program.check_again().unwrap();
        fs::rename(script(dir.path(), "q", 0o755), &path).unwrap();
        assert!(program.check_again().unwrap_err().contains("replaced"));
    }

    #[test]
    fn found_in_the_systems_directories() {
        assert!(find("sh", &[]).is_some_and(|path| path.is_absolute()));
        assert_eq!(find("no-such-program-anywhere", &[]), None);
    }
}
