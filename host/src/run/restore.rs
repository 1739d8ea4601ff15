//! Restoring: everything that could refuse, refuses before anything is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::archived::ArchivedPart;
use super::chain::{Chain, Known};
use super::lock::InstanceLock;
use super::part::{Part, Purpose};
use super::prune::blocking;
use super::session::Session;
use crate::archive::SetId;
use crate::archive::set::PartRecord;
use crate::capability::manifest::RestoreTarget;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Event, Phase};
use crate::store::StoredSet;

/// How long a strategy may take to remove what a cancelled restore has made.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to restore, and where to.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Only these parts; empty: all.
    pub parts: Vec<String>,
    /// Targets: `PART=TARGET`, or `TARGET` if there is one part.
    pub to: Vec<String>,
}

/// What was restored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restored {
    /// The set.
    pub id: SetId,
    /// The parts, with their targets; none: the original place.
    pub parts: Vec<(String, Option<String>)>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// One part on its way back.
struct Step<'a> {
    part: &'a Part,
    record: &'a PartRecord,
    /// The part in this set and in those on which it builds.
    chain: Chain,
    to: Option<String>,
    directory: Option<PathBuf>,
}

/// Restore. The caller has asked the operator to confirm.
///
/// # Errors
/// `Damaged` if a byte of what is to be restored is not what it was; `Conflict` if a target is in the way or the
/// application runs: in both cases before anything was touched.
pub async fn restore(session: &Session, set: &StoredSet, request: &Request) -> Result<Restored> {
    let start = Instant::now();
    let id = set.manifest.id.clone();
    let _lock = InstanceLock::take(session.dirs.instance(), &format!("restore of {id}"))?;
    session.reporter.event(&Event::Started {
        what: "restore",
        instance: session.instance().to_owned(),
        set: id.to_string(),
    });
    let parts = session.parts().await?;
    let steps = session.phase(Phase::Plan, plan(session, set, &parts, request)).await?;
    session
        .phase(Phase::Verify, async {
            for step in &steps {
                step.chain.prove(&session.reporter, &mut Known::new(), &session.cancel).await?;
            }
            Ok(())
        })
        .await?;
    session
        .phase(Phase::Restore, async {
            for step in &steps {
                step.take(session).await.map_err(|e| e.within(format!("part `{}`", step.part.name())))?;
            }
            Ok(())
        })
        .await?;
    Ok(Restored {
        id,
        parts: steps.into_iter().map(|step| (step.part.name().to_owned(), step.to)).collect(),
        duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Work out the steps and refuse what must not be done.
async fn plan<'a>(
    session: &Session,
    set: &'a StoredSet,
    parts: &'a [Part],
    request: &Request,
) -> Result<Vec<Step<'a>>> {
    let records = chosen(&set.manifest.parts, &request.parts)?;
    let mut targets = targets(&records, &request.to)?;
    let mut steps = Vec::new();
    for record in records {
        let part = parts.iter().find(|part| part.name() == record.name).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("part `{}` of the set is not configured here", record.name))
                .hint("restore with the configuration that made the set, or choose other parts with --part")
        })?;
        if part.plugin.name() != record.plugin {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "part `{}` was made by the plugin {}, and is configured for {}",
                    record.name,
                    record.plugin,
                    part.plugin.name()
                ),
            )
            .hint("restore with the configuration that made the set"));
        }
        let to = targets.remove(&record.name);
        let directory = match part.plugin.manifest().restore.target {
            RestoreTarget::Directory => Some(directory_of(part, to.as_deref())?),
            RestoreTarget::Name => None,
        };
        if let Some(directory) = &directory {
            refuse_unless_empty(directory)?;
        }
        let chain = Chain::find(set, record).await?;
        steps.push(Step { part, record, chain, to, directory });
    }
    if steps.iter().any(|step| step.to.is_none()) {
        refuse_running(session).await?;
    }
    Ok(steps)
}

fn chosen<'a>(records: &'a [PartRecord], names: &[String]) -> Result<Vec<&'a PartRecord>> {
    if names.is_empty() {
        return Ok(records.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            records.iter().find(|record| record.name == *name).ok_or_else(|| {
                let have: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
                Error::new(ErrorKind::NotFound, format!("the set has no part `{name}`"))
                    .hint(format!("its parts are: {}", have.join(", ")))
            })
        })
        .collect()
}

/// `PART=TARGET` for each, or a bare `TARGET` if it can only mean one part.
fn targets(records: &[&PartRecord], to: &[String]) -> Result<BTreeMap<String, String>> {
    let mut targets = BTreeMap::new();
    for text in to {
        let named = text.split_once('=').filter(|(part, _)| records.iter().any(|record| record.name == *part));
        let (part, target) = match (named, records) {
            (Some((part, target)), _) => (part.to_owned(), target),
            (None, [only]) => (only.name.clone(), text.as_str()),
            (None, _) => {
                return Err(Error::new(ErrorKind::Config, format!("`--to {text}` does not say which part it is for"))
                    .hint("write --to PART=TARGET for each part, or choose one part with --part"));
            }
        };
        if target.is_empty() {
            return Err(Error::new(ErrorKind::Config, format!("`--to {text}` names no target")));
        }
        if targets.insert(part.clone(), target.to_owned()).is_some() {
            return Err(Error::new(ErrorKind::Config, format!("two targets for part `{part}`")));
        }
    }
    Ok(targets)
}

/// The directory to restore into: the operator's, else that of the plugin's own `[[directory]]`.
fn directory_of(part: &Part, to: Option<&str>) -> Result<PathBuf> {
    let text = match to {
        Some(to) => to.to_owned(),
        None => part.original_directory().ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("part `{}` has no original directory", part.name()))
                .hint("say where to with --to")
        })?,
    };
    std::path::absolute(&text).or_error(ErrorKind::Config, || format!("`{text}` is no path"))
}

/// Dot files count. What a new file system brings with it does not.
fn refuse_unless_empty(directory: &Path) -> Result<()> {
    let mut entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => {
            return Err(
                Error::new(ErrorKind::Conflict, format!("cannot restore into {}", directory.display())).because(e)
            );
        }
    };
    let first = entries.next().transpose();
    match first.or_error(ErrorKind::Io, || format!("cannot read {}", directory.display()))? {
        None => Ok(()),
        Some(entry) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the target {} is not empty: it has `{}`",
                directory.display(),
                entry.file_name().to_string_lossy()
            ),
        )
        .hint("restore into an empty directory with --to, or move what is there away first")),
    }
}

async fn refuse_running(session: &Session) -> Result<()> {
    let application = session.application().await?;
    if application.is_running().await? {
        return Err(Error::new(ErrorKind::Conflict, format!("{} is running", application.describe()))
            .hint("stop it before its data is replaced, or restore to another place with --to"));
    }
    Ok(())
}

impl Step<'_> {
    async fn take(&self, session: &Session) -> Result<()> {
        if let Some(directory) = &self.directory {
            let directory = directory.clone();
            blocking(move || {
                std::fs::create_dir_all(&directory)
                    .or_error(ErrorKind::Io, || format!("cannot make the target {}", directory.display()))?;
                // It may have been filled while the set was verified.
                refuse_unless_empty(&directory)
            })
            .await?;
        }
        // What a strategy has made, only it can remove: it is interrupted, and given time for that.
        let abandon = CancellationToken::new();
        let archived = Arc::new(ArchivedPart::new(self.chain.clone(), session.reporter.clone()));
        let purpose = Purpose {
            target: self.directory.clone(),
            restore_to: if self.directory.is_none() { self.to.clone() } else { None },
            archived: Some(archived),
            ..Purpose::plain(abandon.clone())
        };
        let mut live = self.part.start(session, purpose).await?;
        let to = if self.directory.is_some() { Some("/target") } else { self.to.as_deref() };
        let interrupt = live.instance.interruption();
        let result = {
            let mut restore = std::pin::pin!(live.instance.restore(&self.record.snapshot, to));
            tokio::select! {
                biased;
                result = &mut restore => result,
                () = session.cancel.cancelled() => {
                    interrupt.cancel();
                    match tokio::time::timeout(PATIENCE, &mut restore).await {
                        Ok(result) => result,
                        Err(_) => {
                            abandon.cancel();
                            restore.await
                        }
                    }
                    .map_err(|e| Error::new(ErrorKind::Cancelled, "the restore was cancelled").because(e))
                }
            }
        };
        live.stop().await;
        result
    }
}
