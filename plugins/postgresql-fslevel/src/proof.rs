//! The proof: everything that makes up the database is captured by the disk part, at one instant, after this part's checkpoint,
//! and a server that finds it as it was at that instant recovers.

use bkhost_sdk::others::{self, Held};
use bkhost_sdk::{Error, ErrorCode, Finding, Result, config, path};

use crate::Config;
use crate::server::{self, DATA, Server};

/// What was proven.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    pub(crate) server: Server,
    /// The volumes that hold it: of one instant.
    pub(crate) volumes: Vec<String>,
}

/// Directories of a cluster in which a link to elsewhere would hide files.
const PLACES: [&str; 12] = [
    "base",
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_multixact",
    "pg_replslot",
    "pg_serial",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_xact",
];

/// Prove it, or say what is in the way. What is only worth knowing is left to the check. The whole tree is looked `through` for
/// what is on other volumes: before the lock and after it, since that takes the longer the more relations there are. Under it,
/// only what is mounted is looked at.
///
/// # Errors
/// What keeps the files from being a backup; or it cannot be found out.
pub(crate) fn prove(config: &Config, through: bool) -> Result<Proof> {
    let server = server::ask()?;
    same_server(config, &server)?;
    survives_a_crash(&server)?;
    let data = captured(config, (DATA, through), &format!("the data directory {}", config.data_directory))?;
    links()?;
    let mut volumes = vec![data.volume.clone()];
    for (name, _, location) in &server.tablespaces {
        // One of PostgreSQL's own in the data directory: allow_in_place_tablespaces.
        if !location.starts_with('/') {
            continue;
        }
        let what = format!("the tablespace {name} in {location}");
        let held = captured(config, (&guest(config, name, location)?, through), &what)?;
        if held.instant != data.instant {
            return Err(Error::conflict(format!(
                "{what} is on {}, which the part {} does not capture at one instant with {}",
                held.volume, config.disk_part, data.volume
            ))
            .hint(
                "put both on one volume (zfs: below one dataset, with recursive = true), or use the plugin postgresql",
            ));
        }
        if !volumes.contains(&held.volume) {
            volumes.push(held.volume);
        }
    }
    Ok(Proof { server, volumes })
}

/// The files are those of the server that answers.
fn same_server(config: &Config, server: &Server) -> Result<()> {
    let directory = &config.data_directory;
    let another = |why: String| {
        Error::invalid_config(format!("{directory} is not the data directory of the server that answers: {why}"))
            .hint(format!("its own is {}; check data-directory, host and port in [part.config]", server.data_directory))
    };
    std::fs::metadata(path::local(DATA)).map_err(|error| {
        Error::not_found(format!("the data directory {directory}: {}", path::unreadable(&error)))
            .hint("run bkhost as a user who may read it: root, or the server's own")
    })?;
    // A copy of the files has a copy of its postmaster.pid too.
    if server.data_directory != *directory {
        return Err(another("it has another one".to_owned()));
    }
    let Some(pid) = server::pid_file()? else { return Err(another("it has no postmaster.pid".to_owned())) };
    // The file has when the postmaster began, which is a little before what the server tells.
    if pid.directory != server.data_directory || pid.started.abs_diff(server.started) > 60 {
        return Err(another(format!("a server in {} works on it", pid.directory)));
    }
    let files = server::identifier_of_files()?;
    if files != server.system_identifier {
        return Err(another(format!(
            "its system identifier is {files}, and the server's {}",
            server.system_identifier
        )));
    }
    Ok(())
}

fn survives_a_crash(server: &Server) -> Result<()> {
    for (setting, value) in [("fsync", &server.fsync), ("full_page_writes", &server.full_page_writes)] {
        if value != "on" {
            return Err(Error::conflict(format!("{setting} is {value}: what is captured may not be recoverable"))
                .hint(format!("set {setting} = on and reload, or use the plugin postgresql")));
        }
    }
    Ok(())
}

/// That the disk part captures a directory wholly, and after this part.
fn captured(config: &Config, (guest, through): (&str, bool), what: &str) -> Result<Held> {
    let disk = &config.disk_part;
    let held = others::holds(disk, guest, through).map_err(|error| match error.code {
        ErrorCode::NotFound if error.message.contains(disk.as_str()) => {
            error.hint("disk-part in [part.config] names the part that captures the files")
        }
        _ => error,
    })?;
    let Some(held) = held else {
        return Err(Error::conflict(format!("{what} is on no volume that the part {disk} captures"))
            .hint(format!("add its volume to the part {disk}, or use the plugin postgresql")));
    };
    if !held.outside.is_empty() {
        return Err(Error::conflict(format!(
            "in {what} there is what is on other volumes, and not captured with it: {}",
            held.outside.join(", ")
        ))
        .hint("move it onto the same volume, or use the plugin postgresql"));
    }
    if !held.later {
        let this = config::part();
        return Err(Error::invalid_config(format!(
            "the part {disk} is not captured after this one, so that the checkpoint would come too late"
        ))
        .hint(format!("write after = [\"{this}\"] in the [[part]] {disk}")));
    }
    Ok(held)
}

/// No part of the cluster is a link to elsewhere.
fn links() -> Result<()> {
    for place in PLACES.iter().chain(&["pg_wal"]) {
        let found = std::fs::symlink_metadata(path::local(&format!("{DATA}/{place}")));
        if found.is_ok_and(|found| found.file_type().is_symlink()) {
            return Err(Error::conflict(format!("{place} in the data directory is a symbolic link: what it leads to is not proven to be captured with it"))
                .hint("move it into the data directory, or use the plugin postgresql"));
        }
    }
    match std::fs::metadata(path::local(&format!("{DATA}/pg_wal"))) {
        Ok(found) if found.is_dir() => Ok(()),
        _ => Err(Error::not_found("there is no pg_wal in the data directory")
            .hint("PostgreSQL 10 or newer is supported; is data-directory right?")),
    }
}

/// The guest path of a tablespace that the configuration names.
fn guest(config: &Config, name: &str, location: &str) -> Result<String> {
    let found = config.tablespaces.iter().position(|one| one == location);
    found.map(|n| format!("/source/tablespaces/{n}")).ok_or_else(|| {
        Error::invalid_config(format!("the tablespace {name} lies outside of the data directory, in {location}")).hint(
            "if the disk part captures it at one instant with the data directory, add it to [part.config] tablespaces",
        )
    })
}

/// What changed between the two proofs around the capture, and must not have.
///
/// # Errors
/// Something did.
pub(crate) fn unchanged(before: &Server, after: &Server) -> Result<()> {
    let differs = |what: &str| {
        Err(Error::conflict(format!("{what} changed while the files were captured")).hint("run the backup again"))
    };
    if before.system_identifier != after.system_identifier || before.data_directory != after.data_directory {
        return differs("the server");
    }
    if before.tablespaces != after.tablespaces {
        return differs("the tablespaces of the server");
    }
    if before.timeline != after.timeline {
        return differs("the timeline of the server");
    }
    Ok(())
}

/// What the operator should know of a server that passed.
pub(crate) fn notes(config: &Config, proof: &Proof) -> Vec<Finding> {
    let Proof { server, volumes } = proof;
    let mut findings = vec![Finding::info(
        "files",
        format!("all on {}, which the part {} captures at one instant", volumes.join(", "), config.disk_part),
    )];
    let state = if server.standby { "a standby" } else { "a primary" };
    findings.push(Finding::info(
        "server",
        format!(
            "PostgreSQL {}, {state}, system identifier {}, data checksums {}",
            server.version, server.system_identifier, server.data_checksums
        ),
    ));
    if !server.may_checkpoint {
        findings.push(
            Finding::failure("user", "may not make a checkpoint")
                .hint("log in as a superuser, or GRANT pg_checkpoint to this user (PostgreSQL 15)"),
        );
    }
    for file in [&server.config_file, &server.hba_file] {
        let inside = file.strip_prefix(server.data_directory.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if !inside {
            findings.push(
                Finding::warning(
                    "configuration",
                    format!("{file} is not in the data directory, and so perhaps in no part"),
                )
                .hint("back it up by a part of its own, for example with the plugin directory"),
            );
        }
    }
    findings
}
