//! What a drill found, in the store's records.

use std::time::Duration;

use serde_json::json;

use super::Drilled;
use crate::report::Level;
use crate::run::prune::blocking;
use crate::run::sealed::{self, is_encrypted};
use crate::run::session::Session;
use crate::store::{Record, RecordKind, StoredSet};

/// Write it down. A store that does not take it does not make the drill worse: that is told.
pub(super) async fn write(session: &Session, set: &StoredSet, drilled: &Drilled) {
    let encrypted = is_encrypted(set);
    let parts: Vec<_> = drilled
        .parts
        .iter()
        .map(|part| {
            json!({
                "part": part.part, "how": part.how, "ok": part.ok, "compared": part.compared,
                "restore-ms": part.restore_ms, "why": part.why.as_ref().filter(|_| !encrypted),
            })
        })
        .collect();
    let detail = json!({
        "parts": parts, "checks": drilled.checks, "partial": drilled.partial, "duration-ms": drilled.duration_ms,
    });
    let mut record = Record::new(RecordKind::Drill, &drilled.id).detail(detail);
    if let Some(failure) = &drilled.failure {
        record = record.failed(sealed::told(set, failure));
    }
    // What tells how long a restore takes has to be of all of it.
    if !drilled.partial {
        record = record.took(Duration::from_millis(drilled.restore_ms));
    }
    let damaged = drilled.parts.iter().find_map(|part| part.damaged.clone());
    let (store, instance) = (set.store().clone(), session.instance().to_owned());
    let written = blocking(move || {
        store.record(&instance, &record)?;
        damaged.map_or(Ok(()), |damaged| store.record(&instance, &damaged).map(drop))
    })
    .await;
    if let Err(error) = written {
        session.reporter.message(
            Level::Warning,
            None,
            format!("the drill could not be recorded in the store: {error}"),
        );
    }
}
