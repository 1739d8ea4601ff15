//! `bkhost simulate`

use std::process::ExitCode;

use super::args::Simulate;
use super::context::Context;
use super::output;
use crate::application::simulator::{Options, Simulator};
use crate::capability::Secret;
use crate::error::Result;
use crate::units;

pub(super) async fn simulate(context: &Context, what: Simulate) -> Result<ExitCode> {
    let Simulate::Bitbucket {
        listen,
        drain,
        app_version,
        username,
        password,
        fault,
        locked_by_other,
        operator_cancel_after,
    } = what;
    let time = |text: String| text.parse::<units::Span>().map(|span| span.0);
    let options = Options {
        version: app_version,
        username,
        password: Secret::new(password),
        drain: time(drain)?,
        operator_cancel_after: operator_cancel_after.map(time).transpose()?,
        locked_by_other,
        faults: fault.iter().map(|text| text.parse()).collect::<Result<_>>()?,
        ..Options::default()
    };
    let cancel = context.cancel()?;
    let simulator = Simulator::start(listen, options).await?;
    output::line(format!(
        "a simulator of Bitbucket's maintenance API (not a Bitbucket) listens on {}",
        simulator.url()
    ));
    cancel.cancelled().await;
    simulator.stop().await;
    Ok(ExitCode::SUCCESS)
}
