//! `bkhost check`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::application::Severity;
use crate::error::{Error, Result};
use crate::notify::Channels;
use crate::run::{self, Found};

pub(super) async fn check(context: &Context, adhoc: &Adhoc) -> Result<ExitCode> {
    let session = context.session(context.config(adhoc)?)?;
    // That a channel's secret can be had is seen here, and not when there is something to tell.
    Channels::resolve(&session.config.notify).await?;
    let findings = run::preflight(&session).await?;
    if context.global.json {
        output::json(&serde_json::json!({ "findings": findings }))?;
    } else {
        for Found { part, finding } in &findings {
            output::finding(part.as_deref().unwrap_or("application"), finding);
        }
    }
    judge(&findings)
}

/// Success, unless a run would stop because of what was found.
pub(super) fn judge(findings: &[Found]) -> Result<ExitCode> {
    let failures: Vec<&Found> = findings.iter().filter(|found| found.finding.severity == Severity::Failure).collect();
    let Some(first) = failures.first() else {
        return Ok(ExitCode::SUCCESS);
    };
    let whom = first.part.as_ref().map_or_else(|| "application".to_owned(), |part| format!("part `{part}`"));
    Err(Error::new(
        first.finding.kind,
        format!(
            "a run would fail: {} of the findings above are failures; the first: {whom}: {}: {}",
            failures.len(),
            first.finding.subject,
            first.finding.message
        ),
    ))
}
