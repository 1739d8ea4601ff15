//! The command line: one file per subcommand, no logic.

mod args;
mod cancel;
mod check;
mod config;
mod confirm;
mod context;
mod copy;
mod demo;
mod drill;
mod export;
mod git_locks;
mod guard;
mod import;
mod keep;
mod keys;
mod list;
mod ls;
mod metrics;
mod notify;
mod offsite;
mod output;
mod plan;
mod plugin;
mod prune;
mod recover;
mod restore;
mod run;
mod show;
mod simulate;
mod snapshots;
mod status;
mod tools;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command};
use self::context::Context;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::report::Heartbeat;

/// Run the command that the arguments name. `shipped` lists the plugins that came with this build, as lines of
/// `<sha256>  <name>.wasm`.
#[must_use]
pub fn main(shipped: &str) -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    let context = Context::new(cli.global, shipped);
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_error(ErrorKind::Io, || "cannot start the asynchronous runtime")
        .and_then(|runtime| {
            let result = runtime.block_on(dispatch(context, cli.command));
            // A thread that hangs in a system call must not keep the process.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            result
        });
    match result {
        Ok(code) => code,
        Err(error) => {
            output::error(&error, json);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

async fn dispatch(context: Context, command: Command) -> Result<ExitCode> {
    let counts = metrics::counts(&command);
    // What runs until it is told to end waits for nothing.
    let serves = matches!(command, Command::Guard { .. } | Command::Simulate { .. } | Command::FaultPoints);
    let beat = (!serves).then(|| Heartbeat::around(&context.reporter(), 2, "this command to end"));
    let result = work(&context, command).await;
    drop(beat);
    if counts {
        metrics::refresh(&context).await;
    }
    result
}

async fn work(context: &Context, command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { dry_run: false, accept_shrink, adhoc } => run::run(context, &accept_shrink, &adhoc).await,
        Command::Run { dry_run: true, adhoc, .. } | Command::Plan { adhoc } => plan::plan(context, &adhoc).await,
        Command::Check { adhoc } => check::check(context, &adhoc).await,
        Command::GitLocks { directory, profile, remove } => {
            git_locks::git_locks(context, &directory, &profile, remove).await
        }
        Command::List { place } => list::list(context, &place).await,
        Command::Ls { id, path, part, keys, place } => {
            ls::ls(context, &id, part.as_deref(), path.as_deref(), &keys, &place).await
        }
        Command::Snapshots => snapshots::snapshots(context).await,
        Command::Show { id, keys, place } => show::show(context, &id, &keys, &place).await,
        Command::Verify { id, depth, keys, place, all: _ } => {
            verify::verify(context, id.as_deref(), depth.into(), &keys, &place).await
        }
        Command::Export(args) => export::export(context, args).await,
        Command::Restore(args) => restore::restore(context, args).await,
        Command::Prune { keep, dry_run, consent, keys, place } => {
            let asked = if dry_run { None } else { Some(&consent) };
            prune::prune(context, &keep, asked, &keys, &place).await
        }
        Command::Keep { id, note, release: false, place } => keep::keep(context, &id, note, &place).await,
        Command::Keep { id, place, .. } | Command::Unkeep { id, place } => keep::release(context, &id, &place).await,
        Command::Copy { id, all: _, from, to, instance } => {
            copy::copy(context, id.as_deref(), from, &to, instance).await
        }
        Command::Offsite { id, part, to } => offsite::offsite(context, &id, &part, &to).await,
        Command::Drill { id, part, keys, place } => drill::drill(context, &id, &part, &keys, &place).await,
        Command::Cancel => cancel::cancel(context).await,
        Command::Status { show_tokens } => status::status(context, show_tokens).await,
        Command::Metrics => metrics::metrics(context).await,
        Command::Guard { .. } => guard::guard().await,
        Command::FaultPoints => guard::fault_points(),
        Command::Notify => notify::notify(context).await,
        Command::Recover => recover::recover(context).await,
        Command::Simulate { what } => simulate::simulate(context, what).await,
        Command::Demo { keep } => demo::demo(context, keep).await,
        Command::Plugin { what } => plugin::plugin(context, &what).await,
        Command::Config { what } => config::config(&what),
    }
}
