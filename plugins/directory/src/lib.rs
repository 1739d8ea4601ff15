//! Strategy directory: a plain tree, copied into the staging area by the host.
//!
//! A pass over the live tree before the lock copies almost everything; a second one under the lock copies what has
//! changed since. The lock therefore lasts as long as that pass, which is what `consistency = "copied"` tells.

use std::io::ErrorKind;

use bkhost_sdk::mirror::{self, Copied, Pass};
use bkhost_sdk::{Archived, Error, Finding, Result, Snapshot, Source, Strategy, archive, config, info, path, warn};
use serde::{Deserialize, Serialize};

bkhost_sdk::export!(Directory);

const SOURCE: &str = "/source/tree";
const COPY: &str = "/staging/tree";
/// EILSEQ, as WASI numbers it: a directory with a name that is not UTF-8 cannot be listed from inside the sandbox. The
/// host, which copies, can.
const NOT_UTF8: i32 = 25;

/// `[part.config]`.
#[derive(Debug, Deserialize)]
struct Config {
    path: String,
    exclude: Vec<String>,
}

/// What a snapshot record keeps: what the final pass did.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct State {
    path: String,
    exclude: Vec<String>,
    entries: u64,
    bytes: u64,
    /// Entries that had changed since the live pass, and were copied or removed under the lock.
    updated: u64,
    removed: u64,
    /// Bytes that were written or reflinked under the lock.
    written: u64,
    /// Files that changed while the final pass read them (without a lock, they do): their copies may be torn.
    #[serde(default)]
    changed: Vec<String>,
}

/// The strategy.
#[derive(Debug)]
struct Directory {
    config: Config,
}

impl Strategy for Directory {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        let subject = format!("directory {}", self.config.path);
        Ok(vec![match std::fs::read_dir(path::local(SOURCE)).map(|mut entries| entries.next().is_none()) {
            Ok(false) => Finding::info(subject, "is readable"),
            Ok(true) => Finding::warning(subject, "is empty").hint("is the file system that belongs there mounted?"),
            Err(error) if error.raw_os_error() == Some(NOT_UTF8) => Finding::info(subject, "is readable"),
            Err(error) => {
                let hint = match error.kind() {
                    ErrorKind::NotFound => "check [part.config] path",
                    ErrorKind::PermissionDenied => "run bkhost as a user who may read it",
                    _ => "it has to be a directory that this user may read",
                };
                Finding::failure(subject, path::unreadable(&error)).hint(hint)
            }
        }])
    }

    fn prepare(&mut self) -> Result<()> {
        let copied = self.copy(Pass::Live)?;
        info!("{}: {} entries, {} bytes; {} updated", self.config.path, copied.entries, copied.bytes, copied.updated);
        Ok(())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        let copied = self.copy(Pass::Final)?;
        let Copied { entries, bytes, updated, written, removed, changed } = copied;
        if !changed.is_empty() {
            let some: Vec<_> = changed.iter().take(5).map(String::as_str).collect();
            warn!("{} files changed while they were copied: {}", changed.len(), some.join(", "));
        }
        let path = self.config.path.clone();
        let state = State { path, exclude: self.excludes(), entries, bytes, updated, removed, written, changed };
        let mut snapshot = Snapshot::copied(label, &fit(state))?;
        snapshot.bytes = Some(bytes);
        Ok(snapshot)
    }

    fn open(&mut self, _: &Snapshot) -> Result<Vec<Source>> {
        // What is excluded is not in the copy.
        Ok(vec![Source::tree("", COPY)])
    }

    // The copy stays: the next run's live pass then copies only what has changed.

    fn restore(&mut self, _: &Snapshot, archived: &[Archived], _: Option<&str>) -> Result<()> {
        if !archived.iter().any(|archived| archived.name.is_empty()) {
            return Err(Error::not_found("the set holds no archive of this directory"));
        }
        let entries = archive::extract("", path::TARGET)?;
        info!("{entries} entries were restored");
        Ok(())
    }

    fn delete(&mut self, _: &Snapshot) -> Result<()> {
        // There is one copy, and it belongs to the newest run.
        Ok(())
    }

    fn discard(&mut self, _: &str) -> Result<()> {
        Ok(())
    }
}

impl Directory {
    /// What is left out: the part's own, and what the operator and the part's profile leave out of any strategy.
    fn excludes(&self) -> Vec<String> {
        self.config.exclude.iter().cloned().chain(config::excludes()).collect()
    }

    fn copy(&self, pass: Pass) -> Result<Copied> {
        mirror::copy(SOURCE, COPY, &self.excludes(), pass)
    }
}

/// Names of files may be long, and a state is 256 KiB at most: keep as many as fit.
fn fit(mut state: State) -> State {
    let mut room: usize = 128 << 10;
    let kept = state
        .changed
        .iter()
        .take_while(|name| {
            // A character may take six bytes in JSON.
            let size = name.len().saturating_mul(6).saturating_add(3);
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        })
        .count();
    state.changed.truncate(kept);
    state
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use bkhost_sdk::testing::{self, Host, Part};
    use bkhost_sdk::{ArchivedForm, ErrorCode, Severity};

    use super::*;

    struct Mirror {
        seen: Rc<RefCell<Vec<String>>>,
        changed: Vec<String>,
    }

    impl Host for Mirror {
        fn mirror(&mut self, source: &str, destination: &str, exclude: &[String], pass: Pass) -> Result<Copied> {
            self.seen.borrow_mut().push(format!("{pass:?} {source} {destination} {exclude:?}"));
            Ok(Copied { entries: 3, bytes: 9, updated: 1, written: 4, removed: 0, changed: self.changed.clone() })
        }

        fn extract(&mut self, name: &str, to: &str) -> Result<u64> {
            self.seen.borrow_mut().push(format!("extract '{name}' {to}"));
            Ok(3)
        }
    }

    fn directory() -> Directory {
        Directory { config: Config { path: "/srv/home".into(), exclude: vec!["*.tmp".into()] } }
    }

    #[test]
    fn two_passes_then_the_copy_is_offered_and_stays() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let host = Mirror { seen: Rc::clone(&seen), changed: vec!["a/b".into()] };
        let (snapshot, log) = testing::host(Part::default(), host, || {
            let mut directory = directory();
            directory.prepare().unwrap();
            let snapshot = directory.capture("bkhost-i-1").unwrap();
            assert!(
                matches!(&directory.open(&snapshot).unwrap()[..], [Source::Tree(t)] if t.root == COPY && t.name.is_empty())
            );
            directory.close(&snapshot).unwrap();
            let archived = Archived { set: "this".into(), name: String::new(), form: ArchivedForm::Tree, bytes: 9 };
            directory.restore(&snapshot, &[archived], Some("/target")).unwrap();
            snapshot
        });
        assert_eq!(
            *seen.borrow(),
            [
                "Pass::Live /source/tree /staging/tree [\"*.tmp\"]",
                "Pass::Final /source/tree /staging/tree [\"*.tmp\"]",
                "extract '' /target"
            ]
        );
        let state: State = snapshot.state().unwrap();
        assert_eq!((state.entries, state.written, state.changed), (3, 4, vec!["a/b".to_owned()]));
        assert!(log.iter().any(|(_, message)| message.contains("1 files changed")), "{log:?}");
    }

    #[test]
    fn a_set_without_the_archive_is_refused_before_anything_is_written() {
        let host = Mirror { seen: Rc::default(), changed: Vec::new() };
        let (outcome, _) = testing::host(Part::default(), host, || {
            let mut directory = directory();
            let snapshot = directory.capture("bkhost-i-1").unwrap();
            directory.restore(&snapshot, &[], None)
        });
        assert_eq!(outcome.unwrap_err().code, ErrorCode::NotFound);
    }

    #[test]
    fn the_state_stays_small() {
        let host = Mirror { seen: Rc::default(), changed: vec!["\u{1}".repeat(4000); 1000] };
        let (snapshot, _) = testing::host(Part::default(), host, || directory().capture("bkhost-i-1").unwrap());
        assert!(snapshot.state.len() < 256 << 10, "{}", snapshot.state.len());
    }

    #[test]
    fn a_directory_that_is_missing_or_empty_is_found() {
        let severity = |root: &std::path::Path| {
            let part = Part { root: root.into(), ..Part::default() };
            let host = Mirror { seen: Rc::default(), changed: Vec::new() };
            testing::host(part, host, || directory().check().unwrap()[0].severity).0
        };
        let root = std::env::temp_dir().join(format!("bkhost-directory-{}", std::process::id()));
        assert_eq!(severity(&root), Severity::Failure);
        std::fs::create_dir_all(root.join("source/tree")).unwrap();
        assert_eq!(severity(&root), Severity::Warning);
        std::fs::write(root.join("source/tree/f"), "x").unwrap();
        assert_eq!(severity(&root), Severity::Info);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
