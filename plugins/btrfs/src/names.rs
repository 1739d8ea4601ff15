//! Names and paths that follow from the configuration and a label.

use bkhost_sdk::config;

/// What the names of a run's snapshots and of its mark begin with: the part is in it, since parts may share a directory.
fn stem(label: &str) -> String {
    format!("{label}.{}", config::part())
}

/// The path of the snapshot of the `n`th subvolume.
pub(crate) fn snapshot_path(snapshots: &str, label: &str, n: usize) -> String {
    format!("{snapshots}/{}.{n}", stem(label))
}

/// The snapshot's directory as the host finds it.
pub(crate) fn snapshot_source(label: &str, n: usize) -> String {
    format!("/source/snapshots/{}.{n}", stem(label))
}

/// The file name of the mark of a run.
pub(crate) fn mark_name(label: &str) -> String {
    format!("{}.json", stem(label))
}

/// `home` of `/srv/home`; `top` of `/`.
pub(crate) fn last_component(path: &str) -> &str {
    path.rsplit('/').next().filter(|last| !last.is_empty()).unwrap_or("top")
}

/// The directory that holds a subvolume in the archive: the top for the only one, else its path. No two become the same.
pub(crate) fn source_name(path: &str, of: usize) -> String {
    if of == 1 {
        return String::new();
    }
    match path.trim_start_matches('/') {
        "" => "%2F".to_owned(),
        rest => rest.replace('%', "%25").replace('/', "%2F"),
    }
}

/// Where something of the `n`th subvolume is mounted in the staging area.
pub(crate) fn mount_directory(n: usize) -> String {
    format!("{}/restore-{n}", bkhost_sdk::path::STAGING)
}

/// Where a restore makes what becomes `to`: beside it, in a name that no other restore has.
pub(crate) fn partial(to: &str, label: &str) -> String {
    // The id, of which an instance's labels are made.
    let id = label.get(label.len().saturating_sub(22)..).unwrap_or(label);
    format!("{to}.bkhost-partial-{id}")
}

/// Whether a path is another, or lies in it, by their words.
pub(crate) fn within(path: &str, outer: &str) -> bool {
    path == outer || path.strip_prefix(outer.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_archive() {
        assert_eq!(source_name("/srv/home", 1), "");
        assert_eq!(source_name("/srv/home", 2), "srv%2Fhome");
        assert_ne!(source_name("/srv%2Fhome", 2), source_name("/srv/home", 2));
        assert_ne!(source_name("/", 2), source_name("/%2F", 2));
    }

    #[test]
    fn paths_in_others() {
        assert!(within("/a/b", "/a") && within("/a", "/a") && within("/a", "/"));
        assert!(!within("/ab", "/a") && !within("/a", "/a/b"));
        assert_eq!((last_component("/a/b c"), last_component("/")), ("b c", "top"));
    }
}
