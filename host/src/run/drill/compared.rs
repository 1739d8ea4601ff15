//! What was archived, for a rehearsal: whatever is extracted is read again and compared with the index.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use cap_std::fs::Dir;
use tokio_util::sync::CancellationToken;

use crate::archive::set::SourceForm;
use crate::archive::{Compared, ExtractOptions, OwnersBy, compare_source};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Archived, Item};
use crate::report::Reporter;
use crate::run::archived::ArchivedPart;
use crate::run::chain::Chain;
use crate::run::proof::{part_objects, watched};

/// A part as a rehearsal sees it.
pub(super) struct ComparedPart {
    inner: ArchivedPart,
    chain: Chain,
    reporter: Reporter,
    /// The strategy may change what it extracts, so it is compared at once, and not when all is done.
    at_once: bool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What was extracted, and where to: the set, the name and the directory.
    extracted: Vec<(Option<String>, String, Dir)>,
    done: Compared,
}

impl ComparedPart {
    pub(super) fn new(chain: Chain, reporter: Reporter, at_once: bool) -> Self {
        // By numbers: that is how the index can be compared.
        let options = ExtractOptions { owners: OwnersBy::Number };
        let inner = ArchivedPart::new(chain.clone(), options, reporter.clone());
        Self { inner, chain, reporter, at_once, seen: Mutex::default() }
    }

    /// Compare what was extracted, unless that was done at once. Blocks. Gives what was compared, all in all.
    ///
    /// # Errors
    /// `Plugin`, naming the files that are different, or if not all was extracted that a restore of the part has to.
    pub(super) fn compare(&self, cancel: &CancellationToken) -> Result<Compared> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.at_once {
            let trees = self.chain.links().last().into_iter().flat_map(|link| &link.part.sources);
            for tree in trees.filter(|source| source.form == SourceForm::Tree) {
                if !seen.extracted.iter().any(|(_, name, _)| *name == tree.name) {
                    return Err(Error::new(
                        ErrorKind::Plugin,
                        format!(
                            "the strategy says that it has restored everything, and did not extract `{}`",
                            tree.name
                        ),
                    ));
                }
            }
            for (set, name, dir) in std::mem::take(&mut seen.extracted) {
                let compared = self.compare_one(set.as_deref(), &name, &dir, cancel)?;
                seen.done.add(&compared);
            }
        }
        Ok(seen.done.clone())
    }

    fn compare_one(&self, set: Option<&str>, name: &str, dir: &Dir, cancel: &CancellationToken) -> Result<Compared> {
        let link = self.chain.link(set).ok_or_else(|| Error::new(ErrorKind::Internal, "no such set in the chain"))?;
        let objects = part_objects(&link.part, link.set.keys())?
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a part without an archive was extracted"))?;
        let total = link.part.sources.iter().find(|source| source.name == name).map(|source| source.bytes);
        let control = watched(&self.reporter, &link.part.name, "compare", total, cancel);
        let compared = compare_source(link.set.object(&objects.index.file)?, &objects, name, dir, &control)?;
        match compared.differences.first() {
            None => Ok(compared),
            Some((file, what)) => {
                let text = format!(
                    "{} of {} files are not restored as they were archived, such as `{file}`: {what}",
                    compared.different, compared.entries
                );
                let error = Error::new(ErrorKind::Plugin, text).hint(
                    "look at the scratch's file system (does it keep owners, attributes, times?) and at the strategy",
                );
                Err(compared.differences.iter().take(20).fold(error, |e, (file, what)| e.detail(file, what)))
            }
        }
    }
}

impl Archived for ComparedPart {
    fn items(&self) -> Vec<Item> {
        self.inner.items()
    }

    fn extract(&self, set: Option<&str>, name: &str, into: Dir, cancel: &CancellationToken) -> Result<u64> {
        let again = into
            .try_clone()
            .map_err(|e| Error::new(ErrorKind::Io, "cannot keep the restored directory open").because(e))?;
        let entries = self.inner.extract(set, name, into, cancel)?;
        if self.at_once {
            let compared = self.compare_one(set, name, &again, cancel)?;
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).done.add(&compared);
        } else {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.extracted.push((set.map(str::to_owned), name.to_owned(), again));
        }
        Ok(entries)
    }

    fn stream(&self, set: Option<&str>, name: &str) -> Result<Box<dyn Read + Send>> {
        self.inner.stream(set, name)
    }
}
