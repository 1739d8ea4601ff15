//! Names that follow from a volume and a label.

use bkhost_sdk::{Error, Result};

/// The longest name of a device-mapper device, in bytes.
const DM_NAME: usize = 127;

/// `vg0` and `data` of `vg0/data`.
pub(crate) fn split(volume: &str) -> (&str, &str) {
    volume.split_once('/').unwrap_or((volume, ""))
}

/// `vg0` of `vg0/data`.
pub(crate) fn group(volume: &str) -> &str {
    split(volume).0
}

/// `vg0/data-label`.
pub(crate) fn snapshot_name(volume: &str, label: &str) -> String {
    format!("{volume}-{label}")
}

/// Where something of the `n`th volume is mounted in the staging area.
pub(crate) fn mount_directory(what: &str, n: usize) -> String {
    format!("{}/{what}-{n}", bkhost_sdk::path::STAGING)
}

/// The directory that holds a volume in the archive: the top for the only one, else its name. No name in LVM holds a
/// `%`, so no two become the same.
pub(crate) fn source_name(volume: &str, of: usize) -> String {
    if of == 1 { String::new() } else { volume.replace('/', "%2F") }
}

/// Refuse a name that LVM would refuse, or take for another thing.
pub(crate) fn valid(volume: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::invalid_config(format!("{volume:?} is no name of a logical volume: {why}"))
            .hint("write group/volume, as `lvs -o lv_full_name` shows it"))
    };
    let Some((group, name)) = volume.split_once('/') else { return refuse("it has no `/`") };
    for part in [group, name] {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
        if part.is_empty() || !part.chars().all(allowed) {
            return refuse("the two names are of A-Z, a-z, 0-9, +, _, . and -");
        }
        if part.starts_with('-') || part == "." || part == ".." || part.len() > DM_NAME {
            return refuse("a name does not start with -, is not . or .., and has at most 127 characters");
        }
    }
    let reserved = ["_cdata", "_cmeta", "_corig", "_mlog", "_mimage", "_pmspare", "_rimage", "_rmeta", "_tdata"];
    let reserved = reserved.iter().chain(&["_tmeta", "_vorigin", "_vdata", "_imeta", "_iorig"]);
    if name.starts_with("snapshot")
        || name.starts_with("pvmove")
        || reserved.into_iter().any(|word| name.contains(word))
    {
        return refuse("LVM keeps such names for itself");
    }
    Ok(())
}

/// How long the device-mapper name of a snapshot's longest device is: hyphens are doubled, and what holds the changes gets
/// a suffix.
pub(crate) fn too_long(snapshot: &str) -> bool {
    let (group, name) = split(snapshot);
    let mangled = |part: &str| part.len() + part.matches('-').count();
    name.len() > DM_NAME || mangled(group) + 1 + mangled(name) + "-cow".len() > DM_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_volume_is_the_top_of_the_archive() {
        assert_eq!(source_name("vg0/data", 1), "");
        assert_eq!(source_name("vg0/data", 2), "vg0%2Fdata");
        assert_ne!(source_name("a/b_c", 2), source_name("a_b/c", 2));
    }

    #[test]
    fn names_that_lvm_refuses() {
        for good in ["vg0/data", "vg-0/da-ta", "a.b/+c", "vg/_x", "VG/x.y"] {
            valid(good).unwrap_or_else(|error| panic!("{good}: {}", error.message));
        }
        for bad in [
            "data",
            "/data",
            "vg/",
            "vg/a/b",
            "vg/-a",
            "-vg/a",
            "vg/.",
            "../a",
            "vg/..",
            "vg/a b",
            "vg/a'b",
            "vg/ü",
            "vg/a\nb",
            "vg/snapshot1",
            "vg/pvmove0",
            "vg/x_tdata",
            "vg/x_rimage_0",
            "vg/a@b",
            "vg/a;b",
            "vg/a$b",
        ] {
            assert_eq!(valid(bad).unwrap_err().code, bkhost_sdk::ErrorCode::InvalidConfig, "{bad}");
        }
        assert!(valid(&format!("vg/{}", "x".repeat(128))).is_err());
    }

    #[test]
    fn hyphens_count_twice() {
        assert!(!too_long("vg0/data-bkhost-i-20261121-014200-4f2a9c"));
        let long = |n: usize| format!("v/{}", "x".repeat(n));
        assert!(!too_long(&long(127 - 1 - 1 - 4)));
        assert!(too_long(&long(127 - 1 - 4)));
        assert!(too_long(&format!("v/{}", "-x".repeat(41))));
    }
}
