//! One entry of an archive: a file, a directory, a link, …, with all that is kept of it but its content.

use std::fmt;

use super::acl::Acl;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A further name of an entry that came before.
    Hardlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// A point in time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds since 1970, rounded down.
    pub seconds: i64,
    /// Nanoseconds above them, under 10^9.
    pub nanos: u32,
}

const NANOS: u32 = 1_000_000_000;

impl fmt::Display for Time {
    /// Decimal seconds, as in PAX headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.seconds, self.nanos) {
            (seconds, 0) => write!(f, "{seconds}"),
            (seconds, nanos) if seconds < 0 => {
                write!(f, "-{}.{:09}", seconds.saturating_add(1).unsigned_abs(), NANOS.saturating_sub(nanos))
            }
            (seconds, nanos) => write!(f, "{seconds}.{nanos:09}"),
        }
    }
}

impl std::str::FromStr for Time {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let negative = whole.starts_with('-');
        let seconds: i64 = whole.parse().map_err(|_| ())?;
        if !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let nanos: u32 = digits.parse().map_err(|_| ())?;
        if negative && nanos > 0 {
            return Ok(Self { seconds: seconds.checked_sub(1).ok_or(())?, nanos: NANOS.saturating_sub(nanos) });
        }
        Ok(Self { seconds, nanos })
    }
}

/// Extended attributes and POSIX access control lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Names with their namespace (`user.x`) and values, sorted by name. ACLs are not among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The access ACL, if it says more than the mode.
    pub access: Option<Acl>,
    /// The default ACL of a directory.
    pub default: Option<Acl>,
}

impl Attributes {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.xattrs.is_empty() && self.access.is_none() && self.default.is_none()
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path in the archive: relative, no `.` or `..`, no slash at the end. The archive's top is the empty path.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: the lower 12 bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The owner's name where the system knows one.
    pub user: Option<String>,
    /// The group's name where the system knows one.
    pub group: Option<String>,
    /// The size in bytes of a regular file's content, holes included; 0 for everything else.
    pub size: u64,
    /// When the content last changed.
    pub mtime: Time,
    /// What a symbolic link contains, or the path of the entry that a hard link is another name of.
    pub link: Option<Vec<u8>>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Extended attributes and ACLs.
    pub attributes: Attributes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_as_text() {
        for (seconds, nanos, text) in [
            (0, 0, "0"),
            (1_763_690_573, 123_456_789, "1763690573.123456789"),
            (5, 1, "5.000000001"),
            (-1, 500_000_000, "-0.500000000"),
            (-2, 250_000_000, "-1.750000000"),
            (-7, 0, "-7"),
        ] {
            let time = Time { seconds, nanos };
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
        assert_eq!("1.5".parse(), Ok(Time { seconds: 1, nanos: 500_000_000 }));
        for wrong in ["", "x", "1.x", "1.-5", "--1"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }
}
