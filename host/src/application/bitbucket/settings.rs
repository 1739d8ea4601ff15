//! What the operator sets, and how long each call may take.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::capability::Secret;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// What the driver needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where Bitbucket answers, with its context path if it has one: `https://git.example.com/bitbucket`.
    pub url: String,
    /// A user with the right to administer the system.
    pub username: String,
    /// That user's password.
    pub password: Secret,
    /// Certificates (PEM) that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long Bitbucket may take to drain.
    pub drain_timeout: Duration,
    /// From lock to unlock, at most.
    pub max_lock_time: Duration,
    /// Take no lock at all.
    pub zero_downtime: bool,
    /// How long calls may take. The defaults suit everybody but tests.
    pub timing: Timing,
}

impl Settings {
    /// Settings with the default deadlines: drain 5 minutes, lock 15 minutes.
    pub fn new(url: impl Into<String>, username: impl Into<String>, password: Secret) -> Self {
        Self {
            url: url.into(),
            username: username.into(),
            password,
            ca_file: None,
            drain_timeout: Duration::from_secs(5 * 60),
            max_lock_time: Duration::from_secs(15 * 60),
            zero_downtime: false,
            timing: Timing::default(),
        }
    }

    pub(super) fn validate(&self) -> Result<Url> {
        let url = parse_url(&self.url)?;
        if self.username.is_empty() || self.username.contains(':') || self.username.chars().any(char::is_control) {
            return Err(Error::new(ErrorKind::Config, "application.username is empty or holds a colon")
                .hint("name a Bitbucket user who is a system administrator"));
        }
        if self.max_lock_time.is_zero() || self.drain_timeout.is_zero() {
            return Err(Error::new(ErrorKind::Config, "application.drain-timeout and max-lock-time must not be zero"));
        }
        Ok(url)
    }
}

/// The address, fit for appending paths: no query, no fragment, no credentials, no slash at its end.
pub(super) fn parse_url(text: &str) -> Result<Url> {
    // The text may hold a password, so it is not repeated before it is known to be clean.
    let hint = "give it as \"https://git.example.com\", or with a context path: \"https://example.com/bitbucket\"";
    let mut url = Url::parse(text)
        .or_error(ErrorKind::Config, || "application.url is not a URL")
        .map_err(|error| error.hint(hint))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::new(ErrorKind::Config, "application.url holds credentials")
            .hint("use application.username and application.password"));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Error::new(ErrorKind::Config, format!("application.url is not an http(s) URL: {url}")).hint(hint));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            Error::new(ErrorKind::Config, format!("application.url has a query or a fragment: {url}")).hint(hint)
        );
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// How long calls may take, and how often things are tried.
#[derive(Debug, Clone)]
pub struct Timing {
    /// To connect.
    pub connect: Duration,
    /// A call that can be repeated.
    pub call: Duration,
    /// A call whose reply holds a token: long, because a reply that nobody waited for is a lock that nobody can open.
    pub token: Duration,
    /// A call that is only a courtesy: progress, cancel.
    pub courtesy: Duration,
    /// The first pause between two polls or tries; it doubles up to `pause_max`.
    pub pause_min: Duration,
    /// The longest pause between two polls or tries.
    pub pause_max: Duration,
    /// How long an unlock is retried before the run reports that it failed.
    pub patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(10),
            token: Duration::from_secs(60),
            courtesy: Duration::from_secs(2),
            pause_min: Duration::from_millis(20),
            pause_max: Duration::from_secs(1),
            patience: Duration::from_secs(2 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (given, wanted) in [
            ("http://127.0.0.1:7990", "http://127.0.0.1:7990/"),
            ("https://example.com/bitbucket//", "https://example.com/bitbucket"),
        ] {
            assert_eq!(parse_url(given).unwrap().as_str(), wanted);
        }
        for wrong in ["", "7990", "ftp://h/", "http://h/?a=b", "http://h/#f", "unix:/run/x"] {
            let error = parse_url(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{wrong}");
        }
        let error = parse_url("http://admin:hunter2@h/").unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn names_and_times() {
        let good = Settings::new("http://h", "admin", Secret::new("hunter2"));
        assert!(good.validate().is_ok());
        assert!(!format!("{good:?}").contains("hunter2"));
        assert!(Settings { username: String::new(), ..good.clone() }.validate().is_err());
        assert!(Settings { username: "a:b".into(), ..good.clone() }.validate().is_err());
        assert!(Settings { max_lock_time: Duration::ZERO, ..good }.validate().is_err());
    }
}
