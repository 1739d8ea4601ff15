//! What would fail later.

use std::io::ErrorKind;
use std::time::{Duration, UNIX_EPOCH};

use bkhost_sdk::{Error, Finding, Result, exec, path, staging};

use crate::copies::{self, Record};
use crate::{Config, SOURCE, filter, pass};

/// The first that compares times to the nanosecond (`--modify-window=-1`).
const OLDEST: [u32; 3] = [3, 1, 3];
/// The time that `try-time` gives to a file: no tick of a coarse clock ends with it.
const TRIED: Duration = Duration::new(1_000_000_001, 123_456_700);
/// EILSEQ, as WASI numbers it: a directory with a name that is not UTF-8 cannot be listed from inside the sandbox. rsync
/// can.
const NOT_UTF8: i32 = 25;

/// What `rsync --version` tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// `3.2.7`.
    pub(crate) number: String,
    parts: Vec<u32>,
    acls: bool,
    xattrs: bool,
    hard_links: bool,
}

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.lines().next()?.strip_prefix("rsync ")?.split_whitespace();
        let number =
            words.find(|word| *word == "version").and_then(|_| words.next())?.trim_start_matches('v').to_owned();
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
        let parts: Vec<u32> = number.split('.').map_while(digits).collect();
        // "ACLs", or "no ACLs".
        let able: Vec<&str> = text.split([',', '\n']).map(str::trim).collect();
        let can = |what: &str| {
            able.iter().any(|word| *word == what || word.strip_prefix("Capabilities:").map(str::trim) == Some(what))
        };
        Some(Self { acls: can("ACLs"), xattrs: can("xattrs"), hard_links: can("hardlinks"), number, parts })
    }

    /// It compares times by the second.
    pub(crate) fn is_old(&self) -> bool {
        self.parts.as_slice() < OLDEST.as_slice()
    }

    /// Whether it keeps ACLs, extended attributes and hard links.
    #[cfg(test)]
    pub(crate) fn able(&self) -> (bool, bool, bool) {
        (self.acls, self.xattrs, self.hard_links)
    }
}

/// Which rsync this is.
///
/// # Errors
/// It cannot be asked, or its answer is not understood.
pub(crate) fn version() -> Result<Version> {
    let output = exec::run("version", &[])?.ok()?;
    Version::parse(&output.stdout).ok_or_else(|| {
        Error::unsupported(format!("this is no rsync that is known here: {:?}", output.first_line()))
            .hint("install rsync 3.1.3 or newer, or name it under [part.programs]")
    })
}

pub(crate) fn findings(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = tool(config);
    findings.extend(filter::rules(&filter::excludes(config)).err().map(|error| Finding::from_error("exclude", error)));
    let good = copies::good()?;
    let last = copies::of(&good, &config.path);
    let Some(found) = source(config, last) else {
        return Ok(findings);
    };
    let readable = found.severity != bkhost_sdk::Severity::Failure;
    findings.push(found);
    if readable {
        findings.extend(places(config)?);
        findings.extend(file_system()?);
        findings.extend(space(config, last)?);
    }
    Ok(findings)
}

fn tool(config: &Config) -> Vec<Finding> {
    let version = match version() {
        Ok(version) => version,
        Err(error) => return vec![Finding::from_error("rsync", error)],
    };
    let mut findings = Vec::new();
    if version.is_old() {
        let text = format!(
            "{} is too old: it compares times by the second, and misses what changes within one",
            version.number
        );
        findings.push(Finding::failure("rsync", text).hint("install rsync 3.1.3 or newer"));
    }
    for (wanted, able, what, key) in [
        (config.acls, version.acls, "ACLs", "acls"),
        (config.xattrs, version.xattrs, "extended attributes", "xattrs"),
        (config.hard_links, version.hard_links, "hard links", "hard-links"),
    ] {
        if wanted && !able {
            findings.push(
                Finding::failure("rsync", format!("{} was built without {what}", version.number))
                    .hint(format!("install one that keeps them, or set {key} = false under [part.config]")),
            );
        }
    }
    if findings.is_empty() {
        findings.push(Finding::info("rsync", version.number));
    }
    match pass::is_root() {
        Ok(true) => {}
        Ok(false) => findings.push(
            Finding::warning("rsync", "does not run as root: the copy keeps no owners and no device nodes, and what others may not read fails the run")
                .hint("run bkhost as root"),
        ),
        Err(error) => findings.push(Finding::from_error("rsync", error)),
    }
    findings
}

fn source(config: &Config, last: Option<&Record>) -> Option<Finding> {
    let subject = format!("directory {}", config.path);
    let empty = match std::fs::read_dir(path::local(SOURCE)).map(|mut entries| entries.next().is_none()) {
        Ok(empty) => empty,
        Err(error) if error.raw_os_error() == Some(NOT_UTF8) => false,
        Err(error) => {
            let hint = match error.kind() {
                ErrorKind::NotFound => "check [part.config] path",
                ErrorKind::PermissionDenied => "run bkhost as a user who may read it",
                _ => "it has to be a directory that this user may read",
            };
            return Some(Finding::failure(subject, path::unreadable(&error)).hint(hint));
        }
    };
    let hint = "is the file system that belongs there mounted?";
    Some(match last.and_then(Record::entries).filter(|entries| *entries > 1) {
        _ if !empty => Finding::info(subject, "is readable"),
        None => Finding::warning(subject, "is empty").hint(hint),
        Some(before) => Finding::failure(subject, format!("is empty, and the last copy had {before} entries"))
            .hint(format!("{hint} If it is meant to be empty, put a file into it")),
    })
}

/// Neither may be in the other.
fn places(config: &Config) -> Result<Vec<Finding>> {
    let output = exec::run("places", &[("source", SOURCE), ("staging", path::STAGING)])?;
    let lines: Vec<&str> = output.stdout.lines().collect();
    let &[source, staging] = lines.as_slice() else {
        let finding =
            Finding::failure("staging area", format!("it is not known where it is: {}", output.stderr.trim_end()));
        return Ok(vec![finding.hint("a path with a line break in it is not supported")]);
    };
    let within = |inner: &str, outer: &str| {
        outer == "/" || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let text = if within(staging, source) {
        format!("{staging} is in {}, of which it would hold a copy of itself", config.path)
    } else if within(source, staging) {
        format!("{} is in {staging}", config.path)
    } else {
        return Ok(Vec::new());
    };
    Ok(vec![Finding::failure("staging area", text).hint("put it elsewhere, with `staging` of the [[part]]")])
}

/// What the file system of the staging area can.
fn file_system() -> Result<Option<Finding>> {
    let name = |ending: &str| staging::at(&format!("{}.{}{ending}", pass::TRY, bkhost_sdk::now()));
    let (file, link) = (name(""), name("-link"));
    let time = UNIX_EPOCH + TRIED;
    // Made by the commands, whose user may be another than ours.
    let tried = exec::run("try-time", &[("file", &file)]).and_then(|touched| {
        let kept = std::fs::metadata(path::local(&file)).and_then(|metadata| metadata.modified());
        let planned = touched.planned;
        touched.ok()?;
        let linked = exec::run("try-link", &[("from", &file), ("to", &link)])?;
        Ok((planned || kept.is_ok_and(|kept| kept == time), linked.status == 0))
    });
    let removed = [&file, &link].into_iter().try_for_each(|probe| staging::remove(probe));
    let (text, hint) = match (tried, removed) {
        (Err(error), _) if error.code == bkhost_sdk::ErrorCode::Interrupted => return Err(error),
        (Err(error), _) => (format!("cannot be used: {}", error.message), "check its permissions"),
        (_, Err(error)) => (error.message, "check its permissions"),
        (Ok((_, false)), _) => (
            "its file system has no hard links: neither can these be kept, nor would copies share what has not changed"
                .to_owned(),
            "put it on ext4, XFS or btrfs, with `staging` of the [[part]]",
        ),
        (Ok((false, _)), _) => (
            "its file system keeps times only coarsely: every run would copy everything, under the lock too".to_owned(),
            "put it on ext4, XFS or btrfs, with `staging` of the [[part]]",
        ),
        (Ok((true, true)), _) => return Ok(None),
    };
    Ok(Some(Finding::failure("staging area", text).hint(hint)))
}

fn space(config: &Config, last: Option<&Record>) -> Result<Vec<Finding>> {
    let Some(free) = staging::free("space", path::STAGING)? else { return Ok(Vec::new()) };
    let hint = "make room there, or put it elsewhere with `staging` of the [[part]]";
    if last.is_some() {
        // What will have changed is not known.
        let text = format!("{} MiB are free", free >> 20);
        let few = free < 64 << 20;
        return Ok(vec![if few {
            Finding::warning("staging area", text).hint(hint)
        } else {
            Finding::info("staging area", text)
        }]);
    }
    let size =
        exec::command("size").slot("source", SOURCE).slot_if("one-file-system", config.one_file_system.then_some("x"));
    let size = match size.run() {
        Ok(output) => {
            output.stdout.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).map(|kib| kib << 10)
        }
        Err(error) if error.code == bkhost_sdk::ErrorCode::TimedOut => None,
        Err(error) => return Err(error),
    };
    Ok(match size {
        None => vec![Finding::info(
            "staging area",
            format!("{} MiB are free; how large the first copy will be was not found out", free >> 20),
        )],
        Some(size) if size > free => {
            let text = format!("the first copy takes up to {} MiB, and {} MiB are free", size >> 20, free >> 20);
            // What is excluded is counted too.
            let sure = filter::excludes(config).is_empty();
            let finding = if sure { Finding::failure } else { Finding::warning };
            vec![finding("staging area", text).hint(hint)]
        }
        Some(size) => {
            let text = format!("{} MiB are free; the first copy takes up to {} MiB", free >> 20, size >> 20);
            vec![Finding::info("staging area", text)]
        }
    })
}
