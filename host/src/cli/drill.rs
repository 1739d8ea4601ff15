//! `bkhost drill`

use std::process::ExitCode;

use super::args::{KeyArgs, Place};
use super::context::Context;
use super::output;
use crate::error::Result;
use crate::notify::{Channels, Notification};
use crate::run::{self, Drilled, DrilledHow};
use crate::units;

pub(super) async fn drill(
    context: &Context,
    id: &str,
    parts: &[String],
    keys: &KeyArgs,
    place: &Place,
) -> Result<ExitCode> {
    let opened = context.open(place, keys).await?;
    let config = opened.config_or_plain();
    let channels = Channels::resolve(&config.notify).await?;
    let result = rehearse(context, &opened, id, parts).await;
    let failure = match &result {
        Ok(drilled) => drilled.failure.as_ref(),
        Err(error) => Some(error),
    };
    if let Some(error) = failure {
        // Nobody sits in front of what cron runs.
        let mut told = Notification::failure(&opened.instance, error);
        told.subject = format!("bkhost: the drill of {} FAILED", opened.instance);
        channels.send(&told, &context.reporter()).await;
    }
    let drilled = result?;
    if context.global.json {
        output::json(&drilled)?;
    } else {
        print(&drilled);
    }
    drilled.failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

async fn rehearse(context: &Context, opened: &super::context::Opened, id: &str, parts: &[String]) -> Result<Drilled> {
    let set = context.reveal(opened.set(id).await?).await?;
    let session = context.session(opened.config_for(&set.manifest)?)?;
    run::drill(&session, &set, parts).await
}

fn print(drilled: &Drilled) {
    for part in &drilled.parts {
        let why = part.why.as_deref().unwrap_or_default();
        let text = match (part.how, part.ok) {
            (_, false) => format!("FAILED: {why}"),
            (DrilledHow::Skipped | DrilledHow::NotRehearsed, true) => format!("not rehearsed: {why}"),
            (_, true) => format!(
                "restored in {}, {} entries compared ({})",
                units::human_millis(part.restore_ms),
                part.compared,
                units::human_bytes(part.bytes)
            ),
        };
        output::line(format!("part {}: {text}", part.part));
        for finding in &part.findings {
            output::line(format!("  {}: {}", finding.subject, finding.message));
        }
    }
    for check in &drilled.checks {
        output::line(format!("check passed: {check}"));
    }
    if drilled.ok {
        output::line(format!(
            "set {} restores: in {}; the drill took {}",
            drilled.id,
            units::human_millis(drilled.restore_ms),
            units::human_millis(drilled.duration_ms)
        ));
    }
}
