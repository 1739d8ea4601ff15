//! Subvolumes inside of those that are backed up: a snapshot holds an empty directory in the place of each.

use bkhost_sdk::{Error, Result, warn};

use crate::config::{Config, Nested};
use crate::names::last_component;
use crate::show::{Found, Listed, nested, show};

/// What to do about them.
pub(crate) const HINT: &str =
    "add them to [part.config] subvolumes, or set nested = \"skip\" if their data is not needed";

/// For each configured subvolume, those inside of it that nobody named: their paths from the top of the file system.
///
/// # Errors
/// btrfs cannot be asked.
pub(crate) fn forgotten(config: &Config) -> Result<Vec<(&str, Vec<String>)>> {
    let mut configured = Vec::new();
    for path in &config.subvolumes {
        configured.extend(show("show", "subvolume", path)?.subvolume().map(|found| found.uuid));
    }
    let mut all = Vec::new();
    for path in &config.subvolumes {
        if !matches!(show("show", "subvolume", path)?, Found::Subvolume(_)) {
            continue;
        }
        let inside = nested("nested", "subvolume", path)?;
        let unknown = inside.into_iter().filter(|found| !is_known(found, &configured)).map(|found| found.path);
        all.push((path.as_str(), unknown.collect()));
    }
    Ok(all)
}

/// Configured itself; or one of bkhost's snapshots of what is configured, where these lie inside.
fn is_known(found: &Listed, configured: &[String]) -> bool {
    let is_configured = |uuid: &String| !uuid.is_empty() && configured.contains(uuid);
    is_configured(&found.uuid)
        || last_component(&found.path).starts_with("bkhost-") && found.parent.as_ref().is_some_and(is_configured)
}

/// The run itself looks again: one may have come since the check.
///
/// # Errors
/// There are some, and the configuration does not say to skip them.
pub(crate) fn refuse(config: &Config) -> Result<()> {
    for (subvolume, inside) in forgotten(config)? {
        if inside.is_empty() {
            continue;
        }
        let names = told(&inside);
        if config.nested == Nested::Skip {
            warn!("{subvolume}: the subvolumes inside of it are not in this backup: {names}");
            continue;
        }
        let message = format!("{subvolume} has subvolumes inside, which its snapshot does not hold: {names}");
        return Err(Error::conflict(message).hint(HINT));
    }
    Ok(())
}

/// Some of many.
pub(crate) fn told(paths: &[String]) -> String {
    let some: Vec<&str> = paths.iter().take(5).map(String::as_str).collect();
    match paths.len().saturating_sub(some.len()) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_named() {
        let listed = |uuid: &str, parent: Option<&str>, path: &str| Listed {
            uuid: uuid.into(),
            parent: parent.map(str::to_owned),
            path: path.into(),
        };
        let configured = ["one".to_owned(), "two".to_owned()];
        assert!(is_known(&listed("two", None, "data/two"), &configured));
        assert!(is_known(&listed("x", Some("one"), "data/.snaps/bkhost-i-1.home.0"), &configured));
        // Somebody's own snapshot, a look-alike of something else, an odd one.
        assert!(!is_known(&listed("x", Some("one"), "data/manual"), &configured));
        assert!(!is_known(&listed("x", Some("other"), "data/bkhost-i-1.home.0"), &configured));
        assert!(!is_known(&listed("", None, "data/x"), &["".to_owned()]));
    }
}
