//! The file index of an archive: JSON lines, compressed with zstd, one line for each entry in the archive's order.
//!
//! Keys: `path`, `type`, `mode` (octal text), `uid`, `gid`, `user`, `group`, `size`, `mtime` (decimal seconds), `blake3`
//! (of a file's whole content), `link`, `device`, `attributes` (one BLAKE3 over extended attributes and ACLs), `acl-users`
//! and `acl-groups` (the names of the ids in ACLs). A path or link that is not UTF-8 is in `path-hex` or `link-hex`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::acl::{Acl, Who};
use super::entry::{Entry, Kind};
use super::fs::owners::Owners;
use super::tar::attribute_digest;

/// A line may not be longer than this: paths are, but not without bounds.
const MAX_LINE: u64 = 16 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IndexEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The lower 12 mode bits in octal.
    pub mode: String,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The owner's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The size in bytes of a file's content.
    pub size: u64,
    /// When the content last changed, in decimal seconds since 1970.
    pub mtime: String,
    /// The BLAKE3 hash of a file's content, holes included, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link_hex: Option<String>,
    /// Major and minor number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// The BLAKE3 hash of the attributes as the archive keeps them, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<String>,
    /// The names of the users in ACLs, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acl_users: BTreeMap<u32, String>,
    /// The names of the groups in ACLs, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acl_groups: BTreeMap<u32, String>,
}

impl IndexEntry {
    /// The line of an entry.
    pub(super) fn new(entry: &Entry, content: Option<blake3::Hash>, owners: &Owners) -> Self {
        let (path, path_hex) = text_or_hex(&entry.path);
        let (link, link_hex) = entry.link.as_deref().map_or((None, None), text_or_hex);
        let mut line = Self {
            path,
            path_hex,
            kind: entry.kind,
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user.clone(),
            group: entry.group.clone(),
            size: entry.size,
            mtime: entry.mtime.to_string(),
            blake3: content.map(|hash| hash.to_hex().to_string()),
            link,
            link_hex,
            device: entry.device,
            attributes: attribute_digest(&entry.attributes).map(|hash| hash.to_hex().to_string()),
            acl_users: BTreeMap::new(),
            acl_groups: BTreeMap::new(),
        };
        for acl in [&entry.attributes.access, &entry.attributes.default].into_iter().flatten() {
            line.name_ids(acl, owners);
        }
        line
    }

    fn name_ids(&mut self, acl: &Acl, owners: &Owners) {
        for (who, _) in &acl.0 {
            match who {
                Who::User(id) => self.acl_users.extend(owners.user(*id).map(|name| (*id, name.to_owned()))),
                Who::Group(id) => self.acl_groups.extend(owners.group(*id).map(|name| (*id, name.to_owned()))),
                _ => {}
            }
        }
    }

    /// The path in the archive; empty for its top. `None` if the line is malformed.
    #[must_use]
    pub fn path(&self) -> Option<Vec<u8>> {
        bytes(self.path.as_deref(), self.path_hex.as_deref())
    }

    /// What a symbolic link contains, or the path that a hard link is another name of.
    #[must_use]
    pub fn link(&self) -> Option<Vec<u8>> {
        bytes(self.link.as_deref(), self.link_hex.as_deref())
    }

    /// How an entry of the archive differs from this line, its content aside.
    pub(super) fn difference(&self, entry: &Entry) -> Option<String> {
        let Self { kind, mode, uid, gid, user, group, size, mtime, device, .. } = self;
        let differs = |what: &str, has: &dyn std::fmt::Debug, says: &dyn std::fmt::Debug| {
            Some(format!("its {what} is {has:?}, the index says {says:?}"))
        };
        if *kind != entry.kind {
            return differs("type", &entry.kind, kind);
        }
        if *size != entry.size {
            return differs("size", &entry.size, size);
        }
        let octal = format!("{:04o}", entry.mode);
        if *mode != octal {
            return differs("mode", &octal, mode);
        }
        if (*uid, *gid) != (entry.uid, entry.gid) {
            return differs("owner", &(entry.uid, entry.gid), &(uid, gid));
        }
        if (user, group) != (&entry.user, &entry.group) {
            return differs("owner", &(&entry.user, &entry.group), &(user, group));
        }
        let time = entry.mtime.to_string();
        if *mtime != time {
            return differs("time", &time, mtime);
        }
        if self.link() != entry.link {
            return Some("its link target is not that of the index".to_owned());
        }
        if *device != entry.device {
            return differs("device", &entry.device, device);
        }
        let digest = attribute_digest(&entry.attributes).map(|hash| hash.to_hex().to_string());
        (digest != self.attributes).then(|| "its extended attributes are not those of the index".to_owned())
    }
}

/// Writes lines.
pub(super) fn write_line(to: &mut impl Write, line: &IndexEntry) -> io::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    to.write_all(b"\n")
}

/// Reads the lines of a decompressed index, in order.
pub struct IndexReader<R> {
    inner: R,
    line: Vec<u8>,
}

impl<R: BufRead> IndexReader<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, line: Vec::new() }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// If it cannot be read, or is malformed.
    pub fn next_entry(&mut self) -> io::Result<Option<IndexEntry>> {
        self.line.clear();
        if io::Read::take(&mut self.inner, MAX_LINE).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let Some(line) = self.line.strip_suffix(b"\n") else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
        };
        Ok(Some(serde_json::from_slice(line)?))
    }
}

fn text_or_hex(raw: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(raw) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(raw.iter().map(|b| format!("{b:02x}")).collect())),
    }
}

fn bytes(text: Option<&str>, hex: Option<&str>) -> Option<Vec<u8>> {
    let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    match (text, hex) {
        (Some(text), None) => Some(text.as_bytes().to_vec()),
        (None, Some(hex)) => {
            let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
            let pairs = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
            rest.is_empty().then(|| pairs.collect::<Option<Vec<u8>>>()).flatten()
        }
        _ => None,
    }
}
