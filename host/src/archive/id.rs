//! Names: of sets, labels, instances and parts.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// A set's id, and that of the run that makes it: `20261121-014200-4f2a9c`, UTC date and time, the second's 4096th part as
/// three hex digits, and three random ones. Sorts by time, also two runs of one second: retention goes by this order. Safe
/// as a file name, in a snapshot's name and in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SetId(String);

impl SetId {
    /// A new id for a run that starts now.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn generate() -> Result<Self> {
        let mut random = [0_u8; 2];
        getrandom::fill(&mut random)
            .or_error(ErrorKind::Io, || "cannot get random numbers from the operating system")?;
        let random = u16::from_ne_bytes(random) & 0xfff;
        let now = Timestamp::now();
        let part = i64::from(now.subsec_nanosecond()) * 4096 / 1_000_000_000;
        let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S").to_string();
        Ok(Self(format!("{time}-{part:03x}{random:03x}")))
    }

    /// This id, or, where the clock was set back and it would sort before `newest`, one a second after that.
    #[must_use]
    pub fn after(self, newest: &Self) -> Self {
        if self > *newest {
            return self;
        }
        let next = newest.0.get(..15).and_then(|time| DateTime::strptime("%Y%m%d-%H%M%S", time).ok());
        // An id that is no date is nobody's: it was not made by a clock.
        match next.and_then(|time| time.checked_add(1.second()).ok()).zip(self.0.get(15..)) {
            Some((time, tail)) => Self(format!("{}{tail}", time.strftime("%Y%m%d-%H%M%S"))),
            None => self,
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What `capture` gets: unique to the run, at most 64 characters of `[a-z0-9-]`.
    #[must_use]
    pub fn label(&self, instance: &str) -> String {
        format!("bkhost-{instance}-{}", self.0)
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SetId> for String {
    fn from(id: SetId) -> Self {
        id.0
    }
}

impl TryFrom<String> for SetId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let mut fields = text.split('-');
        let digits = |field: Option<&str>, len: usize, hex: bool| {
            field.is_some_and(|f| {
                f.len() == len && f.bytes().all(|b| b.is_ascii_digit() || (hex && matches!(b, b'a'..=b'f')))
            })
        };
        let valid = digits(fields.next(), 8, false)
            && digits(fields.next(), 6, false)
            && digits(fields.next(), 6, true)
            && fields.next().is_none();
        if valid {
            Ok(Self(text))
        } else {
            Err(Error::new(ErrorKind::Config, format!("`{}` is no set id", text.escape_debug()))
                .hint("a set id looks like 20261121-014200-4f2a9c; `bkhost list` shows them"))
        }
    }
}

impl FromStr for SetId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::try_from(text.to_owned())
    }
}

/// Checks an instance's or a part's name, `[a-z0-9][a-z0-9-]{0,31}`: it becomes a directory, part of a label and part of
/// a snapshot's name.
///
/// # Errors
/// If it has another form; `what` says whose name it is.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let valid = (1..=32).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if valid {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, format!("`{}` is no valid name for {what}", name.escape_debug()))
        .hint("1 to 32 characters of a-z, 0-9 and `-`, the first not `-`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_parse_and_make_short_labels() {
        let id = SetId::generate().unwrap();
        assert_eq!(id.as_str().parse::<SetId>().unwrap(), id);
        let label = id.label(&"x".repeat(32));
        assert!(label.len() <= 64, "{label}");
        assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
    }

    #[test]
    fn ids_of_one_second_sort_by_time() {
        let ids: Vec<SetId> = (0..100)
            .map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                SetId::generate().unwrap()
            })
            .collect();
        assert!(ids.is_sorted(), "{ids:?}");
    }

    #[test]
    fn an_id_sorts_after_the_newest_whatever_the_clock_says() {
        let id = |text: &str| text.parse::<SetId>().unwrap();
        let now = id("20261121-014200-4f2a9c");
        for (newest, next) in [
            ("20261121-014159-ffffff", "20261121-014200-4f2a9c"),
            ("20261121-014200-4f2a9c", "20261121-014201-4f2a9c"),
            ("20271231-235959-000000", "20280101-000000-4f2a9c"),
            // Not of any clock.
            ("99999999-999999-ffffff", "20261121-014200-4f2a9c"),
        ] {
            assert_eq!(now.clone().after(&id(newest)), id(next), "{newest}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "..",
            "20261121-014200",
            "20261121-014200-4F2A9C",
            "20261121-014200-4f2a9c-1",
            "../x",
            "2026112é-014200-4f2a9c",
        ] {
            assert_eq!(text.parse::<SetId>().unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "home", "bitbucket-1", "0", &"x".repeat(32)] {
            check_name("a part", name).unwrap();
        }
        for name in ["", "-a", "A", "a_b", "a.b", "..", "a/b", "é", "a\n", &"x".repeat(33)] {
            assert_eq!(check_name("a part", name).unwrap_err().kind(), ErrorKind::Config, "{name}");
        }
    }
}
