//! What the copy says of itself, and applying the log to it.

use bkhost_sdk::{Error, Result, debug, exec, path};

use super::tool;
use crate::answers::Position;

/// `xtrabackup_checkpoints`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checkpoints {
    kind: String,
    /// The log sequence number up to which the copy goes.
    pub(super) last: u64,
}

impl Checkpoints {
    /// Of the copy in this directory.
    pub(super) fn of(directory: &str) -> Result<Self> {
        let file = format!("{directory}/xtrabackup_checkpoints");
        let text = std::fs::read_to_string(path::local(&file)).map_err(|error| {
            Error::io(format!("reading {file}"), &error).hint("mariadb-backup writes it at its end")
        })?;
        Self::parse(&text).ok_or_else(|| Error::corrupt(format!("{file} is not understood")).detail("content", text))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, v)| v.trim())
        };
        let (from, to) = (value("from_lsn")?.parse::<u64>().ok()?, value("to_lsn")?.parse::<u64>().ok()?);
        let last = value("last_lsn")?.parse().ok()?;
        (from == 0 && to <= last).then(|| Self { kind: value("backup_type").unwrap_or_default().to_owned(), last })
    }

    /// A full copy, to which the log is yet to be applied.
    pub(super) fn is_raw(&self) -> Result<()> {
        self.is("full-backuped")
    }

    /// A copy that a server starts from.
    pub(super) fn is_applied(&self) -> Result<()> {
        self.is("log-applied")
    }

    fn is(&self, kind: &str) -> Result<()> {
        if self.kind == kind {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "the copy is '{}' by its xtrabackup_checkpoints, and should be '{kind}'",
            self.kind
        )))
    }
}

/// The place in the binary log of the consistency point; none if the server writes no log.
pub(super) fn position(directory: &str) -> Result<Option<Position>> {
    let file = format!("{directory}/xtrabackup_binlog_info");
    match std::fs::read_to_string(path::local(&file)) {
        Ok(text) => Ok(place(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("reading {file}"), &error)),
    }
}

/// File, position and GTID, separated by tabs.
fn place(text: &str) -> Option<Position> {
    let mut words = text.trim_end().split('\t');
    let (file, position) = (words.next()?, words.next()?.parse().ok()?);
    let gtid = words.next().filter(|gtid| !gtid.is_empty()).map(str::to_owned);
    Some(Position { file: file.to_owned(), position, gtid, until: None })
}

/// Apply the log to the copy: it becomes what a server that was shut down leaves.
pub(super) fn apply(directory: &str) -> Result<()> {
    let output = exec::run("apply", &[("directory", directory)])?;
    if output.planned { Ok(()) } else { tool::proved(&output) }
}

/// The copy holds the empty table that held the backup. It is of an engine whose tables are their files, and a server
/// that starts from the copy has no use for it; where that does not work, it does no harm.
pub(super) fn leave_out_hold(directory: &str) {
    let ours = path::local(&format!("{directory}/bkhost_physical_backup"));
    let gone = ["hold.frm", "hold.MYD", "hold.MYI", "db.opt"]
        .into_iter()
        .try_for_each(|file| std::fs::remove_file(ours.join(file)))
        .and_then(|()| std::fs::remove_dir(&ours));
    if let Err(error) = gone {
        debug!("the table that held the backup stays in the copy: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_copy_says() {
        let full =
            "backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = 44894\nlast_lsn = 46817\nrecover_binlog_info = 0\n";
        let parsed = Checkpoints::parse(full).unwrap();
        assert_eq!(parsed.last, 46817);
        parsed.is_raw().unwrap();
        parsed.is_applied().unwrap_err();
        Checkpoints::parse(&full.replace("full-backuped", "log-applied")).unwrap().is_applied().unwrap();
        // An incremental one is none; a log that ends before the pages do is none.
        for (wrong, right) in
            [("from_lsn = 5", "from_lsn = 0"), ("to_lsn = 50000", "to_lsn = 44894"), ("", "last_lsn = 46817")]
        {
            assert_eq!(Checkpoints::parse(&full.replace(right, wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn places() {
        let position = place("binlog.000001\t635\t0-1-2\n").unwrap();
        assert_eq!(
            (position.file.as_str(), position.position, position.gtid.as_deref()),
            ("binlog.000001", 635, Some("0-1-2"))
        );
        assert_eq!(place("b.1\t9\t\n").unwrap().gtid, None);
        assert_eq!(place(""), None);
    }
}
