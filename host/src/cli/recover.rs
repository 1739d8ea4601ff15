//! `bkhost recover`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::error::{Error, ErrorKind, Result};
use crate::notify::locked;
use crate::run::{self, Recovered};

pub(super) async fn recover(context: &Context) -> Result<ExitCode> {
    let mut session = context.session(context.config(&Adhoc::default())?)?;
    session.notify = context.channels(&session.config).await?;
    let recovered = run::recover(&session).await?;
    let scratch = run::clear_scratch(&session).await;
    let Recovered { undone, damaged, held, failed } = recovered;
    if held.is_some() {
        session.notify.send(&locked(session.instance()), &session.reporter).await;
    }
    if context.global.json {
        output::json(&serde_json::json!({ "recovered": undone, "damaged": damaged }))?;
    } else {
        for id in &undone {
            output::line(format!("run {id}: undone"));
        }
    }
    if let Some(error) = held.or(failed) {
        return Err(error);
    }
    let cleared = scratch?;
    if cleared && !context.global.json {
        output::line("the scratch of work that was cut short: removed");
    }
    if let Some(first) = damaged.first() {
        return Err(Error::new(ErrorKind::Damaged, format!("a damaged journal was put aside: {}", first.display()))
            .hint(
                "what could be read of it was undone; look whether the application is locked, then remove the file",
            ));
    }
    if undone.is_empty() && !cleared && !context.global.json {
        output::line("nothing to recover: every run has ended");
    }
    Ok(ExitCode::SUCCESS)
}
