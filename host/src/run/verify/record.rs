//! What a verification found, in the store's records: so that `list` shows it, and nothing counts a set that is damaged.

use std::time::Duration;

use serde_json::json;

use super::{Depth, Verified};
use crate::archive::set::SetManifest;
use crate::error::{Error, Result};
use crate::report::{Level, Reporter};
use crate::run::prune::blocking;
use crate::run::{damage, sealed};
use crate::store::{Record, RecordKind, StoredSet};

/// Write it down. A store that does not take it does not make the set worse: that is told.
pub(super) async fn write(
    reporter: &Reporter,
    set: &StoredSet,
    result: &Result<Verified>,
    depth: Depth,
    took: Duration,
) {
    let id = &set.manifest.id;
    let records = match result {
        Ok(verified) => vec![whole(verified, took)],
        // Of most other failures: nothing is known of the set.
        Err(error) => damaged(set, error, depth, took),
    };
    let (store, instance) = (set.store().clone(), set.manifest.instance.clone());
    let written =
        blocking(move || records.iter().try_for_each(|record| store.record(&instance, record).map(drop))).await;
    if let Err(error) = written {
        let text = format!("the verification of set {id} could not be recorded in the store: {error}");
        reporter.message(Level::Warning, None, text);
    }
}

/// The record of a set of which every stored byte was read, here, by what does not only verify.
pub(in crate::run) fn read_back(manifest: &SetManifest, took: Duration) -> Record {
    whole(&Verified::begun(manifest, Depth::Objects), took)
}

fn whole(verified: &Verified, took: Duration) -> Record {
    let plugins: Vec<_> = verified.plugins.iter().map(|checked| checked.part.as_str()).collect();
    let detail = json!({
        "depth": verified.depth, "objects": verified.objects, "entries": verified.entries, "bytes": verified.bytes,
        "sealed": verified.sealed, "plugins": plugins,
    });
    Record::new(RecordKind::Verify, &verified.id).took(took).detail(detail)
}

fn damaged(set: &StoredSet, error: &Error, depth: Depth, took: Duration) -> Vec<Record> {
    let Some(damage) = damage::record(set, error) else { return Vec::new() };
    let mut detail = damage::facts(set, error);
    if let Some(detail) = detail.as_object_mut() {
        detail.insert("depth".to_owned(), json!(depth));
    }
    let why = sealed::told(set, error);
    let verified = Record::new(RecordKind::Verify, &set.manifest.id).took(took).failed(why).detail(detail.clone());
    vec![verified, damage.detail(detail)]
}
