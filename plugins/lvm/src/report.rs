//! What `lvs` and `findmnt` say.

use bkhost_sdk::{Error, Result, config, exec};
use serde::Deserialize;

use crate::names::{snapshot_name, split};

/// One logical volume, as `lvs` reports it: everything is text there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Volume {
    #[serde(rename = "lv_name")]
    pub(crate) name: String,
    #[serde(rename = "lv_uuid")]
    pub(crate) uuid: String,
    #[serde(rename = "lv_attr")]
    attr: String,
    lv_size: String,
    pub(crate) origin: String,
    #[serde(rename = "pool_lv")]
    pub(crate) pool: String,
    data_percent: String,
    metadata_percent: String,
    lv_tags: String,
    lv_time: String,
    lv_snapshot_invalid: String,
    #[serde(rename = "lv_kernel_major")]
    major: String,
    #[serde(rename = "lv_kernel_minor")]
    minor: String,
    vg_free: String,
    vg_extent_size: String,
}

/// What a volume is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Linear, striped, mirrored, cached: its snapshots have a space of their own.
    Classic,
    /// In a thin pool.
    Thin,
    /// A snapshot of a classic volume.
    Snapshot,
    /// A thin pool.
    Pool,
    /// What cannot be backed up.
    Other,
}

impl Volume {
    fn flag(&self, at: usize) -> char {
        self.attr.chars().nth(at).unwrap_or('-')
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.flag(0) {
            '-' | 'o' | 'O' | 'm' | 'M' | 'r' | 'R' | 'C' => Kind::Classic,
            'V' => Kind::Thin,
            's' | 'S' => Kind::Snapshot,
            't' => Kind::Pool,
            _ => Kind::Other,
        }
    }

    /// It is being merged into its origin (`S`), or is an origin that a snapshot is merged into (`O`).
    pub(crate) fn is_merging(&self) -> bool {
        matches!(self.flag(0), 'S' | 'O')
    }

    /// Its tables are loaded, whatever else is wrong with it.
    pub(crate) fn is_active(&self) -> bool {
        !matches!(self.flag(4), '-' | 'X' | 'd' | 'i')
    }

    /// Nothing is read from it or written to it until it is resumed.
    pub(crate) fn is_suspended(&self) -> bool {
        self.flag(4) == 's'
    }

    pub(crate) fn is_open(&self) -> bool {
        self.flag(5) == 'o'
    }

    /// More was written to the origin than it could take: what it holds is worth nothing.
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self.flag(4), 'I' | 'S') || !matches!(self.lv_snapshot_invalid.as_str(), "" | "unknown")
    }

    pub(crate) fn size(&self) -> u64 {
        number(&self.lv_size)
    }

    pub(crate) fn free(&self) -> u64 {
        number(&self.vg_free)
    }

    pub(crate) fn extent(&self) -> u64 {
        number(&self.vg_extent_size).max(1)
    }

    /// The number of its device, as `stat -c %d` tells it of what is on it; none: it is not active.
    pub(crate) fn device(&self) -> Option<u64> {
        // LVM says -1 of one that is not.
        let (major, minor): (u64, u64) = (self.major.trim().parse().ok()?, self.minor.trim().parse().ok()?);
        Some((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32))
    }

    /// When it was created, in seconds since the epoch.
    pub(crate) fn created(&self) -> u64 {
        number(&self.lv_time)
    }

    /// How full it is, in percent: its space for changes, or a pool's for data.
    pub(crate) fn used(&self) -> Option<f64> {
        self.data_percent.trim().parse().ok()
    }

    /// How full a pool's metadata is, in percent.
    pub(crate) fn metadata_used(&self) -> Option<f64> {
        self.metadata_percent.trim().parse().ok()
    }

    fn tag(&self, key: &str) -> Option<&str> {
        self.lv_tags.split(',').find_map(|tag| tag.strip_prefix("bkhost:")?.strip_prefix(key)?.strip_prefix('='))
    }

    /// The label of the run of this part that made this snapshot of `volume`; none if it was not this part. Tags and name have
    /// to agree: somebody may have renamed it, or copied the tags.
    pub(crate) fn label_of(&self, volume: &str) -> Option<&str> {
        let label = self.tag("run")?;
        let (group, origin) = split(volume);
        let ours = self.tag("instance") == Some(config::instance().as_str())
            && self.tag("part") == Some(config::part().as_str())
            && snapshot_name(volume, label) == format!("{group}/{}", self.name)
            // A capture that failed half-way leaves one without an origin, and so does a thin origin that was removed.
            && (self.origin == origin || self.origin.is_empty());
        ours.then_some(label)
    }

    /// Whether the restore of this label made it: it is not complete (`restore`), or is (`restored`).
    pub(crate) fn is_of(&self, what: &str, label: &str) -> bool {
        self.tag("instance") == Some(config::instance().as_str())
            && self.tag("part") == Some(config::part().as_str())
            && self.tag(what) == Some(label)
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

#[derive(Deserialize)]
struct Report {
    report: Vec<Volumes>,
}

#[derive(Deserialize)]
struct Volumes {
    lv: Vec<Volume>,
}

fn parse(text: &str) -> Result<Vec<Volume>> {
    let report: Report = serde_json::from_str(text)
        .map_err(|error| Error::unsupported(format!("what lvs says cannot be read: {error}")))?;
    Ok(report.report.into_iter().flat_map(|part| part.lv).collect())
}

/// The volumes of a group; none if there is no such group. A group without volumes has none to tell.
pub(crate) fn volumes(group: &str) -> Result<Option<Vec<Volume>>> {
    let output = exec::run("volumes", &[("group", group)])?;
    if output.status != 0 && output.stderr.contains(&format!("Volume group \"{group}\" not found")) {
        return Ok(None);
    }
    parse(&output.ok()?.stdout).map(Some)
}

/// One volume by its full name; none if it does not exist.
pub(crate) fn volume(name: &str) -> Result<Option<Volume>> {
    let (group, name) = split(name);
    Ok(volumes(group)?.unwrap_or_default().into_iter().find(|volume| volume.name == name))
}

/// Where something is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Mount {
    pub(crate) target: String,
    pub(crate) fstype: String,
}

#[derive(Deserialize)]
struct Mounts {
    filesystems: Vec<Mount>,
}

/// The mounts of a configured volume.
pub(crate) fn mounts(volume: &str) -> Result<Vec<Mount>> {
    let output = exec::run("mounted", &[("volume", volume)])?;
    // This is how findmnt says that there is none.
    if output.status == 1 && output.stdout.trim().is_empty() {
        return Ok(Vec::new());
    }
    let output = output.ok()?;
    let mounts: Mounts = serde_json::from_str(&output.stdout)
        .map_err(|error| Error::unsupported(format!("what findmnt says cannot be read: {error}")))?;
    Ok(mounts.filesystems)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As LVM 2.03.16 wrote it.
    const RECORDED: &str = r#"  {
      "report": [ { "lv": [
          {"lv_name":"data", "lv_uuid":"7dz5bl", "lv_attr":"owi-aos---", "lv_size":"335544320", "origin":"", "pool_lv":"", "data_percent":"", "metadata_percent":"", "lv_tags":"", "lv_time":"1795240238", "lv_snapshot_invalid":"unknown", "lv_kernel_major":"254", "lv_kernel_minor":"3", "vg_free":"1761607680", "vg_extent_size":"4194304"},
          {"lv_name":"snap", "lv_uuid":"qrBJOU", "lv_attr":"swi-aos---", "lv_size":"41943040", "origin":"data", "pool_lv":"", "data_percent":"5.07", "metadata_percent":"", "lv_tags":"bkhost:instance=i,bkhost:part=p,bkhost:run=x", "lv_time":"1795240239", "lv_snapshot_invalid":"", "lv_kernel_major":"254", "lv_kernel_minor":"4", "vg_free":"1761607680", "vg_extent_size":"4194304"},
          {"lv_name":"full", "lv_uuid":"aaaaaa", "lv_attr":"swi-I-s---", "lv_size":"8388608", "origin":"data", "pool_lv":"", "data_percent":"100.00", "metadata_percent":"", "lv_tags":"", "lv_time":"1795240239", "lv_snapshot_invalid":"snapshot invalid", "lv_kernel_major":"254", "lv_kernel_minor":"5", "vg_free":"1761607680", "vg_extent_size":"4194304"},
          {"lv_name":"pool", "lv_uuid":"bbbbbb", "lv_attr":"twi-aotz--", "lv_size":"419430400", "origin":"", "pool_lv":"", "data_percent":"16.20", "metadata_percent":"1.37", "lv_tags":"", "lv_time":"1795240239", "lv_snapshot_invalid":"unknown", "lv_kernel_major":"254", "lv_kernel_minor":"3", "vg_free":"1761607680", "vg_extent_size":"4194304"},
          {"lv_name":"ts", "lv_uuid":"cccccc", "lv_attr":"Vwi---tz-k", "lv_size":"1073741824", "origin":"tv", "pool_lv":"pool", "data_percent":"", "metadata_percent":"", "lv_tags":"", "lv_time":"1795240239", "lv_snapshot_invalid":"unknown", "lv_kernel_major":"254", "lv_kernel_minor":"3", "vg_free":"1761607680", "vg_extent_size":"4194304"}
      ] } ]
  }"#;

    #[test]
    fn a_report() {
        let all = parse(RECORDED).unwrap();
        let [data, snap, full, pool, thin] = &all[..] else { panic!("{all:?}") };
        assert_eq!(
            (data.kind(), data.is_active(), data.is_open(), data.is_invalid()),
            (Kind::Classic, true, true, false)
        );
        assert_eq!(
            (data.size(), data.free(), data.extent(), data.created()),
            (335_544_320, 1_761_607_680, 4_194_304, 1_795_240_238)
        );
        // As 254, 3.
        assert_eq!(data.device(), Some(65027));
        let numbered =
            |major: &str, minor: &str| Volume { major: major.into(), minor: minor.into(), ..data.clone() }.device();
        assert_eq!(numbered("-1", "-1"), None);
        assert_eq!(numbered("254", "300"), Some(0x10_fe2c));
        assert_eq!((snap.kind(), snap.is_invalid(), snap.used()), (Kind::Snapshot, false, Some(5.07)));
        assert_eq!((snap.tag("run"), snap.tag("instance"), snap.tag("ru")), (Some("x"), Some("i"), None));
        assert_eq!((full.is_invalid(), full.is_open()), (true, false));
        assert_eq!((pool.kind(), pool.used(), pool.metadata_used()), (Kind::Pool, Some(16.20), Some(1.37)));
        assert_eq!((thin.kind(), thin.is_active(), thin.pool.as_str(), thin.used()), (Kind::Thin, false, "pool", None));
        assert!(parse("{}").is_err());
    }
}
