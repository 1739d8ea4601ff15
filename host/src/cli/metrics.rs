//! `bkhost metrics`, and the file that is written after every command that changes a figure.

use std::io::Write;
use std::process::ExitCode;

use super::args::{Adhoc, Command};
use super::context::Context;
use super::output;
use crate::config::Config;
use crate::error::Result;
use crate::notify::Mark;
use crate::report::{Reporter, waiting};
use crate::run::{self, Health, Status};
use crate::store::Store;

/// All that there is to tell about an instance.
pub(super) struct Figures {
    pub(super) status: Status,
    pub(super) stores: Vec<Health>,
    pub(super) channels: Vec<Mark>,
}

pub(super) async fn figures(
    context: &Context,
    config: &Config,
    reporter: &Reporter,
    show_tokens: bool,
) -> Result<Figures> {
    let dirs = context.dirs(config)?;
    let (instance, rpo) = (&config.instance.name, config.instance.rpo);
    let mut stores = Vec::new();
    for store in &config.stores {
        let open = Store::configured(store, false).await;
        let looked = Health::of_store(&store.to, instance, rpo, open);
        stores.push(waiting(reporter, &format!("the store {}", store.to), looked).await);
    }
    let channels = config.notify.iter().filter_map(|notify| Mark::read(&dirs.notify(), notify.name())).collect();
    Ok(Figures { status: run::status(&dirs, show_tokens)?, stores, channels })
}

pub(super) async fn metrics(context: &Context) -> Result<ExitCode> {
    let config = context.config(&Adhoc::default())?;
    let Figures { status, stores, channels } = figures(context, &config, &context.reporter(), false).await?;
    let text = run::metrics(&config.instance.name, &status, &stores, &channels);
    output::line(text.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Whether a figure may be another after this command.
pub(super) fn counts(command: &Command) -> bool {
    match command {
        // Without a configuration file there are no metrics either.
        Command::Run { dry_run, adhoc, .. } => !dry_run && adhoc.plugin.is_none(),
        Command::Plan { .. }
        | Command::Check { .. }
        | Command::List { .. }
        | Command::GitLocks { .. }
        | Command::Ls { .. }
        | Command::Show { .. }
        | Command::Cancel
        | Command::Guard { .. }
        | Command::FaultPoints
        | Command::Simulate { .. }
        | Command::Demo { .. }
        | Command::Plugin { .. }
        | Command::Config { .. } => false,
        _ => true,
    }
}

/// Write the figures anew, if the configuration asks for it. What is in the way is a warning: the command has done its work.
pub(super) async fn refresh(context: &Context) {
    let Ok(config) = context.config(&Adhoc::default()) else { return };
    let Some(path) = &config.metrics.textfile else { return };
    // The result was printed, and is the last that stdout gets.
    let written = match figures(context, &config, &Reporter::silent(), false).await {
        Ok(Figures { status, stores, channels }) => {
            run::write_textfile(path, &run::metrics(&config.instance.name, &status, &stores, &channels))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        let _ = writeln!(std::io::stderr(), "warning: {error}");
    }
}
