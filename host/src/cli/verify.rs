//! `bkhost verify`

use std::process::ExitCode;

use super::args::{KeyArgs, Place};
use super::context::{Context, Opened};
use super::output;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Level;
use crate::run::{Depth, Known, Session, Verification, Verified, blocking};
use crate::store::{SetState, StoredSet};
use crate::units;

pub(super) async fn verify(
    context: &Context,
    id: Option<&str>,
    depth: Depth,
    keys: &KeyArgs,
    place: &Place,
) -> Result<ExitCode> {
    let opened = context.open(place, keys).await?;
    let session = if depth == Depth::Full { session(context, &opened) } else { None };
    let verification = Verification {
        depth,
        reporter: context.reporter(),
        cancel: context.cancel()?,
        known: Known::new(),
        session: session.as_ref(),
    };
    let Some(id) = id else {
        return verify_all(context, &opened, &verification).await;
    };
    let mut failed = None;
    for set in opened.sets(id).await? {
        let result = match set {
            Ok(set) => one(context, &set, &verification).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(verified) if context.global.json => output::json(&verified)?,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            // One that is damaged in a store does not hide the same in another.
            Err(error) => {
                if let Some(known) = failed.replace(error) {
                    output::error(&known, false);
                }
            }
        }
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// The instance, to ask its plugins. Where there is none, or none that works, the set can still be read.
fn session(context: &Context, opened: &Opened) -> Option<Session> {
    let config = opened.config()?.clone();
    match context.session(config) {
        Ok(session) => Some(session),
        Err(error) => {
            context.reporter().message(Level::Warning, None, format!("the plugins are not asked: {error}"));
            None
        }
    }
}

async fn one(context: &Context, set: &StoredSet, verification: &Verification<'_>) -> Result<Verified> {
    let verified = verification.verify(set).await?;
    if !context.global.json {
        output::line(format!("set {} in {}: {}", verified.id, set.store().location(), told(&verified)));
        for checked in &verified.plugins {
            output::line(format!("  part {}: checked by the plugin {}", checked.part, checked.plugin));
            for finding in &checked.findings {
                output::line(format!("    {}: {}", finding.subject, finding.message));
            }
        }
    }
    Ok(verified)
}

fn told(verified: &Verified) -> String {
    let Verified { objects, entries, bytes, stored_bytes, sealed, .. } = verified;
    match verified.depth {
        Depth::Quick => format!("{objects} objects, all there in their sizes; their bytes were not read"),
        Depth::Objects => {
            format!("{objects} objects, {}: every byte as it was", units::human_bytes(*stored_bytes))
        }
        Depth::Full if *sealed > 0 => format!(
            "{objects} objects, {}: every byte as it was; {sealed} are encrypted, and were not opened without --identity",
            units::human_bytes(*stored_bytes)
        ),
        Depth::Full => {
            format!("{objects} objects, {entries} entries, {}: all as they were", units::human_bytes(*bytes))
        }
    }
}

/// One damaged set does not hide the others.
async fn verify_all(context: &Context, opened: &Opened, verification: &Verification<'_>) -> Result<ExitCode> {
    let mut sets = Vec::new();
    for opened in opened.each() {
        let (store, instance) = (opened.store.clone(), opened.instance.clone());
        let listed = blocking(move || store.list(&instance)).await?;
        sets.extend(listed.into_iter().map(|set| (opened.clone(), set)));
    }
    let mut verified = Vec::new();
    let mut damaged = Vec::new();
    let mut failed: Option<Error> = None;
    for (opened, set) in sets {
        if set.state == SetState::Unpublished {
            continue;
        }
        // Also one that was found damaged before: it may have been repaired.
        let (store, instance, id) = (opened.store.clone(), opened.instance.clone(), set.id.clone());
        let result = match opened.asking(move || store.open_damaged(&instance, &id)).await {
            Ok(stored) => one(context, &stored, verification).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(set) => verified.push(set),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            // Deleted meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let error = error.within(format!("set {}", set.id));
                output::error(&error, false);
                if error.kind() == ErrorKind::Damaged {
                    damaged.push(set.id);
                } else {
                    failed.get_or_insert(error);
                }
            }
        }
    }
    if context.global.json {
        output::json(&serde_json::json!({ "verified": verified, "damaged": damaged }))?;
    }
    match (damaged.first(), failed) {
        (None, None) => Ok(ExitCode::SUCCESS),
        (None, Some(error)) => Err(error),
        (Some(first), _) => Err(Error::new(
            ErrorKind::Damaged,
            format!("{} of {} sets are damaged, such as {first}", damaged.len(), damaged.len() + verified.len()),
        )),
    }
}
