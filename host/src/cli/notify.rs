//! `bkhost notify`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::config::Occasion;
use crate::error::{Error, ErrorKind, Result};
use crate::notify::Notification;

pub(super) async fn notify(context: &Context) -> Result<ExitCode> {
    let config = context.config(&Adhoc::default())?;
    if config.notify.is_empty() {
        return Err(Error::new(ErrorKind::Config, "the configuration names no [[notify]] channel")
            .hint("add one: [[notify]], with type = \"mail\", \"webhook\", \"ping\" or \"command\""));
    }
    let channels = context.channels(&config).await?;
    // A switch that is not called in time is what a trial must not feign: the address is called as after a success.
    let trial = Notification::new(
        Occasion::Success,
        &config.instance.name,
        format!("bkhost: a trial notification about {}", config.instance.name),
        "This is a trial: nothing happened. It was sent by `bkhost notify`.",
    );
    let results = channels.try_all(&trial).await;
    if context.global.json {
        let told = results.iter().map(
            |(name, sent)| serde_json::json!({ "channel": name, "ok": sent.is_ok(), "error": sent.as_ref().err() }),
        );
        output::json(&told.collect::<Vec<_>>())?;
    } else {
        for (name, sent) in &results {
            match sent {
                Ok(()) => output::line(format!("{name}: sent")),
                Err(why) => output::line(format!("{name}: FAILED: {why}")),
            }
        }
    }
    match results.iter().filter(|(_, sent)| sent.is_err()).count() {
        0 => Ok(ExitCode::SUCCESS),
        failed => Err(Error::new(ErrorKind::Io, format!("{failed} of {} notification channels failed", results.len()))),
    }
}
