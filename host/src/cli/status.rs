//! `bkhost status`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::application::Stage;
use crate::error::Result;
use crate::run::{self, HeldStatus, RunStatus, StateDirs, default_state};
use crate::units;

pub(super) fn status(context: &Context, show_tokens: bool) -> Result<ExitCode> {
    let config = context.config(&Adhoc::default())?;
    let root = match &config.instance.state {
        Some(state) => state.clone(),
        None => default_state()?,
    };
    let status = run::status(&StateDirs::open(&root, &config.instance.name)?, show_tokens)?;
    if context.global.json {
        output::json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(match &status.under_way {
        Some(what) => format!("instance {}: {what}", config.instance.name),
        None => format!("instance {}: nothing is under way", config.instance.name),
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
    Ok(ExitCode::SUCCESS)
}

fn as_row(run: &RunStatus) -> Vec<String> {
    let began = run.began.map_or_else(|| "?".to_owned(), |began| format!("{} ago", units::age(began)));
    vec![run.id.to_string(), run.state.to_owned(), run.phase.to_owned(), began, application(run.held.as_ref())]
}

fn application(held: Option<&HeldStatus>) -> String {
    match held {
        None => "free".to_owned(),
        Some(held) if held.stage == Stage::Intended => {
            format!("PERHAPS LOCKED since {:.0} at {}", held.since, held.url)
        }
        Some(held) => format!("LOCKED since {:.0}, until {:.0} at the latest, at {}", held.since, held.until, held.url),
    }
}
