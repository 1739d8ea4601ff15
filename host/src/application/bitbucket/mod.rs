//! Bitbucket Server and Data Center, by their maintenance API.
//!
//! What is retried: polls, unlock and cancel, whose repetition changes nothing. What is not: the two calls whose replies
//! hold a token, lock and begin.
//!
//! The lock's token is in the reply to `lock`, and nowhere else: the API that Atlassian documents has no call that tells
//! it later. If the reply is lost, by this process' death or on the network, Bitbucket may be locked and nobody can
//! unlock it with a token. What can be done is done by the `release` module: it finds out whether a lock exists, and if
//! one does it says so instead of guessing whose it is.

mod api;
mod client;
mod lock;
mod release;
mod settings;
#[cfg(test)]
mod tests;
mod version;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::StatusCode;

use self::api::Api;
use self::client::Client;
pub use self::settings::{Settings, Timing};
use self::version::Version;
use super::{
    Application, ApplicationKind, Finding, Held, HeldState, Hooks, Lock, Outcome, PlannedCalls, Release, Severity,
    Unlocked,
};
use crate::error::{Error, ErrorKind, Result};

/// A Bitbucket that answers at one address.
pub struct Bitbucket {
    settings: Settings,
    api: Arc<Api>,
}

impl Bitbucket {
    /// Sets up the driver; calls nobody.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the settings cannot be used.
    pub fn new(settings: Settings) -> Result<Self> {
        let client = Client::new(settings.validate()?, &settings)?;
        Ok(Self { api: Arc::new(Api::new(client, settings.timing.clone())), settings })
    }

    /// The API where the lock was taken, which the configuration may have left since.
    fn api_of(&self, url: &str) -> Result<Arc<Api>> {
        if url == self.api.client.base().as_str() {
            return Ok(Arc::clone(&self.api));
        }
        let client = Client::new(settings::parse_url(url)?, &self.settings)?;
        Ok(Arc::new(Api::new(client, self.settings.timing.clone())))
    }

    async fn check_version(&self) -> Result<(Option<Version>, Vec<Finding>)> {
        let properties = self.api.properties().await?;
        let subject = self.describe();
        let name = properties.display_name.as_deref().map(api::printable);
        let version = Version::parse(&properties.version);
        let text = api::printable(&properties.version);
        let mut findings = match version {
            Some(_) => vec![finding(Severity::Info, &subject, format!("version {text}"), None)],
            None => vec![finding(Severity::Warning, &subject, format!("its version {text:?} is not understood"), None)],
        };
        if let Some(name) = name.filter(|name| name != "Bitbucket") {
            let message = format!("it calls itself {name:?}, not Bitbucket");
            findings.push(finding(Severity::Warning, &subject, message, Some("check application.url")));
        }
        Ok((version, findings))
    }

    /// The rule of zero downtime that is Bitbucket's own.
    fn check_zero_downtime(&self, version: Option<Version>) -> Result<()> {
        let wanted = Version::ZERO_DOWNTIME;
        let message = match version {
            Some(version) if version >= wanted => return Ok(()),
            Some(version) => format!("Bitbucket {version} cannot be backed up with zero-downtime: it needs {wanted}"),
            None => format!("Bitbucket's version is not known, and zero-downtime needs {wanted}"),
        };
        Err(Error::new(ErrorKind::Config, message).hint("set zero-downtime = false in [application]"))
    }

    async fn check_credentials(&self) -> Option<Finding> {
        let subject = self.describe();
        match self.api.status(None).await {
            Ok(status) if status.is_running() => Some(finding(
                Severity::Failure,
                &subject,
                format!("a backup or another maintenance task is under way ({})", status.states()),
                Some("wait for its end, or cancel it on Bitbucket's page; then `bkhost recover` if it was bkhost's"),
            )),
            Ok(_) => None,
            Err(failed) => {
                // These say that nothing will work. Anything else may be this call's own problem.
                let fatal = matches!(failed.status(), Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
                    || failed.status().is_some_and(|s| s.is_redirection())
                    || failed.html;
                let severity = if fatal { Severity::Failure } else { Severity::Warning };
                Some(from_error(severity, &subject, &failed.error))
            }
        }
    }

    fn is_plain_http(&self) -> bool {
        let base = self.api.client.base();
        let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        base.scheme() == "http" && !loopback
    }
}

fn finding(severity: Severity, subject: &str, message: String, hint: Option<&str>) -> Finding {
    let kind = ErrorKind::Application;
    Finding { severity, kind, subject: subject.to_owned(), message, hint: hint.map(str::to_owned) }
}

fn from_error(severity: Severity, subject: &str, error: &Error) -> Finding {
    Finding { kind: error.kind(), ..finding(severity, subject, error.in_full(), error.hint_text()) }
}

#[async_trait]
impl Application for Bitbucket {
    fn kind(&self) -> ApplicationKind {
        ApplicationKind::Bitbucket
    }

    fn describe(&self) -> String {
        format!("Bitbucket at {}", self.api.client.base().as_str().trim_end_matches('/'))
    }

    fn locks(&self) -> bool {
        !self.settings.zero_downtime
    }

    fn max_lock_time(&self) -> Option<Duration> {
        self.locks().then_some(self.settings.max_lock_time)
    }

    async fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let subject = self.describe();
        if self.is_plain_http() {
            findings.push(finding(
                Severity::Warning,
                &subject,
                "the password crosses the network in the clear".to_owned(),
                Some("use https, or an address of this machine"),
            ));
        }
        let version = match self.check_version().await {
            Ok((version, more)) => {
                findings.extend(more);
                version
            }
            Err(error) => {
                // Whoever does not answer this answers nothing: further calls would only say it again.
                findings.push(from_error(Severity::Failure, &subject, &error));
                return findings;
            }
        };
        if self.locks() {
            findings.extend(self.check_credentials().await);
        } else if let Err(error) = self.check_zero_downtime(version) {
            findings.push(from_error(Severity::Failure, &subject, &error));
        }
        findings
    }

    async fn version(&self) -> Result<Option<String>> {
        Ok(Some(api::printable(&self.api.properties().await?.version)))
    }

    async fn is_running(&self) -> Result<bool> {
        match self.api.properties().await {
            Ok(_) => Ok(true),
            Err(failed) if failed.status().is_some() => Ok(true),
            Err(failed) if failed.nobody_listens() => Ok(false),
            Err(failed) => {
                let error = Error::from(failed).within(format!("cannot tell whether {} is running", self.describe()));
                Err(error.hint("ask Bitbucket itself, not a proxy before it: `application.url=http://127.0.0.1:7990`"))
            }
        }
    }

    fn planned_calls(&self) -> PlannedCalls {
        let url = |method: &str, path: &str| format!("{method} {}", self.api.client.url(path));
        if !self.locks() {
            return PlannedCalls { lock: vec![url("GET", api::PROPERTIES)], unlock: Vec::new() };
        }
        PlannedCalls {
            lock: vec![
                url("POST", api::LOCK),
                format!("{}?external=true", url("POST", api::BACKUPS)),
                format!("{} until drained", url("GET", api::MAINTENANCE)),
            ],
            unlock: vec![
                format!("{}?token=…&percentage=100", url("POST", api::PROGRESS)),
                format!("{}?token=…", url("DELETE", api::LOCK)),
            ],
        }
    }

    async fn lock(&self, hooks: &Hooks) -> Result<Arc<dyn Lock>> {
        if !self.locks() {
            let version = Version::parse(&self.api.properties().await?.version);
            self.check_zero_downtime(version)?;
            return Ok(Arc::new(Unlocked));
        }
        let lock = lock::BitbucketLock::take(Arc::clone(&self.api), &self.settings, hooks).await?;
        Ok(Arc::new(lock))
    }

    fn adopt(&self, held: Held, began: Instant, hooks: &Hooks) -> Result<Arc<dyn Lock>> {
        let HeldState::Bitbucket { url, .. } = &held.state else { return Err(release::foreign(&held)) };
        let api = self.api_of(url)?;
        Ok(Arc::new(lock::BitbucketLock::adopt(api, &self.settings, held, began, hooks)?))
    }

    async fn release(&self, held: &Held, outcome: Outcome, patience: Duration, hooks: &Hooks) -> Result<Release> {
        if !held.is_open() {
            return Ok(Release::Gone);
        }
        let HeldState::Bitbucket { url, .. } = &held.state else { return Err(release::foreign(held)) };
        let api = self.api_of(url)?;
        release::release(&api, held, outcome, patience, hooks).await
    }
}
