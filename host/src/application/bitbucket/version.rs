//! Bitbucket's version.

use std::fmt;

/// A release, as in `8.9.2` or `9.0.0-SNAPSHOT`. Compared by its numbers only: a pre-release counts as its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// The first release whose backups can be restored when they were taken without a lock.
    pub(super) const ZERO_DOWNTIME: Self = Self { major: 4, minor: 8, patch: 0 };

    /// `None` unless it starts with at least two numbers.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers = text.split_once(['-', '+']).map_or(text, |(numbers, _)| numbers);
        let mut numbers = numbers.split('.').map(|n| {
            let digits = !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| n.parse::<u32>().ok()).flatten()
        });
        let major = numbers.next()??;
        let minor = numbers.next()??;
        let patch = numbers.next().map_or(Some(0), |n| n)?;
        numbers.all(|n| n.is_some()).then_some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_by_number() {
        let v = |text| Version::parse(text).unwrap();
        assert!(v("4.8") >= Version::ZERO_DOWNTIME);
        assert!(v("4.8.0-rc1") >= Version::ZERO_DOWNTIME);
        assert!(v("4.10.1") > Version::ZERO_DOWNTIME);
        assert!(v("10.0.0") > v("9.4.1"));
        assert!(v("4.7.99") < Version::ZERO_DOWNTIME);
        assert!(v("3.11.2") < Version::ZERO_DOWNTIME);
        assert_eq!(v("8.9.2.1").to_string(), "8.9.2");
    }

    #[test]
    fn garbage_is_none() {
        for text in ["", "4", "four.eight", "4.", ".8", "4.x.1", "+4.8", "-4.8", "4.8.", "99999999999.1", "<html>"] {
            assert!(Version::parse(text).is_none(), "{text}");
        }
    }
}
