//! Single paths of an archive: which entries they mean, and what else has to be read for them.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufReader, Read};

use super::blame::{PartObjects, compare, damaged, locked, store_failed};
use crate::control::Control;
use crate::digest::HashReader;
use crate::encoding::{self, Opening};
use crate::entry::Kind;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{IndexEntry, IndexReader};
use crate::names::escape;
use crate::path::{below, normalize, split};

/// So many names that may have been meant are told for one that is not there.
const MAX_NEAR: usize = 5;

/// Reads an index from front to back and hands on each line with its path. Its hash is compared at the end, so that what
/// was handed on counts only when this returns.
///
/// # Errors
/// `Damaged`, `Store`, `Cancelled`, and those of `visit`.
pub fn read_index(
    mut index: impl Read + Send,
    objects: &PartObjects<'_>,
    control: &Control,
    mut visit: impl FnMut(&[u8], &IndexEntry) -> Result<()>,
) -> Result<()> {
    read_lines(&mut index, objects, control, &mut visit)
}

fn read_lines(
    index: &mut (dyn Read + Send),
    objects: &PartObjects<'_>,
    control: &Control,
    visit: &mut dyn FnMut(&[u8], &IndexEntry) -> Result<()>,
) -> Result<()> {
    let file = objects.index.file.as_str();
    let mut lines = HashReader::new(index, control);
    let mut last: Option<Vec<u8>> = None;
    let mut shut = None;
    let broken = {
        let mut next = || -> Result<Option<std::io::Error>> {
            let mut index = match encoding::reader(file, objects.keys, &mut lines) {
                Ok(reader) => IndexReader::new(BufReader::new(reader)),
                Err(Opening::Locked(why)) => {
                    shut = Some(why);
                    return Ok(None);
                }
                Err(Opening::Broken(e)) => return Ok(Some(e)),
            };
            loop {
                control.check()?;
                match index.next_entry() {
                    Ok(Some(line)) => {
                        let Some(path) = line.path() else { return Ok(Some(std::io::ErrorKind::InvalidData.into())) };
                        visit(&path, &line)?;
                        last = Some(path);
                    }
                    Ok(None) => return Ok(None),
                    Err(e) => return Ok(Some(e)),
                }
            }
        };
        next()?
    };
    let read = match lines.finish() {
        Ok(read) => read,
        Err(e) => {
            return Err(match lines.failure() {
                Some(why) => store_failed(file, why),
                None => Error::new(ErrorKind::Cancelled, "stopped before everything was read").because(e),
            });
        }
    };
    match (compare(&read, objects.index), broken) {
        (Some(differs), _) => Err(damaged(file, last.as_deref(), &differs)),
        (None, Some(e)) => Err(damaged(file, last.as_deref(), &format!("the index cannot be read: {e}"))),
        // It is as it was written: only a key is missing.
        (None, None) => shut.map_or(Ok(()), |why| Err(locked(file, &why))),
    }
}

/// Entries of an archive, chosen by their paths: each path with all that is below it.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    paths: Vec<Vec<u8>>,
    /// Files whose content is needed for a further name that was chosen, and that were not chosen themselves.
    held: HashMap<Vec<u8>, usize>,
    /// Entries that were chosen.
    pub entries: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// What is done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing.
    No,
    /// It was chosen, or is a directory on the way to what was.
    Yes,
    /// It is kept aside under this number, for a further name of it.
    Held(usize),
}

impl Selection {
    /// Finds the entries of an archive that these paths mean, as [`crate::unescape`] gives them.
    ///
    /// # Errors
    /// `NotFound`, with names that may have been meant; `Config` for what can be no path; as [`read_index`].
    pub fn find(
        index: impl Read + Send,
        objects: &PartObjects<'_>,
        paths: &[Vec<u8>],
        control: &Control,
    ) -> Result<Self> {
        let paths = paths.iter().map(|path| chosen(path)).collect::<Result<Vec<_>>>()?;
        let mut selection = Self { paths, ..Self::default() };
        let mut found = vec![false; selection.paths.len()];
        let mut near: Vec<BTreeSet<Vec<u8>>> = vec![BTreeSet::new(); selection.paths.len()];
        let mut links = BTreeSet::new();
        read_index(index, objects, control, |path, line| {
            let mut is_chosen = false;
            for ((wanted, found), near) in selection.paths.iter().zip(&mut found).zip(&mut near) {
                if below(path, wanted).is_some() {
                    (*found, is_chosen) = (true, true);
                } else if !*found && near.len() < MAX_NEAR && is_near(path, wanted) {
                    near.insert(path.to_vec());
                }
            }
            if is_chosen {
                selection.entries = selection.entries.saturating_add(1);
                selection.bytes = selection.bytes.saturating_add(line.size);
                if let (Kind::Hardlink, Some(first)) = (line.kind, line.link())
                    && !selection.has(&first)
                {
                    links.insert(first);
                }
            }
            Ok(())
        })?;
        let missing = found.iter().position(|found| !found);
        if let Some((path, near)) = missing.and_then(|at| Some((selection.paths.get(at)?, near.get(at)?))) {
            let error = Error::new(ErrorKind::NotFound, format!("the set has no `{}`", escape(path)));
            let names: Vec<_> = near.iter().map(|path| format!("`{}`", escape(path))).collect();
            return Err(match names.is_empty() {
                true => error.hint("`bkhost ls` prints the paths of a set"),
                false => error.hint(format!("did you mean {}? `bkhost ls` prints them all", names.join(", "))),
            });
        }
        selection.held = links.into_iter().zip(0..).collect();
        Ok(selection)
    }

    /// Whether this path was chosen, by itself or with a directory above it.
    #[must_use]
    pub fn has(&self, path: &[u8]) -> bool {
        self.paths.iter().any(|wanted| below(path, wanted).is_some())
    }

    pub(super) fn wants(&self, path: &[u8], kind: Kind) -> Wanted {
        // The top itself is where they go.
        if path.is_empty() {
            return Wanted::No;
        }
        let on_the_way = || kind == Kind::Directory && self.paths.iter().any(|wanted| below(wanted, path).is_some());
        if self.has(path) || on_the_way() {
            return Wanted::Yes;
        }
        self.held.get(path).map_or(Wanted::No, |number| Wanted::Held(*number))
    }

    pub(super) fn held(&self, path: &[u8]) -> Option<usize> {
        self.held.get(path).copied()
    }
}

/// A path as somebody types it.
fn chosen(path: &[u8]) -> Result<Vec<u8>> {
    let wrong = |why: &str| {
        Error::new(ErrorKind::Config, format!("`{}` {why}", escape(path)))
            .hint("paths are relative, as `bkhost ls` prints them: shared/config")
    };
    let path = normalize(path).map_err(|why| wrong(&format!("cannot be a path in a set: it {why}")))?;
    if path.is_empty() { Err(wrong("is all of the part: leave --path out")) } else { Ok(path) }
}

/// Whether a path may have been meant by one that is not there: it has the same name, or it is beside it and begins alike.
fn is_near(path: &[u8], wanted: &[u8]) -> bool {
    let ((parent, name), (in_parent, meant)) = (split(path), split(wanted));
    if name.eq_ignore_ascii_case(meant) {
        return true;
    }
    let alike = name.iter().zip(meant).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    parent == in_parent && alike >= 2 && alike.saturating_mul(2) >= meant.len().min(name.len())
}
