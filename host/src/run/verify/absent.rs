//! What is lost with objects that are not there: told by the index, where that is whole.

use super::Verification;
use super::objects;
use crate::archive::set::{ObjectRecord, PartRecord};
use crate::archive::{Control, Kind, escape, read_index};
use crate::error::{Error, Result};
use crate::run::chain::Chain;
use crate::run::proof::{is_sealed, part_objects};
use crate::run::prune::blocking;
use crate::store::{Amiss, StoredSet};

/// The objects of a part that cannot be read, as they are not there or no files.
pub(super) struct Absent<'a>(Vec<&'a Amiss>);

/// Those of this part in its own set; none: all of it can be read.
pub(super) fn of<'a>(chain: &Chain, amiss: &'a [Amiss]) -> Option<Absent<'a>> {
    let of_part = |amiss: &&Amiss| chain.last().part.objects.iter().any(|object| object.file == amiss.object);
    let absent: Vec<&Amiss> = amiss.iter().filter(|amiss| !amiss.readable).filter(of_part).collect();
    (!absent.is_empty()).then_some(Absent(absent))
}

impl Absent<'_> {
    /// What is lost with each of them, and what the others of the part are worth.
    pub(super) async fn told(&self, verification: &Verification<'_>, chain: &Chain) -> Vec<Result<u64>> {
        let link = chain.last();
        let mut found = Vec::new();
        for object in &link.part.objects {
            match self.0.iter().find(|absent| absent.object == object.file) {
                Some(absent) => {
                    let lost = self.lost(&link.set, &link.part, object).await;
                    let why = absent.error.to_string();
                    let error = Error::new(
                        absent.error.kind(),
                        match &lost {
                            Some((first, count)) => {
                                format!("{why}, and with it `{first}` and all else of its {count} entries")
                            }
                            None => why,
                        },
                    );
                    let error = error.detail("object", &object.file);
                    found.push(Err(match lost {
                        Some((first, _)) => error.detail("file", first),
                        None => error,
                    }));
                }
                None => found.push(objects::one(verification, link, object).await),
            }
        }
        found
    }

    /// The first file of what was in an archive, and how many entries that had. None: there is nothing to tell it.
    async fn lost(&self, set: &StoredSet, part: &PartRecord, object: &ObjectRecord) -> Option<(String, u64)> {
        let (set, part, file) = (set.clone(), part.clone(), object.file.clone());
        let sealed = part.objects.iter().any(|object| is_sealed(object, set.keys()));
        let is_there = |file: &str| self.0.iter().all(|absent| absent.object != file);
        let index = part_objects(&part, set.keys()).ok()??.index.file.clone();
        if sealed || !is_there(&index) {
            return None;
        }
        blocking(move || {
            let Some(objects) = part_objects(&part, set.keys())?.filter(|objects| objects.data.file == file) else {
                return Ok(None);
            };
            let (mut first, mut count) = (None, 0_u64);
            read_index(set.object(&objects.index.file)?, &objects, &Control::none(), |path, line| {
                count = count.saturating_add(1);
                if first.is_none() && line.kind == Kind::File {
                    first = Some(escape(path));
                }
                Ok(())
            })?;
            Ok(first.map(|first| (first, count)))
        })
        .await
        .ok()
        .flatten()
    }
}
