//! The demo's home, and the comparison after the restore.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// How many repositories it has.
const REPOSITORIES: usize = 3;

/// Make a small home like Bitbucket's: repositories, configuration, and an attachment.
///
/// # Errors
/// If a file cannot be written. Without `git`, the repositories are plain directories.
pub(super) async fn make(home: &Path) -> Result<()> {
    let write = |path: PathBuf, text: &str| {
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text))
            .or_error(ErrorKind::Io, || format!("cannot write {}", path.display()))
    };
    write(home.join("shared/bitbucket.properties"), "jdbc.url=jdbc:postgresql://localhost/bitbucket\n")?;
    write(home.join("shared/data/attachments/1/readme.txt"), &"An attachment.\n".repeat(1000))?;
    for number in 1..=REPOSITORIES {
        let repository = home.join(format!("shared/data/repositories/{number}"));
        write(repository.join("README.md"), &format!("# Repository {number}\n"))?;
        if let Err(error) = commit(&repository).await {
            println!("  no git history in this demo: {error}");
        }
    }
    symlink("shared/data", home.join("data"))
        .or_error(ErrorKind::Io, || format!("cannot make a link in {}", home.display()))
}

async fn commit(repository: &Path) -> Result<()> {
    let author = ["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"];
    for args in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "The first commit"]] {
        let output = Command::new("git")
            .args(author)
            .args(args)
            .current_dir(repository)
            .env_remove("GIT_DIR")
            .output()
            .await
            .or_error(ErrorKind::NotFound, || "git is not there")?;
        if !output.status.success() {
            return Err(Error::new(
                ErrorKind::Io,
                format!("git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()),
            ));
        }
    }
    Ok(())
}

/// Compare two trees by names, types, modes, owners, times of files, link targets and contents; how many entries were
/// compared.
///
/// # Errors
/// `Damaged`, naming the first difference.
pub(super) fn compare(left: &Path, right: &Path) -> Result<usize> {
    let (a, b) = (listing(left)?, listing(right)?);
    for path in a.keys().chain(b.keys()) {
        if a.get(path) != b.get(path) {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("{} differs between {} and {}", path.display(), left.display(), right.display()),
            ));
        }
    }
    Ok(a.len())
}

#[derive(PartialEq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    modified: Option<(i64, i64)>,
    content: Vec<u8>,
}

fn listing(root: &Path) -> Result<BTreeMap<PathBuf, Seen>> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let path = root.join(&relative);
        let unreadable = || format!("cannot read {}", path.display());
        let status = std::fs::symlink_metadata(&path).or_error(ErrorKind::Io, unreadable)?;
        let content = if status.is_dir() {
            for entry in std::fs::read_dir(&path).or_error(ErrorKind::Io, unreadable)? {
                waiting.push(relative.join(entry.or_error(ErrorKind::Io, unreadable)?.file_name()));
            }
            Vec::new()
        } else if status.is_symlink() {
            std::fs::read_link(&path).or_error(ErrorKind::Io, unreadable)?.into_os_string().into_encoded_bytes()
        } else {
            std::fs::read(&path).or_error(ErrorKind::Io, unreadable)?
        };
        let modified = status.is_file().then(|| (status.mtime(), status.mtime_nsec()));
        let owner = (status.uid(), status.gid());
        // The root itself is the operator's target directory.
        if !relative.as_os_str().is_empty() {
            seen.insert(relative, Seen { mode: status.mode(), owner, modified, content });
        }
    }
    Ok(seen)
}
