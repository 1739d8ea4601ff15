//! What btrfs's own tool says to the archived streams: it reads each to its end, and the sum of every command in it.

use bkhost_sdk::{Archived, ArchivedForm, Finding, Result, archive, exec};

use crate::State;

/// Read every stream.
///
/// # Errors
/// The tool cannot be run.
pub(crate) fn verify(state: &State, archived: &[Archived]) -> Result<Vec<Finding>> {
    if !state.has_streams() {
        return Ok(vec![Finding::info("btrfs", "files: bkhost itself has compared each with the index")]);
    }
    let mut findings = Vec::new();
    for item in archived.iter().filter(|item| item.form == ArchivedForm::Stream) {
        let subject = format!("stream {} of set {}", item.name, item.set);
        let output = archive::feed_from(item, exec::command("dump"))?;
        findings.push(match output.status {
            0 => Finding::info(subject, "btrfs receive --dump reads it to its end"),
            _ => Finding::failure(subject, output.failure().message).hint("restore from another set"),
        });
    }
    Ok(findings)
}
