//! `bkhost prune`

use std::process::ExitCode;

use super::args::Place;
use super::context::Context;
use super::output;
use crate::error::{Error, ErrorKind, Result};
use crate::run;
use crate::store::retention::Policy;

pub(super) async fn prune(context: &Context, keep_last: Option<u32>, dry_run: bool, place: &Place) -> Result<ExitCode> {
    let opened = context.place(place).await?;
    let session = context.session(opened.config_or_plain())?;
    let policy = Policy { keep_last: keep_last.unwrap_or(session.config.retention.keep_last) };
    let pruned = run::prune(&session, &opened.store, policy, dry_run).await?;
    if context.global.json {
        output::json(&pruned)?;
    } else {
        for decision in &pruned.decisions {
            let fate = if decision.keep { "stays" } else { "goes " };
            output::line(format!("{fate}  {}  {}", decision.id, decision.why));
        }
        if dry_run {
            output::line("Nothing was deleted: this is what `bkhost prune` would do.");
        } else {
            output::line(format!("{} deleted", pruned.deleted.len()));
        }
    }
    match pruned.failed.first() {
        None => Ok(ExitCode::SUCCESS),
        Some((id, why)) => Err(Error::new(ErrorKind::Store, format!("set {id} could not be deleted: {why}"))),
    }
}
