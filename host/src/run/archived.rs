//! A part of a stored set, as a strategy's `restore` sees it.

use std::io::Read;
use std::sync::Arc;

use cap_std::fs::Dir;
use tokio_util::sync::CancellationToken;

use super::chain::{Chain, Link};
use super::proof::{part_objects, watched};
use super::restore::Repositories;
use crate::archive::set::ObjectRole;
use crate::archive::{ExtractOptions, Extracted, StreamReader, extract_part};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::plugin::{Archived, Item};
use crate::report::{Level, Phase, Reporter};

/// A part of a stored set, with those of the sets on which it builds.
pub(super) struct ArchivedPart {
    chain: Chain,
    options: ExtractOptions,
    reporter: Reporter,
    repositories: Option<Arc<Repositories>>,
    label: Option<String>,
}

impl ArchivedPart {
    pub(super) fn new(chain: Chain, options: ExtractOptions, reporter: Reporter) -> Self {
        Self { chain, options, reporter, repositories: None, label: None }
    }

    /// The same for a restore, which looks after what is in its trees.
    pub(super) fn looking_after(self, repositories: Option<Arc<Repositories>>) -> Self {
        Self { repositories, ..self }
    }

    /// The same for the restore of this label.
    pub(super) fn labelled(self, label: Option<String>) -> Self {
        Self { label, ..self }
    }

    fn link(&self, set: Option<&str>) -> Result<&Link> {
        self.chain.link(set).ok_or_else(|| {
            let set = set.unwrap_or_default();
            Error::new(ErrorKind::NotFound, format!("the set `{}` is not one of this restore", set.escape_debug()))
        })
    }
}

/// Tell what could not be given to some of what was extracted.
pub(super) fn warn_of(reporter: &Reporter, part: &str, extracted: &Extracted) {
    for (named, what) in [
        (&extracted.owners_not_set, "could not be given their owners (this takes root)"),
        (
            &extracted.owners_unknown,
            "belong to users or groups that this machine does not know: they got the archived numbers",
        ),
        (&extracted.attributes_not_set, "could not be given all of their attributes"),
        (&extracted.not_made, "are device nodes, which this user may not make"),
    ] {
        if let Some(first) = named.names.first() {
            let text = format!("{} entries {what}, such as {first}", named.total);
            reporter.message(Level::Warning, Some(part), text);
        }
    }
}

impl Archived for ArchivedPart {
    fn items(&self) -> Vec<Item> {
        let items = |link: &Link| {
            let set = link.set.manifest.id.clone();
            link.part.sources.clone().into_iter().map(move |source| Item { set: set.clone(), source })
        };
        self.chain.links().flat_map(items).collect()
    }

    fn extract(&self, set: Option<&str>, name: &str, into: Dir, cancel: &CancellationToken) -> Result<u64> {
        let Link { set, part } = self.link(set)?;
        let objects = part_objects(part, set.keys())?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("part `{}` of set {} has no archive", part.name, set.manifest.id))
        })?;
        let total = part.sources.iter().find(|source| source.name == name).map(|source| source.bytes);
        let control = watched(&self.reporter, &part.name, Phase::Restore.name(), total, cancel);
        let again = into.try_clone().or_error(ErrorKind::Io, || "cannot open the target once more")?;
        let extracted = extract_part(
            set.object(&objects.data.file)?,
            set.object(&objects.index.file)?,
            &objects,
            name,
            into.into_std_file(),
            &self.options,
            &control,
        )?;
        warn_of(&self.reporter, &part.name, &extracted);
        self.restored(again, cancel)?;
        Ok(extracted.entries)
    }

    fn label(&self) -> Option<String> {
        self.label.clone()
    }

    fn restored(&self, tree: Dir, cancel: &CancellationToken) -> Result<()> {
        match &self.repositories {
            Some(repositories) => repositories.look(tree, cancel),
            None => Ok(()),
        }
    }

    fn stream(&self, set: Option<&str>, name: &str) -> Result<Box<dyn Read + Send>> {
        let Link { set, part } = self.link(set)?;
        let object = part
            .objects
            .iter()
            .find(|object| object.role == ObjectRole::Stream && object.source.as_deref() == Some(name))
            .ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("set {} has no stream `{name}`", set.manifest.id))
            })?;
        let control = watched(
            &self.reporter,
            &part.name,
            Phase::Restore.name(),
            Some(object.content_bytes),
            &CancellationToken::new(),
        );
        Ok(Box::new(StreamReader::new(set.object(&object.file)?, object, set.keys(), &control)?))
    }
}
