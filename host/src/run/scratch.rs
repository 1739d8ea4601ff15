//! Scratch space: made for one piece of work, and removed whatever becomes of it.
//!
//! What is made is written down before it is made, and carries a mark: what a killed process left is found by the next one, and
//! nothing else is ever removed.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::lock::InstanceLock;
use super::part::{Part, Purpose, Workspace};
use super::prune::blocking;
use super::session::Session;
use crate::archive::{SetId, remove_one_file_system};
use crate::capability::{Witness, kill_orphans};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Level, Reporter};

/// What tells a directory that was made here.
const MARK: &str = ".bkhost-scratch";
/// What is made, below the directory of the lock.
const NOTE: &str = "scratch.json";

/// Scratch space under the lock of its sort of work.
pub(super) struct Scratch {
    note: Note,
    home: PathBuf,
    removed: bool,
    _lock: InstanceLock,
}

/// What was made, and for what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Note {
    /// Unlike all others: the directory's mark, and that of all processes that were started for it.
    owner: String,
    /// The directory.
    dir: PathBuf,
    /// The set that it is about.
    set: SetId,
    /// The parts whose plugins may leave something with their vendors.
    parts: Vec<String>,
}

/// Marks what is started for the work.
struct Marking(String);

impl Witness for Marking {
    fn owner(&self) -> &str {
        &self.0
    }

    fn child_started(&self, _: u32, _: &[String]) {}

    fn child_ended(&self, _: u32) {}
}

impl Scratch {
    /// Take the lock in `home`, clear away what an earlier process left, and make a new directory in `root` (none: `home`).
    ///
    /// # Errors
    /// `Busy` if the same sort of work is under way; what an earlier one left cannot be cleared away; `Io`.
    pub(super) async fn make(
        session: &Session,
        home: &Path,
        root: Option<&Path>,
        what: &str,
        set: &SetId,
        parts: &[&Part],
    ) -> Result<Self> {
        let lock = lock(home, what, set)?;
        clear(session, home, parts).await?;
        let mut random = [0_u8; 4];
        getrandom::fill(&mut random)
            .or_error(ErrorKind::Io, || "cannot get random numbers from the operating system")?;
        let random = format!("{:08x}", u32::from_ne_bytes(random));
        let name = match root {
            Some(_) => format!("bkhost-{what}-{}-{random}", session.instance()),
            // Short: sockets of servers may be in it, and their paths must not be long.
            None => random.clone(),
        };
        let note = Note {
            owner: format!("{what}-{random}"),
            dir: root.unwrap_or(home).join(name),
            set: set.clone(),
            parts: parts.iter().filter(|part| part.plugin.rehearses()).map(|part| part.name().to_owned()).collect(),
        };
        let (told, at) = (note.clone(), home.to_owned());
        // From here on it is removed when this is dropped.
        let scratch = Self { note, home: home.to_owned(), removed: false, _lock: lock };
        blocking(move || told.write(&at).and_then(|()| told.make())).await?;
        Ok(scratch)
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.note.dir
    }

    /// Marks processes as this work's.
    pub(super) fn witness(&self) -> Arc<dyn Witness> {
        Arc::new(Marking(self.note.owner.clone()))
    }

    /// A new directory for a part, `name` below the scratch.
    pub(super) fn part(&self, name: &str) -> Result<PathBuf> {
        let dir = self.note.dir.join(name);
        make_dir(&dir, 0o700)?;
        Ok(dir)
    }

    /// What an instance for this part works in. With `staging`, its `/staging` is that directory.
    pub(super) fn workspace(&self, part: &str, staging: Option<PathBuf>) -> Result<Workspace> {
        self.note.workspace(part, staging)
    }

    /// Remove it.
    ///
    /// # Errors
    /// What cannot be removed. The next one tries again.
    pub(super) async fn remove(mut self) -> Result<()> {
        self.removed = true;
        let (note, home) = (self.note.clone(), self.home.clone());
        blocking(move || note.remove(&home)).await
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.removed {
            // Somebody gave up in the middle of it: what cannot be removed now, the next one removes.
            let _ = self.note.remove(&self.home);
        }
    }
}

async fn clear_left(session: &Session, home: &Path, what: &str) -> Result<bool> {
    let Some(note) = Note::read(home)? else { return Ok(false) };
    let _lock = match lock(home, what, &note.set) {
        Ok(lock) => lock,
        Err(e) if e.kind() == ErrorKind::Busy => return Ok(false),
        Err(e) => return Err(e),
    };
    let mut parts = Vec::new();
    for settings in session.config.parts.iter().filter(|part| note.parts.contains(&part.name)) {
        parts.push(Part::load(session, settings).await?);
    }
    clear(session, home, &parts.iter().collect::<Vec<_>>()).await?;
    Ok(true)
}

/// Remove what a drill, a verification or a run's proof has left that was killed. Whether there was something.
///
/// # Errors
/// It cannot be removed.
pub async fn clear_scratch(session: &Session) -> Result<bool> {
    let homes =
        [("drill", session.dirs.drill()?), ("verify", session.dirs.verify()?), ("proof", session.dirs.proof()?)];
    let mut some = false;
    for (what, home) in homes {
        some |= clear_left(session, &home, what).await?;
    }
    Ok(some)
}

fn lock(home: &Path, what: &str, set: &SetId) -> Result<InstanceLock> {
    InstanceLock::take(home, &format!("{what} of {set}")).map_err(|e| match e.kind() {
        ErrorKind::Busy => Error::new(ErrorKind::Busy, e.message().to_owned())
            .hint(format!("one {what} of an instance at a time: wait for it to end, or interrupt it")),
        _ => e,
    })
}

/// Under the lock.
async fn clear(session: &Session, home: &Path, parts: &[&Part]) -> Result<()> {
    let Some(note) = Note::read(home)? else { return Ok(()) };
    let text = format!("{} was cut short: removing what it left in {}", note.owner, note.dir.display());
    session.reporter.message(Level::Warning, None, text);
    kill(&note.owner, &session.reporter).await;
    for name in &note.parts {
        let Some(part) = parts.iter().find(|part| part.name() == name) else {
            let text = "it is not configured any more: what its rehearsal may have left with its vendor stays";
            session.reporter.message(Level::Warning, Some(name), text);
            continue;
        };
        if part.plugin.rehearses() {
            note.make_again()?;
            let workspace = note.workspace(name, None)?;
            clear_part(session, part, workspace, Arc::new(Marking(note.owner.clone()))).await?;
        }
    }
    let home = home.to_owned();
    blocking(move || note.remove(&home)).await
}

async fn kill(owner: &str, reporter: &Reporter) {
    let owner = owner.to_owned();
    let Ok((killed, stuck)) = tokio::task::spawn_blocking(move || kill_orphans(&owner, &[])).await else { return };
    if killed > 0 {
        reporter.message(Level::Warning, None, format!("{killed} processes of it were still there: killed"));
    }
    if !stuck.is_empty() {
        reporter.message(Level::Error, None, format!("processes of it do not go, the kernel holds them: {stuck:?}"));
    }
}

/// Have a part's plugin remove what its rehearsal left with its vendor.
///
/// # Errors
/// What the plugin reports.
pub(super) async fn clear_part(
    session: &Session,
    part: &Part,
    workspace: Workspace,
    witness: Arc<dyn Witness>,
) -> Result<()> {
    let purpose = Purpose { workspace: Some(workspace), witness, ..Purpose::plain(CancellationToken::new()) };
    let mut live = part.start(session, purpose).await?;
    let cleared = live.instance.clear().await;
    live.stop().await;
    cleared.map_err(|e| {
        e.within(format!("part `{}`", part.name())).hint("the next drill, or `bkhost recover`, tries again")
    })
}

impl Note {
    fn read(home: &Path) -> Result<Option<Self>> {
        let path = home.join(NOTE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).or_error(ErrorKind::Io, || format!("cannot read {}", path.display())),
        };
        let note = serde_json::from_slice(&text)
            .or_error(ErrorKind::Damaged, || format!("{} cannot be read", path.display()))
            .map_err(|e| e.hint("look for directories called bkhost-drill-…, remove them, and remove this file"))?;
        Ok(Some(note))
    }

    fn write(&self, home: &Path) -> Result<()> {
        let path = home.join(NOTE);
        let write = || {
            let draft = home.join(format!("{NOTE}.new"));
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            File::open(home)?.sync_all()
        };
        write().or_error(ErrorKind::Io, || format!("cannot write {}", path.display()))
    }

    fn make(&self) -> Result<()> {
        make_dir(&self.dir, 0o711)?;
        let mark = self.dir.join(MARK);
        std::fs::write(&mark, &self.owner).or_error(ErrorKind::Io, || format!("cannot write {}", mark.display()))
    }

    /// For what clears away after a process that died before it had made it, or while it was removing it.
    fn make_again(&self) -> Result<()> {
        if self.dir.exists() { Ok(()) } else { self.make() }
    }

    fn workspace(&self, part: &str, staging: Option<PathBuf>) -> Result<Workspace> {
        // Names of parts have no dot.
        let below = |name: &str| -> Result<PathBuf> {
            let all = self.dir.join(name);
            if !all.is_dir() {
                make_dir(&all, 0o711)?;
            }
            let dir = all.join(part);
            if !dir.is_dir() {
                make_dir(&dir, 0o700)?;
            }
            Ok(dir)
        };
        let staging = match staging {
            Some(staging) => staging,
            None => below(".staging")?,
        };
        Ok(Workspace { staging, state: below(".state")?, mirrors: below(".mirrors")? })
    }

    /// Remove the directory, if it is the one that was made, and then this note.
    fn remove(&self, home: &Path) -> Result<()> {
        let shown = self.dir.display();
        if self.dir.exists() {
            let mark = std::fs::read_to_string(self.dir.join(MARK)).unwrap_or_default();
            let empty = || std::fs::read_dir(&self.dir).is_ok_and(|mut entries| entries.next().is_none());
            if mark != self.owner && !empty() {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{shown} does not carry the mark `{}`", self.owner),
                )
                .hint(format!("nothing of it was removed; look at it, and remove {}", home.join(NOTE).display())));
            }
            let (Some(parent), Some(name)) = (self.dir.parent(), self.dir.file_name()) else { return Ok(()) };
            let parent = File::open(parent).or_error(ErrorKind::Io, || format!("cannot open {}", parent.display()))?;
            remove_one_file_system(&parent, name, MARK).map_err(|e| e.within(format!("the scratch {shown}")))?;
        }
        match std::fs::remove_file(home.join(NOTE)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).or_error(ErrorKind::Io, || format!("cannot remove {}", home.join(NOTE).display()))
            }
            _ => Ok(()),
        }
    }
}

fn make_dir(dir: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .mode(mode)
        .create(dir)
        .and_then(|()| std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(mode)))
        .or_error(ErrorKind::Io, || format!("cannot make {}", dir.display()))
        .map_err(|e| e.hint("make room or choose another place with `[drill] scratch`"))
}
