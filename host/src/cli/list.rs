//! `bkhost list`

use std::collections::BTreeSet;
use std::process::ExitCode;

use jiff::Timestamp;

use super::args::Place;
use super::context::Context;
use super::{offsite, output};
use crate::archive::SetId;
use crate::archive::set::SetManifest;
use crate::error::Result;
use crate::store::{RecordKind, SetEntry, SetState};
use crate::units;

pub(super) async fn list(context: &Context, place: &Place) -> Result<ExitCode> {
    let opened = context.place(place).await?;
    let mut listed = Vec::new();
    let mut failed = None;
    for one in opened.each() {
        let (store, instance) = (one.store.clone(), one.instance.clone());
        match one.asking(move || store.list(&instance)).await {
            Ok(sets) => {
                let copies = offsite::of_store(&one.store, &one.instance).await?;
                listed.push((one.store, sets, copies));
            }
            // One that does not answer does not hide the others.
            Err(error) => {
                if opened.stores.len() > 1 {
                    output::error(&error, false);
                }
                failed = failed.or(Some(error));
            }
        }
    }
    if context.global.json {
        let rows = |sets: &[SetEntry]| sets.iter().map(as_json).collect::<Vec<_>>();
        let stores: Vec<_> = listed
            .iter()
            .map(|(store, sets, copies)| {
                serde_json::json!({ "name": store.name(), "store": store.location(), "sets": rows(sets), "offsite": copies })
            })
            .collect();
        let first = listed.first().map(|(_, sets, _)| rows(sets)).unwrap_or_default();
        output::json(&serde_json::json!({
            "store": opened.store.location(), "instance": opened.instance, "sets": first, "stores": stores,
        }))?;
    } else {
        for (store, sets, copies) in &listed {
            if sets.is_empty() {
                output::line(format!("no sets of instance {} in {}", opened.instance, store.location()));
            } else {
                output::line(format!("instance {} in {}", opened.instance, store.location()));
                print(sets);
            }
            offsite::lines(copies).into_iter().for_each(output::line);
        }
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn print(sets: &[SetEntry]) {
    let rows: Vec<_> = sets.iter().map(as_row).collect();
    output::table(
        &["SET", "STATE", "AGE", "STORED", "DOWNTIME", "PROVED", "VERIFIED", "DRILLED", "RESTORE", "PARTS"],
        &rows,
    );
    let hows: BTreeSet<&str> =
        sets.iter().filter_map(SetEntry::manifest).map(|manifest| manifest.proved.how.as_str()).collect();
    hows.iter().for_each(|how| output::line(format!("proved: {how}")));
    for set in sets {
        // Beside the table: it may be long.
        if let SetState::Damaged(why) = &set.state {
            output::line(format!("{} is DAMAGED: {why}", set.id));
        }
        if let Some(pin) = set.records.pin() {
            let note = pin.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
            let who = format!("{} on {}, {} ago", pin.by.user, pin.by.host, units::age(pin.at));
            output::line(format!("{} is pinned by {who}{note}", set.id));
        }
    }
}

fn as_row(set: &SetEntry) -> Vec<String> {
    let (state, rest) = match &set.state {
        SetState::Proved(manifest) => (
            format!("{}{}", proved(manifest, &set.needs), pinned(set)),
            [
                if manifest.created > Timestamp::now() { "future".to_owned() } else { units::age(manifest.created) },
                units::human_bytes(manifest.stored_bytes()),
                units::human_millis(manifest.application.locked_ms.saturating_sub(manifest.application.drain_ms)),
                ago(manifest.proved.at),
                told(set, RecordKind::Verify),
                told(set, RecordKind::Drill),
                set.records.restore_time().map_or_else(|| "-".to_owned(), |(millis, _)| units::human_millis(millis)),
                manifest.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(" "),
            ],
        ),
        SetState::Damaged(_) => (format!("DAMAGED{}", pinned(set)), Default::default()),
        SetState::Unpublished => ("unpublished".to_owned(), Default::default()),
    };
    let mut row = vec![set.id.to_string(), state];
    row.extend(rest);
    row
}

fn pinned(set: &SetEntry) -> &'static str {
    if set.records.pin().is_some() { ", pinned" } else { "" }
}

fn ago(time: Timestamp) -> String {
    format!("{} ago", units::age(time))
}

/// When the last record of a kind was written, and whether it is a bad one.
fn told(set: &SetEntry, kind: RecordKind) -> String {
    match set.records.last(kind) {
        None => "-".to_owned(),
        Some(record) if record.ok => ago(record.at),
        Some(record) => format!("FAILED {}", ago(record.at)),
    }
}

/// A set that stands alone is just proved.
fn proved(manifest: &SetManifest, needs: &[SetId]) -> String {
    let mut text = "proved".to_owned();
    needs.iter().for_each(|need| text.push_str(&format!(", builds on {need}")));
    if !manifest.warnings.is_empty() {
        text.push_str(", with warnings");
    }
    text
}

fn as_json(set: &SetEntry) -> serde_json::Value {
    let mut json = state_json(set);
    if let Some(json) = json.as_object_mut() {
        let last = |kind| serde_json::json!(set.records.last(kind));
        json.insert("pinned".to_owned(), last(RecordKind::Pin));
        json.insert("verified".to_owned(), last(RecordKind::Verify));
        json.insert("drilled".to_owned(), last(RecordKind::Drill));
        json.insert("restored".to_owned(), last(RecordKind::Restore));
        json.insert("restore-ms".to_owned(), serde_json::json!(set.records.restore_time().map(|(millis, _)| millis)));
    }
    json
}

fn state_json(set: &SetEntry) -> serde_json::Value {
    match &set.state {
        SetState::Proved(manifest) => serde_json::json!({
            "id": set.id,
            "state": "proved",
            "created": manifest.created,
            "bytes": manifest.stored_bytes(),
            "locked-ms": manifest.application.locked_ms,
            "drain-ms": manifest.application.drain_ms,
            "parts": manifest.parts.iter().map(|part| &part.name).collect::<Vec<_>>(),
            "proved": manifest.proved,
            "needs": set.needs,
            "warnings": manifest.warnings,
        }),
        SetState::Damaged(why) => serde_json::json!({ "id": set.id, "state": "damaged", "why": why }),
        SetState::Unpublished => serde_json::json!({ "id": set.id, "state": "unpublished" }),
    }
}
