//! What is in a set, by its indexes.

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::proof::part_objects;
use super::prune::blocking;
use crate::archive::set::PartRecord;
use crate::archive::{Control, IndexEntry, Kind, escape, read_index};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, waiting};
use crate::store::StoredSet;

/// One entry of a part's archive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Content {
    /// The part.
    pub part: String,
    /// Its path, escaped: as `restore --path` takes it.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The lower 12 mode bits in octal.
    pub mode: String,
    /// The owner's name, else the number.
    pub user: String,
    /// The group's name, else the number.
    pub group: String,
    /// Bytes of content.
    pub size: u64,
    /// When the content last changed, in decimal seconds since 1970.
    pub mtime: String,
    /// What it links to, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Hand on what is in a part, or only what is at or below `below`, in the archive's order. Gives how many entries there
/// were.
///
/// # Errors
/// `Config` if the part is not kept as files; `Damaged`, also after some were handed on; `Store`; `Cancelled`.
pub async fn contents(
    reporter: &Reporter,
    set: &StoredSet,
    part: &PartRecord,
    below: Option<Vec<u8>>,
    cancel: &CancellationToken,
    mut each: impl FnMut(Content) + Send + 'static,
) -> Result<u64> {
    let (set, part) = (set.clone(), part.clone());
    let control = Control::new(cancel.clone(), |_| {});
    let what = format!("the index of part `{}`", part.name);
    let work = blocking(move || {
        let objects = part_objects(&part, set.keys())?.ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("part `{}` is not kept as files", part.name))
                .hint("`bkhost show` tells what is kept of it")
        })?;
        let below = below.map(|path| path.strip_suffix(b"/").map(<[u8]>::to_vec).unwrap_or(path));
        let mut count = 0u64;
        read_index(set.object(&objects.index.file)?, &objects, &control, |path, line| {
            let inside = |top: &Vec<u8>| {
                path.strip_prefix(top.as_slice()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            };
            if below.as_ref().is_none_or(inside) {
                count = count.saturating_add(1);
                each(content(&part.name, path, line));
            }
            Ok(())
        })?;
        Ok(count)
    });
    waiting(reporter, &what, work).await
}

fn content(part: &str, path: &[u8], line: &IndexEntry) -> Content {
    Content {
        part: part.to_owned(),
        path: if path.is_empty() { ".".to_owned() } else { escape(path) },
        kind: line.kind,
        mode: line.mode.clone(),
        user: line.user.clone().unwrap_or_else(|| line.uid.to_string()),
        group: line.group.clone().unwrap_or_else(|| line.gid.to_string()),
        size: line.size,
        mtime: line.mtime.clone(),
        link: line.link().map(|link| escape(&link)),
    }
}
