//! Restoring from a copy at another place: there, by the part's plugin. The set may be gone here, and so may the store.

use std::time::Instant;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::call;
use super::known::Known;
use crate::archive::SetId;
use crate::archive::set::SnapshotRecord;
use crate::capability::manifest::RestoreTarget;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, Level, Phase};
use crate::run::lock::InstanceLock;
use crate::run::part::{Part, Purpose};
use crate::run::patience::patiently;
use crate::run::session::Session;

/// What to restore from, and where to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FromOffsite {
    /// The set.
    pub set: SetId,
    /// The part.
    pub part: String,
    /// The place.
    pub place: String,
    /// What is made there, as the plugin understands it.
    pub to: String,
    /// The copy.
    pub copy: SnapshotRecord,
    /// No store tells of it: the vendor did.
    pub found: bool,
}

impl FromOffsite {
    /// The copy of a set at a place: as the stores tell of it, else as the vendor does. `part` may be left out where only one
    /// has the place.
    ///
    /// # Errors
    /// `NotFound`: no such part or place, or no copy there; the plugin's, if the vendor cannot be asked.
    pub async fn find(session: &Session, set: &SetId, part: Option<&str>, place: &str, to: &str) -> Result<Self> {
        let settings = part_of(session, part, place)?;
        let part = Part::load(session, settings).await?;
        if part.plugin.manifest().restore.target_of(&part.values) == RestoreTarget::Directory {
            return Err(Error::new(ErrorKind::Config, format!("part `{}` restores into a directory", part.name()))
                .hint("restore it from the set itself, without --from-offsite"));
        }
        let known = Known::of(session).await?;
        let recorded = known.copy(set, part.name(), place).filter(|copy| copy.plugin == part.plugin.name());
        let recorded = recorded.and_then(|copy| copy.snapshot.clone());
        let (copy, found) = match recorded {
            Some(copy) => (copy, false),
            None => (ask(session, &part, set, place).await?, true),
        };
        let (set, place, to) = (set.clone(), place.to_owned(), to.to_owned());
        Ok(Self { set, part: part.name().to_owned(), place, to, copy, found })
    }
}

fn part_of<'a>(session: &'a Session, part: Option<&str>, place: &str) -> Result<&'a crate::config::Part> {
    let has = |settings: &&crate::config::Part| settings.offsite.iter().any(|own| own.name == place);
    let mut all = session.config.parts.iter().filter(has).filter(|own| part.is_none_or(|name| own.name == name));
    let Some(first) = all.next() else {
        let of = part.map(|part| format!(" of part `{}`", part.escape_debug())).unwrap_or_default();
        return Err(Error::new(ErrorKind::NotFound, format!("there is no place `{}`{of}", place.escape_debug()))
            .hint("a place is the name of a [[part.offsite]] in the configuration"));
    };
    let Some(second) = all.next() else { return Ok(first) };
    let text = format!("the parts `{}` and `{}` both have a place `{place}`", first.name, second.name);
    Err(Error::new(ErrorKind::Config, text).hint("choose one with --part"))
}

async fn ask(session: &Session, part: &Part, set: &SetId, place: &str) -> Result<SnapshotRecord> {
    let label = set.label(session.instance());
    let mut live = part.start(session, Purpose::at(place, session.cancel.child_token())).await?;
    let found = live.instance.find_copy(&label).await;
    live.stop().await;
    let none = || {
        let text = format!("there is no complete copy of set {set} of part `{}` at `{place}`", part.name());
        Error::new(ErrorKind::NotFound, text).hint("`bkhost list` tells which copies there are")
    };
    let copy = found.map_err(|e| e.within(format!("part `{}` at `{place}`", part.name())))?.ok_or_else(none)?;
    let text = format!("no store tells of the copy of set {set} at `{place}`: it was found by its name and tags");
    session.reporter.message(Level::Info, Some(part.name()), text);
    Ok(copy)
}

/// Restore from a copy. The caller has asked the operator to confirm. How long it took, in milliseconds.
///
/// # Errors
/// What the plugin reports, which has removed what it made; `Busy`; `Cancelled`.
pub async fn from_offsite(session: &Session, from: &FromOffsite) -> Result<u64> {
    let start = Instant::now();
    let what = format!("restore of {} from `{}`", from.set, from.place);
    let _lock = InstanceLock::take_over(session.dirs.instance(), &what, &session.reporter).await?;
    let (instance, set) = (session.instance().to_owned(), from.set.to_string());
    session.reporter.event(&Event::Started { what: "restore", instance, set });
    let part = Part::load(session, part_of(session, Some(&from.part), &from.place)?).await?;
    call(session, format!("part `{}`: restore {} at `{}` to {}", from.part, from.copy.id, from.place, from.to));
    let work = async {
        let abandon = CancellationToken::new();
        let purpose = Purpose { restore_to: Some(from.to.clone()), ..Purpose::at(&from.place, abandon.clone()) };
        let mut live = part.start(session, purpose).await?;
        let interrupt = live.instance.interruption();
        let restore = live.instance.restore(&from.copy, Some(&from.to));
        let result = patiently(&session.cancel, &interrupt, &abandon, "restore", restore).await;
        live.stop().await;
        result.map_err(|e| e.within(format!("part `{}`", from.part)))
    };
    session.phase(Phase::Restore, work).await?;
    Ok(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
}
