//! `bkhost config`

use std::process::ExitCode;

use super::args::ConfigCommand;
use super::output;
use crate::error::{ErrorKind, Result, ResultExt};

pub(super) fn config(what: &ConfigCommand) -> Result<ExitCode> {
    match what {
        ConfigCommand::Schema => output::line(
            serde_json::to_string_pretty(&crate::config::schema())
                .or_error(ErrorKind::Internal, || "cannot express the schema as JSON")?,
        ),
    }
    Ok(ExitCode::SUCCESS)
}
