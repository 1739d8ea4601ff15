//! `bkhost restore`

use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::json;

use super::args::{Adhoc, RestoreArgs};
use super::confirm::confirmed;
use super::context::Context;
use super::import::{Imported, import};
use super::{offsite, output};
use crate::archive::SetId;
use crate::config::{Config, RestoreConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Level;
use crate::run::{self, PlannedStep, RestorePlan, RestoreRequest};
use crate::store::{Record, RecordKind, StoredSet};
use crate::units;

pub(super) async fn restore(context: &Context, args: RestoreArgs) -> Result<ExitCode> {
    if let (Some(place), Some(id)) = (&args.from_offsite, &args.id) {
        return offsite::restore(context, id, &args.part, place, &args.to, args.confirm.as_deref()).await;
    }
    // What it was unpacked into stays until everything is done.
    let (opened, set, _unpacked) = match (&args.from, &args.id) {
        (Some(from), _) => {
            let Imported { opened, set, dir } = import(context, from, args.work_dir.as_deref(), &args.keys).await?;
            (opened, set, Some(dir))
        }
        (None, id) => {
            let opened = context.open(&args.place, &args.keys).await?;
            let set = context.reveal(opened.set_for(id.as_deref().unwrap_or("latest"), &args.part).await?).await?;
            (opened, set, None)
        }
    };
    let config = match &args.r#as {
        None => opened.config_for(&set.manifest)?,
        Some(name) => other(context, name, &opened.instance)?,
    };
    // What is overwritten is what has to be typed.
    let instance = config.instance.name.clone();
    if !args.plan
        && let Some(name) = &args.confirm
    {
        // Before anything is looked at: whoever types the wrong name means something else.
        confirmed(&instance, "", "nothing was restored", Some(name))?;
    }
    if opened.stores.len() > 1 {
        let text = format!("set {} is read from {}", set.manifest.id, set.store().location());
        context.reporter().message(Level::Info, None, text);
    }
    let session = context.session(config)?;
    let parts = session.parts().await?;
    let request = RestoreRequest {
        parts: args.part,
        to: args.to,
        paths: run::typed_paths(&args.path)?,
        replace: args.replace,
        owners: args.owners.into(),
        accept: args.accept_fingerprint,
        again: args.again,
    };
    let plan = RestorePlan::make(&session, &set, &parts, &request).await;
    let plan = run::noted(&session.reporter, &set, plan).await?;
    let id = set.manifest.id.to_string();
    let measured = measured(&set).await;
    print(context, &set.manifest.id, &plan, &session.config.restore, measured)?;
    if args.plan {
        return Ok(plan.refusals().first().map_or(ExitCode::SUCCESS, |e| ExitCode::from(e.kind().exit_code())));
    }
    let plan = plan.accepted()?;
    confirmed(&instance, &format!("Restore set {id}"), "nothing was restored", args.confirm.as_deref())?;
    let in_use = run::in_use(&session.reporter, &set, "restore").await?;
    let restored = run::restore(&session, &set, plan).await;
    in_use.end().await;
    let restored = restored?;
    if context.global.json {
        output::json(&restored)?;
    } else {
        for (part, to) in &restored.parts {
            output::line(format!("part {part}: restored to {}", to.as_deref().unwrap_or("its original place")));
        }
        output::line(format!("set {} restored in {}", restored.id, units::human_millis(restored.duration_ms)));
    }
    Ok(ExitCode::SUCCESS)
}

/// When all of a set was restored or rehearsed last, and how long that took, in milliseconds.
type Measured = (Timestamp, u64);

/// The last measured restore of the instance. A store that does not tell is none.
async fn measured(set: &StoredSet) -> Option<Measured> {
    let (store, instance) = (set.store().clone(), set.manifest.instance.clone());
    let records = run::blocking(move || store.records(&instance)).await.ok()?;
    let whole = |record: &&Record| match record.kind {
        RecordKind::Drill => true,
        RecordKind::Restore => record.detail.get("whole").is_some_and(|whole| *whole == true),
        RecordKind::Pin | RecordKind::Verify | RecordKind::Offsite | RecordKind::Copy | RecordKind::Damaged => false,
    };
    let newest = records.list.iter().filter(|record| record.ok).filter(whole).max_by_key(|record| record.at)?;
    Some((newest.at, newest.duration_ms?))
}

/// What will happen, before it does.
fn print(
    context: &Context,
    id: &SetId,
    plan: &RestorePlan<'_>,
    around_config: &RestoreConfig,
    measured: Option<Measured>,
) -> Result<()> {
    let steps = plan.steps();
    if context.global.json {
        let around = |commands: &[Vec<String>]| if plan.to_original() { commands.to_vec() } else { Vec::new() };
        let (before, after) = (around(&around_config.before), around(&around_config.after));
        let refusals: Vec<_> = plan.refusals().iter().map(crate::Error::to_json).collect();
        return output::json(
            &json!({ "event": "plan", "set": id, "before": before, "steps": steps, "after": after, "refusals": refusals,
                "last-measured": measured.map(|(at, millis)| json!({ "at": at, "duration-ms": millis })) }),
        );
    }
    if context.global.quiet {
        return Ok(());
    }
    output::line(format!("restore of set {id}:"));
    let commands = |commands: &[Vec<String>]| {
        for argv in commands.iter().filter(|_| plan.to_original()) {
            output::line(format!("     runs {}", argv.join(" ")));
        }
    };
    commands(&around_config.before);
    for (n, step) in steps.iter().enumerate() {
        output::line(format!("{:>3}. {}", n.saturating_add(1), told(step)));
        if let Some(at) = step.done {
            output::line(format!(
                "       SKIPPED: restored at {at:.0} already, by a restore that was interrupted (--again restores it again)"
            ));
            continue;
        }
        for path in &step.paths {
            output::line(format!(
                "       only {path}{}",
                if step.replace { ", in place of what is there" } else { "" }
            ));
        }
        for (set, file, bytes) in &step.objects {
            let of = if set == id { String::new() } else { format!(" of set {set}") };
            output::line(format!("       reads {file}{of} ({})", units::human_bytes(*bytes)));
        }
        if let Some(held) = &step.held {
            output::line(format!("       from `{held}`, which stays with its vendor"));
        }
    }
    commands(&around_config.after);
    output::line(match measured {
        Some((at, millis)) => format!("     the last whole restore took {}, on {at:.0}", units::human_millis(millis)),
        None => {
            "     how long it takes was not measured yet: no restore or drill of a whole set is recorded".to_owned()
        }
    });
    for refusal in plan.refusals() {
        output::line(format!("     REFUSED as things stand: {}", refusal.with_cause()));
    }
    Ok(())
}

/// The configuration, if it is that of the instance that the operator named, and the set is of another.
fn other(context: &Context, name: &str, of: &str) -> Result<Config> {
    let config = context.config(&Adhoc::default())?;
    let is = &config.instance.name;
    if is != name {
        let text = format!("`--as {name}`, but the configuration is that of the instance {is}");
        return Err(Error::new(ErrorKind::Config, text).hint("name its configuration with --config"));
    }
    if is == of {
        return Err(
            Error::new(ErrorKind::Config, format!("the set is of the instance {of} itself")).hint("leave --as out")
        );
    }
    Ok(config)
}

fn told(step: &PlannedStep) -> String {
    let place = if step.original && step.to != "its original place" {
        format!("{}, its original place", step.to)
    } else {
        step.to.clone()
    };
    format!(
        "part {} to {place}, by {}: {} entries, {}",
        step.part,
        step.plugin,
        step.entries,
        units::human_bytes(step.bytes)
    )
}
