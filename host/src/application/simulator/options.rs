//! How the simulator behaves, and how it misbehaves.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::StatusCode;

use crate::capability::Secret;
use crate::error::{Error, ErrorKind};

/// How a [`Simulator`](super::Simulator) behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The version it claims to be.
    pub version: String,
    /// The only user.
    pub username: String,
    /// The user's password.
    pub password: Secret,
    /// How long it takes to drain, once the backup has begun.
    pub drain: Duration,
    /// The operator cancels the backup this long after it began.
    pub operator_cancel_after: Option<Duration>,
    /// Somebody else holds the lock from the start.
    pub locked_by_other: bool,
    /// Answer unlock with 200 instead of 202, as some servers do.
    pub unlock_ok: bool,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: "9.4.1".to_owned(),
            username: "admin".to_owned(),
            password: Secret::new("admin"),
            drain: Duration::ZERO,
            operator_cancel_after: None,
            locked_by_other: false,
            unlock_ok: false,
            faults: Vec::new(),
        }
    }
}

/// The calls of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// `POST /mvc/maintenance/lock`
    Lock,
    /// `POST /mvc/admin/backups`
    Begin,
    /// `GET /mvc/maintenance`
    Poll,
    /// `POST /mvc/admin/backups/progress/client`
    Progress,
    /// `DELETE /mvc/maintenance/lock`
    Unlock,
    /// `POST /mvc/maintenance`
    Cancel,
    /// `GET /rest/api/1.0/application-properties`
    Version,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Lock, Self::Begin, Self::Poll, Self::Progress, Self::Unlock, Self::Cancel, Self::Version];

    /// Its name in a fault.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Begin => "begin",
            Self::Poll => "poll",
            Self::Progress => "progress",
            Self::Unlock => "unlock",
            Self::Cancel => "cancel",
            Self::Version => "version",
        }
    }
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It answers this status. A redirect leads to a login page.
    Status(StatusCode),
    /// It never answers.
    Hang,
    /// A proxy answers 200 and a page of HTML.
    Html,
    /// The reply lacks its token. On calls without one: its JSON is empty.
    NoToken,
    /// The connection is closed without an answer.
    Close,
    /// The connection is closed in the middle of the answer.
    Cut,
    /// The right answer, this much later.
    Slow(Duration),
}

/// One fault: `lock=503`, `unlock=503x3` (the first three times), `begin=hang`, `lock=html`, `lock=no-token`,
/// `poll=close`, `poll=cut`, `lock=slow:30s`. With `after-`, as in `lock=after-close`, the simulator does what it was
/// asked for, and then answers wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// In which call.
    pub call: Call,
    /// What goes wrong.
    pub failure: Failure,
    /// Only after the work was done.
    pub after: bool,
    /// Only so many times; `None` is always.
    pub times: Option<u32>,
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::new(ErrorKind::Config, format!("{text:?} is not a fault of the simulator")).hint(
                "a fault is CALL=FAILURE[xTIMES]; CALL is lock, begin, poll, progress, unlock, cancel or version; \
                 FAILURE is a status code, hang, html, no-token, close, cut or slow:SECONDSs, after- before it if the \
                 call's work is to be done first: unlock=503x3, lock=after-close",
            )
        };
        let (call, rest) = text.split_once('=').ok_or_else(wrong)?;
        let call = Call::ALL.into_iter().find(|c| c.name() == call).ok_or_else(wrong)?;
        let (after, rest) = rest.strip_prefix("after-").map_or((false, rest), |rest| (true, rest));
        let (failure, times) = match rest.rsplit_once('x') {
            Some((failure, times)) => (failure, Some(times.parse().map_err(|_| wrong())?)),
            None => (rest, None),
        };
        let failure = match failure {
            "hang" => Failure::Hang,
            "html" => Failure::Html,
            "no-token" => Failure::NoToken,
            "close" => Failure::Close,
            "cut" => Failure::Cut,
            other => match other.strip_prefix("slow:") {
                Some(time) => Failure::Slow(duration(time).ok_or_else(wrong)?),
                None => Failure::Status(
                    // 1xx is no final answer.
                    StatusCode::from_str(other).ok().filter(|s| !s.is_informational()).ok_or_else(wrong)?,
                ),
            },
        };
        Ok(Self { call, failure, after, times })
    }
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.call.name(), if self.after { "after-" } else { "" })?;
        match self.failure {
            Failure::Status(status) => write!(f, "{}", status.as_u16())?,
            Failure::Hang => f.write_str("hang")?,
            Failure::Html => f.write_str("html")?,
            Failure::NoToken => f.write_str("no-token")?,
            Failure::Close => f.write_str("close")?,
            Failure::Cut => f.write_str("cut")?,
            Failure::Slow(time) => write!(f, "slow:{}ms", time.as_millis())?,
        }
        self.times.map_or(Ok(()), |times| write!(f, "x{times}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_and_written() {
        for text in [
            "lock=503",
            "unlock=503x3",
            "begin=hang",
            "lock=html",
            "lock=no-token",
            "poll=close",
            "progress=cutx1",
            "cancel=after-409",
            "version=slow:250ms",
            "lock=after-closex1",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!("lock=slow:30s".parse::<Fault>().unwrap().failure, Failure::Slow(Duration::from_secs(30)));
    }

    #[test]
    fn wrong_faults_say_how() {
        for text in ["", "lock", "lok=503", "lock=", "lock=99", "lock=100", "lock=503x", "lock=503xy", "lock=slow:3"] {
            assert!(text.parse::<Fault>().unwrap_err().hint_text().is_some(), "{text}");
        }
    }
}
