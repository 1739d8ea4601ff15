//! One large archive that holds a whole set: what old procedures expect, and what a set is made from again.
//!
//! ```text
//! .bkhost/manifest.json             the set's manifest, first
//! .bkhost/home.index.jsonl          the index of a part's files
//! home/…                            the part's files
//! database.dump                     a part's stream
//! .bkhost/sets/<id>/…               the same of a set on which this one builds
//! .bkhost/contents.jsonl            last: size and BLAKE3 of every file above that is no part's, and one over itself
//! ```
//!
//! So every byte is checked: the files of parts by their index, everything else by the contents, and that the end is there
//! by the contents, too. What is checked is not who wrote it.

mod read;
mod write;

use serde::{Deserialize, Serialize};

pub use read::{Unpacked, UnpackedObject, unpack_one};
pub use write::OneWriter;

/// The directory of what is not the operator's own.
const OURS: &str = ".bkhost";
/// The last entry.
const CONTENTS: &str = ".bkhost/contents.jsonl";

/// Where a set's files begin: that of the archive itself, or one on which it builds.
#[must_use]
pub fn set_prefix(base: Option<&str>) -> String {
    base.map_or_else(String::new, |id| format!("{OURS}/sets/{id}/"))
}

/// Where a set's manifest is.
#[must_use]
pub fn manifest_path(prefix: &str) -> String {
    format!("{prefix}{OURS}/manifest.json")
}

/// Where the index of a part is.
#[must_use]
pub fn index_path(prefix: &str, part: &str) -> String {
    format!("{prefix}{OURS}/{part}.index.jsonl")
}

/// A line of the contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    path: String,
    bytes: u64,
    blake3: String,
}

/// The lines, and the hash of all of them.
fn contents(lines: &[Line]) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    let hash = blake3::hash(&text).to_hex().to_string();
    let last = Line { path: CONTENTS.to_owned(), bytes: text.len() as u64, blake3: hash };
    serde_json::to_writer(&mut text, &last)?;
    text.push(b'\n');
    Ok(text)
}
