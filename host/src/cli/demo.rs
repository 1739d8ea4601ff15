//! `bkhost demo`

use std::process::ExitCode;

use super::context::Context;
use crate::error::Result;

pub(super) async fn demo(context: &Context, keep: bool) -> Result<ExitCode> {
    crate::demo::demo(context.reporter(), context.shipped(), keep).await?;
    Ok(ExitCode::SUCCESS)
}
