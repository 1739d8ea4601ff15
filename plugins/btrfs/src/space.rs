//! Room on the file system: for data, and for metadata, which a btrfs can lack while there is room for data.

use bkhost_sdk::{Finding, Result, exec};

/// Less room for metadata than this is none: a snapshot takes a few blocks, and so does deleting it.
const METADATA: u64 = 16 << 20;
/// Less room for data is told.
const TIGHT: u64 = 20;

/// `btrfs filesystem usage -b`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    size: u64,
    unallocated: u64,
    free: u64,
    metadata: u64,
    metadata_used: u64,
    reserve: u64,
}

/// What there is to say of the file system that holds a subvolume.
///
/// # Errors
/// btrfs cannot be asked.
pub(crate) fn check(subvolume: &str) -> Result<Vec<Finding>> {
    let output = exec::run("usage", &[("subvolume", subvolume)])?;
    if output.status != 0 {
        let message = format!("`btrfs filesystem usage` does not tell: {}", output.failure().message);
        return Ok(vec![Finding::warning("space", message).hint("run bkhost as root")]);
    }
    Ok(parse(&output.stdout).map(|usage| findings(subvolume, usage)).unwrap_or_default())
}

fn findings(subvolume: &str, usage: Usage) -> Vec<Finding> {
    let subject = format!("file system of {subvolume}");
    // The reserve is part of the metadata, and not for us.
    let room = usage.metadata.saturating_sub(usage.metadata_used).saturating_sub(usage.reserve);
    let room = room.saturating_add(usage.unallocated);
    if room < METADATA {
        let message =
            format!("has room for {} MiB of metadata: a snapshot may fail, or the file system with it", room >> 20);
        return vec![Finding::failure(subject, message).hint(
            "make room: `btrfs balance start -dusage=50 <mount point>` frees what data does not need, or add a device",
        )];
    }
    let percent = usage.free.saturating_mul(100).checked_div(usage.size).unwrap_or(100);
    if usage.free == 0 || percent < 100 / TIGHT {
        let message = format!(
            "is nearly full ({} MiB free): a snapshot keeps what is changed or deleted later",
            usage.free >> 20
        );
        return vec![Finding::warning(subject, message).hint("make room, or keep fewer sets")];
    }
    vec![Finding::info(subject, format!("{} MiB free, {} MiB of them also for metadata", usage.free >> 20, room >> 20))]
}

fn parse(output: &str) -> Option<Usage> {
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok();
    let line = |key: &str| output.lines().map(str::trim_start).find_map(|line| line.strip_prefix(key));
    let (mut metadata, mut metadata_used) = (0_u64, 0_u64);
    let profiles = output.lines().filter(|line| line.starts_with("Metadata,") || line.starts_with("Data+Metadata,"));
    for (size, used) in profiles.filter_map(|line| line.split_once("Size:")?.1.split_once("Used:")) {
        metadata = metadata.saturating_add(number(size)?);
        metadata_used = metadata_used.saturating_add(number(used)?);
    }
    Some(Usage {
        size: number(line("Device size:")?)?,
        unallocated: number(line("Device unallocated:")?)?,
        free: number(line("Free (estimated):")?)?,
        metadata,
        metadata_used,
        reserve: line("Global reserve:").and_then(number).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use bkhost_sdk::Severity;

    use super::*;

    /// btrfs-progs 6.2, recorded on a file system that was full.
    const FULL: &str = "Overall:\n    Device size:\t\t         268435456\n    Device allocated:\t\t         267386880\n\
        \x20   Device unallocated:\t\t           1048576\n    Used:\t\t\t         184385536\n\
        \x20   Free (estimated):\t\t                 0\t(min: 0)\n    Free (statfs, df):\t\t                 0\n\
        \x20   Global reserve:\t\t           5767168\t(used: 0)\n\n\
        Data,single: Size:183500800, Used:183500800 (100.00%)\n   /dev/loop0\t 183500800\n\n\
        Metadata,DUP: Size:33554432, Used:425984 (1.27%)\n   /dev/loop0\t  67108864\n";

    #[test]
    fn room_for_data_and_for_metadata() {
        let full = parse(FULL).unwrap();
        assert_eq!((full.metadata, full.metadata_used, full.reserve), (33_554_432, 425_984, 5_767_168));
        assert_eq!((full.free, full.unallocated), (0, 1_048_576));
        // No room for data: told. No room for metadata either: refused.
        let of = |usage: Usage| findings("/d", usage).first().map(|finding| finding.severity);
        assert_eq!(of(full), Some(Severity::Warning));
        assert_eq!(of(Usage { metadata_used: 27_000_000, ..full }), Some(Severity::Failure));
        assert_eq!(of(Usage { free: 100 << 20, ..full }), Some(Severity::Info));
        assert_eq!(parse("nothing"), None);
    }
}
