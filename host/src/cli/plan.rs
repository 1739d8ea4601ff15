//! `bkhost plan`, `bkhost run --dry-run`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::{check, output};
use crate::error::Result;
use crate::run;

pub(super) async fn plan(context: &Context, adhoc: &Adhoc) -> Result<ExitCode> {
    let session = context.session(context.config(adhoc)?)?;
    let planned = run::dry_run(&session).await?;
    if context.global.json {
        output::json(&planned)?;
    } else {
        output::line("Nothing of this was done: it is what `bkhost run` would do.");
    }
    check::judge(&planned.findings)
}
