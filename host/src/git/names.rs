//! Which names in a repository are locks.

/// Locks at the top of a repository or of a linked worktree, but for those of pseudo refs: what git itself locks, and what
/// it leaves when it is killed and is in its own way then.
const TOP: &[&[u8]] = &[
    b"index.lock",
    b"config.lock",
    b"config.worktree.lock",
    b"packed-refs.lock",
    b"packed-refs.new",
    b"shallow.lock",
    b"gc.pid",
    b"gc.pid.lock",
];
/// Directories of a repository, and the locks that are right in each.
const FIXED: &[(&str, &[&[u8]])] = &[
    ("objects", &[b"maintenance.lock", b"schedule.lock"]),
    ("objects/pack", &[b"multi-pack-index.lock"]),
    ("info", &[b"sparse-checkout.lock"]),
    ("reftable", &[b"tables.list.lock"]),
];
/// Directories of a repository in which every file that ends in `.lock` is one, at any depth: no name of a ref ends so.
pub(super) const DEEP: &[&str] = &["refs", "logs", "objects/info"];

pub(super) fn is_top(name: &[u8]) -> bool {
    TOP.contains(&name) || name.strip_suffix(b".lock").is_some_and(is_pseudo_ref)
}

/// `HEAD`, `FETCH_HEAD`, `ORIG_HEAD` and the like.
fn is_pseudo_ref(name: &[u8]) -> bool {
    let plain = name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    plain && (name == b"HEAD" || name.ends_with(b"_HEAD") || name == b"AUTO_MERGE")
}

pub(super) fn fixed() -> impl Iterator<Item = (&'static str, &'static [&'static [u8]])> {
    FIXED.iter().copied()
}

/// Whether a file in one of [`DEEP`] is a lock.
pub(super) fn is_deep(name: &[u8]) -> bool {
    name.ends_with(b".lock") && name.len() > b".lock".len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_writes_and_nothing_else() {
        for name in [
            "HEAD.lock",
            "index.lock",
            "config.lock",
            "FETCH_HEAD.lock",
            "AUTO_MERGE.lock",
            "gc.pid",
            "packed-refs.new",
        ] {
            assert!(is_top(name.as_bytes()), "{name}");
        }
        for name in [
            "HEAD",
            "foo.lock",
            ".lock",
            "_.lock",
            "head.lock",
            "README.lock",
            "index.lock~",
            "gc.pid.old",
            "MY_THING.lock",
        ] {
            assert!(!is_top(name.as_bytes()), "{name}");
        }
        assert!(is_deep(b"main.lock") && is_deep(b"alternates.lock"));
        assert!(!is_deep(b".lock") && !is_deep(b"main.locked") && !is_deep(b"lock"));
    }
}
