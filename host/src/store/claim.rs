//! The lease of an instance: a small file that several hosts compete for, changed only by whoever knows what it held.

use super::error::failed_io;
use super::open::Store;
use crate::archive::check_name;
use crate::error::Result;

/// The lease of an instance.
const LEASE: &str = "lease.json";

impl Store {
    /// What the lease of an instance holds, if there is one.
    ///
    /// # Errors
    /// `Store` if it cannot be read.
    pub fn lease(&self, instance: &str) -> Result<Option<Vec<u8>>> {
        check_name("an instance", instance)?;
        let path = format!("{instance}/{LEASE}");
        self.backend
            .held(&path)
            .map_err(|e| failed_io(e, format!("cannot read {path} in the store {}", self.location())))
    }

    /// Change the lease of an instance from `old` (none: there is no lease) to `new` (none: remove it). False, and nothing
    /// is changed, if it holds something else.
    ///
    /// # Errors
    /// `Store` if it cannot be changed.
    pub fn change_lease(&self, instance: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool> {
        check_name("an instance", instance)?;
        let path = format!("{instance}/{LEASE}");
        self.backend
            .change(&path, old, new)
            .map_err(|e| failed_io(e, format!("cannot change {path} in the store {}", self.location())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn only_whoever_knows_what_it_held_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_str().unwrap()).unwrap();
        assert_eq!(store.lease("wiki").unwrap(), None);
        assert!(!store.change_lease("wiki", Some(b"a"), Some(b"b")).unwrap(), "there is none");
        assert!(store.change_lease("wiki", None, Some(b"a")).unwrap());
        assert!(!store.change_lease("wiki", None, Some(b"b")).unwrap(), "there is one");
        assert!(!store.change_lease("wiki", Some(b"x"), Some(b"b")).unwrap());
        assert!(!store.change_lease("wiki", Some(b"x"), None).unwrap());
        assert!(store.change_lease("wiki", Some(b"a"), Some(b"b")).unwrap());
        assert_eq!(store.lease("wiki").unwrap().unwrap(), b"b");
        assert!(store.change_lease("wiki", Some(b"b"), None).unwrap());
        assert_eq!(store.lease("wiki").unwrap(), None);
        assert_eq!(store.list("wiki").unwrap().len(), 0);
        let left = || std::fs::read_dir(dir.path().join("wiki")).unwrap().count();
        assert_eq!(left(), 0, "drafts are left");
        // Of somebody who was killed.
        std::fs::write(dir.path().join("wiki/.lease-17-23-0"), "").unwrap();
        // Of somebody else.
        std::fs::write(dir.path().join("wiki/.lease-mine"), "").unwrap();
        assert!(store.change_lease("wiki", None, None).unwrap());
        assert_eq!(left(), 1, "the draft of a dead process is left, or what is none is gone");
    }

    /// Of many who know the same old content, one wins each round.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_of_many_wins() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_str().unwrap()).unwrap();
        let mut old: Option<Vec<u8>> = None;
        for round in 0..20 {
            let wins: Vec<Vec<u8>> = std::thread::scope(|scope| {
                let tries: Vec<_> = (0..8)
                    .map(|n| {
                        let (store, old) = (&store, old.as_deref());
                        scope.spawn(move || {
                            let new = format!("{round} {n}").into_bytes();
                            store.change_lease("wiki", old, Some(&new)).unwrap().then_some(new)
                        })
                    })
                    .collect();
                tries.into_iter().filter_map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(wins.len(), 1, "round {round}");
            assert_eq!(store.lease("wiki").unwrap().as_ref(), wins.first());
            old = wins.into_iter().next();
        }
    }
}
