//! `bkhost show`

use std::path::Path;
use std::process::ExitCode;

use super::args::{KeyArgs, Place};
use super::context::Context;
use super::{offsite, output, tools};
use crate::archive::set::{LockMode, ObjectRole};
use crate::error::Result;
use crate::run::{self, OffsiteCopy, ToldThere, blocking};
use crate::store::{Record, RecordKind, StoredSet};
use crate::units;

pub(super) async fn show(context: &Context, id: &str, keys: &KeyArgs, place: &Place) -> Result<ExitCode> {
    let opened = context.open(place, keys).await?;
    let mut set = opened.set(id).await?;
    if !set.keys().is_empty() {
        set = run::reveal(set).await?;
    }
    if context.global.json {
        output::json(&set.manifest)?;
    } else {
        let identity = keys.identity.first().cloned();
        blocking(move || {
            let mut records = set.store().records(&set.manifest.instance)?.list;
            records.retain(|record| record.set == set.manifest.id);
            print(&set, identity.as_deref());
            let mut own = records.iter().filter(|record| record.kind != RecordKind::Offsite).peekable();
            if own.peek().is_some() {
                output::line("");
            }
            own.for_each(told);
            offsite::lines(&OffsiteCopy::all_of(&records)).into_iter().for_each(output::line);
            Ok(())
        })
        .await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What happened to the set since it was made, and, if it is a copy, before in the store that it came from.
fn told(record: &Record) {
    output::line(format!("{:<12} {}", record.kind.name(), line(record)));
    for ToldThere { store, record } in ToldThere::of(record) {
        output::line(format!("{:<12} {} in the store `{store}` {}", "", record.kind, line(&record)));
    }
}

fn line(record: &Record) -> String {
    let mut text = format!("{} ({} ago) by {} on {}", record.at, units::age(record.at), record.by.user, record.by.host);
    if let Some(took) = record.duration_ms {
        text.push_str(&format!(", took {}", units::human_millis(took)));
    }
    if !record.ok {
        text.push_str(", FAILED");
    }
    if let Some(note) = &record.note {
        text.push_str(&format!(": {note}"));
    }
    text
}

/// The set's directory, and the server that has it, if it is not Amazon's.
fn place(stored: &StoredSet) -> (String, Option<String>) {
    let (root, server) = match stored.store().remote() {
        Some(bucket) => (bucket.url, bucket.endpoint),
        None => (stored.store().location().to_owned(), None),
    };
    (format!("{}/{}/{}", root.trim_end_matches('/'), stored.manifest.instance, stored.manifest.id), server)
}

fn print(stored: &StoredSet, identity: Option<&Path>) {
    let set = &stored.manifest;
    let field = |name: &str, value: String| output::line(format!("{name:<12} {value}"));
    field("set", set.id.to_string());
    field("instance", set.instance.clone());
    let (place, server) = place(stored);
    field("in", server.map_or_else(|| place.clone(), |server| format!("{place} at {server}")));
    field("created", format!("{} ({} ago)", set.created, units::age(set.created)));
    field("made by", format!("bkhost {} on {}", set.made_by.bkhost, set.made_by.host));
    field("took", units::human_millis(set.duration_ms));
    let application = &set.application;
    let how = match application.mode {
        LockMode::Locked => format!(
            "locked for {}, {} of it to drain",
            units::human_millis(application.locked_ms),
            units::human_millis(application.drain_ms)
        ),
        LockMode::ZeroDowntime => "kept running (zero downtime)".to_owned(),
        LockMode::Unlocked => "nothing to lock".to_owned(),
    };
    let version = application.version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
    field("application", format!("{}{version}: {how}", application.kind));
    field("skew", units::human_millis(set.skew_ms));
    field("proved", format!("{}: {}", set.proved.at, set.proved.how));
    for warning in &set.warnings {
        field("WARNING", warning.clone());
    }
    for part in &set.parts {
        output::line("");
        field("part", format!("{} ({} {}, {})", part.name, part.plugin, part.plugin_version, part.kind));
        let hidden = part.objects.iter().any(|object| object.role == ObjectRole::Notes) && stored.keys().is_empty();
        if hidden {
            field("encrypted", "its names take an identity to see: --identity FILE".to_owned());
            field("snapshot", format!("at {}", part.snapshot.created));
        } else {
            field("snapshot", format!("{} at {}", part.snapshot.id, part.snapshot.created));
        }
        if let Some(base) = &part.snapshot.base {
            field("builds on", format!("set {base}: without it this part cannot be restored"));
        }
        for (what, version) in &part.snapshot.versions {
            field("version", format!("{what} {version}"));
        }
        field("entries", part.entries.to_string());
        if let Some(left_out) = &part.left_out {
            if let Some(profile) = &left_out.profile {
                let options = match &left_out.options {
                    serde_json::Value::Null => String::new(),
                    options => format!(" with {options}"),
                };
                field("profile", format!("{profile}{options}"));
            }
            if !left_out.globs.is_empty() {
                field("left out", left_out.globs.join(", "));
            }
        }
        for object in &part.objects {
            field(
                "object",
                format!(
                    "{} ({}, {} unpacked)",
                    object.file,
                    units::human_bytes(object.bytes),
                    units::human_bytes(object.content_bytes)
                ),
            );
        }
        for object in &part.objects {
            let at = format!("{place}/{}", object.file);
            field("opens with", tools::command(stored, object, &at, identity));
        }
        for file in &part.changed.files {
            field("changed", file.clone());
        }
    }
}
