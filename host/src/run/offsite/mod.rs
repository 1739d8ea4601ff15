//! Copies at other places of a vendor: what a run captured, copied to another region or account after the set was published.
//!
//! The set is not in danger here: whatever becomes of a copy, what was published stays. A copy that is good is told by a
//! record beside the set, which outlives it; one that failed by another, and is tried again. What a copy that died may have
//! left is in a journal of its own.

mod check;
mod known;
mod make;
mod prune;
mod restore;
mod undo;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use self::known::Known;
use self::make::Make;
use super::identity::ProcessId;
use super::journal::{Journal, Record};
use super::lease::Leases;
use super::lock::InstanceLock;
use super::part::{Part, Place};
use super::sealed;
use super::session::Session;
use super::stores::{self, Stores};
use crate::archive::SetId;
use crate::archive::set::{PartRecord, SetManifest};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, Level, Phase};
use crate::store::Store;

pub(super) use check::findings;
pub use known::{Copy, copies};
pub(super) use prune::after_backup as prune_after;
pub use prune::{PrunedCopies, prune_instance as prune_copies};
pub use restore::{FromOffsite, from_offsite};
pub(super) use undo::undo_left;

/// What came of one copy.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Made {
    /// The set.
    pub set: SetId,
    /// The part.
    pub part: String,
    /// The place.
    pub place: String,
    /// It was there already, and good.
    pub present: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A copy that is wanted.
struct Wanted<'a> {
    set: SetId,
    created: jiff::Timestamp,
    part: &'a Part,
    place: &'a Place,
    record: PartRecord,
    /// A store that has the set.
    store: Store,
}

/// Copy what a run has captured to the places of its parts; then what earlier runs could not.
///
/// # Errors
/// That of a copy to a place that is `required`. Others are told.
pub(super) async fn after_backup(
    session: &Session,
    parts: &[Part],
    stores: &Stores,
    manifest: &SetManifest,
) -> Result<()> {
    if parts.iter().all(|part| part.places().is_empty()) {
        return Ok(());
    }
    let Some(store) = stores.required().next() else { return Ok(()) };
    let (mut wanted, mut earlier) = (Vec::new(), Vec::new());
    let known = Known::of(session).await?;
    for (part, place) in each(parts, &[], &[])? {
        wanted.extend(want(store, manifest, part, place));
        earlier.extend(missed(session, stores, &known, part, place, &manifest.id).await?);
    }
    wanted.extend(earlier);
    let (_, failure) = make_all(session, stores, &known, wanted, &manifest.id, false).await?;
    failure.map_or(Ok(()), Err)
}

/// Copy these sets to the places of the configuration, or only to `places` and of `only`: also when a copy is recorded, it is
/// looked for, and made again if it is gone.
///
/// # Errors
/// `NotFound`: there is no such part or place; `Busy`; the first copy that failed, whether its place is required or not.
pub async fn copy_offsite(
    session: &Session,
    sets: &[(Store, SetManifest)],
    only: &[String],
    places: &[String],
) -> Result<Vec<Made>> {
    let run = SetId::generate()?;
    let what = format!("offsite {run}");
    let _lock = InstanceLock::take_over(session.dirs.instance(), &what, &session.reporter).await?;
    let recovered = super::recover::recover_locked(session).await?;
    if let Some(error) = recovered.held.or(recovered.failed) {
        session.reporter.message(Level::Error, None, error.to_string());
    }
    let parts = session.parts().await?;
    let stores = session.stores().await?;
    let chosen = each(&parts, only, places)?;
    if chosen.is_empty() {
        return Err(Error::new(ErrorKind::Config, "no part has a place to be copied to")
            .hint("add a [[part.offsite]] below a [[part]] whose plugin can copy what it captured"));
    }
    let leases = Leases::take(session, &stores, &what).await?;
    let work = async {
        let known = Known::of(session).await?;
        let mut wanted = Vec::new();
        for (store, manifest) in sets {
            wanted.extend(chosen.iter().filter_map(|(part, place)| want(store, manifest, part, place)));
        }
        if wanted.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "the set has none of these parts")
                .hint("was it made with another configuration?"));
        }
        make_all(session, &stores, &known, wanted, &run, true).await
    };
    let result = work.await;
    leases.release().await;
    let (made, failure) = result?;
    failure.map_or(Ok(made), Err)
}

/// The parts with their places, or only those that are named.
fn each<'a>(parts: &'a [Part], only: &[String], places: &[String]) -> Result<Vec<(&'a Part, &'a Place)>> {
    if let Some(name) = only.iter().find(|name| !parts.iter().any(|part| part.name() == **name)) {
        let have: Vec<&str> = parts.iter().map(Part::name).collect();
        return Err(Error::new(ErrorKind::NotFound, format!("there is no part `{}`", name.escape_debug()))
            .hint(format!("the parts are: {}", have.join(", "))));
    }
    let all = || parts.iter().flat_map(|part| part.places().iter().map(move |place| (part, place)));
    if let Some(name) = places.iter().find(|name| !all().any(|(_, place)| place.settings.name == **name)) {
        let mut have: Vec<&str> = all().map(|(_, place)| place.settings.name.as_str()).collect();
        have.sort_unstable();
        have.dedup();
        return Err(Error::new(ErrorKind::NotFound, format!("there is no place `{}`", name.escape_debug()))
            .hint(format!("the places are: {}", have.join(", "))));
    }
    let chosen = all().filter(|(part, place)| {
        (only.is_empty() || only.iter().any(|name| name == part.name()))
            && (places.is_empty() || places.contains(&place.settings.name))
    });
    Ok(chosen.collect())
}

fn want<'a>(store: &Store, manifest: &SetManifest, part: &'a Part, place: &'a Place) -> Option<Wanted<'a>> {
    let record = manifest.part(part.name()).filter(|record| record.plugin == part.plugin.name())?;
    Some(Wanted {
        set: manifest.id.clone(),
        created: manifest.created,
        part,
        place,
        record: record.clone(),
        store: store.clone(),
    })
}

/// What could not be copied before and would be kept there now, the newest first.
async fn missed<'a>(
    session: &Session,
    stores: &Stores,
    known: &Known,
    part: &'a Part,
    place: &'a Place,
    not: &SetId,
) -> Result<Vec<Wanted<'a>>> {
    let failed = known.missed(part.name(), &place.settings.name);
    let mut found = Vec::new();
    for target in stores.live().filter(|_| !failed.is_empty()) {
        let (store, instance) = (target.store.clone(), session.instance().to_owned());
        for set in super::prune::blocking(move || store.list(&instance)).await? {
            let Some(manifest) = set.manifest().filter(|manifest| failed.contains(&manifest.id)) else { continue };
            if manifest.id != *not && !found.iter().any(|found: &Wanted<'_>| found.set == manifest.id) {
                found.extend(want(&target.store, manifest, part, place));
            }
        }
    }
    found.sort_by(|a, b| b.set.cmp(&a.set));
    let there = known.copies.iter().filter(|copy| copy.is_at(part.name(), &place.settings.name));
    let candidates: Vec<_> = there
        .map(|copy| (copy.set.clone(), copy.created))
        .chain(found.iter().map(|wanted| (wanted.set.clone(), wanted.created)))
        .collect();
    let policy = place.settings.retention.policy();
    let decided = crate::store::retention::decide_copies(&candidates, &std::collections::BTreeSet::new(), &policy);
    found.retain(|wanted| decided.iter().any(|decision| decision.id == wanted.set && decision.keep));
    Ok(found)
}

/// All of them, one after the other. Gives what came of each, and the first failure that counts: of a place that is required,
/// or of any if `all_count`.
async fn make_all(
    session: &Session,
    stores: &Stores,
    known: &Known,
    wanted: Vec<Wanted<'_>>,
    run: &SetId,
    all_count: bool,
) -> Result<(Vec<Made>, Option<Error>)> {
    // The run's own has its id.
    let id = if all_count { run.clone() } else { SetId::generate()?.after(run) };
    let journal = Arc::new(Journal::create(&session.dirs.runs(), &id)?);
    journal.write(Record::Begun { instance: session.instance().to_owned(), host: ProcessId::own()? })?;
    let make = Make { session, stores, known, journal: &journal };
    let work = async {
        let (mut made, mut failure, mut silent): (Vec<Made>, Option<Error>, Vec<String>) =
            (Vec::new(), None, Vec::new());
        for wanted in &wanted {
            let place = &wanted.place.settings;
            let whole = format!("{}/{}", wanted.part.name(), place.name);
            // A place that failed a moment ago is not tried for every set that it lacks.
            if silent.contains(&whole) {
                continue;
            }
            let start = Instant::now();
            let result = make.one(wanted).await;
            let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (set, part) = (wanted.set.clone(), wanted.part.name().to_owned());
            let of = |present, why| Made { set, part, place: place.name.clone(), present, duration_ms: took, why };
            match result {
                Ok(present) => made.push(of(present, None)),
                Err(error) => {
                    made.push(of(false, Some(error.to_string())));
                    silent.push(whole);
                    let cancelled = session.cancel.is_cancelled();
                    let error = told(wanted, error);
                    if all_count || place.required || cancelled {
                        session.reporter.message(Level::Error, Some(wanted.part.name()), error.to_string());
                        failure.get_or_insert(error);
                    } else {
                        let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
                        let text = format!("{error}{hint}; `required = true` would make this a failure");
                        session.reporter.message(Level::Warning, Some(wanted.part.name()), text);
                    }
                    if cancelled {
                        break;
                    }
                }
            }
        }
        Ok((made, failure))
    };
    let result = session.phase(Phase::Offsite, work).await;
    let left = super::leftovers::Leftovers::of(&super::journal::read(journal.path())?);
    if left.copies.is_empty() {
        let ok = result.as_ref().is_ok_and(|(_, failure)| failure.is_none());
        journal.write(Record::Ended { ok })?;
    }
    result
}

fn told(wanted: &Wanted<'_>, error: Error) -> Error {
    let (set, part, place) = (&wanted.set, wanted.part.name(), &wanted.place.settings.name);
    let hint = error.hint_text().map(|hint| format!("{hint}; ")).unwrap_or_default();
    let hint = format!("{hint}the next run tries again, or: bkhost offsite {set}");
    let text = format!("set {set} is published, but part `{part}` is not offsite at `{place}`: {error}");
    Error::new(error.kind(), text).hint(hint)
}

/// What the plugin captured for a set, as this machine knows it.
async fn captured(session: &Session, wanted: &Wanted<'_>) -> Result<PartRecord> {
    sealed::recall_from(session, &wanted.store, &wanted.set, &wanted.record).await
}

/// Tell of a call that is made for a place.
fn call(session: &Session, what: String) {
    session.reporter.event(&Event::Call { what, planned: false });
}

/// The stores of the configuration that can be opened.
async fn open_stores(session: &Session) -> Vec<Store> {
    let mut all = Vec::new();
    for store in stores::others(session, "").await {
        match store {
            Ok(store) => all.push(store),
            Err(error) => session.reporter.message(Level::Warning, None, error.to_string()),
        }
    }
    all
}
