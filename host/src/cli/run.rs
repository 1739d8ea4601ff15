//! `bkhost run`

use std::process::ExitCode;

use super::args::Adhoc;
use super::context::Context;
use super::output;
use crate::archive::set::SetManifest;
use crate::config::{Config, Occasion};
use crate::error::{Error, ErrorKind, Result};
use crate::notify::{Channels, Notification};
use crate::units::Percent;
use crate::{run, units};

pub(super) async fn run(context: &Context, accept_shrink: &[String], adhoc: &Adhoc) -> Result<ExitCode> {
    let mut config = context.config(adhoc)?;
    accept(&mut config, accept_shrink)?;
    let instance = config.instance.name.clone();
    // First of all: a run that fails for any other reason is told about.
    let channels = context.channels(&config).await?;
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

/// A part that may shrink as it likes, this once.
fn accept(config: &mut Config, parts: &[String]) -> Result<()> {
    for name in parts {
        let names: Vec<String> = config.parts.iter().map(|part| part.name.clone()).collect();
        let part = config.parts.iter_mut().find(|part| part.name == *name).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("--accept-shrink: there is no part `{}`", name.escape_debug()))
                .hint(format!("the parts are: {}", names.join(", ")))
        })?;
        part.min_share = Some(Percent(0));
    }
    Ok(())
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
