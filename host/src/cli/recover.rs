//! `bkhost recover`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::error::Result;
use crate::run;

pub(super) async fn recover(context: &Context) -> Result<ExitCode> {
    let session = context.session(context.config(&Adhoc::default())?)?;
    let recovered = run::recover(&session).await?;
    if context.global.json {
        output::json(&serde_json::json!({ "recovered": recovered }))?;
    } else if recovered.is_empty() {
        output::line("nothing to recover: every run has ended");
    } else {
        for id in recovered {
            output::line(format!("run {id}: undone"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
