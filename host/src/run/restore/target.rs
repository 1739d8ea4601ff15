//! Directories that parts are restored into.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::run::part::Part;

/// The directory to restore into: the operator's, else that of the plugin's own `[[directory]]`.
pub(super) fn directory_of(part: &Part, to: Option<&str>) -> Result<PathBuf> {
    let text = match to {
        Some(to) => to.to_owned(),
        None => part.original_directory().ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("part `{}` has no original directory", part.name()))
                .hint("say where to with --to")
        })?,
    };
    std::path::absolute(&text).or_error(ErrorKind::Config, || format!("`{text}` is no path"))
}

/// Dot files count. What a new file system brings with it does not.
/// What dead restores `left` will be gone by then.
pub(super) fn refuse_unless_empty(directory: &Path, left: &[PathBuf]) -> Result<()> {
    let mut entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return refuse_dangling(directory),
        Err(e) => {
            return Err(
                Error::new(ErrorKind::Conflict, format!("cannot restore into {}", directory.display())).because(e)
            );
        }
    };
    let ours = |entry: &std::fs::DirEntry| left.iter().any(|left| *left == entry.path());
    let first = entries
        .find(|entry| !entry.as_ref().is_ok_and(|entry| ours(entry) || is_of_a_new_file_system(entry)))
        .transpose();
    match first.or_error(ErrorKind::Io, || format!("cannot read {}", directory.display()))? {
        None => Ok(()),
        Some(entry) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the target {} is not empty: it has `{}`",
                directory.display(),
                entry.file_name().to_string_lossy()
            ),
        )
        .hint("restore into an empty directory with --to, or move what is there away first")),
    }
}

/// The empty directory that mkfs makes.
fn is_of_a_new_file_system(entry: &std::fs::DirEntry) -> bool {
    entry.file_name() == "lost+found" && std::fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none())
}

/// Nothing can be renamed onto a link, and what it points to is not there to be filled.
fn refuse_dangling(path: &Path) -> Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, format!("the target {} is a symbolic link to nothing", path.display()))
        .hint("remove the link, or make the directory that it points to"))
}
