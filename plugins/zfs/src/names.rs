//! Names that follow from a dataset and a label.

/// `tank/home@label`.
pub(crate) fn snapshot_name(dataset: &str, label: &str) -> String {
    format!("{dataset}@{label}")
}

/// `tank/home#label`: what an increment can start from when the snapshot is gone.
pub(crate) fn bookmark_name(dataset: &str, label: &str) -> String {
    format!("{dataset}#{label}")
}

/// The clone for reading. Below the dataset, so that it is in its pool, under its key if it is encrypted, and within what
/// was delegated on it.
pub(crate) fn clone_name(dataset: &str, label: &str) -> String {
    format!("{dataset}/{label}")
}

/// `tank` of `tank/home`.
pub(crate) fn pool(dataset: &str) -> &str {
    dataset.split('/').next().unwrap_or(dataset)
}

/// `home` of `tank/home`.
pub(crate) fn last_component(dataset: &str) -> &str {
    dataset.rsplit('/').next().unwrap_or(dataset)
}

/// Where something of the `n`th dataset is mounted in the staging area.
pub(crate) fn mount_directory(what: &str, n: usize) -> String {
    format!("{}/{what}-{n}", bkhost_sdk::path::STAGING)
}

/// Where a restore receives what becomes `to`: beside it, in a name that no other restore has.
pub(crate) fn partial(to: &str, label: &str) -> String {
    // The id, of which an instance's labels are made.
    let id = label.get(label.len().saturating_sub(22)..).unwrap_or(label);
    format!("{to}.bkhost-partial-{id}")
}

/// The directory that holds a dataset in the archive: the top for one that can only be alone, else its name. No dataset's
/// name holds a `%`, so no two become the same.
pub(crate) fn source_name(dataset: &str, alone: bool) -> String {
    if alone { String::new() } else { dataset.replace('/', "%2F") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_dataset_is_the_top_of_the_archive() {
        assert_eq!(source_name("tank/home", true), "");
        assert_eq!(source_name("tank/home", false), "tank%2Fhome");
        assert_ne!(source_name("tank/a", false), source_name("tank_a", false));
    }

    #[test]
    fn parts_of_a_name() {
        assert_eq!((pool("tank/a/b c"), last_component("tank/a/b c")), ("tank", "b c"));
        assert_eq!((pool("tank"), last_component("tank")), ("tank", "tank"));
    }
}
