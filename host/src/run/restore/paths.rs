//! Single paths of a part: taken out of its archive by the host itself, whatever strategy made it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::partial::Partial;
use crate::archive::set::{PartRecord, SourceForm};
use crate::archive::{
    Control, ExtractOptions, Keys, PartObjects, Selection, Standing, escape, extract_paths, read_index, standing,
};
use crate::capability::manifest::RestoreTarget;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Phase, Reporter, waiting};
use crate::run::archived::warn_of;
use crate::run::part::Part;
use crate::run::proof::{part_objects, watched};
use crate::run::prune::blocking;
use crate::store::StoredSet;

/// Paths of a part, found in its index.
pub(in crate::run) struct Chosen {
    set: StoredSet,
    record: PartRecord,
    /// As they were typed.
    pub(super) paths: Vec<Vec<u8>>,
    /// What they mean.
    pub(super) selection: Arc<Selection>,
    /// The directory that they go into, each under its whole path.
    pub(super) into: PathBuf,
    /// Whether files may take the place of files.
    pub(super) replace: bool,
}

impl Chosen {
    /// Find the paths.
    ///
    /// # Errors
    /// `NotFound`, with near names; `Config` if the part has no files, or no directory where they came from.
    pub(super) async fn find(
        reporter: &Reporter,
        set: &StoredSet,
        record: &PartRecord,
        part: &Part,
        (paths, to, replace): (&[Vec<u8>], Option<&str>, bool),
    ) -> Result<Self> {
        let into = match to {
            Some(to) => std::path::absolute(to).or_error(ErrorKind::Config, || format!("`{to}` is no path"))?,
            None => original(part, record)?,
        };
        if part_objects(record, set.keys())?.is_none() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("part `{}` is not kept as files: single paths cannot be restored from it", record.name),
            )
            .hint("restore the whole part to another place, and take the files from there"));
        }
        let work = {
            let (set, record, paths) = (set.clone(), record.clone(), paths.to_vec());
            blocking(move || {
                let objects = objects(&record, set.keys())?;
                Selection::find(set.object(&objects.index.file)?, &objects, &paths, &Control::none())
            })
        };
        let what = format!("the index of part `{}`", record.name);
        let selection = Arc::new(waiting(reporter, &what, work).await?);
        Ok(Self { set: set.clone(), record: record.clone(), paths: paths.to_vec(), selection, into, replace })
    }

    /// What stands in their way as things are.
    pub(super) async fn refusal(&self, reporter: &Reporter, cancel: &CancellationToken) -> Result<()> {
        let top = match std::fs::metadata(&self.into) {
            Ok(meta) if meta.is_dir() => std::fs::File::open(&self.into)
                .or_error(ErrorKind::Conflict, || format!("cannot restore into {}", self.into.display()))?,
            Ok(_) => {
                let text = format!("cannot restore into {}: it is no directory", self.into.display());
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => {
                return Err(e).or_error(ErrorKind::Conflict, || format!("cannot look at {}", self.into.display()));
            }
        };
        let (set, record, selection) = (self.set.clone(), self.record.clone(), Arc::clone(&self.selection));
        let control = Control::new(cancel.clone(), |_| {});
        let look = blocking(move || {
            let (mut blocked, mut others) = (Vec::new(), Vec::new());
            let (mut block, mut other) = (0u64, 0u64);
            let objects = objects(&record, set.keys())?;
            read_index(set.object(&objects.index.file)?, &objects, &control, |path, line| {
                if !selection.has(path) {
                    return Ok(());
                }
                let (list, count) = match standing(&top, path, line, &control)? {
                    Standing::Free | Standing::Same => return Ok(()),
                    Standing::Other => (&mut others, &mut other),
                    Standing::Blocked => (&mut blocked, &mut block),
                };
                *count = count.saturating_add(1);
                if list.len() < SHOWN {
                    list.push(escape(path));
                }
                Ok(())
            })?;
            Ok(((block, blocked), (other, others)))
        });
        let what = format!("what is in {} to be compared", self.into.display());
        let ((block, blocked), (other, others)) = waiting(reporter, &what, look).await?;
        let told = |names: Vec<String>, count: u64| {
            let more = count.saturating_sub(names.len() as u64);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("`{}`{rest}", names.join("`, `"))
        };
        let into = self.into.display();
        if block > 0 {
            let text = format!(
                "in {into} there are files or links where directories belong, or the other way round: {}",
                told(blocked, block)
            );
            return Err(
                Error::new(ErrorKind::Conflict, text).hint("move them away, or restore to another place with --to")
            );
        }
        if other > 0 && !self.replace {
            let text = format!("{other} files are there already in {into}, and not the same: {}", told(others, other));
            return Err(Error::new(ErrorKind::Conflict, text)
                .hint("restore to another place with --to, or let files take the place of files with --replace"));
        }
        Ok(())
    }

    /// Write them into the partial directory.
    pub(super) async fn extract(
        &self,
        partial: &Partial,
        options: ExtractOptions,
        reporter: &Reporter,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let (set, record, selection) = (self.set.clone(), self.record.clone(), Arc::clone(&self.selection));
        let control = watched(reporter, &record.name, Phase::Restore.name(), Some(self.selection.bytes), cancel);
        let (tree, aside) = partial.inner();
        let part = record.name.clone();
        let work = blocking(move || {
            let objects = objects(&record, set.keys())?;
            let open = |path: &Path| {
                std::fs::File::open(path).or_error(ErrorKind::Io, || format!("cannot open {}", path.display()))
            };
            let into = (open(&tree)?, open(&aside)?);
            let (data, index) = (set.object(&objects.data.file)?, set.object(&objects.index.file)?);
            extract_paths(data, index, &objects, &selection, into, &options, &control)
        });
        let what = format!("part `{part}` to be read");
        let extracted = waiting(reporter, &what, work).await?;
        warn_of(reporter, &part, &extracted);
        Ok(())
    }
}

/// So many of what is in the way are named.
const SHOWN: usize = 10;

fn objects<'a>(record: &'a PartRecord, keys: &'a Keys) -> Result<PartObjects<'a>> {
    part_objects(record, keys)?
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("part `{}` of the set has no archive", record.name)))
}

/// The directory that was archived, where a part is the content of one directory.
fn original(part: &Part, record: &PartRecord) -> Result<PathBuf> {
    let tree =
        matches!(record.sources.as_slice(), [source] if source.name.is_empty() && source.form == SourceForm::Tree);
    let directory = part.plugin.manifest().restore.target == RestoreTarget::Directory;
    let original = part.original_directory().filter(|_| tree && directory);
    original.map(PathBuf::from).ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("single paths of part `{}` have no original place that they could go back to", record.name),
        )
        .hint("say into which directory with --to")
    })
}

/// Paths as they were typed, into their bytes.
///
/// # Errors
/// `Config` for a wrong escape.
pub fn typed(paths: &[String]) -> Result<Vec<Vec<u8>>> {
    let read = |path: &String| {
        crate::archive::unescape(path).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("--path `{path}` holds a backslash that begins no escape"))
                .hint("write \\\\ for a backslash, and \\xNN for any byte, as `bkhost ls` does")
        })
    };
    paths.iter().map(read).collect()
}
