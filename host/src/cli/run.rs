//! `bkhost run`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::error::Result;
use crate::{run, units};

pub(super) async fn run(context: &Context, adhoc: &Adhoc) -> Result<ExitCode> {
    let session = context.session(context.config(adhoc)?)?;
    let manifest = run::backup(&session).await?;
    if context.global.json {
        output::json(&manifest)?;
    } else {
        output::line(format!(
            "set {} is proved: {} parts, {} stored",
            manifest.id,
            manifest.parts.len(),
            units::human_bytes(manifest.stored_bytes())
        ));
    }
    Ok(ExitCode::SUCCESS)
}
