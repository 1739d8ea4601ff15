//! The times in answers.

/// Milliseconds since the Unix epoch of an ISO 8601 time in UTC: `2026-11-21T05:44:32.763Z`. None if it is not one.
#[must_use]
pub fn milliseconds(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let time = time.strip_suffix('Z').or_else(|| time.strip_suffix("+00:00"))?;
    let mut date = date.split('-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.split(':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !fits || date.next().is_some() || clock.next().is_some() {
        return None;
    }
    let thousandths =
        fraction.bytes().chain([b'0', b'0']).take(3).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + thousandths)
}

/// The same time as text, in seconds: `2026-11-21T05:44:32Z`.
#[must_use]
pub fn rfc3339(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let mut left = seconds / 86_400;
    let mut year = 1970;
    while left >= days(year + 1, 1, 1) - days(year, 1, 1) {
        left -= days(year + 1, 1, 1) - days(year, 1, 1);
        year += 1;
    }
    let mut month = 1;
    while month < 12 && left >= days(year, month + 1, 1) - days(year, month, 1) {
        left -= days(year, month + 1, 1) - days(year, month, 1);
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", left + 1)
}

fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
}

/// Days since the Unix epoch, of a date from 1970 on. The year is taken to begin in March, so that the day that a leap year
/// has more is its last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let since_march = (month + 9) % 12;
    let day_of_year = (153 * since_march + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_answers() {
        assert_eq!(milliseconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(milliseconds("2026-11-21T05:44:32.763464Z"), Some(1_795_239_872_763));
        assert_eq!(milliseconds("2026-11-21T05:44:32Z"), Some(1_795_239_872_000));
        assert_eq!(milliseconds("2024-02-29T23:59:59.5+00:00"), Some(1_709_251_199_500));
        for text in [
            "",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-11-21T05:44:32",
            "2026-11-21T05:44Z",
            "x",
            "2026-11-21T05:44:32.Z",
            "+026-11-21T05:44:32Z",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn there_and_back() {
        for text in ["1970-01-01T00:00:00Z", "2000-02-29T12:00:00Z", "2024-12-31T23:59:59Z", "2100-03-01T00:00:00Z"] {
            assert_eq!(rfc3339(milliseconds(text).unwrap()), text);
        }
    }
}
