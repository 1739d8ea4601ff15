//! Where a drill may work: not in production, and not where there is no room.

use std::path::{Path, PathBuf};

use super::Task;
use crate::archive::set::ObjectRole;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::run::session::Session;
use crate::units;

/// A file system needs more than the bytes of the files: so many hundredths.
const OVERHEAD: u64 = 5;

/// Look at the scratch before anything is made in it.
///
/// # Errors
/// `NotFound` if it is not there; `Conflict` if it is in a part's source or in the store, or has too little room.
pub(super) fn check(session: &Session, root: &Path, tasks: &[Task<'_>]) -> Result<()> {
    let root = root
        .canonicalize()
        .or_error(ErrorKind::NotFound, || format!("the drill's scratch {} is not there", root.display()))
        .map_err(|e| e.hint("is its file system mounted? Make it, or name another with `[drill] scratch`"))?;
    let parts = tasks.iter().filter_map(|task| task.part.as_ref());
    let sources =
        parts.flat_map(|part| part.directories().into_iter().map(|dir| (format!("part `{}`", part.name()), dir)));
    let stores = session.config.stores.iter().map(|store| ("the store".to_owned(), PathBuf::from(&store.to)));
    for (whose, place) in sources.chain(stores.filter(|(_, path)| path.is_absolute())) {
        let Ok(place) = place.canonicalize() else { continue };
        if root.starts_with(&place) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the drill's scratch {} is in {}, which belongs to {whose}", root.display(), place.display()),
            )
            .hint("name a directory outside of it with `[drill] scratch`"));
        }
    }
    let needed = tasks.iter().filter(|task| task.part.is_some()).fold(0_u64, |sum, task| {
        let content = task.record.objects.iter().filter(|object| object.role != ObjectRole::Index);
        content.fold(sum, |sum, object| sum.saturating_add(object.content_bytes))
    });
    let needed = needed.saturating_add(needed / 100 * OVERHEAD);
    let stat = rustix::fs::statvfs(&root).or_error(ErrorKind::Io, || format!("cannot look at {}", root.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the drill's scratch {} has {} free, and the set needs {}",
                root.display(),
                units::human_bytes(free),
                units::human_bytes(needed)
            ),
        )
        .hint("make room, name another place with `[drill] scratch`, or rehearse parts one by one with --part"));
    }
    Ok(())
}
