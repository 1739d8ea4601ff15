//! `bkhost keep`

use std::process::ExitCode;

use super::args::Place;
use super::context::{Context, Opened};
use super::output;
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, blocking};
use crate::store::{Record, RecordKind};

/// A note is a line in a table.
const MAX_NOTE: usize = 500;

pub(super) async fn keep(context: &Context, id: &str, note: Option<String>, place: &Place) -> Result<ExitCode> {
    let opened = context.place(place).await?;
    let id = published(&opened, id).await?;
    let mut record = Record::new(RecordKind::Pin, &id);
    if let Some(note) = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty()) {
        if note.chars().count() > MAX_NOTE || note.contains(char::is_control) {
            return Err(Error::new(ErrorKind::Config, "the note is no short line of text")
                .hint(format!("write at most {MAX_NOTE} characters, on one line")));
        }
        record = record.note(note);
    }
    let reporter = context.reporter();
    let held = run::hold(&reporter, &opened.store, &opened.instance, &id, "keep").await?;
    let (store, instance) = (opened.store.clone(), opened.instance.clone());
    let record = blocking(move || store.record(&instance, &record)).await;
    held.end().await;
    let record = record?;
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
    let id = published(&opened, id).await?;
    let (store, instance, set) = (opened.store.clone(), opened.instance.clone(), id.clone());
    let released = blocking(move || {
        let records = store.records(&instance)?.list;
        let pins: Vec<Record> =
            records.into_iter().filter(|record| record.kind == RecordKind::Pin && record.set == set).collect();
        pins.iter().try_for_each(|pin| store.remove_record(&instance, pin))?;
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

/// The set that is meant, damaged or not: what may still be saved from is worth a pin.
async fn published(opened: &Opened, id: &str) -> Result<SetId> {
    if id == "latest" {
        return Ok(opened.set(id).await?.manifest.id);
    }
    let id: SetId = id.parse()?;
    let (store, instance, set) = (opened.store.clone(), opened.instance.clone(), id.clone());
    blocking(move || match store.open_set(&instance, &set) {
        Err(e) if e.kind() == ErrorKind::Damaged => Ok(()),
        other => other.map(|_| ()),
    })
    .await?;
    Ok(id)
}
