//! Durations and sizes as people write and read them. The only place that parses or prints either.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// A length of time, written `90s`, `5m`, `1h30m`, `2d` or `250ms`. `0s` is valid: what it means is said where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub std::time::Duration);

/// A number of bytes, written `64MiB`, `1GiB`, `1500kB` or `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

/// A share of a whole in percent, written `50%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(pub u8);

/// What `Span` accepts, for error messages.
const DURATION_FORM: &str = "a number with a unit, such as \"90s\", \"5m\", \"1h30m\" or \"2d\"";
/// What `Size` accepts, for error messages.
const SIZE_FORM: &str = "a number with a unit, such as \"512KiB\", \"64MiB\" or \"1GiB\"";

/// What `Percent` accepts, for error messages.
const PERCENT_FORM: &str = "a whole number of percent from \"0%\" to \"100%\", such as \"50%\"";

/// The units of a duration in milliseconds, longest first.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong =
            || Error::new(ErrorKind::Config, format!("`{text}` is no duration")).hint(format!("write {DURATION_FORM}"));
        let too_long = || Error::new(ErrorKind::Config, format!("`{text}` is too long a duration"));
        if text == "0" {
            return Ok(Self::default());
        }
        if text.is_empty() {
            return Err(wrong());
        }
        let mut millis: u64 = 0;
        let mut last_unit = u64::MAX;
        let mut rest = text;
        while !rest.is_empty() {
            let (number, unit, tail) = number_and_unit(rest).ok_or_else(wrong)?;
            let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            // "30m1h" and "5m5m" are more likely typing errors than wishes.
            if *factor >= last_unit {
                return Err(wrong());
            }
            last_unit = *factor;
            let number: u64 = number.parse().map_err(|_| too_long())?;
            millis = number.checked_mul(*factor).and_then(|m| millis.checked_add(m)).ok_or_else(too_long)?;
            rest = tail;
        }
        Ok(Self(std::time::Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    /// The form that parses back to the same value (whole milliseconds).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in DURATION_UNITS {
            if left >= factor {
                write!(f, "{}{unit}", left / factor)?;
                left %= factor;
            }
        }
        Ok(())
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::new(ErrorKind::Config, format!("`{text}` is no size")).hint(format!("write {SIZE_FORM}"));
        let too_large = || Error::new(ErrorKind::Config, format!("`{text}` is too large a size"));
        let (number, unit, rest) = number_and_unit(text).ok_or_else(wrong)?;
        if !rest.is_empty() {
            return Err(wrong());
        }
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| too_large())?;
        number.checked_mul(*factor).map(Self).ok_or_else(too_large)
    }
}

impl fmt::Display for Size {
    /// The form that parses back to the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Percent {
    /// Whether `part` is at least this share of `whole`.
    #[must_use]
    pub fn is_reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 100 >= u128::from(whole) * u128::from(self.0)
    }
}

impl FromStr for Percent {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = text.strip_suffix('%').filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        let percent = number.and_then(|n| n.parse().ok()).filter(|n| *n <= 100);
        percent.map(Self).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("`{}` is no percentage", text.escape_debug()))
                .hint(format!("write {PERCENT_FORM}"))
        })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Splits `12ms3s` into `12`, `ms`, `3s`. None without a number in front; the unit may be empty.
fn number_and_unit(text: &str) -> Option<(&str, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(letters)?;
    (!number.is_empty()).then_some((number, unit, rest))
}

/// A number of bytes for people: `999 B`, `1.5 GiB`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        // 1023.95 would be printed as 1024.0.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// A length of time for people: `41 ms`, `3.2 s`, `4m 05s`, `2h 03m`, `3d 04h`.
#[must_use]
pub fn human_duration(duration: std::time::Duration) -> String {
    let millis = duration.as_millis();
    // Rounded before the unit is chosen: 59.96 s is a minute, not "60.0 s".
    let tenths = (millis + 50) / 100;
    let seconds = (millis + 500) / 1000;
    match () {
        () if millis < 1000 => format!("{millis} ms"),
        () if tenths < 600 => format!("{}.{} s", tenths / 10, tenths % 10),
        () if seconds < 3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        () if seconds < 86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        () => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// So many milliseconds for people, as [`human_duration`].
#[must_use]
pub fn human_millis(millis: u64) -> String {
    human_duration(std::time::Duration::from_millis(millis))
}

/// How long ago a time was, for people; the future counts as now.
#[must_use]
pub fn age(time: jiff::Timestamp) -> String {
    let millis = jiff::Timestamp::now().as_millisecond().saturating_sub(time.as_millisecond());
    human_millis(u64::try_from(millis).unwrap_or_default())
}

/// Both types are strings in files, and say in their schema which.
macro_rules! as_string {
    ($type:ident, $name:literal, $form:expr, $pattern:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($form)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(|e: Error| {
                            E::custom(format_args!("{e}: write {}", $form))
                        })
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $form, "pattern": $pattern })
            }
        }
    };
}

as_string!(Span, "Span", DURATION_FORM, "^(0|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$");
as_string!(Size, "Size", SIZE_FORM, "^[0-9]+(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)?$");

as_string!(Percent, "Percent", PERCENT_FORM, "^([0-9]|[1-9][0-9]|100)%$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1m1ms", 60_001),
        ] {
            let parsed: Span = text.parse().unwrap();
            assert_eq!(parsed.0, std::time::Duration::from_millis(millis), "{text}");
            assert_eq!(parsed.to_string().parse::<Span>().unwrap(), parsed, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "5x",
            "30m1h",
            "5m5m",
            "1.5h",
            "5m ",
            "٥m",
            "18446744073709551615d",
            "99999999999999999999s",
        ] {
            let error = text.parse::<Span>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        }
        assert!("99999999999999999999s".parse::<Span>().unwrap_err().message().contains("too long"));
    }

    #[test]
    fn sizes_parse_and_print() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1kB", 1000),
            ("512KiB", 524_288),
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("7B", 7),
        ] {
            let parsed: Size = text.parse().unwrap();
            assert_eq!(parsed.0, bytes, "{text}");
            assert_eq!(parsed.to_string().parse::<Size>().unwrap(), parsed, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "1.5GiB", "-1", "64 MiB", "64mib", "64MiB1", "17000000TiB", "18446744073709551616"] {
            assert_eq!(text.parse::<Size>().unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
    }

    #[test]
    fn shares() {
        for (text, percent) in [("0%", 0), ("50%", 50), ("100%", 100)] {
            let parsed: Percent = text.parse().unwrap();
            assert_eq!((parsed, parsed.to_string().as_str()), (Percent(percent), text));
        }
        for text in ["", "%", "50", "-1%", "101%", "1000%", "0.5", "50 %", "5e1%"] {
            assert_eq!(text.parse::<Percent>().unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
        assert!(Percent(50).is_reached(5, 10) && !Percent(50).is_reached(4, 10) && Percent(50).is_reached(1, 1));
        assert!(Percent(0).is_reached(0, u64::MAX) && Percent(100).is_reached(u64::MAX, u64::MAX));
        assert!(!Percent(100).is_reached(u64::MAX - 1, u64::MAX) && Percent(50).is_reached(0, 0));
    }

    #[test]
    fn people_read_short_numbers() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1024, "1.0 KiB"),
            (1536 << 20, "1.5 GiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1.0 s"),
            (3249, "3.2 s"),
            (59_960, "1m 00s"),
            (245_000, "4m 05s"),
            (3_599_600, "1h 00m"),
            (7_380_000, "2h 03m"),
            (273_600_000, "3d 04h"),
        ] {
            assert_eq!(human_duration(std::time::Duration::from_millis(millis)), text);
        }
    }
}
