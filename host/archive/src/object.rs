//! What the set manifest says about a stored object.

use serde::{Deserialize, Serialize};

/// What an object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectRole {
    /// The part's tar archive.
    Data,
    /// The file index of the archive.
    Index,
    /// The output of a process.
    Stream,
    /// What an encrypted set's manifest does not say of the part: JSON.
    Notes,
}

/// One stored object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ObjectRecord {
    /// Its file name in the set.
    pub file: String,
    /// What it is for.
    pub role: ObjectRole,
    /// The source it holds, for a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its size as stored.
    pub bytes: u64,
    /// Its size after decompression.
    pub content_bytes: u64,
    /// The BLAKE3 hash of the stored bytes, in hex.
    pub blake3: String,
}
