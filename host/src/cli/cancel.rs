//! `bkhost cancel`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::error::Result;
use crate::run;

pub(super) async fn cancel(context: &Context) -> Result<ExitCode> {
    let session = context.session(context.config(&Adhoc::default())?)?;
    let what = run::cancel_other(&session).await?;
    if context.global.json {
        output::json(&serde_json::json!({ "cancelled": what }))?;
    } else {
        output::line(format!("{what}: cancelled"));
    }
    Ok(ExitCode::SUCCESS)
}
