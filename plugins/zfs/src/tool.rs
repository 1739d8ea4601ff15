//! What this ZFS can do, as its own usage tells: releases differ, and so do their version numbers.

use bkhost_sdk::{Result, exec};

/// The flags for `zfs send` that are known here, of those that this plugin uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sending {
    /// `-p`: properties.
    pub(crate) properties: bool,
    /// `-L`: blocks larger than 128 KiB as they are.
    pub(crate) large: bool,
    /// `-c`: compressed blocks as they are.
    pub(crate) compressed: bool,
    /// `-w`: encrypted data as it is.
    pub(crate) raw: bool,
}

/// Ask `zfs send` for its usage.
///
/// # Errors
/// It cannot be run.
pub(crate) fn sending() -> Result<Sending> {
    let output = exec::run("send-usage", &[])?;
    Ok(parse_sending(&format!("{}\n{}", output.stdout, output.stderr)))
}

/// Whether `zfs receive` can leave a property out (`-x`).
///
/// # Errors
/// It cannot be run.
pub(crate) fn receives_without() -> Result<bool> {
    let output = exec::run("receive-usage", &[])?;
    Ok(output.stdout.contains("[-x <property>]") || output.stderr.contains("[-x <property>]"))
}

/// The letters in the first `send [-…]` of a usage. A ZFS that says something else is taken for one that knows none.
fn parse_sending(usage: &str) -> Sending {
    let letters = usage
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("send [-"))
        .and_then(|rest| rest.split(']').next())
        .unwrap_or_default();
    Sending {
        properties: letters.contains('p'),
        large: letters.contains('L'),
        compressed: letters.contains('c'),
        raw: letters.contains('w'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// zfs-fuse 0.7.0, what `zfs send` without arguments says on stderr; recorded.
    const FUSE: &str = "missing snapshot argument\nusage:\n\tsend [-RDp] [-[iI] snapshot] <snapshot>\n\nFor the property list, run: zfs set|get\n";
    /// OpenZFS 2.2: the usage text of `zfs send`, from the project's own sources (`cmd/zfs/zfs_main.c`, `HELP_SEND`).
    const OPEN_2_2: &str = "missing snapshot argument\nusage:\n\tsend [-DLPbcehnpsVvw] [-i|-I snapshot]\n\t     [-R [-X dataset[,dataset]...]]     <snapshot>\n\tsend [-DnVvPLecw] [-i snapshot|bookmark] <filesystem|volume|snapshot>\n";
    /// OpenZFS 0.7, whose usage lacks `w`, from the manual page `zfs(8)` of that release.
    const OPEN_0_7: &str = "usage:\n\tsend [-DnPpRvLec] [-[i|I] snapshot] <snapshot>\n\tsend [-nvPLec] [-i snapshot|bookmark] <filesystem|volume|snapshot>\n";

    #[test]
    fn flags_of_the_releases() {
        let none = Sending::default();
        assert_eq!(parse_sending(FUSE), Sending { properties: true, ..none });
        let all = Sending { properties: true, large: true, compressed: true, raw: true };
        assert_eq!(parse_sending(OPEN_2_2), all);
        assert_eq!(parse_sending(OPEN_0_7), Sending { raw: false, ..all });
        assert_eq!(parse_sending("cannot open '/dev/zfs': Permission denied"), none);
        assert_eq!(parse_sending(""), none);
    }
}
