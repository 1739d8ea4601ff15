//! How the last notification on each channel went, remembered where `bkhost status` finds it: a mail that is refused is told
//! to nobody else.

use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Larger is no mark.
const MAX: u64 = 64 << 10;

/// How the last notification on a channel went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mark {
    /// The channel.
    pub channel: String,
    /// When.
    pub at: Timestamp,
    /// On which occasion.
    pub occasion: String,
    /// Why it was not taken; none: it was.
    #[serde(default)]
    pub error: Option<String>,
    /// When one was taken last.
    #[serde(default)]
    pub last_taken: Option<Timestamp>,
}

impl Mark {
    /// One of now.
    #[must_use]
    pub fn new(channel: &str, occasion: &str, error: Option<String>) -> Self {
        let at = Timestamp::now();
        let last_taken = error.is_none().then_some(at);
        Self { channel: channel.to_owned(), at, occasion: occasion.to_owned(), error, last_taken }
    }

    /// The mark of a channel, if there was ever anything to tell on it.
    #[must_use]
    pub fn read(dir: &Path, channel: &str) -> Option<Self> {
        let path = path(dir, channel);
        if path.metadata().ok()?.len() > MAX {
            return None;
        }
        let mark: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (mark.channel == channel).then_some(mark)
    }

    /// Writes it, in one step. Best effort: it must not fail a backup.
    pub(super) fn write(mut self, dir: &Path) {
        self.last_taken = self.last_taken.or_else(|| Self::read(dir, &self.channel)?.last_taken);
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(dir)?;
            let mut draft = tempfile::NamedTempFile::new_in(dir)?;
            draft.write_all(&serde_json::to_vec(&self)?)?;
            draft.persist(path(dir, &self.channel))?;
            Ok(())
        };
        let _ = write();
    }
}

/// A name may hold anything.
fn path(dir: &Path, channel: &str) -> PathBuf {
    let digest = blake3::hash(channel.as_bytes()).to_hex();
    dir.join(format!("{}.json", digest.get(..32).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_channel() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("notify");
        assert_eq!(Mark::read(&dir, "mail"), None);
        Mark::new("mail", "success", None).write(&dir);
        let taken = Mark::read(&dir, "mail").unwrap();
        assert_eq!((taken.error.as_ref(), taken.last_taken), (None, Some(taken.at)));
        Mark::new("mail", "failure", Some("550".into())).write(&dir);
        let failed = Mark::read(&dir, "mail").unwrap();
        assert_eq!((failed.error.as_deref(), failed.last_taken), (Some("550"), Some(taken.at)));
        Mark::new("a/../ö", "failure", None).write(&dir);
        assert!(Mark::read(&dir, "a/../ö").is_some());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
        std::fs::write(path(&dir, "mail"), "garbage").unwrap();
        assert_eq!(Mark::read(&dir, "mail"), None);
        Mark::new("mail", "failure", None).write(&dir);
        assert!(Mark::read(&dir, "mail").is_some());
    }
}
