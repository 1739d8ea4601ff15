//! `bkhost prune`

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;

use super::args::{KeyArgs, Place};
use super::confirm::confirmed;
use super::context::Context;
use super::{offsite, output};
use crate::config::Retention;
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, Pruned, Pruning, Session};
use crate::store::Store;
use crate::store::retention::Policy;
use crate::units::Span;

/// `[retention]` on the command line: a flag takes the place of the configuration's key.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct KeepFlags {
    /// So many of the newest proved sets stay; 0 is no rule
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// The last set of each of so many hours stays
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    /// The last set of each of so many days stays
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u32>,
    /// The last set of each of so many weeks stays
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    /// The last set of each of so many months stays
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    /// The last set of each of so many years stays
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u32>,
    /// All sets that are not older than this stay, such as 30d
    #[arg(long, value_name = "TIME")]
    pub keep_within: Option<String>,
    /// So many of the newest proved sets stay whatever the rules say
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_proved_min: Option<u32>,
}

impl KeepFlags {
    /// The configuration's rules with these in their place.
    pub(super) fn over(&self, mut retention: Retention) -> Result<Retention> {
        let replace = |key: &mut u32, flag: Option<u32>| *key = flag.unwrap_or(*key);
        replace(&mut retention.keep_last, self.keep_last);
        replace(&mut retention.keep_hourly, self.keep_hourly);
        replace(&mut retention.keep_daily, self.keep_daily);
        replace(&mut retention.keep_weekly, self.keep_weekly);
        replace(&mut retention.keep_monthly, self.keep_monthly);
        replace(&mut retention.keep_yearly, self.keep_yearly);
        replace(&mut retention.keep_proved_min, self.keep_proved_min);
        if let Some(span) = &self.keep_within {
            let span: Span = span.parse().map_err(|e: Error| e.within("--keep-within"))?;
            retention.keep_within = (!span.0.is_zero()).then_some(span);
        }
        Ok(retention)
    }
}

/// What has to be said before anything is deleted.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Consent {
    /// The instance's name, instead of being asked for it
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Delete sets although they were made on another machine or of another application: the fingerprint of this one, as
    /// the refusal tells it
    #[arg(long, value_name = "FINGERPRINT")]
    pub accept_fingerprint: Option<String>,
}

/// Delete what the rules do not keep; without a consent only say what that is.
pub(super) async fn prune(
    context: &Context,
    flags: &KeepFlags,
    consent: Option<&Consent>,
    keys: &KeyArgs,
    place: &Place,
) -> Result<ExitCode> {
    let opened = context.open(place, keys).await?;
    let session = context.session(opened.config_or_plain())?;
    let policy = flags.over(session.config.retention.clone())?.policy();
    let work = Work { context, session: &session, stores: &opened.stores, policy };
    let Some(consent) = consent else { return work.each(Pruning::DryRun).await };
    let confirmed = |given| confirmed(session.instance(), "Delete these sets", "nothing was deleted", given);
    if consent.confirm.is_none() && std::io::stdin().is_terminal() {
        // Whoever is asked has to see what goes.
        let code = work.each(Pruning::DryRun).await?;
        confirmed(None)?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    } else {
        confirmed(consent.confirm.as_deref())?;
    }
    work.each(Pruning::Delete { accept: consent.accept_fingerprint.as_deref() }).await
}

struct Work<'a> {
    context: &'a Context,
    session: &'a Session,
    stores: &'a [Store],
    policy: Policy,
}

impl Work<'_> {
    /// Prune one store after the other.
    async fn each(&self, how: Pruning<'_>) -> Result<ExitCode> {
        let several = self.stores.len() > 1;
        let mut failed = None;
        for store in self.stores {
            let pruned = match run::prune(self.session, store, self.policy.clone(), how).await {
                Ok(pruned) => pruned,
                // One that does not answer does not keep the others from being pruned.
                Err(error) if several && error.kind() == ErrorKind::Store => {
                    output::error(&error, false);
                    failed = failed.or(Some(error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if several && !self.context.global.json {
                output::line(format!("In {}:", store.location()));
            }
            print(self.context, &pruned, matches!(how, Pruning::DryRun))?;
            failed = failed.or(pruned.failed.first().map(|(id, why)| {
                let name = store.name();
                Error::new(ErrorKind::Store, format!("set {id} could not be deleted from store `{name}`: {why}"))
            }));
        }
        let copies = offsite::prune(self.context, self.session, matches!(how, Pruning::DryRun)).await?;
        failed.or(copies).map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

fn print(context: &Context, pruned: &Pruned, dry_run: bool) -> Result<()> {
    if context.global.json {
        return output::json(pruned);
    }
    for decision in &pruned.decisions {
        let fate = if decision.keep { "stays" } else { "goes " };
        output::line(format!("{fate}  {}  {}", decision.id, decision.why));
    }
    if dry_run {
        output::line("Nothing was deleted: this is what `bkhost prune` would do.");
    } else {
        output::line(format!("{} deleted", pruned.deleted.len()));
    }
    Ok(())
}
