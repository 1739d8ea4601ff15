//! What is known of the volumes before they are captured.

use bkhost_sdk::{Error, Result};

use crate::Config;
use crate::names::{group, split};
use crate::report::{self, Kind};

/// What is needed to capture the volumes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) volumes: Vec<Planned>,
}

/// One volume to capture.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) fstype: String,
    pub(crate) size: u64,
    /// Its thin pool; none: a classic volume.
    pub(crate) pool: Option<String>,
    /// How large its snapshot is to be, in bytes; of a classic volume.
    pub(crate) space: u64,
}

impl Plan {
    /// Look at all volumes. `check` has said what is wrong with them in more words.
    pub(crate) fn make(config: &Config) -> Result<Self> {
        let mut volumes = Vec::new();
        for name in &config.volumes {
            let all = report::volumes(group(name))?.unwrap_or_default();
            let missing = || Error::not_found(format!("volume {name} does not exist")).hint("see `lvs`");
            let found = all.iter().find(|volume| volume.name == split(name).1).ok_or_else(missing)?;
            let mount = report::mounts(name)?.into_iter().next().ok_or_else(|| {
                Error::conflict(format!("volume {name} is not mounted")).hint("mount it, or take it out of the part")
            })?;
            volumes.push(Planned {
                name: name.clone(),
                fstype: mount.fstype,
                size: found.size(),
                pool: (found.kind() == Kind::Thin).then(|| found.pool.clone()),
                space: space(&config.snapshot_size, found.size(), found.extent())?,
            });
        }
        Ok(Self { volumes })
    }
}

/// How large the snapshot of a volume is to be, in whole extents. LVM itself makes it no larger than it can ever get.
pub(crate) fn space(wanted: &str, volume: u64, extent: u64) -> Result<u64> {
    let wrong = || {
        Error::invalid_config(format!("snapshot-size = {wanted:?} is neither a share nor a size"))
            .hint("write for example snapshot-size = \"20%\" or \"10GiB\"")
    };
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
    let bytes = if let Some(share) = wanted.strip_suffix('%') {
        u64::try_from(u128::from(volume) * u128::from(number(share)?) / 100).unwrap_or(u64::MAX)
    } else {
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        let found = units.iter().find_map(|(unit, shift)| Some((wanted.strip_suffix(unit)?, *shift)));
        let (digits, shift) = found.ok_or_else(wrong)?;
        number(digits)?.checked_mul(1 << shift).ok_or_else(wrong)?
    };
    bytes.max(1).div_ceil(extent).checked_mul(extent).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_sizes() {
        let extent = 4 << 20;
        let of = |wanted: &str| space(wanted, 100 << 20, extent).unwrap() >> 20;
        assert_eq!((of("20%"), of("1%"), of("100%"), of("21%")), (20, 4, 100, 24));
        assert_eq!((of("1KiB"), of("10MiB"), of("2GiB"), of("1TiB")), (4, 12, 2048, 1 << 20));
        for wrong in ["", "%", "20", "x%", "10MB", "-1%", "99999999999999999999%", "999999999999TiB"] {
            assert!(space(wrong, 100 << 20, extent).is_err(), "{wrong}");
        }
    }
}
