//! `bkhost status`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::metrics::{Figures, figures};
use super::output;
use crate::application::Stage;
use crate::error::Result;
use crate::notify::Mark;
use crate::run::{HeldStatus, RunStatus, Status};
use crate::units;

/// The exit code for a backup that is overdue.
const OVERDUE: u8 = 14;

pub(super) async fn status(context: &Context, show_tokens: bool) -> Result<ExitCode> {
    let config = context.config(&Adhoc::default())?;
    let Figures { status, stores, channels } = figures(context, &config, &context.reporter(), show_tokens).await?;
    let overdue = stores.iter().any(|store| store.overdue);
    let code = if overdue { ExitCode::from(OVERDUE) } else { ExitCode::SUCCESS };
    if context.global.json {
        let mut told = serde_json::json!({ "stores": stores, "notifications": channels, "overdue": overdue });
        if let (Some(told), Ok(serde_json::Value::Object(runs))) = (told.as_object_mut(), serde_json::to_value(&status))
        {
            told.extend(runs);
        }
        output::json(&told)?;
        return Ok(code);
    }
    runs(&config.instance.name, &status);
    stores.iter().for_each(|store| output::line(store.describe()));
    channels.iter().for_each(|mark| output::line(channel(mark)));
    Ok(code)
}

fn channel(mark: &Mark) -> String {
    let when = units::age(mark.at);
    match &mark.error {
        None => format!("notifications on `{}`: the last was taken {when} ago", mark.channel),
        Some(why) => {
            let taken = match mark.last_taken {
                Some(taken) => format!("the last that was taken is {} old", units::age(taken)),
                None => "none was ever taken".to_owned(),
            };
            format!("notifications on `{}`: FAILED {when} ago, on {}: {why}; {taken}", mark.channel, mark.occasion)
        }
    }
}

fn runs(instance: &str, status: &Status) {
    output::line(match &status.under_way {
        Some(what) => format!("instance {instance}: {what}"),
        None => format!("instance {instance}: nothing is under way"),
    });
    if !status.runs.is_empty() {
        let rows: Vec<_> = status.runs.iter().map(as_row).collect();
        output::table(&["RUN", "STATE", "PHASE", "BEGAN", "APPLICATION"], &rows);
    }
    for run in &status.runs {
        for mount in &run.frozen {
            output::line(format!("run {}: FROZEN, or about to be: the file system {}", run.id, mount.display()));
        }
        let Some(held) = &run.held else { continue };
        for (name, token) in [("unlock", &held.unlock_token), ("cancel", &held.cancel_token)] {
            if let Some(token) = token {
                output::line(format!("run {}: {name} token {token}", run.id));
            }
        }
    }
    if status.runs.iter().any(|run| matches!(run.state, "dead" | "damaged")) {
        output::line("`bkhost recover` undoes what dead runs left; so does the next run");
    }
}

fn as_row(run: &RunStatus) -> Vec<String> {
    let began = run.began.map_or_else(|| "?".to_owned(), |began| format!("{} ago", units::age(began)));
    vec![run.id.to_string(), run.state.to_owned(), run.phase.to_owned(), began, application(run.held.as_ref())]
}

fn application(held: Option<&HeldStatus>) -> String {
    match held {
        None => "free".to_owned(),
        Some(held) if held.stage == Stage::Intended => {
            format!("PERHAPS LOCKED since {:.0} at {}", held.since, held.place)
        }
        Some(held) => {
            format!("LOCKED since {:.0}, until {:.0} at the latest, at {}", held.since, held.until, held.place)
        }
    }
}
