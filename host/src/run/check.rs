//! Preflight: what would fail later fails now.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::offsite;
use super::others;
use super::part::{LivePart, Purpose};
use super::plan::{self, Plan};
use super::prune::blocking;
use super::session::Session;
use super::stores::Stores;
use super::together::together;
use crate::application::{Application, Finding, Severity};
use crate::capability::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, Phase};

/// A finding and the part it is about; none: the application.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    /// The part.
    pub part: Option<String>,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Ask the application and every plugin.
///
/// # Errors
/// If a plugin's check itself fails. What a check finds is no error here.
pub(super) async fn findings(
    application: &Arc<dyn Application>,
    live: &mut [LivePart<'_>],
    stores: Option<&Stores>,
    cancel: &CancellationToken,
) -> Result<Vec<Found>> {
    let mut all: Vec<Found> =
        application.check().await.into_iter().map(|finding| Found { part: None, finding }).collect();
    if let Some(stores) = stores {
        all.extend(probe(stores, cancel).await?);
    }
    let work = live.iter_mut().map(|part| {
        let name = part.name().to_owned();
        let work = async move {
            let mut found = part.instance.check().await?;
            if found.iter().all(|finding| finding.severity != Severity::Failure) {
                match part.instance.identity().await {
                    Ok(identity) => part.identity = identity,
                    Err(error) => found.push(unidentified(&error)),
                }
            }
            let name = part.name().to_owned();
            Ok(found.into_iter().map(|finding| Found { part: Some(name.clone()), finding }).collect::<Vec<_>>())
        };
        (name, work.boxed())
    });
    // A check that fails ends the run as a failure, and not as a cancel: only what is below the token is cancelled by it.
    all.extend(together(work, &cancel.child_token()).await?.into_iter().flatten());
    Ok(all)
}

/// The backup is none the worse for it: what is missing is a safeguard of the restore.
fn unidentified(error: &Error) -> Finding {
    Finding {
        severity: Severity::Warning,
        kind: error.kind(),
        subject: "identifier".to_owned(),
        message: format!("a restore will not notice that it works on another system than this one: {error}"),
        hint: error.hint_text().map(str::to_owned),
    }
}

/// Try each store. One that is not required and fails is a warning.
async fn probe(stores: &Stores, cancel: &CancellationToken) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for target in stores.live() {
        let subject = format!("store `{}`", target.store.name());
        let found = |severity, kind, message, hint| Found {
            part: None,
            finding: Finding { severity, kind, subject: subject.clone(), message, hint },
        };
        let store = target.store.cancelled_by(cancel);
        match blocking(move || store.check_writable()).await {
            Ok(doubts) => {
                all.extend(doubts.into_iter().map(|text| found(Severity::Warning, ErrorKind::Store, text, None)));
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                let severity = if target.required { Severity::Failure } else { Severity::Warning };
                let text = error.causes().into_iter().fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
                all.push(found(severity, error.kind(), text, error.hint_text().map(str::to_owned)));
            }
        }
    }
    Ok(all)
}

/// What would make a run fail. Changes nothing.
///
/// # Errors
/// If the run could not even be planned.
pub async fn preflight(session: &Session) -> Result<Vec<Found>> {
    let Plan { application, parts, stores, .. } = session.phase(Phase::Plan, plan::make(session)).await?;
    // One of its own: a check that fails ends the others, and is not taken for the operator's cancel.
    let work = session.cancel.child_token();
    let (mut live, others) = (Vec::new(), others::Parts::new(session, &parts, &work));
    for part in &parts {
        let purpose = Purpose { mode: Mode::DryRun, others: others.seen_by(part), ..Purpose::plain(work.clone()) };
        live.push(part.start(session, purpose).await?);
    }
    let found = session.phase(Phase::Check, findings(&application, &mut live, Some(&stores), &work)).await;
    for part in live {
        part.stop().await;
    }
    let mut found = found?;
    found.extend(offsite::findings(session, &parts, &work).await?);
    Ok(found)
}

/// Check, tell what was found, and fail if something would fail later. `work` ends what the parts are doing, and is fired when a
/// check itself fails. Returns the application's version.
///
/// # Errors
/// If there is a failure among the findings; the first one is the message, the others are details.
pub(super) async fn check(
    session: &Session,
    application: &Arc<dyn Application>,
    live: &mut [LivePart<'_>],
    stores: &Stores,
    work: &CancellationToken,
) -> Result<Option<String>> {
    let found = findings(application, live, Some(stores), work).await?;
    for Found { part, finding } in &found {
        let level = match finding.severity {
            Severity::Info => Level::Info,
            Severity::Warning => Level::Warning,
            Severity::Failure => Level::Error,
        };
        let hint = finding.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        session.reporter.message(level, part.as_deref(), format!("{}: {}{hint}", finding.subject, finding.message));
    }
    let failures: Vec<&Found> = found.iter().filter(|found| found.finding.severity == Severity::Failure).collect();
    let Some(first) = failures.first() else {
        return application.version().await;
    };
    let whom = match &first.part {
        Some(part) => format!("part `{part}`"),
        None => application.describe(),
    };
    let subject = &first.finding.subject;
    let what = if *subject == whom { whom } else { format!("{whom}: {subject}") };
    let mut error = Error::new(first.finding.kind, format!("{what}: {}", first.finding.message));
    if let Some(hint) = &first.finding.hint {
        error = error.hint(hint.clone());
    }
    Err(failures.iter().skip(1).fold(error, |error, other| {
        error.detail(
            other.part.clone().unwrap_or_else(|| "application".to_owned()),
            format!("{}: {}", other.finding.subject, other.finding.message),
        )
    }))
}
