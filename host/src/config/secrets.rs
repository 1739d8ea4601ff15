//! Secrets have no literal form. That is checked first, and on its own: no other error may show the value.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Step, find};
use super::source::Sources;
use crate::error::Result;

const KINDS: [&str; 4] = ["env", "file", "command", "credential"];

const HINT: &str = "say where it is: { env = \"NAME\" }, { file = \"/path\" }, { command = [\"/path/to/program\", \"argument\"] } \
                    or { credential = \"name\" } (systemd)";

/// Refuses secrets that are written out.
pub(super) fn check(sources: &Sources, root: &DeTable<'_>) -> Result<()> {
    if let Some(value) = find(root, &[Step::Key("application"), Step::Key("password")]) {
        check_one(sources, "application.password", value)?;
    }
    for key in ["passphrase", "identity"] {
        if let Some(value) = find(root, &[Step::Key("encryption"), Step::Key(key)]) {
            check_one(sources, &format!("encryption.{key}"), value)?;
        }
    }
    if let Some(DeValue::Array(channels)) = root.get("notify").map(Spanned::get_ref) {
        for (index, channel) in channels.iter().enumerate() {
            for key in ["password", "url-from"] {
                if let Some(value) = channel.get_ref().get(key) {
                    check_one(sources, &format!("notify[{index}].{key}"), value)?;
                }
            }
        }
    }
    if let Some(DeValue::Array(stores)) = root.get("store").map(Spanned::get_ref) {
        for (index, store) in stores.iter().enumerate() {
            for key in ["access-key", "secret-key", "session-token"] {
                if let Some(value) = store.get_ref().get(key) {
                    check_one(sources, &format!("store[{index}].{key}"), value)?;
                }
            }
        }
    }
    let Some(DeValue::Array(parts)) = root.get("part").map(Spanned::get_ref) else { return Ok(()) };
    for (index, part) in parts.iter().enumerate() {
        if let Some(DeValue::Table(secrets)) = part.get_ref().get("secrets").map(Spanned::get_ref) {
            for (name, value) in secrets {
                check_one(sources, &format!("part[{index}].secrets.{}", name.get_ref()), value)?;
            }
        }
        let Some(DeValue::Array(places)) = part.get_ref().get("offsite").map(Spanned::get_ref) else { continue };
        for (n, place) in places.iter().enumerate() {
            let Some(DeValue::Table(secrets)) = place.get_ref().get("secrets").map(Spanned::get_ref) else { continue };
            for (name, value) in secrets {
                check_one(sources, &format!("part[{index}].offsite[{n}].secrets.{}", name.get_ref()), value)?;
            }
        }
    }
    Ok(())
}

fn check_one(sources: &Sources, path: &str, value: &Spanned<DeValue<'_>>) -> Result<()> {
    let what = match value.get_ref() {
        DeValue::Table(table) => match table.iter().next() {
            Some((kind, _)) if table.len() == 1 && KINDS.contains(&kind.get_ref().as_ref()) => return Ok(()),
            Some((kind, _)) if table.len() == 1 => {
                format!("`{path}` has no source of the kind `{}`", kind.get_ref().escape_debug())
            }
            _ => format!("`{path}` must have exactly one source"),
        },
        _ => format!("`{path}` is written out, and a secret must not stand in a configuration file or in a flag"),
    };
    Err(sources.error(Some(&value.span()), true, &what).hint(HINT))
}
