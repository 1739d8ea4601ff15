//! `[coverage]`: what has to be in every set is looked for in the plan, before anything is done.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::part::Part;
use super::session::Session;
use crate::archive::Exclude;
use crate::config::{Config, nearest};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Level;

/// Where the kernel tells what is mounted.
const MOUNTS: &str = "/proc/self/mountinfo";

/// The parts that have to be there, by their names.
///
/// # Errors
/// `Config`, naming the part that is missing.
pub(super) fn names(config: &Config) -> Result<()> {
    let there = || config.parts.iter().map(|part| part.name.as_str());
    let Some(missing) = config.coverage.parts.iter().find(|wanted| there().all(|name| name != *wanted)) else {
        return Ok(());
    };
    let error = Error::new(
        ErrorKind::Config,
        format!("{}: `coverage.parts`: the part `{missing}` is not in the plan", config.origin()),
    );
    Err(error.hint(match nearest(missing, there()) {
        Some(near) => format!("is it the part `{near}`? Else add a [[part]] with name = \"{missing}\""),
        None => format!("add a [[part]] with name = \"{missing}\", or take it out of `coverage.parts`"),
    }))
}

/// The kinds and the paths that have to be in some part.
///
/// # Errors
/// `Config`, naming what is in none.
pub(super) fn kinds_and_paths(session: &Session, parts: &[Part]) -> Result<()> {
    let (config, origin) = (&session.config, session.config.origin());
    let kind = |part: &Part| part.plugin.manifest().plugin.kind.name();
    if let Some(missing) = config.coverage.kinds.iter().find(|wanted| parts.iter().all(|part| kind(part) != *wanted)) {
        let message = format!("{origin}: `coverage.kinds`: no part of the kind `{missing}` is in the plan");
        return Err(Error::new(ErrorKind::Config, message)
            .hint(format!("add a [[part]] whose plugin backs up a {missing}, or take it out of `coverage.kinds`")));
    }
    for wanted in &config.coverage.kinds {
        let mut of_kind = parts.iter().filter(|part| kind(part) == *wanted);
        if let Some(declared) = of_kind.next()
            && is_declared(declared)
            && of_kind.all(is_declared)
        {
            let text = format!(
                "`coverage.kinds`: `{wanted}` is declared and not backed up: the part `{}` captures nothing, and what it is \
                 for is made anew after a restore",
                declared.name()
            );
            session.reporter.message(Level::Warning, Some(declared.name()), text);
        }
    }
    let mounts = if config.coverage.paths.is_empty() { Vec::new() } else { mounts() };
    for path in &config.coverage.paths {
        let real = path.canonicalize().map_err(|e| {
            let message = format!("{origin}: `coverage.paths`: {} cannot be found: {e}", path.display());
            Error::new(ErrorKind::Config, message).hint("is its file system mounted, and is the path right?")
        })?;
        let mut left_out = None;
        let mut held = parts.iter().filter_map(|part| Some((part, holds(part, &real, &mounts)?)));
        if held.any(|(part, below)| {
            let kept = !leaves_out(part, &below, real.is_dir());
            if !kept {
                left_out = Some(part);
            }
            kept
        }) {
            continue;
        }
        if let Some(part) = left_out {
            let name = part.name();
            let text = format!(
                "{origin}: `coverage.paths`: {} is left out of the part `{name}` by what it excludes",
                path.display()
            );
            return Err(Error::new(ErrorKind::Config, text).hint(format!(
                "look at `exclude` and `profile` of the part `{name}`, or take it out of `coverage.paths`"
            )));
        }
        match parts.iter().find(|part| is_elsewhere(part)) {
            Some(part) => {
                let text = format!(
                    "`coverage.paths`: what the plugin {} backs up is known to its vendor only: nobody can tell whether \
                     {} is in it",
                    part.plugin.name(),
                    path.display()
                );
                session.reporter.message(Level::Warning, Some(part.name()), text);
            }
            None => {
                let message = format!("{origin}: `coverage.paths`: {} is in no part", path.display());
                return Err(Error::new(ErrorKind::Config, message)
                    .hint("add a [[part]] that backs it up, or take it out of `coverage.paths`"));
            }
        }
    }
    Ok(())
}

/// No store of this machine is in what a part backs up: each set would hold all those before it.
///
/// # Errors
/// `Config`, naming the store and the part.
pub(super) fn stores(session: &Session, parts: &[Part]) -> Result<()> {
    let (config, mounts) = (&session.config, mounts());
    let local = config.stores.iter().filter(|store| Path::new(&store.to).is_absolute());
    for store in local {
        // The first run makes the directory: until then, what counts is where it will be.
        let real = resolved(Path::new(&store.to));
        let inside = |part: &&Part| holds(part, &real, &mounts).is_some_and(|below| !leaves_out(part, &below, true));
        if let Some(part) = parts.iter().find(inside) {
            let name = part.name();
            let text = format!(
                "{}: the store {} is in what the part `{name}` backs up: each set would hold all those before it",
                config.origin(),
                store.to
            );
            return Err(Error::new(ErrorKind::Config, text).hint(format!(
                "move the store elsewhere, to another disk at best, or leave it out: `exclude` of the part `{name}`"
            )));
        }
    }
    Ok(())
}

/// A path without symbolic links and dots, as far as it is there.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
    there.map_or_else(|| path.to_owned(), |(above, rest)| above.join(rest))
}

/// Where in what a part backs up this path is: below a directory that its plugin reads, or the dataset or volume that is
/// mounted there. None: it does not back it up.
fn holds(part: &Part, real: &Path, mounts: &[Mount]) -> Option<PathBuf> {
    let keys =
        part.plugin.manifest().directory.iter().filter_map(|asked| asked.path.as_deref()?.strip_prefix("config."));
    let mut roots = BTreeSet::new();
    keys.filter_map(|key| value(&part.values, key)).for_each(|value| texts(value, &mut roots));
    let mut roots = roots.iter().filter_map(|text| Path::new(text).canonicalize().ok());
    if let Some(below) = roots.find_map(|root| Some(real.strip_prefix(root).ok()?.to_owned())) {
        return Some(below);
    }
    let mount = mount_of(mounts, real)?;
    let mut all = BTreeSet::new();
    texts(&part.values, &mut all);
    let with_children = part.values.get("recursive").and_then(Value::as_bool).unwrap_or(false);
    let is_in = all.iter().any(|text| mount.is_of(text) || (with_children && mount.is_below(text)));
    is_in.then(|| real.strip_prefix(&mount.at).unwrap_or(real).to_owned())
}

/// Whether the part leaves out what is there: by the host's rules, or by those that its plugin has under the same name.
fn leaves_out(part: &Part, below: &Path, directory: bool) -> bool {
    let mut globs = BTreeSet::from_iter(part.settings.excludes());
    value(&part.values, "exclude").into_iter().for_each(|own| texts(own, &mut globs));
    // Wrong ones are told by whoever uses them.
    Exclude::new(globs).is_ok_and(|exclude| exclude.leaves_out(below, directory))
}

/// Whether a part captures nothing, by its configuration.
fn is_declared(part: &Part) -> bool {
    part.plugin.manifest().plugin.is_declared(&part.values)
}

/// Whether only the vendor's servers know what a part backs up.
fn is_elsewhere(part: &Part) -> bool {
    !part.plugin.manifest().http.is_empty()
}

/// A mounted file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) at: PathBuf,
    /// A device, or the name of a dataset.
    pub(super) source: String,
    /// The kind of file system.
    pub(super) kind: String,
}

impl Mount {
    fn is_of(&self, text: &str) -> bool {
        let device = |path: &Path| path.canonicalize().ok().filter(|path| path.starts_with("/dev/"));
        // `vg/lv` is a link in /dev, and so is what is mounted.
        let named = || Some(device(&Path::new("/dev").join(text))? == device(Path::new(&self.source))?);
        !text.is_empty() && (self.source == text || named().unwrap_or(false))
    }

    /// A dataset below the one of this name.
    fn is_below(&self, text: &str) -> bool {
        !text.is_empty() && self.source.strip_prefix(text).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The one that a path without symbolic links lies on. Of those at one place, the last one is on top.
pub(super) fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts.iter().filter(|mount| path.starts_with(&mount.at)).max_by_key(|mount| mount.at.as_os_str().len())
}

/// What is mounted.
pub(super) fn mounts() -> Vec<Mount> {
    let text = std::fs::read_to_string(MOUNTS).unwrap_or_default();
    text.lines().filter_map(mount).collect()
}

/// A line of the kernel's list: `36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/sda rw`.
fn mount(line: &str) -> Option<Mount> {
    let (mounted, source) = line.split_once(" - ")?;
    let at = mounted.split(' ').nth(4)?;
    let (kind, source) = source.split_once(' ')?;
    let source = source.split(' ').next()?;
    Some(Mount { at: PathBuf::from(unescaped(at)), source: unescaped(source), kind: kind.to_owned() })
}

/// Spaces, tabs, line ends and backslashes are written as `\040`.
fn unescaped(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, piece.get(3..)) {
            (Some(code), Some(rest)) => {
                out.push(char::from(code));
                out.push_str(rest);
            }
            _ => {
                out.push('\\');
                out.push_str(piece);
            }
        }
    }
    out
}

fn value<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(config, |value, key| value.get(key))
}

/// All texts in a value.
pub(super) fn texts(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(into.insert(text.clone())),
        Value::Array(list) => list.iter().for_each(|value| texts(value, into)),
        Value::Object(map) => map.values().for_each(|value| texts(value, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted() {
        let line = "36 35 98:0 / /mnt\\040a/b\\134c rw,noatime shared:1 - zfs tank/home rw,xattr";
        let mounted = mount(line).unwrap();
        assert_eq!(mounted, Mount { at: "/mnt a/b\\c".into(), source: "tank/home".into(), kind: "zfs".into() });
        assert!(mounted.is_of("tank/home") && !mounted.is_of("tank") && !mounted.is_of("tank/home2"));
        assert!(mounted.is_below("tank") && !mounted.is_below("tank/ho") && !mounted.is_below("tank/home"));
        assert!(!mounted.is_of("") && !mounted.is_below(""));
        assert_eq!(mount("garbage"), None);
        assert!(mounts().iter().any(|mount| mount.at == Path::new("/")));
        for odd in ["a\\", "\\9", "\\999x", "é\\040"] {
            assert!(!unescaped(odd).is_empty());
        }
    }
}
