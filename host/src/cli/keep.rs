//! `bkhost keep`

use std::process::ExitCode;

use super::args::Place;
use super::context::{Context, Opened};
use super::output;
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, blocking};
use crate::store::{Record, RecordKind, Store};

/// A note is a line in a table.
const MAX_NOTE: usize = 500;

pub(super) async fn keep(context: &Context, id: &str, note: Option<String>, place: &Place) -> Result<ExitCode> {
    let opened = context.place(place).await?;
    let (id, stores) = published(&opened, id).await?;
    let mut record = Record::new(RecordKind::Pin, &id);
    if let Some(note) = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty()) {
        if note.chars().count() > MAX_NOTE || note.contains(char::is_control) {
            return Err(Error::new(ErrorKind::Config, "the note is no short line of text")
                .hint(format!("write at most {MAX_NOTE} characters, on one line")));
        }
        record = record.note(note);
    }
    let reporter = context.reporter();
    // Wherever it is: each store is pruned by itself.
    for store in stores {
        let held = run::hold(&reporter, &store, &opened.instance, &id, "keep").await?;
        let (instance, pin) = (opened.instance.clone(), record.clone());
        let written = blocking(move || store.record(&instance, &pin)).await;
        held.end().await;
        record = written?;
    }
    if context.global.json {
        output::json(&record)?;
    } else {
        output::line(format!(
            "set {id} is pinned: no rule deletes it; `bkhost keep {id} --release` takes the pin away"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn release(context: &Context, id: &str, place: &Place) -> Result<ExitCode> {
    let opened = context.place(place).await?;
    let (id, stores) = published(&opened, id).await?;
    let (instance, set) = (opened.instance.clone(), id.clone());
    let released = blocking(move || {
        let mut pins: Vec<Record> = Vec::new();
        for store in stores {
            let records = store.records(&instance)?.list;
            let here = records.into_iter().filter(|record| record.kind == RecordKind::Pin && record.set == set);
            for pin in here {
                store.remove_record(&instance, &pin)?;
                pins.push(pin);
            }
        }
        Ok(pins)
    })
    .await?;
    if context.global.json {
        output::json(&serde_json::json!({ "id": id, "released": released }))?;
    } else if released.is_empty() {
        output::line(format!("set {id} was not pinned"));
    } else {
        output::line(format!("set {id} is not pinned any more: the next `bkhost prune` may delete it"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The set that is meant, damaged or not (what may still be saved from is worth a pin), and the stores that have it.
async fn published(opened: &Opened, id: &str) -> Result<(SetId, Vec<Store>)> {
    let id = if id == "latest" { opened.set(id).await?.manifest.id } else { id.parse::<SetId>()? };
    let (stores, instance) = (opened.stores.clone(), opened.instance.clone());
    blocking(move || {
        let mut having = Vec::new();
        for store in &stores {
            if store.is_published(&instance, &id)? {
                having.push(store.clone());
            }
        }
        match stores.first().filter(|_| having.is_empty()) {
            Some(first) => first.open_set(&instance, &id).map(|set| (id, vec![set.store().clone()])),
            None => Ok((id, having)),
        }
    })
    .await
}
