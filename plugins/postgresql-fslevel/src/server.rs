//! What the server says of itself.

use std::io::{ErrorKind, Read};

use bkhost_sdk::{Error, ErrorCode, Result, exec, path};
use serde::{Deserialize, Serialize};

/// The data directory.
pub(crate) const DATA: &str = "/source/data";

/// The answer to the manifest's one question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) version_num: u32,
    pub(crate) version: String,
    pub(crate) data_directory: String,
    pub(crate) config_file: String,
    pub(crate) hba_file: String,
    pub(crate) fsync: String,
    pub(crate) full_page_writes: String,
    pub(crate) data_checksums: String,
    pub(crate) standby: bool,
    /// When the postmaster started, in seconds since 1970.
    pub(crate) started: u64,
    pub(crate) system_identifier: String,
    pub(crate) checkpoint_lsn: String,
    pub(crate) redo_lsn: String,
    pub(crate) timeline: u32,
    pub(crate) lsn: String,
    pub(crate) may_checkpoint: bool,
    pub(crate) databases: Vec<String>,
    /// Name, number and directory of each tablespace of the operator's.
    pub(crate) tablespaces: Vec<(String, String, String)>,
}

/// Ask the server.
///
/// # Errors
/// It does not answer, or not to this user.
pub(crate) fn ask() -> Result<Server> {
    let output = exec::run("server", &[])?.ok().map_err(explain)?;
    serde_json::from_str(&output.stdout)
        .map_err(|error| Error::unsupported(format!("what the server says of itself is not understood: {error}")))
}

/// Write out what is dirty.
///
/// # Errors
/// The server does not do it.
pub(crate) fn checkpoint() -> Result<()> {
    exec::run("checkpoint", &[])?.ok().map(drop).map_err(explain)
}

fn explain(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    if stderr.contains("permission denied")
        || stderr.contains("must be superuser")
        || stderr.contains("must have privileges")
    {
        error
            .code(ErrorCode::Denied)
            .hint("log in as a superuser, or GRANT pg_monitor, pg_checkpoint (PostgreSQL 15) to this user")
    } else if stderr.contains("could not connect") || stderr.contains("connection to server") {
        error.code(ErrorCode::Unavailable).hint("does the server run, and are host and port in [part.config] its own?")
    } else {
        error
    }
}

/// A `postmaster.pid`: whose files these are, as the server that works on them wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: u32,
    pub(crate) directory: String,
    pub(crate) started: u64,
}

/// The one in the data directory; none if there is none.
///
/// # Errors
/// It cannot be read.
pub(crate) fn pid_file() -> Result<Option<PidFile>> {
    match std::fs::read_to_string(path::local(&format!("{DATA}/postmaster.pid"))) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("reading postmaster.pid in the data directory", &error)),
    }
}

fn parse(text: &str) -> Option<PidFile> {
    let mut lines = text.lines();
    // A standalone backend writes its number negative.
    let pid = lines.next()?.trim().trim_start_matches('-').parse().ok()?;
    Some(PidFile { pid, directory: lines.next()?.to_owned(), started: lines.next()?.trim().parse().ok()? })
}

/// The identifier of the cluster, as its control file has it: the first eight bytes, in this machine's order.
///
/// # Errors
/// It cannot be read.
pub(crate) fn identifier_of_files() -> Result<String> {
    let mut bytes = [0_u8; 8];
    std::fs::File::open(path::local(&format!("{DATA}/global/pg_control")))
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::io("reading global/pg_control in the data directory", &error))?;
    Ok(u64::from_le_bytes(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file() {
        // PostgreSQL 15, recorded.
        let text = "4711\n/var/lib/postgresql/15/main\n1795260000\n5432\n/var/run/postgresql\nlocalhost\n   983049   7\nready   \n";
        let found = parse(text).unwrap();
        assert_eq!((found.pid, found.started), (4711, 1_795_260_000));
        assert_eq!(found.directory, "/var/lib/postgresql/15/main");
        assert_eq!(parse("-12\n/d\n3\n").unwrap().pid, 12);
        assert_eq!(parse("garbage"), None);
        assert_eq!(parse(""), None);
    }
}
