//! A dump of a few bytes is no backup: a part that is much smaller than it was in the last proved set fails the run.
//!
//! Only like is compared with like: a part of the same plugin, archived in full both times, from the same sources. What was
//! small before is not measured: a few bytes more or less mean nothing there.
//!
//! The sets of all stores count: one that is new, or was put back to what it held long ago, is no measure by itself. One that
//! has lost all is told of.

use std::collections::BTreeMap;

use super::session::Session;
use super::status::status;
use super::stores::Stores;
use crate::archive::SetId;
use crate::archive::set::{PartRecord, SourceForm, SourceRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, Reporter};
use crate::store::{SetEntry, SetState};
use crate::units::{Percent, human_bytes};

/// Below so many bytes of content nothing is said about bytes.
const FEW_BYTES: u64 = 1 << 10;
/// Below so many files and directories nothing is said about their number.
const FEW_ENTRIES: u64 = 100;

/// Compare what was stored with the last set before this one that is proved in any of the stores. Gives what the operator
/// should know about the set.
///
/// # Errors
/// `Damaged`, with both figures, for a part that is under its share; `Store` if the earlier sets of a store that is required
/// cannot be read.
pub(super) async fn refuse(
    session: &Session,
    stores: &Stores,
    id: &SetId,
    stored: &[PartRecord],
) -> Result<Vec<String>> {
    let instance = session.instance().to_owned();
    let lists = stores.each(move |store| store.list(&instance)).await?;
    let before: Vec<SetId> = status(&session.dirs, false)?
        .runs
        .into_iter()
        .filter(|run| run.state == "proved" && run.id < *id)
        .map(|run| run.id)
        .collect();
    let mut told: Vec<String> =
        lists.iter().filter_map(|(at, sets)| emptied(at.store.name(), sets, id, &before)).collect();
    let sets = lists.into_iter().flat_map(|(_, sets)| sets).filter(|set| set.id < *id && set.manifest().is_some());
    // A set is the same wherever it is proved.
    let sets: BTreeMap<SetId, SetEntry> = sets.map(|set| (set.id.clone(), set)).collect();
    let earlier: Vec<&SetEntry> = sets.values().rev().collect();
    let mut small = Vec::new();
    for part in stored {
        let share = share(session, &part.name);
        match compare(part, &earlier, share) {
            Found::Fine => {}
            Found::Skipped(why) => tell(&session.reporter, &part.name, why),
            Found::Small(why) => small.push((part.name.as_str(), why)),
        }
    }
    let Some((first, why)) = small.first() else {
        told.extend(gone(stored, &earlier));
        return Ok(told);
    };
    let accept: Vec<String> = small.iter().map(|(part, _)| format!("--accept-shrink {part}")).collect();
    let error = Error::new(ErrorKind::Damaged, format!("part `{first}` {why}")).hint(format!(
        "is it all there? If it is meant to be so small: bkhost run {}; `min-share` of its [[part]] lowers the bar for good",
        accept.join(" ")
    ));
    Err(small.iter().skip(1).fold(error, |error, (part, why)| error.detail(*part, format!("part `{part}` {why}"))))
}

fn share(session: &Session, part: &str) -> Percent {
    let own =
        session.config.parts.iter().find(|settings| settings.name == part).and_then(|settings| settings.min_share);
    own.unwrap_or(session.config.coverage.min_share)
}

fn tell(reporter: &Reporter, part: &str, why: String) {
    reporter.message(Level::Info, Some(part), format!("its size is not compared with that of an earlier set: {why}"));
}

/// A store that has nothing of what earlier runs have published.
fn emptied(store: &str, sets: &[SetEntry], id: &SetId, before: &[SetId]) -> Option<String> {
    let last = before.iter().max()?;
    let any = sets.iter().any(|set| set.id < *id && set.state != SetState::Unpublished);
    (!any).then(|| {
        format!(
            "the store `{store}` holds no earlier set of this instance, and run {last} has published one: is it new, or is \
             the file system that belongs there not mounted?"
        )
    })
}

/// A part that the last set has and this one has not.
fn gone(stored: &[PartRecord], earlier: &[&SetEntry]) -> Option<String> {
    let last = earlier.first()?;
    let missing: Vec<&str> = last
        .manifest()?
        .parts
        .iter()
        .filter(|part| stored.iter().all(|now| now.name != part.name))
        .map(|part| part.name.as_str())
        .collect();
    (!missing.is_empty()).then(|| {
        format!("set {} has also part {}: [coverage] makes sure of what has to be there", last.id, missing.join(", "))
    })
}

/// What came of a comparison.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Fine,
    Skipped(String),
    Small(String),
}

/// Compare a part with the newest of the earlier sets that can be compared. The newest set is the first.
fn compare(part: &PartRecord, earlier: &[&SetEntry], share: Percent) -> Found {
    if share.0 == 0 {
        return Found::Fine;
    }
    if part.snapshot.base.is_some() {
        return Found::Skipped("it is an increment, and says nothing of the whole".to_owned());
    }
    let mut of_this = earlier.iter().filter_map(|set| Some((&set.id, set.manifest()?.part(&part.name)?))).peekable();
    if of_this.peek().is_none() {
        // The first set that has it.
        return Found::Fine;
    }
    let Some((id, before)) = of_this.find(|(_, before)| before.snapshot.base.is_none()) else {
        return Found::Skipped("there are only increments".to_owned());
    };
    if before.plugin != part.plugin {
        return Found::Skipped(format!("the plugin {} made it in set {id}", before.plugin));
    }
    if shape(before) != shape(part) {
        // Another database or directory, or what is in one set a checkpoint and in the next a journal.
        return Found::Skipped(format!("its sources are others than in set {id}"));
    }
    let (now, then) = (content_bytes(part), content_bytes(before));
    if then >= FEW_BYTES && !share.is_reached(now, then) {
        return Found::Small(format!(
            "has {}, and had {} in set {id}: less than {share} of it",
            human_bytes(now),
            human_bytes(then)
        ));
    }
    if before.entries >= FEW_ENTRIES && !share.is_reached(part.entries, before.entries) {
        return Found::Small(format!(
            "has {} files and directories, and had {} in set {id}: less than {share} of them",
            part.entries, before.entries
        ));
    }
    Found::Fine
}

/// From what it was made, apart from how much.
fn shape(part: &PartRecord) -> Vec<(&str, SourceForm)> {
    part.sources.iter().map(|source| (source.name.as_str(), source.form)).collect()
}

/// Bytes of content, as far as they were archived.
fn content_bytes(part: &PartRecord) -> u64 {
    let bytes = |source: &SourceRecord| if source.form == SourceForm::Held { 0 } else { source.bytes };
    part.sources.iter().map(bytes).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::set;
    use crate::store::SetRecords;

    /// An earlier set whose part has these bytes and entries.
    fn set(n: u32, bytes: u64, entries: u64, change: impl Fn(&mut PartRecord)) -> SetEntry {
        let id = format!("20261120-{n:06}-4f2a9c");
        let mut manifest = set::seal::tests::manifest(&id);
        let part = &mut manifest.parts[0];
        part.sources = vec![SourceRecord { name: "tree".into(), form: SourceForm::Tree, bytes }];
        (part.entries, part.snapshot.base) = (entries, None);
        change(part);
        let (id, records) = (manifest.id.clone(), SetRecords::default());
        SetEntry { id, state: SetState::Proved(Box::new(manifest)), needs: Vec::new(), records }
    }

    fn part(bytes: u64, entries: u64, change: impl Fn(&mut PartRecord)) -> PartRecord {
        set(9, bytes, entries, change).manifest().unwrap().parts[0].clone()
    }

    fn found(now: &PartRecord, earlier: &[SetEntry], percent: u8) -> &'static str {
        match compare(now, &earlier.iter().collect::<Vec<_>>(), Percent(percent)) {
            Found::Fine => "fine",
            Found::Skipped(_) => "skipped",
            Found::Small(_) => "small",
        }
    }

    fn increment(part: &mut PartRecord) {
        part.snapshot.base = Some("20260101-000000-000000".parse().unwrap());
    }

    #[test]
    fn bytes_and_entries() {
        let whole = |_: &mut PartRecord| {};
        for (then, now, percent, expected) in [
            ((1 << 20, 10), (1 << 19, 10), 50, "fine"),
            ((1 << 20, 10), ((1 << 19) - 1, 10), 50, "small"),
            ((1 << 20, 10), (8, 10), 50, "small"),
            ((1 << 20, 10), (8, 10), 0, "fine"),
            ((1 << 20, 10), (8, 10), 1, "small"),
            ((1 << 20, 10), ((1 << 20) - 1, 10), 100, "small"),
            ((1 << 20, 10), (2 << 20, 10), 100, "fine"),
            // Hardly anything before.
            ((1023, 10), (1, 1), 50, "fine"),
            ((1024, 10), (511, 1), 50, "small"),
            ((1 << 20, 99), (1 << 20, 1), 50, "fine"),
            ((1 << 20, 100), (1 << 20, 49), 50, "small"),
            ((1 << 20, 100), (1 << 20, 50), 50, "fine"),
        ] {
            let earlier = [set(1, then.0, then.1, whole)];
            assert_eq!(found(&part(now.0, now.1, whole), &earlier, percent), expected, "{then:?} {now:?} {percent}");
        }
        assert_eq!(found(&part(1, 1, whole), &[], 50), "fine");
    }

    #[test]
    fn like_with_like() {
        let whole = |_: &mut PartRecord| {};
        let other_plugin = |part: &mut PartRecord| part.plugin = "other".into();
        let other_config = |part: &mut PartRecord| part.config = serde_json::json!({ "jobs": 7 });
        let other_name = |part: &mut PartRecord| part.name = "other".into();
        let elsewhere = |part: &mut PartRecord| {
            part.config = serde_json::json!({ "datasets": ["tank/b"] });
            part.sources[0].name = "tank/b".into();
        };
        let large = 1 << 30;
        // The newest full one is what counts, whatever lies between.
        let chain = [set(3, 10, 1, increment), set(2, large, 10, whole), set(1, 10, 1, whole)];
        assert_eq!(found(&part(5000, 1, whole), &chain, 50), "small");
        assert_eq!(found(&part(5000, 1, increment), &chain, 50), "skipped");
        assert_eq!(found(&part(5000, 1, whole), &chain[..1], 50), "skipped");
        assert_eq!(found(&part(5000, 1, whole), &[set(1, large, 10, other_plugin)], 50), "skipped");
        assert_eq!(found(&part(5000, 1, whole), &[set(1, large, 10, other_config)], 50), "small");
        assert_eq!(found(&part(5000, 1, elsewhere), &[set(1, large, 10, whole)], 50), "skipped");
        assert_eq!(found(&part(5000, 1, whole), &[set(1, large, 10, other_name)], 50), "fine");
        // What stays with the vendor has no bytes of ours.
        let held = |part: &mut PartRecord| part.sources[0].form = SourceForm::Held;
        assert_eq!(found(&part(0, 0, held), &[set(1, large, 10, held)], 50), "fine");
    }

    #[test]
    fn a_store_that_lost_all_is_told() {
        let sets = [set(1, 10, 1, |_| {})];
        let id = |n: u32| -> SetId { format!("20261120-{n:06}-4f2a9c").parse().unwrap() };
        assert_eq!(emptied("b", &sets, &id(2), &[id(1)]), None);
        assert_eq!(emptied("b", &[], &id(2), &[]), None, "the first run");
        assert!(emptied("b", &[], &id(2), &[id(1)]).unwrap().contains("not mounted"));
        assert!(emptied("b", &[set(2, 10, 1, |_| {})], &id(2), &[id(1)]).is_some(), "its own");
    }

    #[test]
    fn parts_that_are_gone_are_told() {
        let whole = |_: &mut PartRecord| {};
        let earlier = [set(1, 10, 1, whole)];
        let earlier: Vec<&SetEntry> = earlier.iter().collect();
        assert_eq!(gone(&[part(1, 1, whole)], &earlier), None);
        let text = gone(&[part(1, 1, |part| part.name = "else".into())], &earlier).unwrap();
        assert!(text.contains(&earlier[0].manifest().unwrap().parts[0].name), "{text}");
    }
}
