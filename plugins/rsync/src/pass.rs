//! Running rsync: one pass.

use bkhost_sdk::exec::{self, Command, Output};
use bkhost_sdk::{Result, info, path, staging};
use serde::{Deserialize, Serialize};

use crate::said::{Changes, Ending, failure};
use crate::{Config, OnChange, SOURCE, copies};

/// How often the locked pass of a tree that nothing locks is tried.
const TRIES: u32 = 3;

/// What a pass did, as `--stats` tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Entries in the tree, its top included.
    pub(crate) entries: u64,
    /// Bytes of file content in the tree.
    pub(crate) bytes: u64,
    /// Files that the pass copied or updated.
    pub(crate) transferred: u64,
    /// Bytes that it wrote, but for those that a file already had.
    pub(crate) written: u64,
    /// Entries that it removed from the copy.
    pub(crate) removed: u64,
}

impl Told {
    pub(crate) fn parse(stats: &str) -> Self {
        let number = |key: &str| {
            let text = stats.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))?;
            text.split(' ').next()?.parse().ok()
        };
        Self {
            entries: number("Number of files").unwrap_or(0),
            bytes: number("Total file size").unwrap_or(0),
            transferred: number("Number of regular files transferred").unwrap_or(0),
            written: number("Literal data").unwrap_or(0),
            removed: number("Number of deleted files").unwrap_or(0),
        }
    }
}

/// Which files a pass is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Only {
    /// Those that the copy has.
    Old,
    /// Those that it has not.
    New,
}

impl Only {
    fn option(self) -> &'static str {
        match self {
            Self::Old => "existing",
            Self::New => "ignore-existing",
        }
    }
}

/// One run of rsync.
#[derive(Debug, Clone)]
pub(crate) struct Pass<'a> {
    config: &'a Config,
    copy: String,
    root: bool,
    /// What is not in the copy and unchanged there is linked from here.
    pub(crate) base: Option<String>,
    /// Files of the copy are written to where they differ, instead of being made anew. Holes are then no more than kept:
    /// made to look for them too, rsync writes to blocks that have not changed, which costs what sharing them has saved.
    pub(crate) inplace: bool,
    /// Only what the copy has already, or only what it has not.
    pub(crate) only: Option<Only>,
    /// What is in the files is compared, whatever their times say.
    pub(crate) checksum: bool,
}

impl<'a> Pass<'a> {
    /// Make this copy of the tree equal to it.
    pub(crate) fn new(config: &'a Config, copy: String) -> Result<Self> {
        Ok(Self { config, copy, root: is_root()?, base: None, inplace: false, only: None, checksum: false })
    }

    /// Before the lock: what changes meanwhile is left to the locked pass.
    pub(crate) fn run_live(&self) -> Result<Told> {
        let output = self.copying().run()?;
        match Ending::of(&output) {
            Ending::Complete | Ending::Vanished | Ending::Unsteady => Ok(Told::parse(&output.stdout)),
            Ending::Failed => Err(failure(&output)),
        }
    }

    /// Under the lock: the copy ends equal to the tree, but for what vanished meanwhile.
    pub(crate) fn run_locked(&self, on_change: OnChange) -> Result<(Told, Changes)> {
        let mut tries = 0;
        loop {
            let output = self.copying().run()?;
            tries += 1;
            match Ending::of(&output) {
                Ending::Complete => return Ok((Told::parse(&output.stdout), Changes::default())),
                Ending::Vanished => return Ok((Told::parse(&output.stdout), Changes::vanished(&output.stderr))),
                Ending::Unsteady if on_change == OnChange::Warn && tries < TRIES => {
                    info!("{}: files changed while they were copied; they are copied again", self.config.path);
                    if self.base.is_some() {
                        // Its files may be those of the last good copy by now, and are not to be changed in place.
                        copies::remove_trees(std::slice::from_ref(&self.copy))?;
                    }
                }
                Ending::Unsteady | Ending::Failed => return Err(failure(&output)),
            }
        }
    }

    /// What of the tree is not as in the copy.
    pub(crate) fn compare(&self) -> Result<Changes> {
        let output = self.command("compare").run()?;
        match Ending::of(&output) {
            Ending::Complete => Ok(Changes::itemized(&output.stdout, output.truncated)),
            Ending::Vanished => {
                let mut changes = Changes::itemized(&output.stdout, output.truncated);
                changes.add(Changes::vanished(&output.stderr));
                Ok(changes)
            }
            Ending::Unsteady | Ending::Failed => Err(failure(&output)),
        }
    }

    fn copying(&self) -> Command {
        self.command("copy")
            .slot_if("checksum", self.checksum.then_some("c"))
            .slot_if("sparse", (!self.inplace).then_some("sparse"))
            .slot_if("only", self.only.map(Only::option))
            .slot_if("inplace", self.inplace.then_some("inplace"))
            .slot_if("base", self.base.as_deref())
    }

    fn command(&self, id: &str) -> Command {
        let Config { hard_links, acls, xattrs, one_file_system, .. } = *self.config;
        let keep: String = [(hard_links, 'H'), (acls, 'A'), (xattrs, 'X')]
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, flag)| *flag)
            .collect();
        exec::command(id)
            .slot("source", SOURCE)
            .slot("copy", &self.copy)
            .slot("filter", staging::at(copies::FILTER))
            .slot_if("keep", Some(keep).filter(|keep| !keep.is_empty()))
            .slot_if("one-file-system", one_file_system.then_some("x"))
            // Only root may make device nodes.
            .slot_if("without", (!self.root).then_some("devices"))
    }
}

/// Begin a copy with a clone of another, every file of which is a file of its own.
pub(crate) fn clone(from: &str, to: &str) -> Result<()> {
    exec::run("clone", &[("from", from), ("to", to)])?.ok().map(drop)
}

/// The label of files that only show what the staging area can.
pub(crate) const TRY: &str = "rsync-try";

/// Whether files of the staging area can share blocks; else why not.
pub(crate) fn can_reflink() -> Result<std::result::Result<(), Output>> {
    let (from, to) = (staging::at(&format!("{TRY}.from")), staging::at(&format!("{TRY}.reflink")));
    let tried = std::fs::write(path::local(&from), [1; 1 << 16])
        .map_err(|error| bkhost_sdk::Error::io(format!("writing {from}"), &error))
        .and_then(|()| exec::run("try-reflink", &[("from", &from), ("to", &to)]));
    for probe in [&from, &to] {
        staging::remove(probe)?;
    }
    let tried = tried?;
    Ok(if tried.status == 0 { Ok(()) } else { Err(tried) })
}

/// Whether files of a copy have several names.
pub(crate) fn any_linked(copy: &str) -> Result<bool> {
    Ok(!exec::run("linked", &[("copy", copy)])?.ok()?.stdout.is_empty())
}

/// The machine's boot; none if the system does not tell.
pub(crate) fn boot() -> Result<Option<String>> {
    let output = exec::run("boot", &[])?;
    Ok(Some(output.first_line().to_owned()).filter(|id| output.status == 0 && !id.is_empty()))
}

/// Whether the commands run as root.
pub(crate) fn is_root() -> Result<bool> {
    Ok(exec::run("user", &[])?.ok()?.first_line() == "0")
}
