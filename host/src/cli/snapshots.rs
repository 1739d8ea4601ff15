//! `bkhost snapshots`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Level;
use crate::run::{self, Session, blocking};
use crate::store::{SetEntry, Store};
use crate::units;

pub(super) async fn snapshots(context: &Context) -> Result<ExitCode> {
    let session = context.session(context.config(&Adhoc::default())?)?;
    let sets = sets(&session).await?;
    let found = run::snapshots(&session, &sets).await?;
    if context.global.json {
        output::json(&serde_json::json!({ "instance": session.instance(), "snapshots": found }))?;
    } else if found.is_empty() {
        output::line(format!("no part of instance {} has a snapshot at its vendor", session.instance()));
    } else {
        let rows: Vec<_> = found
            .iter()
            .map(|found| {
                vec![
                    found.part.clone(),
                    found.snapshot.id.clone(),
                    units::age(found.snapshot.created),
                    found.snapshot.bytes.map(units::human_bytes).unwrap_or_default(),
                    found.set.as_ref().map_or_else(|| "NO SET".to_owned(), ToString::to_string),
                ]
            })
            .collect();
        output::table(&["PART", "SNAPSHOT", "AGE", "SIZE", "SET"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// The sets of all stores. Where one is missing, what is at the vendors matters all the more.
async fn sets(session: &Session) -> Result<Vec<(Store, SetEntry)>> {
    let mut all = Vec::new();
    for config in &session.config.stores {
        let listed = async {
            let (store, instance) = (Store::configured(config, false).await?, session.instance().to_owned());
            let listing = store.clone();
            let sets = blocking(move || listing.list(&instance)).await?;
            Ok::<Vec<_>, Error>(sets.into_iter().map(|set| (store.clone(), set)).collect())
        };
        match listed.await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Store) => {
                let text = format!("{error}: the sets in it are not known");
                session.reporter.message(Level::Warning, None, text);
            }
            sets => all.extend(sets?),
        }
    }
    Ok(all)
}
