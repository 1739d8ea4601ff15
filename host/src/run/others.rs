//! What the other parts of a run capture, for a part whose files one of them holds.

use std::collections::BTreeSet;
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::coverage::{Mount, mount_of, mounts};
use super::part::{Part, Purpose};
use super::plan::comes_after;
use super::prune::blocking;
use super::session::Session;
use crate::capability::{CallError, Code, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Held, Others, Place, Volume};
use crate::report::Event;

/// So much of what is on other volumes is told.
const MOST: usize = 100;

/// The parts of a run.
pub(super) struct Parts {
    session: Session,
    parts: Vec<Part>,
    cancel: CancellationToken,
}

/// The same, as one of them sees it.
struct Seen {
    all: Arc<Parts>,
    by: String,
}

impl Parts {
    /// The parts of a run, which `cancel` ends.
    pub(super) fn new(session: &Session, parts: &[Part], cancel: &CancellationToken) -> Arc<Self> {
        Arc::new(Self { session: session.beside(cancel.clone()), parts: parts.to_vec(), cancel: cancel.clone() })
    }

    /// As this part sees them; nothing if there is no other.
    pub(super) fn seen_by(self: &Arc<Self>, part: &Part) -> Option<Arc<dyn Others>> {
        let seen = Seen { all: Arc::clone(self), by: part.name().to_owned() };
        (self.parts.len() > 1).then(|| Arc::new(seen) as Arc<dyn Others>)
    }

    /// The volume of a part that holds the place, by what its plugin says in a fresh instance that can change nothing.
    async fn volume(&self, part: &Part, place: &Place) -> Result<Option<Volume>> {
        let purpose = Purpose { mode: Mode::DryRun, ..Purpose::plain(self.cancel.child_token()) };
        let mut live = part.start(&self.session, purpose).await?;
        let volume = live.instance.volume_of(place).await;
        live.stop().await;
        volume
    }
}

#[async_trait]
impl Others for Seen {
    async fn holds(&self, name: &str, directory: PathBuf, through: bool) -> Result<Option<Held>, CallError> {
        let all = &self.all;
        let Some(part) = all.parts.iter().find(|part| part.name() == name && name != self.by) else {
            let names: Vec<_> = all.parts.iter().map(Part::name).filter(|name| *name != self.by).collect();
            return Err(CallError::new(
                Code::NotFound,
                format!("there is no other part `{name}` in the configuration"),
            )
            .hint(format!("the other parts: {}", names.join(", "))));
        };
        if !part.plugin.covers() {
            let message = format!("the plugin {} of part `{name}` cannot tell what it captures", part.plugin.name());
            return Err(CallError::new(Code::Unsupported, message)
                .hint("name a part whose plugin captures volumes: zfs, btrfs, lvm"));
        }
        let work = all.cancel.child_token();
        if through {
            let what = format!("part `{}`: look through {}", self.by, directory.display());
            all.session.reporter.event(&Event::Call { what, planned: false });
        }
        let (place, outside) = blocking(move || look(&directory, &mounts(), through, &work)).await?;
        let within = |e: Error| CallError::from(e.within(format!("part `{name}`")));
        let volume = all.volume(part, &place).await.map_err(within)?;
        Ok(volume.map(|volume| Held { volume, later: comes_after(&all.parts, part, &self.by), outside }))
    }
}

/// Where a directory is, and what in it is on other volumes; only what is mounted there, unless all is looked `through`.
fn look(directory: &Path, mounts: &[Mount], through: bool, cancel: &CancellationToken) -> Result<(Place, Vec<String>)> {
    let cannot = |path: &Path, e: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot look through {}", path.display())).because(e)
    };
    let device = std::fs::symlink_metadata(directory).map_err(|e| cannot(directory, e))?.dev();
    let mount = mount_of(mounts, directory).ok_or_else(|| {
        Error::new(ErrorKind::Io, format!("it is not known what holds {}", directory.display())).hint("mount /proc")
    })?;
    let place = Place {
        path: directory.to_owned(),
        device,
        mount_point: mount.at.clone(),
        source: mount.source.clone(),
        file_system: mount.kind.clone(),
    };
    // A mount is another volume even where its device has the same number: of the same file system, or a single file.
    let relative = |path: &Path| path.strip_prefix(directory).unwrap_or(path).to_string_lossy().into_owned();
    let mounted = mounts.iter().filter(|mount| mount.at != directory && mount.at.starts_with(directory));
    let mut outside: BTreeSet<String> = mounted.map(|mount| relative(&mount.at)).collect();
    let mut open = if through { vec![directory.to_owned()] } else { Vec::new() };
    while let Some(dir) = open.pop() {
        if cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "it was cancelled"));
        }
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            // It is in use.
            Err(e) if e.kind() == IoKind::NotFound => continue,
            Err(e) => return Err(cannot(&dir, e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| cannot(&dir, e))?;
            let is_dir = match entry.file_type() {
                Ok(kind) => kind.is_dir(),
                Err(e) if e.kind() == IoKind::NotFound => false,
                Err(e) => return Err(cannot(&entry.path(), e)),
            };
            if !is_dir {
                continue;
            }
            match entry.metadata() {
                Ok(found) if found.dev() == device => open.push(entry.path()),
                Ok(_) => drop(outside.insert(relative(&entry.path()))),
                Err(e) if e.kind() == IoKind::NotFound => {}
                Err(e) => return Err(cannot(&entry.path(), e)),
            }
        }
    }
    Ok((place, outside.into_iter().take(MOST).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_other_volumes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        let device = std::fs::metadata(&root).unwrap().dev();
        let none = CancellationToken::new();
        let mount =
            |at: &Path, source: &str| Mount { at: at.to_owned(), source: source.to_owned(), kind: "k".to_owned() };
        let mut all = vec![mount(Path::new("/"), "below"), mount(&root, "hidden"), mount(&root, "seen")];
        let (place, outside) = look(&root, &all, true, &none).unwrap();
        assert_eq!(
            (place.device, place.source.as_str(), place.mount_point.as_path()),
            (device, "seen", root.as_path())
        );
        assert!(outside.is_empty());
        all.push(mount(&root.join("a/b"), "another"));
        all.push(mount(Path::new("/elsewhere"), "far"));
        let (place, outside) = look(&root.join("a"), &all, false, &none).unwrap();
        assert_eq!((place.source.as_str(), outside), ("seen", vec!["b".to_owned()]), "what is mounted is always seen");
        assert!(look(&root.join("nothing"), &all, true, &none).is_err());
        none.cancel();
        assert_eq!(look(&root, &all, true, &none).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
