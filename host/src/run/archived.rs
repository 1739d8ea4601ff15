//! A part of a stored set, as a strategy's `restore` sees it.

use std::io::Read;

use cap_std::fs::Dir;
use tokio_util::sync::CancellationToken;

use super::proof::{part_objects, watched};
use crate::archive::set::{ObjectRole, PartRecord, SourceRecord};
use crate::archive::{ExtractOptions, StreamReader, extract_part};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::Archived;
use crate::report::{Level, Phase, Reporter};
use crate::store::StoredSet;

/// A part of a stored set.
pub(super) struct ArchivedPart {
    set: StoredSet,
    part: PartRecord,
    reporter: Reporter,
}

impl ArchivedPart {
    pub(super) fn new(set: StoredSet, part: PartRecord, reporter: Reporter) -> Self {
        Self { set, part, reporter }
    }

    fn warn(&self, what: &str, named: &crate::archive::Named) {
        if let Some(first) = named.names.first() {
            let text = format!("{} entries {what}, such as {first}", named.total);
            self.reporter.message(Level::Warning, Some(&self.part.name), text);
        }
    }
}

impl Archived for ArchivedPart {
    fn sources(&self) -> Vec<SourceRecord> {
        self.part.sources.clone()
    }

    fn extract(&self, name: &str, into: Dir, cancel: &CancellationToken) -> Result<u64> {
        let objects = part_objects(&self.part)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("part `{}` of the set has no archive", self.part.name))
        })?;
        let total = self.part.sources.iter().find(|source| source.name == name).map(|source| source.bytes);
        let control = watched(&self.reporter, &self.part.name, Phase::Restore.name(), total, cancel);
        let extracted = extract_part(
            self.set.object(&objects.data.file)?,
            self.set.object(&objects.index.file)?,
            &objects,
            name,
            into.into_std_file(),
            &ExtractOptions::default(),
            &control,
        )?;
        self.warn("could not be given their owners (this takes root)", &extracted.owners_not_set);
        self.warn("could not be given all of their attributes", &extracted.attributes_not_set);
        self.warn("are device nodes, which this user may not make", &extracted.not_made);
        Ok(extracted.entries)
    }

    fn stream(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        let object = self
            .part
            .objects
            .iter()
            .find(|object| object.role == ObjectRole::Stream && object.source.as_deref() == Some(name))
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the set has no stream `{name}`")))?;
        let control = watched(
            &self.reporter,
            &self.part.name,
            Phase::Restore.name(),
            Some(object.content_bytes),
            &CancellationToken::new(),
        );
        Ok(Box::new(StreamReader::new(self.set.object(&object.file)?, object, &control)?))
    }
}
