//! Checkpoints and journals on disk, and the chain that restores.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use bkhost_sdk::digest::{self, Algorithm};
use bkhost_sdk::{Error, Result, archive, exec, path};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Layout, Place};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Checkpoint,
    Md5,
    Journal,
    /// `server.id`, `license`.
    Server,
}

/// One file that is backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    pub(crate) sequence: u64,
    pub(crate) bytes: u64,
    /// Seconds since the epoch.
    pub(crate) modified: u64,
    /// Of the uncompressed text, in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) md5: Option<String>,
    /// This run made it.
    #[serde(default)]
    pub(crate) made: bool,
}

impl File {
    /// The file as it is on disk; none if it is not there or no regular file.
    pub(crate) fn look(name: String, kind: Kind, place: Place, sequence: u64) -> Option<Self> {
        let metadata = std::fs::symlink_metadata(path::local(&format!("{}/{name}", place.guest()))).ok()?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        metadata.is_file().then(|| Self {
            name,
            kind,
            place,
            sequence,
            bytes: metadata.len(),
            modified: modified.map_or(0, |time| time.as_secs()),
            md5: None,
            made: false,
        })
    }

    pub(crate) fn guest(&self) -> String {
        format!("{}/{}", self.place.guest(), self.name)
    }

    pub(crate) fn host(&self, config: &Config) -> String {
        format!("{}/{}", self.place.host(config).trim_end_matches('/'), self.name)
    }

    pub(crate) fn zipped(&self) -> bool {
        self.name.ends_with(".gz")
    }

    /// It is still the file that it was.
    pub(crate) fn unchanged(&self) -> bool {
        Self::look(self.name.clone(), self.kind, self.place, self.sequence)
            .is_some_and(|now| (now.bytes, now.modified) == (self.bytes, self.modified))
    }

    /// The MD5 of its uncompressed text, computed by the host.
    pub(crate) fn compute(&self) -> Result<String> {
        digest::file(&self.guest(), Algorithm::Md5, self.zipped())
    }

    /// Remove it, which needs its name to be one of a checkpoint or journal.
    pub(crate) fn remove(&self, config: &Config) -> Result<()> {
        let command = match self.place {
            Place::Checkpoints => "remove",
            Place::Root => "remove-from-root",
        };
        exec::run(command, &[("file", &self.host(config))])?.ok().map(drop)
    }
}

/// The files of one sequence number, compressed or not.
pub(crate) fn checkpoint(layout: &Layout, sequence: u64) -> Option<File> {
    either(&layout.checkpoint, Kind::Checkpoint, layout.place, sequence)
}

pub(crate) fn journal(layout: &Layout, sequence: u64) -> Option<File> {
    either(&layout.journal, Kind::Journal, layout.place, sequence)
}

fn either(stem: &str, kind: Kind, place: Place, sequence: u64) -> Option<File> {
    let plain = format!("{stem}.{sequence}");
    let zipped = format!("{plain}.gz");
    File::look(plain, kind, place, sequence).or_else(|| File::look(zipped, kind, place, sequence))
}

/// The `.md5` beside a checkpoint: some versions keep the `.gz` in its name.
pub(crate) fn md5_of(file: &File) -> Option<File> {
    let plain = file.name.trim_end_matches(".gz");
    let look = |name: String| File::look(name, Kind::Md5, file.place, file.sequence);
    look(format!("{plain}.md5")).or_else(|| look(format!("{}.md5", file.name)))
}

/// The digest in `MD5 (checkpoint.42) = 0123…`, in lower case.
pub(crate) fn parse_md5(text: &str) -> Option<String> {
    let hex = text.trim().rsplit(['=', ' ']).next()?.trim();
    (hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| hex.to_ascii_lowercase())
}

/// What a `.md5` says.
///
/// # Errors
/// It cannot be read, or holds no MD5.
pub(crate) fn expected(md5: &File) -> Result<String> {
    let guest = md5.guest();
    if md5.bytes > 4096 {
        return Err(Error::corrupt(format!("{} is no MD5 file: it is too long", md5.name)));
    }
    let text = std::fs::read_to_string(path::local(&guest)).map_err(|error| Error::io(&guest, &error))?;
    parse_md5(&text).ok_or_else(|| Error::corrupt(format!("{} holds no MD5: {:?}", md5.name, text.trim())))
}

/// The newest checkpoint that has its `.md5`, and the journals from it up to, and without, `sequence`, the live one.
/// None if there is no such checkpoint, or a journal is missing.
pub(crate) fn chain(layout: &Layout, sequence: u64) -> Option<Vec<File>> {
    let (base, _) = newest(layout, sequence)?;
    let checkpoint = checkpoint(layout, base)?;
    let mut files = vec![md5_of(&checkpoint)?];
    files.insert(0, checkpoint);
    for number in base..sequence {
        files.push(journal(layout, number)?);
    }
    Some(files)
}

/// The newest checkpoint up to `limit` that has its `.md5`.
pub(crate) fn newest(layout: &Layout, limit: u64) -> Option<(u64, File)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(path::local(layout.place.guest())).ok()?.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let number = name.strip_prefix(&format!("{}.", layout.checkpoint)).map(|rest| rest.trim_end_matches(".gz"));
        let Some(number) = number.and_then(|number| number.parse::<u64>().ok()).filter(|number| *number <= limit)
        else {
            continue;
        };
        if let Some(file) = checkpoint(layout, number).filter(|file| md5_of(file).is_some()) {
            found.insert(number, file);
        }
    }
    found.pop_last()
}

/// An archived file in a directory of its own; its guest path.
pub(crate) fn extract(file: &File, directory: &str) -> Result<String> {
    std::fs::create_dir_all(path::local(directory)).map_err(|error| Error::io(directory, &error))?;
    archive::extract(&file.name, directory)?;
    let mut entries = std::fs::read_dir(path::local(directory)).map_err(|error| Error::io(directory, &error))?;
    match entries.next() {
        Some(Ok(entry)) => match entry.file_name().into_string() {
            Ok(name) => Ok(format!("{directory}/{name}")),
            Err(_) => Err(Error::corrupt(format!("{} has another name in the set", file.name))),
        },
        _ => Err(Error::not_found(format!("{} is not in the set", file.name))),
    }
}
