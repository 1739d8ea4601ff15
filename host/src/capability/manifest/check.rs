//! What the types cannot say: whether the parts of a manifest fit together.

use super::{API, Manifest};

/// What is wrong, and where.
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) hint: String,
    /// Texts that lead to the line: each is looked for from the line of the one before.
    pub(super) trail: Vec<String>,
}

impl Problem {
    /// The line it is on, from 1.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        let mut found = None;
        for wanted in &self.trail {
            let start = found.unwrap_or(0);
            let next = text.lines().enumerate().skip(start).find(|(_, line)| line.contains(wanted.as_str()));
            found = next.map(|(n, _)| n).or(found);
        }
        found.map(|n| n + 1)
    }
}

pub(super) fn check(manifest: &Manifest) -> Result<(), Problem> {
    if manifest.plugin.api != API {
        return Err(Problem {
            message: format!("api {:?} is not one that this bkhost speaks", manifest.plugin.api),
            hint: format!("this build speaks {API:?}"),
            trail: vec!["api".into()],
        });
    }
    Ok(())
}
