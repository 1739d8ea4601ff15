//! What the strategies' own tools say of what was archived.

use std::sync::Arc;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::archive::set::PartRecord;
use crate::archive::{ExtractOptions, OwnersBy};
use crate::capability::Witness;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Finding, Severity};
use crate::report::{Level, waiting};
use crate::run::archived::ArchivedPart;
use crate::run::chain::Chain;
use crate::run::drill::{refused, tell};
use crate::run::part::{Part, Purpose};
use crate::run::patience::patiently;
use crate::run::proof::is_sealed;
use crate::run::prune::blocking;
use crate::run::scratch::Scratch;
use crate::run::sealed::reveal;
use crate::run::session::Session;
use crate::store::StoredSet;

/// What its directories, its lock and its processes are called by.
const WHAT: &str = "verify";

/// A part that its plugin has checked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckedByPlugin {
    /// The part.
    pub part: String,
    /// The plugin.
    pub plugin: String,
    /// What it found; no failures are among it.
    pub findings: Vec<Finding>,
}

/// Ask the plugins of all parts that have such a check. What cannot be asked is told.
///
/// # Errors
/// `Damaged` if one finds a failure; what keeps a check from working; `Cancelled`.
pub(super) async fn ask(session: &Session, set: &StoredSet, chains: &[Chain]) -> Result<Vec<CheckedByPlugin>> {
    let mut parts = Vec::new();
    for (record, chain) in set.manifest.parts.iter().zip(chains) {
        match has_check(session, record).await {
            Ok(false) => {}
            Ok(true) if record.objects.iter().any(|object| is_sealed(object, set.keys())) => {
                left_out(session, record, "it is encrypted, and there is no identity");
            }
            Ok(true) => parts.push((record, chain)),
            Err(why) => left_out(session, record, &why),
        }
    }
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let root = session.config.drill.scratch.as_deref();
    let scratch = Scratch::make(session, &session.dirs.verify()?, root, WHAT, &set.manifest.id, &[]).await?;
    let mut checked = Vec::new();
    let mut failure = None;
    for (record, chain) in parts {
        match one(session, record, chain, &scratch).await {
            Ok(done) => checked.push(done),
            Err(error) => {
                failure = Some(error.within(format!("part `{}`", record.name)));
                break;
            }
        }
    }
    let removed = scratch.remove().await;
    match failure {
        Some(error) => Err(error),
        None => removed.map(|()| checked),
    }
}

fn left_out(session: &Session, record: &PartRecord, why: &str) {
    let text = format!("the plugin {} was not asked about it: {why}", record.plugin);
    session.reporter.message(Level::Warning, Some(&record.name), text);
}

/// Whether the part's plugin checks what was archived; or why that is not known.
async fn has_check(session: &Session, record: &PartRecord) -> Result<bool, String> {
    let settings = session.config.parts.iter().find(|part| part.name == record.name);
    let settings = settings.ok_or("the part is not configured here")?;
    let found = match session.config.plugin_path(settings) {
        Some(path) => Ok(path),
        None => session.host.find(&settings.plugin),
    };
    let path = found.map_err(|e| e.to_string())?;
    let host = Arc::clone(&session.host);
    let plugin = blocking(move || host.load(&path)).await.map_err(|e| e.to_string())?;
    if plugin.name() != record.plugin {
        return Err(format!("the part is configured for the plugin {}", plugin.name()));
    }
    Ok(plugin.verifies())
}

async fn one(session: &Session, record: &PartRecord, chain: &Chain, scratch: &Scratch) -> Result<CheckedByPlugin> {
    let settings = session.config.parts.iter().find(|part| part.name == record.name);
    let settings = settings.ok_or_else(|| Error::new(ErrorKind::Internal, "a part of the configuration is gone"))?;
    let part = Part::load(session, settings)
        .await
        .map_err(|e| e.hint("`--depth objects` looks at every stored byte, and asks no plugin"))?;
    let asked = Asked { part: &part, record, witness: scratch.witness(), cancel: &session.cancel };
    asked.ask(session, chain.clone(), scratch).await
}

/// Ask them of a set that is about to be published, of the parts that hold streams: what a strategy archives as files it can
/// look at itself, and a stream is nowhere but in the store. Every byte of it was read back already. Gives the names of the
/// parts that were checked, and what the others lack.
///
/// # Errors
/// `Damaged` if one finds a failure; `Cancelled`. That a check did not work is no failure.
pub(in crate::run) async fn ask_of_streams(
    session: &Session,
    parts: &[Part],
    set: StoredSet,
    witness: Arc<dyn Witness>,
    cancel: &CancellationToken,
) -> Result<(Vec<String>, Vec<String>)> {
    let streamed = |part: &&Part| {
        let record = set.manifest.part(part.name());
        part.plugin.verifies()
            && record.is_some_and(|record| {
                record.has_streams() && !record.objects.iter().any(|object| is_sealed(object, set.keys()))
            })
    };
    let streamed: Vec<&Part> = parts.iter().filter(streamed).collect();
    let (mut checked, mut lacking) = (Vec::new(), Vec::new());
    if streamed.is_empty() {
        return Ok((checked, lacking));
    }
    let set = reveal(set).await?;
    let scratch = Scratch::make(session, &session.dirs.proof()?, None, "proof", &set.manifest.id, &[]).await?;
    for part in streamed {
        let Some(record) = set.manifest.part(part.name()) else { continue };
        let asked = Asked { part, record, witness: Arc::clone(&witness), cancel };
        // What it builds on was read back when the strategy was offered it, and was checked before it was published.
        match asked.ask(session, Chain::alone(&set, record), &scratch).await {
            Ok(_) => checked.push(record.name.clone()),
            Err(error) if [ErrorKind::Damaged, ErrorKind::Cancelled].contains(&error.kind()) => {
                return Err(error.within(format!("part `{}`", record.name)));
            }
            Err(error) => lacking.push(format!(
                "part `{}`: every byte was read back, but {} could not look at it: {error}",
                record.name, record.plugin
            )),
        }
    }
    scratch.remove().await?;
    Ok((checked, lacking))
}

/// A part whose plugin is asked.
struct Asked<'a> {
    part: &'a Part,
    record: &'a PartRecord,
    /// Marks what is started for it.
    witness: Arc<dyn Witness>,
    cancel: &'a CancellationToken,
}

impl Asked<'_> {
    async fn ask(self, session: &Session, chain: Chain, scratch: &Scratch) -> Result<CheckedByPlugin> {
        let Self { part, record, witness, cancel } = self;
        let options = ExtractOptions { owners: OwnersBy::Number };
        let archived = Arc::new(ArchivedPart::new(chain, options, session.reporter.clone()));
        let abandon = CancellationToken::new();
        let purpose = Purpose {
            archived: Some(archived),
            witness,
            workspace: Some(scratch.workspace(part.name(), Some(scratch.part(part.name())?))?),
            ..Purpose::plain(abandon.clone())
        };
        let mut live = part.start(session, purpose).await?;
        let interrupt = live.instance.interruption();
        let what = format!("plugin {} to check part {}", record.plugin, record.name);
        let work = patiently(cancel, &interrupt, &abandon, WHAT, live.instance.verify(&record.snapshot));
        let result = waiting(&session.reporter, &what, work).await;
        live.stop().await;
        let findings = result?.unwrap_or_default();
        tell(session, &record.name, &findings);
        if findings.iter().any(|finding| finding.severity == Severity::Failure) {
            // The bytes are those that were written: it is what was written that is of no use.
            let found = refused(&findings).err().map(|e| e.to_string()).unwrap_or_default();
            return Err(Error::new(ErrorKind::Damaged, format!("{} says: {found}", record.plugin))
                .hint("what was archived cannot be restored: take another set"));
        }
        Ok(CheckedByPlugin { part: record.name.clone(), plugin: record.plugin.clone(), findings })
    }
}
