//! `bkhost offsite`, and what the other commands tell of copies at other places.

use std::process::ExitCode;

use super::args::Place;
use super::confirm::confirmed;
use super::context::Context;
use super::output;
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, FromOffsite, OffsiteCopy, blocking};
use crate::store::Record;
use crate::units;

/// Copy a set to the places of the configuration.
pub(super) async fn offsite(context: &Context, id: &str, parts: &[String], places: &[String]) -> Result<ExitCode> {
    let opened = context.place(&Place::default()).await?;
    let set = opened.set(id).await?;
    let id = set.manifest.id.clone();
    let session = context.session(opened.config_or_plain())?;
    let made = run::copy_offsite(&session, &[(set.store().clone(), set.manifest)], parts, places).await?;
    if context.global.json {
        output::json(&serde_json::json!({ "id": id, "copies": made }))?;
    } else {
        for copy in &made {
            let how = if copy.present {
                "is there already".to_owned()
            } else {
                format!("copied in {}", units::human_millis(copy.duration_ms))
            };
            output::line(format!("part {} of set {} at {}: {how}", copy.part, copy.set, copy.place));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Restore a part from its copy at a place.
pub(super) async fn restore(
    context: &Context,
    id: &str,
    parts: &[String],
    place: &str,
    to: &[String],
    confirm: Option<&str>,
) -> Result<ExitCode> {
    let session = context.session(context.config(&super::args::Adhoc::default())?)?;
    let instance = session.instance().to_owned();
    if confirm.is_some() {
        confirmed(&instance, "", "nothing was restored", confirm)?;
    }
    let (part, to) = target(parts, to)?;
    let set = match id {
        "latest" => newest(&session, part.as_deref(), place).await?,
        id => id.parse()?,
    };
    let from = FromOffsite::find(&session, &set, part.as_deref(), place, &to).await?;
    if context.global.json {
        let mut plan = serde_json::to_value(&from).unwrap_or_default();
        if let Some(plan) = plan.as_object_mut() {
            plan.insert("event".to_owned(), "plan".into());
        }
        output::json(&plan)?;
    } else if !context.global.quiet {
        output::line(format!("restore of part {} of set {set}:", from.part));
        output::line(format!("       from `{}` at {place}, to {to} there", from.copy.id));
    }
    let what = format!("Restore part {} of set {set} from {place}", from.part);
    confirmed(&instance, &what, "nothing was restored", confirm)?;
    let millis = run::from_offsite(&session, &from).await?;
    if context.global.json {
        output::json(
            &serde_json::json!({ "id": set, "part": from.part, "place": place, "to": to, "duration-ms": millis }),
        )?;
    } else {
        let took = units::human_millis(millis);
        output::line(format!("part {} of set {set}: restored from {place} to {to} in {took}", from.part));
    }
    Ok(ExitCode::SUCCESS)
}

/// The one part and the one target that are named.
fn target(parts: &[String], to: &[String]) -> Result<(Option<String>, String)> {
    if parts.len() > 1 {
        return Err(Error::new(ErrorKind::Config, "--from-offsite restores one part at a time")
            .hint("name it with --part, and repeat the command for the next one"));
    }
    let part = parts.first().cloned();
    let [to] = to else {
        return Err(Error::new(ErrorKind::Config, "--from-offsite needs one --to: where it came from is not there").hint(
            "--to is what the part's plugin takes: an instance or `volumes` for amazon-ebs, a new name for amazon-rds",
        ));
    };
    let named = to.split_once('=').filter(|(name, _)| part.as_deref().is_none_or(|part| part == *name));
    Ok(match named {
        Some((name, to)) => (Some(name.to_owned()), to.to_owned()),
        None => (part, to.clone()),
    })
}

async fn newest(session: &run::Session, part: Option<&str>, place: &str) -> Result<SetId> {
    let copies = run::copies(session).await?;
    let here = |copy: &&OffsiteCopy| copy.ok && copy.place == place && part.is_none_or(|part| copy.part == part);
    copies.iter().filter(here).map(|copy| copy.set.clone()).max().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("no copy at `{}` is known", place.escape_debug()))
            .hint("name the set by its id: then its copy is looked for at the place itself")
    })
}

/// Delete old copies by the rules of their places.
pub(super) async fn prune(context: &Context, session: &run::Session, dry_run: bool) -> Result<Option<Error>> {
    let pruned = run::prune_copies(session, dry_run).await?;
    if pruned.is_empty() {
        return Ok(None);
    }
    if context.global.json {
        output::json(&serde_json::json!({ "offsite": pruned }))?;
    } else {
        for one in &pruned {
            output::line(format!("Copies of part {} at {}:", one.part, one.place));
            for decision in &one.decisions {
                let fate = if decision.keep { "stays" } else { "goes " };
                output::line(format!("{fate}  {}  {}", decision.id, decision.why));
            }
            if !dry_run {
                output::line(format!("{} deleted", one.deleted.len()));
            }
        }
    }
    let failed = pruned.iter().find_map(|one| Some((one, one.failed.first()?)));
    Ok(failed.map(|(one, (id, why))| {
        Error::new(ErrorKind::Plugin, format!("the copy of set {id} at `{}` could not be deleted: {why}", one.place))
    }))
}

/// What these records tell of copies, in lines.
pub(super) fn lines(copies: &[OffsiteCopy]) -> Vec<String> {
    let line = |copy: &OffsiteCopy| {
        let (set, part, place, age) = (&copy.set, &copy.part, &copy.place, units::age(copy.at));
        if copy.ok {
            format!("{set} is offsite at {place} (part {part}), copied {age} ago")
        } else {
            let why = copy.why.as_deref().unwrap_or("nobody knows why");
            format!("{set} is NOT OFFSITE at {place} (part {part}), tried {age} ago: {why}")
        }
    };
    copies.iter().map(line).collect()
}

/// The copies that a store tells of.
pub(super) async fn of_store(store: &crate::store::Store, instance: &str) -> Result<Vec<OffsiteCopy>> {
    let (store, instance) = (store.clone(), instance.to_owned());
    let records: Vec<Record> = blocking(move || Ok(store.records(&instance)?.list)).await?;
    let mut copies = OffsiteCopy::all_of(&records);
    copies.sort_by(|a, b| (&b.set, &a.part, &a.place).cmp(&(&a.set, &b.part, &b.place)));
    Ok(copies)
}
