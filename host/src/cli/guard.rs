//! `bkhost guard` and `bkhost fault-points`: not for operators.

use std::process::ExitCode;

use super::output;
use crate::error::Result;
use crate::run;

pub(super) async fn guard() -> Result<ExitCode> {
    run::guard().await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn fault_points() -> Result<ExitCode> {
    for point in run::fault_points() {
        output::line(point);
    }
    Ok(ExitCode::SUCCESS)
}
