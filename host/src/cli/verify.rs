//! `bkhost verify`

use std::process::ExitCode;

use super::args::Place;
use super::context::{Context, Opened};
use super::output;
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, Known, Verified, blocking};
use crate::store::{SetState, StoredSet};
use crate::units;

pub(super) async fn verify(context: &Context, id: Option<&str>, place: &Place) -> Result<ExitCode> {
    let opened = context.place(place).await?;
    let Some(id) = id else {
        return verify_all(context, &opened).await;
    };
    let set = opened.set(id).await?;
    let verified = one(context, &set, &mut Known::new()).await?;
    if context.global.json {
        output::json(&verified)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn one(context: &Context, set: &StoredSet, known: &mut Known) -> Result<Verified> {
    let verified = run::verify_set(&context.reporter(), set, known, &context.cancel()?).await?;
    if !context.global.json {
        output::line(format!(
            "set {}: {} objects, {} entries, {}: all as they were",
            verified.id,
            verified.objects,
            verified.entries,
            units::human_bytes(verified.bytes)
        ));
    }
    Ok(verified)
}

/// One damaged set does not hide the others.
async fn verify_all(context: &Context, opened: &Opened) -> Result<ExitCode> {
    let (store, instance) = (opened.store.clone(), opened.instance.clone());
    let sets = blocking(move || store.list(&instance)).await?;
    let mut verified = Vec::new();
    let mut damaged = Vec::new();
    let mut known = Known::new();
    for set in sets {
        let result = match set.state {
            SetState::Unpublished => continue,
            SetState::Damaged(why) => Err(Error::new(ErrorKind::Damaged, why)),
            SetState::Proved(_) => match opened.set(set.id.as_str()).await {
                Ok(stored) => one(context, &stored, &mut known).await,
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
