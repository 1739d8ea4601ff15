//! A set as one large archive, and a set from one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::chain::Chain;
use super::damage;
use super::in_use;
use super::proof::{part_objects, watched};
use super::prune::blocking;
use crate::archive::set::{
    self, MANIFEST, ObjectRecord, ObjectRole, PartRecord, SetManifest, check_object_name, data_file, index_file,
    stream_file,
};
use crate::archive::{
    Control, Format, Keys, Layers, OneWriter, SetId, Unpacked, UnpackedObject, index_path, manifest_path, set_prefix,
    unpack_one,
};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::Reporter;
use crate::store::StoredSet;

/// What this does to a set, for progress and for who wants to delete it.
const EXPORT: &str = "export";
/// The format of the objects that an import makes.
const ZST: &str = ".zst";

/// What was exported.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exported {
    /// The set.
    pub id: SetId,
    /// Where to; none: to stdout.
    pub to: Option<String>,
    /// Entries of the parts.
    pub entries: u64,
    /// The archive's size in bytes.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes, in hex.
    pub blake3: String,
    /// The earlier sets that are in it because this one builds on them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<SetId>,
}

/// Write a set, and what it builds on, into `to`. Its keys open it. Every byte of it is checked on the way.
///
/// # Errors
/// `Damaged` if the set is not what was written; `Store`; `Io` if `to` cannot be written; `NotFound` or `Busy` if the set is
/// deleted; `Cancelled`.
pub async fn export(
    reporter: &Reporter,
    set: &StoredSet,
    to: Box<dyn Write + Send>,
    format: Format,
    cancel: &CancellationToken,
) -> Result<Exported> {
    let in_use = in_use::read(reporter, set, EXPORT).await?;
    let exported = damage::noted(reporter, set, write(reporter, set, to, format, cancel).await).await;
    in_use.end().await;
    exported
}

async fn write(
    reporter: &Reporter,
    set: &StoredSet,
    mut to: Box<dyn Write + Send>,
    format: Format,
    cancel: &CancellationToken,
) -> Result<Exported> {
    let mut own = set.manifest.clone();
    let mut bases: BTreeMap<SetId, (StoredSet, SetManifest)> = BTreeMap::new();
    for part in &set.manifest.parts {
        for link in Chain::find(set, part).await?.into_bases() {
            let id = link.set.manifest.id.clone();
            let (_, manifest) = bases.entry(id).or_insert_with(|| {
                let manifest = SetManifest { parts: Vec::new(), ..link.set.manifest.clone() };
                (link.set.clone(), manifest)
            });
            manifest.parts.push(link.part);
        }
    }
    for part in own.parts.iter_mut().chain(bases.values_mut().flat_map(|(_, manifest)| &mut manifest.parts)) {
        // What they say is in the manifest again.
        part.objects.retain(|object| object.role != ObjectRole::Notes);
    }
    let (set, reporter, cancel) = (set.clone(), reporter.clone(), cancel.clone());
    blocking(move || {
        let mut one = OneWriter::new(&mut to, &format, own.created.as_second())?;
        let mut entries = write_set(&mut one, &set, &own, "", &reporter, &cancel)?;
        let ids: Vec<SetId> = bases.keys().cloned().collect();
        for (id, (set, manifest)) in &bases {
            let prefix = set_prefix(Some(id.as_str()));
            entries = entries.saturating_add(write_set(&mut one, set, manifest, &prefix, &reporter, &cancel)?);
        }
        let written = one.finish()?;
        to.flush().or_error(ErrorKind::Io, || "cannot write the archive")?;
        Ok(Exported { id: own.id, to: None, entries, bytes: written.bytes, blake3: written.blake3, bases: ids })
    })
    .await
}

fn write_set(
    one: &mut OneWriter<'_>,
    set: &StoredSet,
    manifest: &SetManifest,
    prefix: &str,
    reporter: &Reporter,
    cancel: &CancellationToken,
) -> Result<u64> {
    one.bytes(&manifest_path(prefix), &set::seal(manifest)?)?;
    let mut entries = 0u64;
    for part in &manifest.parts {
        let total = part.sources.iter().fold(0u64, |sum, source| sum.saturating_add(source.bytes));
        let control = watched(reporter, &part.name, EXPORT, Some(total), cancel);
        if let Some(objects) = part_objects(part, set.keys())? {
            let (data, index) = (objects.data, objects.index);
            let path = index_path(prefix, &part.name);
            one.object(&path, set.object(&index.file)?, index, set.keys(), &Control::none())?;
            let below = format!("{prefix}{}", part.name);
            let written = one.part(&below, set.object(&data.file)?, set.object(&index.file)?, &objects, &control)?;
            entries = entries.saturating_add(written);
        }
        for stream in part.objects.iter().filter(|object| object.role == ObjectRole::Stream) {
            let path = format!("{prefix}{}", stream_name(part, stream));
            one.object(&path, set.object(&stream.file)?, stream, set.keys(), &control)?;
            entries = entries.saturating_add(1);
        }
    }
    Ok(entries)
}

/// What a stream is called in the archive: `database.dump`.
fn stream_name(part: &PartRecord, object: &ObjectRecord) -> String {
    let named = object.source.as_ref().map(|source| format!("{}.{source}", part.name));
    let valid = |name: &String| check_object_name(&format!("{name}{ZST}")).is_ok();
    named.filter(valid).unwrap_or_else(|| Layers::strip(&object.file).to_owned())
}

/// Read a written archive back, and compare it with what was written.
///
/// # Errors
/// `Damaged` if it differs, `Io` if it cannot be read.
pub async fn read_back(file: File, exported: &Exported, cancel: &CancellationToken) -> Result<()> {
    let expected = ObjectRecord {
        file: "the archive".to_owned(),
        role: ObjectRole::Stream,
        source: None,
        bytes: exported.bytes,
        content_bytes: exported.bytes,
        blake3: exported.blake3.clone(),
    };
    let control = Control::new(cancel.clone(), |_| {});
    blocking(move || crate::archive::verify_stored(file, &expected, &control)).await
}

/// Take an archive apart into a store of its own in the directory `into`, which is empty. Gives the set's instance and id.
///
/// # Errors
/// `Damaged` if it is cut short, altered, or not what an export writes; `Denied` if no key opens it; `Io`; `Cancelled`.
pub async fn import(
    from: impl Read + Send + 'static,
    name: &str,
    keys: &Keys,
    into: &Path,
    cancel: &CancellationToken,
) -> Result<(String, SetId)> {
    let (name, keys, into) = (name.to_owned(), keys.clone(), into.to_owned());
    let control = Control::new(cancel.clone(), |_| {});
    blocking(move || {
        let sets = unpack_one(from, &name, &keys, &into, &control)?;
        let mut own = None;
        let mut made: Vec<(Option<String>, SetManifest)> = Vec::new();
        for set in sets {
            let base = set.base.clone();
            let manifest = place(&into, set).map_err(|e| e.within(format_args!("the archive {name}")))?;
            if base.is_none() {
                own = Some((manifest.instance.clone(), manifest.id.clone()));
            }
            made.push((base, manifest));
        }
        let (instance, id) = own.ok_or_else(|| wrong("it holds no set of its own"))?;
        for (base, manifest) in &made {
            if base.as_ref().is_some_and(|base| manifest.id.as_str() != base) || manifest.instance != instance {
                return Err(
                    wrong("a set in it is not the one that its place says").within(format_args!("the archive {name}"))
                );
            }
        }
        Ok((instance, id))
    })
    .await
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Damaged, what).hint("export it again from the store; nothing was restored")
}

/// Put a set's objects where a store has them, and its manifest beside them.
fn place(into: &Path, set: Unpacked) -> Result<SetManifest> {
    let mut manifest = set::open(&set.manifest)?;
    let dir = into.join(&manifest.instance).join(manifest.id.as_str());
    let failed = || format!("cannot write {}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).or_error(ErrorKind::Io, failed)?;
    let mut objects = set.objects;
    for part in &mut manifest.parts {
        let mut records = Vec::new();
        for old in part.objects.iter().filter(|object| object.role != ObjectRole::Notes) {
            let (name, file) = match old.role {
                ObjectRole::Data => (part.name.clone(), data_file(&part.name, ZST)),
                ObjectRole::Index => (index_path("", &part.name), index_file(&part.name, ZST)),
                _ => {
                    let name = stream_name(part, old);
                    let file = name.strip_prefix(&format!("{}.", part.name)).unwrap_or(&name).to_owned();
                    (name, stream_file(&part.name, &file, ZST))
                }
            };
            let at = objects.iter().position(|object| object.name == name);
            let UnpackedObject { file: from, written, .. } =
                at.map(|at| objects.swap_remove(at)).ok_or_else(|| wrong(format!("`{name}` is missing in it")))?;
            if old.role != ObjectRole::Data && written.content_bytes != old.content_bytes {
                return Err(wrong(format!("`{name}` in it has another size than its manifest says")));
            }
            fs::rename(&from, dir.join(&file)).or_error(ErrorKind::Io, failed)?;
            records.push(ObjectRecord {
                file,
                role: old.role,
                source: old.source.clone(),
                bytes: written.bytes,
                content_bytes: written.content_bytes,
                blake3: written.blake3,
            });
        }
        part.objects = records;
    }
    if let Some(stray) = objects.first() {
        return Err(wrong(format!("`{}` in it is not in its manifest", stray.name)));
    }
    fs::write(dir.join(MANIFEST), set::seal(&manifest)?).or_error(ErrorKind::Io, failed)?;
    Ok(manifest)
}
