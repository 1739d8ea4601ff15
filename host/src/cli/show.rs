//! `bkhost show`

use std::process::ExitCode;

use super::args::Place;
use super::context::Context;
use super::output;
use crate::archive::set::{LockMode, SetManifest};
use crate::error::Result;
use crate::units;

pub(super) async fn show(context: &Context, id: &str, place: &Place) -> Result<ExitCode> {
    let opened = context.place(place).await?;
    let set = opened.set(id).await?;
    if context.global.json {
        output::json(&set.manifest)?;
    } else {
        print(&set.manifest, set.store().location());
    }
    Ok(ExitCode::SUCCESS)
}

fn print(set: &SetManifest, store: &str) {
    let field = |name: &str, value: String| output::line(format!("{name:<12} {value}"));
    field("set", set.id.to_string());
    field("instance", set.instance.clone());
    field("in", format!("{store}/{}/{}", set.instance, set.id));
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
        field("snapshot", format!("{} at {}", part.snapshot.id, part.snapshot.created));
        if let Some(base) = &part.snapshot.base {
            field("builds on", format!("set {base}: without it this part cannot be restored"));
        }
        for (what, version) in &part.snapshot.versions {
            field("version", format!("{what} {version}"));
        }
        field("entries", part.entries.to_string());
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
        for file in &part.changed.files {
            field("changed", file.clone());
        }
    }
}
