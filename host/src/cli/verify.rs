//! `bkhost verify`

use std::process::ExitCode;

use super::args::{KeyArgs, Place};
use super::context::{Context, Opened};
use super::output;
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, Known, Verified, blocking};
use crate::store::{SetState, StoredSet};
use crate::units;

pub(super) async fn verify(context: &Context, id: Option<&str>, keys: &KeyArgs, place: &Place) -> Result<ExitCode> {
    let opened = context.open(place, keys).await?;
    let Some(id) = id else {
        return verify_all(context, &opened).await;
    };
    let mut failed = None;
    for set in opened.sets(id).await? {
        let result = match set {
            Ok(set) => one(context, &set, &mut Known::new()).await,
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

async fn one(context: &Context, set: &StoredSet, known: &mut Known) -> Result<Verified> {
    let verified = run::verify_set(&context.reporter(), set, known, &context.cancel()?).await?;
    if !context.global.json {
        let what = match verified.sealed {
            0 => format!("{} entries, {}: all as they were", verified.entries, units::human_bytes(verified.bytes)),
            sealed => format!(
                "as they were stored; {sealed} of them are encrypted, and their content takes an identity to check: \
                 --identity FILE"
            ),
        };
        let location = set.store().location();
        output::line(format!("set {} in {location}: {} objects, {what}", verified.id, verified.objects));
    }
    Ok(verified)
}

/// One damaged set does not hide the others.
async fn verify_all(context: &Context, opened: &Opened) -> Result<ExitCode> {
    let mut verified = Vec::new();
    let mut damaged = Vec::new();
    let mut sets = Vec::new();
    for opened in opened.each() {
        let (store, instance) = (opened.store.clone(), opened.instance.clone());
        let listed = blocking(move || store.list(&instance)).await?;
        sets.extend(listed.into_iter().map(|set| (opened.clone(), set)));
    }
    let mut known = (String::new(), Known::new());
    for (opened, set) in sets {
        // What is known of one store is nothing that is known of another.
        if known.0 != opened.store.location() {
            known = (opened.store.location().to_owned(), Known::new());
        }
        let known = &mut known.1;
        let result = match set.state {
            SetState::Unpublished => continue,
            SetState::Damaged(why) => Err(Error::new(ErrorKind::Damaged, why)),
            SetState::Proved(_) => match opened.set(set.id.as_str()).await {
                Ok(stored) => one(context, &stored, known).await,
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(set) => verified.push(set),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                output::error(&error.within(format!("set {}", set.id)), false);
                damaged.push(set.id);
            }
        }
    }
    if context.global.json {
        output::json(&serde_json::json!({ "verified": verified, "damaged": damaged }))?;
    }
    match damaged.first() {
        None => Ok(ExitCode::SUCCESS),
        Some(first) => Err(Error::new(
            ErrorKind::Damaged,
            format!("{} of {} sets are damaged, such as {first}", damaged.len(), damaged.len() + verified.len()),
        )),
    }
}
