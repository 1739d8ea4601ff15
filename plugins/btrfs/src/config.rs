//! `[part.config]`.

use bkhost_sdk::Error;
use serde::Deserialize;

use crate::names::{last_component, within};

/// What is archived of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Archive {
    #[default]
    Files,
    Stream,
}

/// What becomes of subvolumes inside of those that are backed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Nested {
    #[default]
    Refuse,
    Skip,
}

/// `[part.config]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Config {
    pub(crate) subvolumes: Vec<String>,
    pub(crate) snapshots: String,
    pub(crate) archive: Archive,
    pub(crate) nested: Nested,
    pub(crate) full_every: u32,
    pub(crate) drill_directory: Option<String>,
}

impl Config {
    /// Values that contradict each other.
    pub(crate) fn contradiction(&self) -> Option<Error> {
        let paths = self.subvolumes.iter().chain([&self.snapshots]).chain(&self.drill_directory);
        for path in paths {
            if path.split('/').any(|part| part == "." || part == "..") {
                return Some(
                    Error::invalid_config(format!("the path {path} holds a `.` or `..`")).hint("write it plainly"),
                );
            }
        }
        for outer in &self.subvolumes {
            // A snapshot directory that is a subvolume itself holds what is no data of the part.
            if *outer == self.snapshots {
                return Some(
                    Error::invalid_config(format!("`snapshots` is {outer}, which is backed up"))
                        .hint("name a directory beside the subvolumes, for the snapshots alone"),
                );
            }
            if let Some(drill) = self.drill_directory.as_ref().filter(|drill| within(drill, outer)) {
                return Some(
                    Error::invalid_config(format!("`drill-directory` {drill} is in {outer}, which is backed up"))
                        .hint("name a directory outside of all that is backed up"),
                );
            }
        }
        None
    }

    /// What each subvolume becomes below the target of a restore of several.
    pub(crate) fn same_last(paths: &[&str]) -> Option<String> {
        let last = |n: usize| paths.get(n).map(|path| last_component(path));
        (0..paths.len()).find(|&n| (0..n).any(|m| last(m) == last(n))).and_then(last).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subvolumes: &[&str], snapshots: &str, drill: Option<&str>) -> Config {
        Config {
            subvolumes: subvolumes.iter().map(|&path| path.to_owned()).collect(),
            snapshots: snapshots.to_owned(),
            drill_directory: drill.map(str::to_owned),
            ..Config::default()
        }
    }

    #[test]
    fn contradictions() {
        assert!(config(&["/p/a", "/p/a/b"], "/p/s", Some("/p/d")).contradiction().is_none());
        assert!(config(&["/"], "/.bkhost", None).contradiction().is_none());
        for (config, what) in [
            (config(&["/p/../a"], "/p/s", None), "`..`"),
            (config(&["/p/s"], "/p/s", None), "is backed up"),
            (config(&["/p/a"], "/p/s", Some("/p/a/d")), "`drill-directory`"),
            (config(&["/"], "/s", Some("/d")), "`drill-directory`"),
        ] {
            assert!(config.contradiction().unwrap().message.contains(what), "{what}");
        }
        assert_eq!(Config::same_last(&["/a/x", "/b/y"]), None);
        assert_eq!(Config::same_last(&["/a/x", "/b/x"]).as_deref(), Some("x"));
    }
}
