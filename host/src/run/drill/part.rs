//! Rehearsing one part.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::compared::ComparedPart;
use super::{Task, millis};
use crate::archive::set::PartRecord;
use crate::capability::manifest::RestoreTarget;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Finding, Severity};
use crate::report::{Level, waiting};
use crate::run::chain::{Chain, Known};
use crate::run::damage;
use crate::run::part::{Part, Purpose};
use crate::run::patience::patiently;
use crate::run::prune::blocking;
use crate::run::scratch::{Scratch, clear_part};
use crate::run::session::Session;
use crate::store::{Record, StoredSet};

/// How a part is rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Restored into a scratch directory, every file compared with the index.
    Directory,
    /// By its plugin.
    Plugin,
    /// Not at all, and nobody said that this is all right.
    NotRehearsed,
    /// Not at all, by the configuration.
    Skipped,
}

/// What came of one part.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DrilledPart {
    /// The part.
    pub part: String,
    /// Its strategy.
    pub plugin: String,
    /// How it was rehearsed.
    pub how: How,
    /// Nothing is wrong with it.
    pub ok: bool,
    /// Entries that were compared with the index after they were restored.
    pub compared: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How long reading and restoring it took, in milliseconds.
    pub restore_ms: u64,
    /// What the plugin found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Why it is not ok, or was not rehearsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Where it was restored, until the scratch was removed.
    #[serde(skip)]
    pub(super) directory: Option<PathBuf>,
    /// What was found damaged in the store.
    #[serde(skip)]
    pub(super) damaged: Option<Record>,
}

/// Rehearse one part. What is wrong with it comes with the result.
///
/// # Errors
/// `Cancelled`.
pub(super) async fn rehearse(
    session: &Session,
    set: &StoredSet,
    task: &Task<'_>,
    scratch: &Scratch,
) -> Result<(DrilledPart, Option<Error>)> {
    let record = task.record;
    let mut done = DrilledPart {
        part: record.name.clone(),
        plugin: record.plugin.clone(),
        how: task.how,
        ok: true,
        compared: 0,
        bytes: 0,
        restore_ms: 0,
        findings: Vec::new(),
        why: task.why.clone(),
        directory: None,
        damaged: None,
    };
    let within = |e: Error| e.within(format!("part `{}`", record.name));
    let why = task.why.as_deref().unwrap_or_default();
    let failure = match (task.how, &task.part) {
        (How::Skipped, _) => {
            session.reporter.message(Level::Warning, Some(&record.name), format!("not rehearsed: {why}"));
            None
        }
        (How::Directory | How::Plugin, Some(part)) => {
            let what = format!("part {} to be rehearsed", record.name);
            let work = one(session, set, record, part, scratch, &mut done);
            match waiting(&session.reporter, &what, work).await {
                Err(e) if e.kind() == ErrorKind::Cancelled || session.cancel.is_cancelled() => return Err(within(e)),
                other => other.err().map(within),
            }
        }
        _ => Some(within(
            Error::new(ErrorKind::Config, format!("not rehearsed: {why}"))
                .hint(format!("if nobody has to know whether it restores: `[drill] skip = [\"{}\"]`", record.name)),
        )),
    };
    done.ok = failure.is_none();
    done.why = failure.as_ref().map(ToString::to_string).or(done.why);
    Ok((done, failure))
}

async fn one(
    session: &Session,
    set: &StoredSet,
    record: &PartRecord,
    part: &Part,
    scratch: &Scratch,
    done: &mut DrilledPart,
) -> Result<()> {
    let start = Instant::now();
    let chain = Chain::find(set, record).await?;
    // As a restore does, before it touches anything.
    if let Err(error) = chain.prove(&session.reporter, &Known::new(), &session.cancel).await {
        done.damaged = damage::record(set, &error);
        return Err(error);
    }
    let directory = done.how == How::Directory;
    let archived = Arc::new(ComparedPart::new(chain, session.reporter.clone(), !directory));
    let own = scratch.part(part.name())?;
    let into_directory = part.plugin.manifest().restore.target_of(&part.values) == RestoreTarget::Directory;
    let (target, staging) = match (directory, into_directory) {
        (true, _) => (Some(own.clone()), None),
        // A target of its own beside its staging: what restores into a directory finds one in a rehearsal too.
        (false, true) => (Some(scratch.part(&format!("{}.target", part.name()))?), Some(own.clone())),
        (false, false) => (None, Some(own.clone())),
    };
    let workspace = scratch.workspace(part.name(), staging)?;
    let abandon = CancellationToken::new();
    let purpose = Purpose {
        target,
        restore_to: part.rehearsal_target(session.instance()).ok().flatten(),
        archived: Some(archived.clone()),
        witness: scratch.witness(),
        workspace: Some(workspace.clone()),
        ..Purpose::plain(abandon.clone())
    };
    if !directory {
        // What an earlier one left would be in its way.
        clear_part(session, part, workspace.clone(), scratch.witness()).await?;
    }
    let mut live = part.start(session, purpose).await?;
    let interrupt = live.instance.interruption();
    let work = async {
        if directory {
            return live.instance.restore(&record.snapshot, Some("/target")).await.map(|()| None);
        }
        live.instance.rehearse(&record.snapshot).await
    };
    let result = patiently(&session.cancel, &interrupt, &abandon, "drill", work).await;
    live.stop().await;
    done.restore_ms = millis(start.elapsed());
    if result.is_err()
        && !directory
        && let Err(error) = clear_part(session, part, workspace, scratch.witness()).await
    {
        session.reporter.message(Level::Error, Some(part.name()), error.to_string());
    }
    done.findings = result?.unwrap_or_default();
    if directory {
        done.directory = Some(own);
    }
    tell(session, part.name(), &done.findings);
    let cancel = session.cancel.clone();
    let compared = blocking(move || archived.compare(&cancel)).await?;
    (done.compared, done.bytes) = (compared.entries, compared.bytes);
    refused(&done.findings)
}

/// Tell what a plugin found.
pub(in crate::run) fn tell(session: &Session, part: &str, findings: &[Finding]) {
    for finding in findings {
        let level = match finding.severity {
            Severity::Info => Level::Info,
            Severity::Warning => Level::Warning,
            Severity::Failure => Level::Error,
        };
        session.reporter.message(level, Some(part), format!("{}: {}", finding.subject, finding.message));
    }
}

/// Fail if there is a failure among the findings.
pub(in crate::run) fn refused(findings: &[Finding]) -> Result<()> {
    let mut failures = findings.iter().filter(|finding| finding.severity == Severity::Failure);
    let Some(first) = failures.next() else { return Ok(()) };
    let mut error = Error::new(first.kind, format!("{}: {}", first.subject, first.message));
    if let Some(hint) = &first.hint {
        error = error.hint(hint.clone());
    }
    Err(failures.fold(error, |error, other| error.detail(other.subject.clone(), other.message.clone())))
}
