//! Everything that would fail later.

use bkhost_sdk::{Finding, Result, exec, path, staging};

use crate::capture::{leftover, wants_checkpoint};
use crate::config::{Config, Layout, Method, Place};
use crate::files;
use crate::server::{self, Counters};

pub(crate) fn check(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    match exec::run("version", &[]).and_then(exec::Output::ok) {
        Ok(output) => found.push(match server::release(&output.stdout) {
            Some(release) => Finding::info("p4d", format!("release {release}")),
            None => Finding::warning("p4d", format!("does not tell its release: {}", output.first_line())),
        }),
        Err(error) => found.push(Finding::from_error("p4d", error)),
    }
    found.extend(root(config));
    if config.method == Method::P4 {
        found.extend(p4(config));
    }
    if found.iter().any(|finding| finding.severity == bkhost_sdk::Severity::Failure) {
        return found;
    }
    match state(config) {
        Ok((layout, counters)) => {
            found.extend(next(config, &layout, &counters));
            found.extend(place(config, &layout));
        }
        Err(error) => found.push(Finding::from_error(format!("server {}", config.root), error)),
    }
    found
}

fn state(config: &Config) -> Result<(Layout, Counters)> {
    let layout = Layout::new(config, server::journal_prefix(config)?.as_deref())?;
    Ok((layout, server::counters(config)?))
}

fn root(config: &Config) -> Option<Finding> {
    let subject = format!("root {}", config.root);
    let counters = path::local(&format!("{}/db.counters", Place::Root.guest()));
    match std::fs::metadata(counters) {
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(
            Finding::failure(subject, "holds no db.counters: it is no server's root").hint("check [part.config] root"),
        ),
        Err(error) => Some(
            Finding::failure(subject, path::unreadable(&error)).hint("check [part.config] root and [[part]] run-as"),
        ),
    }
}

fn p4(config: &Config) -> Option<Finding> {
    let subject = format!("p4 -p {}", config.port.as_deref().unwrap_or("?"));
    let level = server::p4(config, "p4-level")
        .and_then(exec::Command::run)
        .and_then(|output| output.ok().map_err(server::explain));
    match level {
        Ok(output) if output.stdout.trim() == "super" => None,
        Ok(output) => {
            let user = config.user.as_deref().unwrap_or("?");
            Some(
                Finding::failure(subject, format!("user {user} has the permission {:?}", output.stdout.trim()))
                    .hint("taking a checkpoint needs super (p4 protect)"),
            )
        }
        Err(error) => Some(Finding::from_error(subject, error)),
    }
}

/// What the run will do, and what is in its way.
fn next(config: &Config, layout: &Layout, counters: &Counters) -> Vec<Finding> {
    let subject = "checkpoint";
    let number = counters.journal.saturating_add(1);
    let full = wants_checkpoint(config, layout, counters);
    let mut found = Vec::new();
    let in_the_way =
        full.then(|| files::checkpoint(layout, number)).flatten().or_else(|| files::journal(layout, counters.journal));
    if let Some(file) = in_the_way {
        found.push(Finding::from_error(subject, leftover(config, &file, counters)));
    }
    found.push(Finding::info(
        subject,
        if full {
            format!("number {number} comes next: p4d locks its database as long as it takes")
        } else {
            format!("journal {} is rotated next, on top of the last checkpoint", counters.journal)
        },
    ));
    if !counters.action.is_empty() && counters.completed().is_none() {
        let message = format!("lastCheckpointAction says {:?}", counters.action);
        found.push(Finding::warning(subject, message).hint("the last checkpoint failed: see the server's log"));
    }
    found
}

/// Where p4d writes: the right, the user and the space.
fn place(config: &Config, layout: &Layout) -> Vec<Finding> {
    let (guest, host) = (layout.place.guest(), layout.place.host(config));
    let subject = format!("directory {host}");
    let mut found = Vec::new();
    if let Err(error) = std::fs::read_dir(path::local(guest)) {
        return vec![Finding::failure(subject, path::unreadable(&error)).hint("check [part.config] checkpoints")];
    }
    if config.method == Method::P4d {
        match exec::run("writable", &[("directory", guest)]) {
            Ok(output) if output.status == 0 => {}
            Ok(_) => found.push(
                Finding::failure(&subject, "p4d may not write there")
                    .hint("set run-as of the [[part]] to the user that p4d runs as"),
            ),
            Err(error) => found.push(Finding::from_error(&subject, error)),
        }
        found.extend(other_user(config));
    }
    found.extend(space(layout, guest, &subject));
    found
}

/// What p4d writes as root, the server that runs as somebody else cannot write: above all the new journal.
fn other_user(config: &Config) -> Option<Finding> {
    let ours = exec::run("user", &[]).ok()?;
    let owner = exec::run("owner", &[("directory", Place::Root.guest())]).ok()?;
    let (uid, name) = owner.first_line().split_once(' ')?;
    (uid != ours.first_line()).then(|| {
        Finding::failure(
            format!("root {}", config.root),
            format!(
                "belongs to {name}, and p4d would run as user {}: the server could not write the new journal",
                ours.first_line()
            ),
        )
        .hint(format!("in the [[part]]: run-as = {name:?}"))
    })
}

/// A checkpoint is about as large as the last one.
fn space(layout: &Layout, guest: &str, subject: &str) -> Option<Finding> {
    let (_, last) = files::newest(layout, u64::MAX)?;
    let free = staging::free("space", guest).ok().flatten()?;
    let wanted = last.bytes.saturating_add(last.bytes / 10);
    (free < wanted).then(|| {
        Finding::failure(subject, format!("{free} bytes are free, and the last checkpoint has {}", last.bytes))
            .hint("make room: p4d fails in the middle of a checkpoint when the disk is full")
    })
}
