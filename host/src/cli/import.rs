//! A set from the one large archive that `bkhost export` wrote, in a store that is gone when the command ends.

use std::fs::{self, File};
use std::path::Path;

use tempfile::TempDir;

use super::args::{KeyArgs, Place};
use super::context::{Context, Opened};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::run;
use crate::store::StoredSet;
use crate::units;

/// What the directories are called, with the process that works in each.
const PREFIX: &str = "import-";

/// A set that was taken out of an archive.
pub(super) struct Imported {
    pub(super) opened: Opened,
    pub(super) set: StoredSet,
    /// Removes it when it is dropped.
    pub(super) dir: TempDir,
}

pub(super) async fn import(
    context: &Context,
    from: &Path,
    work_dir: Option<&Path>,
    keys: &KeyArgs,
) -> Result<Imported> {
    let name = from.display().to_string();
    let file = File::open(from).map_err(|e| {
        let kind = if e.kind() == std::io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Io };
        Error::new(kind, format!("the archive {name} cannot be read")).because(e)
    })?;
    let size = file.metadata().or_error(ErrorKind::Io, || format!("the archive {name} cannot be read"))?;
    if !size.is_file() {
        return Err(Error::new(ErrorKind::Config, format!("{name} is not a file"))
            .hint("give the archive that `bkhost export` wrote"));
    }
    let parent = match (work_dir, &context.global.state) {
        (Some(dir), _) => dir.to_owned(),
        (None, Some(dir)) => dir.clone(),
        (None, None) => run::default_state()?,
    };
    let cannot = || format!("cannot unpack {name} in {}", parent.display());
    fs::create_dir_all(&parent).or_error(ErrorKind::Io, cannot)?;
    remove_left(&parent);
    let free = rustix::fs::statvfs(&parent).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if let Ok(free) = free
        && free < size.len()
    {
        return Err(Error::new(
            ErrorKind::Io,
            format!(
                "{name} is unpacked before anything is restored, and {} has {} free, which is less than its {}",
                parent.display(),
                units::human_bytes(free),
                units::human_bytes(size.len())
            ),
        )
        .hint("name a directory with more room: --work-dir DIR"));
    }
    let dir = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(&parent)
        .or_error(ErrorKind::Io, cannot)?;
    let opening = context.keys(keys, context.config(&super::args::Adhoc::default()).ok().as_ref()).await?;
    let cancel = context.cancel()?;
    let (instance, id) = run::import(file, &name, &opening, dir.path(), &cancel).await?;
    let place = Place { store: Some(dir.path().display().to_string()), instance: Some(instance) };
    let opened = context.place(&place).await?;
    let set = opened.set(id.as_str()).await?;
    Ok(Imported { opened, set, dir })
}

/// What an import left that was killed.
fn remove_left(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
