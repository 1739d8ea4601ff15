//! What is mounted where, as the kernel tells it.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capability) struct Mount {
    id: u64,
    /// The file system, as `major:minor`: the same for all mounts of it.
    pub(super) device: String,
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// `ext4`, `xfs`.
    pub(super) kind: String,
    /// What is mounted: `/dev/sda1`.
    pub(super) source: PathBuf,
    /// Options of the file system, as opposed to those of this mount.
    pub(super) options: String,
}

/// All mounts that this process sees.
pub(super) fn all() -> std::io::Result<Vec<Mount>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// The mount through which an open file is reached.
pub(super) fn of(fd: impl AsFd) -> std::io::Result<Mount> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|id| id.trim().parse::<u64>().ok());
    all()?
        .into_iter()
        .find(|mount| Some(mount.id) == id)
        .ok_or_else(|| std::io::Error::other("its mount is not in /proc/self/mountinfo"))
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|b| *b == b' ');
    let id = text(words.next()?)?.parse().ok()?;
    let device = text(words.nth(1)?)?;
    let point = PathBuf::from(OsString::from_vec(unescape(words.nth(1)?)));
    words.find(|word| *word == b"-")?;
    let kind = text(words.next()?)?;
    let source = PathBuf::from(OsString::from_vec(unescape(words.next()?)));
    let options = String::from_utf8_lossy(&unescape(words.next().unwrap_or_default())).into_owned();
    Some(Mount { id, device, point, kind, source, options })
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// Blanks, newlines and backslashes are written as `\040`.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn lines() {
        let line =
            br"36 35 98:0 /sub /mnt/a\040b\134\012 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!((mount.id, mount.device.as_str(), mount.kind.as_str()), (36, "98:0", "ext3"));
        assert_eq!(mount.source, Path::new("/dev/root"));
        assert_eq!((mount.point.as_path(), mount.options.as_str()), (Path::new("/mnt/a b\\\n"), "rw,errors=continue"));
        let line = b"22 1 0:21 / /proc rw - proc proc rw";
        assert_eq!(parse(line).unwrap().point, Path::new("/proc"));
        for broken in [&b""[..], b"x", b"36 35 98:0 / /mnt rw", b"36 35 98:0 / /mnt rw -"] {
            assert_eq!(parse(broken), None);
        }
        assert_eq!(unescape(br"a\04"), br"a\04");
    }

    #[test]
    fn the_mount_of_an_open_file() {
        let proc = of(std::fs::File::open("/proc").unwrap()).unwrap();
        assert_eq!((proc.kind.as_str(), proc.point.as_path()), ("proc", Path::new("/proc")));
    }
}
