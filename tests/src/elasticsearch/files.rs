//! The files of a repository: a record of each snapshot (`snap-<uuid>.dat`), and for each shard a file with its documents
//! (`indices/<index>/<shard>/__<uuid>`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::world::Shard;

fn shard_file(directory: &Path, uuid: &str, index: &str, number: u32) -> PathBuf {
    directory.join("indices").join(index).join(number.to_string()).join(format!("__{uuid}"))
}

pub(super) fn write_shard(directory: &Path, uuid: &str, shard: &Shard) {
    let path = shard_file(directory, uuid, &shard.index, shard.number);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_vec(shard.copy.as_ref().unwrap()).unwrap()).unwrap();
}

/// What a shard holds.
///
/// # Errors
/// As the cluster would say it.
pub(super) fn read_shard(
    directory: &Path,
    uuid: &str,
    index: &str,
    number: u32,
) -> Result<BTreeMap<String, Value>, String> {
    let path = shard_file(directory, uuid, index, number);
    let bytes = std::fs::read(&path).map_err(|_| format!("no_such_file_exception: {}", path.display()))?;
    serde_json::from_slice(&bytes)
        .map_err(|_| format!("corrupt_index_exception: checksum failed (hardware problem?) in {}", path.display()))
}

pub(super) fn write_record(directory: &Path, record: &Value) {
    let path = directory.join(format!("snap-{}.dat", record["uuid"].as_str().unwrap()));
    std::fs::write(path, record.to_string()).unwrap();
}

fn all(directory: &Path) -> Vec<(PathBuf, Value)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let records = paths.filter(|path| path.extension().is_some_and(|extension| extension == "dat"));
    records.filter_map(|path| Some((path.clone(), serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?))).collect()
}

/// The records that can be read.
pub(super) fn records(directory: &Path) -> Vec<Value> {
    all(directory).into_iter().map(|(_, record)| record).collect()
}

/// Remove a snapshot; whether there was one.
pub(super) fn remove(directory: &Path, name: &str) -> bool {
    let mut removed = false;
    for (path, record) in all(directory).into_iter().filter(|(_, record)| record["snapshot"] == name) {
        std::fs::remove_file(path).unwrap();
        let uuid = record["uuid"].as_str().unwrap();
        for (index, meta) in record["_meta"].as_object().unwrap() {
            for number in 0..meta["shards"].as_u64().unwrap() {
                let _ = std::fs::remove_file(shard_file(directory, uuid, index, number.try_into().unwrap()));
            }
        }
        removed = true;
    }
    removed
}
