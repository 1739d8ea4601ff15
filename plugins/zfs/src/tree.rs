//! The datasets of a part: those that are configured, and with `recursive` those below them.

use bkhost_sdk::{Error, Result, exec};

use crate::Config;
use crate::own::{mine, own};
use crate::properties::absent;

/// A dataset that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dataset {
    pub(crate) name: String,
    /// Whether it is a volume, and not a file system.
    pub(crate) volume: bool,
}

impl Config {
    /// Values that contradict each other.
    pub(crate) fn contradiction(&self) -> Option<Error> {
        if !self.recursive && !self.exclude.is_empty() {
            return Some(
                Error::invalid_config("`exclude` leaves out datasets below others, which only `recursive` includes")
                    .hint("set recursive = true, or drop exclude"),
            );
        }
        if let Some(scratch) = &self.drill_dataset
            && let Some(outer) = self.datasets.iter().find(|outer| *outer == scratch || below(scratch, outer))
        {
            return Some(
                Error::invalid_config(format!("`drill-dataset` {scratch} is in {outer}, which is backed up"))
                    .hint("name a dataset outside of all that are backed up"),
            );
        }
        if self.recursive
            && let Some(inner) =
                self.datasets.iter().find(|inner| self.datasets.iter().any(|outer| below(inner, outer)))
        {
            return Some(
                Error::invalid_config(format!("with `recursive`, {inner} is included by another dataset above it"))
                    .hint("name only the topmost ones"),
            );
        }
        let stray = self.exclude.iter().find(|name| !self.datasets.iter().any(|outer| below(name, outer)))?;
        Some(
            Error::invalid_config(format!("`exclude` names {stray}, which is not below any of the datasets"))
                .hint("write its full name: pool/…"),
        )
    }

    /// Whether it is left out.
    pub(crate) fn excluded(&self, name: &str) -> bool {
        self.exclude.iter().any(|excluded| excluded == name || below(name, excluded))
    }
}

/// What exists at and below the configured datasets, those that are left out included; the clones that this part made for
/// reading are not. A configured dataset that does not exist is not there.
///
/// # Errors
/// ZFS cannot be asked.
pub(crate) fn datasets(config: &Config) -> Result<Vec<Dataset>> {
    let mut all = Vec::new();
    for root in &config.datasets {
        let output = exec::run("descendants", &[("dataset", root)])?;
        if absent(&output) {
            continue;
        }
        let listed = parse(&output.ok()?.stdout);
        for dataset in listed.into_iter().filter(|dataset| config.recursive || dataset.name == *root) {
            if !is_own_clone(&dataset.name)? {
                all.push(dataset);
            }
        }
    }
    Ok(all)
}

/// Parse `zfs list -H -o name,type`.
pub(crate) fn parse(listed: &str) -> Vec<Dataset> {
    listed
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, kind)| Dataset { name: name.to_owned(), volume: kind.trim() == "volume" })
        .collect()
}

/// Whether a name is below another.
pub(crate) fn below(name: &str, outer: &str) -> bool {
    name.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

/// A dataset that merely has such a name belongs to the data.
fn is_own_clone(name: &str) -> Result<bool> {
    let Some(label) = name.rsplit('/').next().filter(|last| last.starts_with("bkhost-")) else { return Ok(false) };
    let plain = label.len() <= 64 && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain {
        return Ok(false);
    }
    Ok(own(name)?.is_some_and(|found| mine(&found, label) && found.value("origin").is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(datasets: &[&str], recursive: bool, exclude: &[&str]) -> Config {
        let all = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Config { datasets: all(datasets), recursive, exclude: all(exclude), ..Config::default() }
    }

    #[test]
    fn contradictions() {
        assert!(config(&["t/a", "t/a/b"], false, &[]).contradiction().is_none());
        assert!(config(&["t/a", "t/ab"], true, &["t/a/x", "t/ab/y/z"]).contradiction().is_none());
        for (config, what) in [
            (config(&["t/a"], false, &["t/a/b"]), "only `recursive` includes"),
            (config(&["t/a", "t/a/b"], true, &[]), "t/a/b is included"),
            (config(&["t/a"], true, &["t/ab"]), "t/ab, which is not below"),
            (config(&["t/a"], true, &["t/a"]), "t/a, which is not below"),
        ] {
            let error = config.contradiction().unwrap();
            assert!(error.message.contains(what), "{what}: {}", error.message);
        }
    }

    #[test]
    fn what_is_left_out() {
        let config = config(&["t/a"], true, &["t/a/cache"]);
        assert!(config.excluded("t/a/cache") && config.excluded("t/a/cache/x"));
        assert!(!config.excluded("t/a") && !config.excluded("t/a/cache2") && !config.excluded("t/a/b/cache"));
    }

    #[test]
    fn names_and_types() {
        let all = parse("t/a\tfilesystem\nt/a/with space\tvolume\n");
        assert_eq!(
            all,
            [Dataset { name: "t/a".into(), volume: false }, Dataset { name: "t/a/with space".into(), volume: true },]
        );
    }
}
