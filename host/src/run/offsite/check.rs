//! What would keep a copy from being made. Only `bkhost check` asks: a run is not kept from making a set by it.

use tokio_util::sync::CancellationToken;

use crate::capability::Mode;
use crate::error::{ErrorKind, Result};
use crate::report::{Finding, Severity};
use crate::run::check::Found;
use crate::run::part::{Part, Place, Purpose};
use crate::run::session::Session;

/// Ask each part's plugin about each place. What is wrong with a place that is not required is a warning.
///
/// # Errors
/// `Cancelled`.
pub(in crate::run) async fn findings(
    session: &Session,
    parts: &[Part],
    cancel: &CancellationToken,
) -> Result<Vec<Found>> {
    let places = parts.iter().flat_map(|part| part.places().iter().map(move |place| (part, place)));
    let asked = places.map(|(part, place)| ask(session, part, place, cancel));
    let mut all = Vec::new();
    for found in futures_util::future::join_all(asked).await {
        all.extend(found?);
    }
    Ok(all)
}

async fn ask(session: &Session, part: &Part, place: &Place, cancel: &CancellationToken) -> Result<Vec<Found>> {
    let purpose = Purpose { mode: Mode::DryRun, ..Purpose::at(&place.settings.name, cancel.child_token()) };
    let mut live = part.start(session, purpose).await?;
    let result = live.instance.check().await;
    live.stop().await;
    let findings = match result {
        Ok(findings) => findings,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => vec![Finding {
            severity: Severity::Failure,
            kind: error.kind(),
            subject: "check".to_owned(),
            message: error.to_string(),
            hint: error.hint_text().map(str::to_owned),
        }],
    };
    let found = findings.into_iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Failure if !place.settings.required => Severity::Warning,
            other => other,
        };
        let subject = format!("offsite `{}`: {}", place.settings.name, finding.subject);
        Found { part: Some(part.name().to_owned()), finding: Finding { severity, subject, ..finding } }
    });
    Ok(found.collect())
}
