//! What p4d says of itself: counters, configurables, versions.

use bkhost_sdk::{Error, ErrorCode, Result, exec};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Method};

/// What `lastCheckpointAction` says when all went well.
const COMPLETED: &str = "checkpoint completed";

/// The counters that tell of checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// The sequence number of the live journal.
    pub(crate) journal: u64,
    /// What came of the last checkpoint; empty: there was none.
    pub(crate) action: String,
}

impl Counters {
    /// When the last checkpoint was completed, in seconds since the epoch; none if the last one was not.
    pub(crate) fn completed(&self) -> Option<u64> {
        let (seconds, rest) = self.action.split_once(' ')?;
        let seconds = seconds.parse().ok()?;
        // `1736740861 (2025/01/12 20:01:01 -0800 PST) checkpoint completed`
        let what = rest.trim().rsplit_once(')').map_or(rest, |(_, what)| what).trim();
        (what == COMPLETED).then_some(seconds)
    }
}

/// A command of `p4d` on the server's root.
pub(crate) fn p4d(config: &Config, id: &str) -> exec::Command {
    exec::command(id).slot("root", &config.root).slot_if("case", config.case())
}

/// A command of `p4`.
///
/// # Errors
/// `invalid-config`: port or user is missing.
pub(crate) fn p4(config: &Config, id: &str) -> Result<exec::Command> {
    let (Some(port), Some(user)) = (&config.port, &config.user) else {
        return Err(Error::invalid_config("method = \"p4\" needs port and user")
            .hint("under [part.config]: port = \"localhost:1666\" and user = \"…\", one with super permission"));
    };
    Ok(exec::command(id).slot("port", port).slot("user", user))
}

/// The counters as they are now.
///
/// # Errors
/// They cannot be read.
pub(crate) fn counters(config: &Config) -> Result<Counters> {
    match config.method {
        Method::P4d => {
            let output = p4d(config, "counters").run()?.ok()?;
            parse_counters(&output.stdout).ok_or_else(|| unreadable(&output.stdout))
        }
        Method::P4 => {
            let counter = |name: &str| -> Result<String> {
                let output = p4(config, "p4-counter")?.slot("counter", name).run()?.ok().map_err(explain)?;
                Ok(output.stdout.trim().to_owned())
            };
            let journal = counter("journal")?;
            let number = journal.parse().map_err(|_| unreadable(&journal))?;
            // An unset counter is shown as 0.
            let action = Some(counter("lastCheckpointAction")?).filter(|action| action != "0");
            Ok(Counters { journal: number, action: action.unwrap_or_default() })
        }
    }
}

fn unreadable(text: &str) -> Error {
    let start: String = text.chars().take(200).collect();
    Error::other("the counter `journal` is not in what p4d answered").detail("answer", start)
}

/// The two counters in records such as `@pv@ 1 @db.counters@ @journal@ 7`. None without the journal's.
pub(crate) fn parse_counters(dump: &str) -> Option<Counters> {
    let value = |name: &str| {
        let key = format!("@db.counters@ @{name}@ ");
        let line = dump.lines().rev().find(|line| line.contains(&key))?;
        let (_, value) = line.split_once(&key)?;
        let value = value.trim();
        Some(value.strip_prefix('@').and_then(|v| v.strip_suffix('@')).unwrap_or(value).replace("@@", "@"))
    };
    let journal = value("journal")?.parse().ok()?;
    Some(Counters { journal, action: value("lastCheckpointAction").unwrap_or_default() })
}

/// `journalPrefix`, if it is set.
///
/// # Errors
/// p4d or p4 failed.
pub(crate) fn journal_prefix(config: &Config) -> Result<Option<String>> {
    Ok(match config.method {
        Method::P4d => configured(&p4d(config, "configurables").run()?.ok()?.stdout, "journalPrefix"),
        Method::P4 => shown(&p4(config, "p4-configurable")?.run()?.ok().map_err(explain)?.stdout),
    })
}

/// A configurable in the output of `p4d -cshow`: `any: journalPrefix = /p4/ckp/p4_1`. A server's own value wins.
pub(crate) fn configured(output: &str, name: &str) -> Option<String> {
    let values = output.lines().filter_map(|line| {
        let (server, rest) = line.trim().split_once(':')?;
        let (key, value) = rest.split_once('=')?;
        (key.trim() == name).then(|| (server.trim() != "any", value.trim().to_owned()))
    });
    values.max_by_key(|(own, _)| *own).map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// The value in the output of `p4 configure show journalPrefix`: `journalPrefix=/p4/ckp/p4_1 (configure)`.
pub(crate) fn shown(output: &str) -> Option<String> {
    let value = output.lines().find_map(|line| line.trim().strip_prefix("journalPrefix="))?;
    // Where it comes from stands behind it.
    let value = match value.rsplit_once(" (") {
        Some((value, from)) if from.ends_with(')') => value,
        _ => value,
    };
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// `2023.1` of `Rev. P4D/LINUX26X86_64/2023.1/2442900 (2023/05/15).`
pub(crate) fn release(output: &str) -> Option<&str> {
    output.lines().find_map(|line| line.trim().strip_prefix("Rev. P4D/"))?.split('/').nth(1)
}

/// Say what a refusal of p4 means.
pub(crate) fn explain(error: Error) -> Error {
    let stderr = error.detail_of("stderr").unwrap_or_default().to_owned();
    if stderr.contains("P4PASSWD") || stderr.contains("session has expired") || stderr.contains("logged out") {
        error.code(ErrorCode::Denied).hint(
            "give [part.secrets] password, or tickets = \"/path/of/.p4tickets\" with a ticket that does not expire",
        )
    } else if stderr.contains("Connect to server failed") {
        error.code(ErrorCode::Unavailable).hint("does the server run, and is [part.config] port right?")
    } else if stderr.contains("permission") {
        error.code(ErrorCode::Denied).hint("the user needs super permission (p4 protect)")
    } else {
        error
    }
}
