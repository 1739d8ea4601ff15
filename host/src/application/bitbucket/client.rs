//! One HTTP call to Bitbucket: its deadline, what its failures mean, and nothing secret in what is said about them.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use reqwest::{Certificate, Url, redirect};
use serde::de::DeserializeOwned;

use super::settings::Settings;
use crate::application::Token;
use crate::capability::{Secret, choose_tls};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// No reply of this API is near it; what is longer comes from something else.
const BODY_MAX: usize = 1 << 20;

const NOT_BITBUCKET: &str = "check that application.url is Bitbucket itself, and that no proxy changes its replies";

/// Whether a failed call may have had its effect all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It never reached Bitbucket.
    Unsent,
    /// Bitbucket refused it.
    Refused(StatusCode),
    /// It may have been done or not: no reply, half a reply, a server's error, a reply that is not Bitbucket's.
    Unknown,
}

/// A failed call.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) fate: Fate,
    /// The reply was a page for a browser: more likely a proxy's than Bitbucket's.
    pub(super) html: bool,
}

impl Failed {
    pub(super) fn unknown(error: Error) -> Self {
        Self { error, fate: Fate::Unknown, html: false }
    }

    fn unsent(error: Error) -> Self {
        Self { error, fate: Fate::Unsent, html: false }
    }

    /// Whether the machine answered that nobody listens there.
    pub(super) fn nobody_listens(&self) -> bool {
        let mut cause = std::error::Error::source(&self.error);
        while let Some(error) = cause {
            if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
            {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// The status with which it was refused.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self.fate {
            Fate::Refused(status) => Some(status),
            Fate::Unsent | Fate::Unknown => None,
        }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// A call to be made.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Below the address: `mvc/maintenance/lock`.
    pub(super) path: &'static str,
    pub(super) query: Vec<(&'static str, &'a str)>,
    /// Sent as the header that lets a call through the lock.
    pub(super) lock_token: Option<&'a Token>,
    /// Other secrets in the call, which no error may repeat.
    pub(super) secrets: Vec<&'a str>,
    pub(super) deadline: Duration,
}

impl Request<'_> {
    pub(super) fn new(method: Method, path: &'static str, deadline: Duration) -> Self {
        Self { method, path, query: Vec::new(), lock_token: None, secrets: Vec::new(), deadline }
    }
}

/// A reply of 2xx that is not a page of HTML.
#[derive(Debug)]
pub(super) struct Reply {
    what: String,
    body: Vec<u8>,
}

impl Reply {
    /// The body, as JSON of this shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failed> {
        // serde's message names keys and positions, but may quote values: it is left out where tokens can be.
        serde_json::from_slice(&self.body).map_err(|_| self.not_understood("is not the JSON that was expected"))
    }

    /// That there is no body, or JSON.
    pub(super) fn nothing_or_json(&self) -> Result<(), Failed> {
        if self.body.is_empty() { Ok(()) } else { self.json::<serde::de::IgnoredAny>().map(drop) }
    }

    /// The failure that this reply is not understood.
    pub(super) fn not_understood(&self, why: &str) -> Failed {
        Failed::unknown(
            Error::new(ErrorKind::Application, format!("the reply to {} {why}", self.what)).hint(NOT_BITBUCKET),
        )
    }
}

/// Talks to one Bitbucket.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    username: String,
    password: Secret,
}

impl Client {
    /// The only place where the connection's rules are made: no redirects (they would carry the password elsewhere), no
    /// proxy from the environment, TLS by rustls and ring, and no connection kept for long, since a call over one that
    /// the server has closed meanwhile fails without saying whether it was done.
    pub(super) fn new(base: Url, settings: &Settings) -> Result<Self> {
        choose_tls();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("bkhost/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(settings.timing.connect)
            .pool_idle_timeout(Duration::from_secs(5));
        if base.scheme() == "http" {
            // Without it, a machine that has no certificates at all could not even use plain HTTP.
            builder = builder.tls_certs_only([]);
        } else if let Some(file) = &settings.ca_file {
            let pem = std::fs::read(file)
                .or_error(ErrorKind::Config, || format!("cannot read application.ca-file {}", file.display()))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .or_error(ErrorKind::Config, || format!("application.ca-file {} is not PEM", file.display()))?;
            if certificates.is_empty() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("application.ca-file {} holds no certificate", file.display()),
                )
                .hint("it has to hold -----BEGIN CERTIFICATE----- blocks"));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder
            .build()
            .or_error(ErrorKind::Config, || "cannot set up HTTPS")
            .map_err(|e| e.hint("install the system's CA certificates (Debian: ca-certificates)"))?;
        Ok(Self { http, base, username: settings.username.clone(), password: settings.password.clone() })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// The address of a path of the API.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// Make a call and read its whole reply, within the request's deadline.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Reply, Failed> {
        let what = format!("{} {}", request.method, self.url(request.path));
        match tokio::time::timeout(request.deadline, self.exchange(&request, &what)).await {
            Ok(result) => result,
            Err(_) => Err(Failed::unknown(
                Error::new(ErrorKind::TimedOut, format!("no reply to {what} within {:?}", request.deadline))
                    .hint("look whether Bitbucket, or a proxy before it, hangs; its log is atlassian-bitbucket.log"),
            )),
        }
    }

    async fn exchange(&self, request: &Request<'_>, what: &str) -> Result<Reply, Failed> {
        let mut call = self
            .http
            .request(request.method.clone(), self.url(request.path))
            .basic_auth(&self.username, Some(self.password.reveal()))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json");
        if !request.query.is_empty() {
            call = call.query(&request.query);
        }
        if let Some(token) = request.lock_token {
            let mut value = HeaderValue::from_str(token.reveal()).map_err(|_| {
                Failed::unsent(Error::new(ErrorKind::Internal, "the lock's token cannot be sent as a header"))
            })?;
            value.set_sensitive(true);
            call = call.header("X-Atlassian-Maintenance-Token", value);
        }
        let mut response = call.send().await.map_err(|error| broken(error, what))?;
        let status = response.status();
        let html = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|v| v.as_bytes().to_ascii_lowercase().starts_with(b"text/html"));
        let mut body = Vec::new();
        // A refusal is known by its status; that its explanation was cut off changes nothing.
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= BODY_MAX => body.extend_from_slice(&chunk),
                Ok(None) => break,
                _ if !status.is_success() => break,
                Ok(Some(_)) => {
                    return Err(Failed::unknown(
                        Error::new(
                            ErrorKind::Application,
                            format!("the reply to {what} is longer than {BODY_MAX} bytes"),
                        )
                        .hint(NOT_BITBUCKET),
                    ));
                }
                Err(error) => return Err(broken(error, what)),
            }
        }
        if status.is_success() && !html {
            return Ok(Reply { what: what.to_owned(), body });
        }
        Err(self.refused(request, what, status, html, &body))
    }

    fn refused(&self, request: &Request<'_>, what: &str, status: StatusCode, html: bool, body: &[u8]) -> Failed {
        let fate = if (status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT) || status.is_redirection() {
            Fate::Refused(status)
        } else {
            Fate::Unknown
        };
        let (kind, message, hint) = match status {
            StatusCode::UNAUTHORIZED => (
                ErrorKind::Denied,
                format!("Bitbucket does not accept the password of user {:?}: {what} gave {status}", self.username),
                "check application.username and application.password; after several wrong tries Bitbucket asks for a \
                 CAPTCHA, so log in once in the browser",
            ),
            StatusCode::FORBIDDEN => (
                ErrorKind::Denied,
                format!("Bitbucket does not let user {:?} do it: {what} gave {status}", self.username),
                "the user has to be a system administrator; basic authentication must not be switched off",
            ),
            StatusCode::CONFLICT | StatusCode::LOCKED => (
                ErrorKind::Application,
                format!("Bitbucket's state does not allow it: {what} gave {status}"),
                "another backup or maintenance may be under way: look at Bitbucket's page as a system administrator",
            ),
            s if s.is_redirection() => (
                ErrorKind::Application,
                format!("{what} was redirected ({status}), which is not followed"),
                "set application.url to the address that Bitbucket's own base URL names (https, host, context path)",
            ),
            s if s.is_success() => (
                ErrorKind::Application,
                format!("{what} was answered by a page of HTML, not by Bitbucket's API"),
                "a proxy or a login page answers in Bitbucket's place: set application.url to Bitbucket itself",
            ),
            StatusCode::NOT_FOUND => (
                ErrorKind::Application,
                format!("{what} does not exist ({status})"),
                "check the context path in application.url, and that this is Bitbucket 4.0 or later",
            ),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => (
                ErrorKind::Application,
                format!("Bitbucket is not available: {what} gave {status}"),
                "look whether Bitbucket runs and is not starting or overloaded",
            ),
            _ => (
                ErrorKind::Application,
                format!("{what} failed with {status}"),
                "look into Bitbucket's log, atlassian-bitbucket.log",
            ),
        };
        let mut error = Error::new(kind, message).hint(hint);
        if !html && let Some(said) = self.said(request, body) {
            error = error.detail("Bitbucket says", said);
        }
        Failed { error, fate, html }
    }

    /// What the server gives as its reason, without anything secret that it may repeat.
    fn said(&self, request: &Request<'_>, body: &[u8]) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        let text = body.get("errors")?.get(0)?.get("message")?.as_str()?;
        let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let token = request.lock_token.map(Token::reveal);
        for secret in request.secrets.iter().copied().chain(token).chain([self.password.reveal()]) {
            if !secret.is_empty() {
                text = text.replace(secret, "***");
            }
        }
        Some(text.chars().take(500).collect())
    }
}

fn broken(error: reqwest::Error, what: &str) -> Failed {
    // The URL in reqwest's own message would show the tokens in the query.
    let error = error.without_url();
    if error.is_connect() {
        return Failed::unsent(
            Error::new(ErrorKind::Application, format!("cannot connect for {what}"))
                .hint(
                    "check application.url, the network, the name service, and that Bitbucket runs; for https also its \
                     certificate (application.ca-file)",
                )
                .because(error),
        );
    }
    Failed::unknown(
        Error::new(ErrorKind::Application, format!("the connection broke during {what}"))
            .hint("look whether Bitbucket, or a proxy before it, was stopped")
            .because(error),
    )
}
