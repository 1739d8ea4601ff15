//! `bkhost run`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::archive::set::SetManifest;
use crate::config::{Config, Occasion};
use crate::error::Result;
use crate::notify::{Channels, Notification};
use crate::{run, units};

pub(super) async fn run(context: &Context, adhoc: &Adhoc) -> Result<ExitCode> {
    let config = context.config(adhoc)?;
    let instance = config.instance.name.clone();
    // First of all: a run that fails for any other reason is told about.
    let channels = Channels::resolve(&config.notify).await?;
    let reporter = context.reporter();
    let start = Notification::new(
        Occasion::Start,
        &instance,
        format!("bkhost: the backup of {instance} begins"),
        "A run has been started.",
    );
    channels.send(&start, &reporter).await;
    let result = backup(context, config, channels.clone()).await;
    let told = match &result {
        Ok(manifest) => Notification::new(
            Occasion::Success,
            &instance,
            format!("bkhost: {instance} is backed up"),
            summary(manifest),
        )
        .about(&manifest.id),
        Err(error) => Notification::failure(&instance, error),
    };
    channels.send(&told, &reporter).await;
    let manifest = result?;
    if context.global.json {
        output::json(&manifest)?;
    } else {
        output::line(summary(&manifest));
    }
    Ok(ExitCode::SUCCESS)
}

async fn backup(context: &Context, config: Config, notify: Channels) -> Result<SetManifest> {
    let mut session = context.session(config)?;
    session.notify = notify;
    run::backup(&session).await
}

fn summary(manifest: &SetManifest) -> String {
    format!(
        "set {} is proved: {} parts, {} stored",
        manifest.id,
        manifest.parts.len(),
        units::human_bytes(manifest.stored_bytes())
    )
}
