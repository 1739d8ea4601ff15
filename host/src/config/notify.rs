//! `[[notify]]`: who is told how a run ended.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capability::SecretSource;

/// `[[notify]]`: a channel on which somebody is told how a run ended, and that the application is still locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Notify {
    /// A POST of JSON.
    Webhook(Webhook),
    /// A dead man's switch, such as healthchecks.io: what is not called in time raises the alarm there.
    Ping(Ping),
    /// A mail.
    Mail(Mail),
    /// A program of the operator's.
    Command(NotifyCommand),
}

/// The values of `[[notify]] type`.
pub(super) const KINDS: [&str; 4] = ["webhook", "ping", "mail", "command"];

impl Notify {
    /// The value of `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Ping(_) => "ping",
            Self::Mail(_) => "mail",
            Self::Command(_) => "command",
        }
    }

    /// What it is called in messages and by `--set`: its name, or else its type.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = match self {
            Self::Webhook(Webhook { name, .. })
            | Self::Ping(Ping { name, .. })
            | Self::Mail(Mail { name, .. })
            | Self::Command(NotifyCommand { name, .. }) => name,
        };
        name.as_deref().unwrap_or(self.kind())
    }

    /// On which occasions it is used.
    #[must_use]
    pub fn on(&self) -> &[Occasion] {
        match self {
            Self::Webhook(Webhook { on, .. })
            | Self::Ping(Ping { on, .. })
            | Self::Mail(Mail { on, .. })
            | Self::Command(NotifyCommand { on, .. }) => on,
        }
    }
}

/// When a channel is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// A run begins.
    Start,
    /// A run published a proved set.
    Success,
    /// A run ended without one.
    Failure,
    /// The application is still locked, or it is free again after that was told.
    Locked,
}

impl Occasion {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Locked => "locked",
        }
    }
}

/// `[[notify]] type = "webhook"`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Webhook {
    /// What it is called in messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it is used.
    #[serde(default = "bad_news")]
    pub on: Vec<Occasion>,
    /// The address, if it is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The address, if it is one: where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretSource>,
}

/// `[[notify]] type = "ping"`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ping {
    /// What it is called in messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it is used. After a success the address itself is called; with `start` and `failure` (or `locked`) in the
    /// list also the address with `/start` or `/fail` behind it, as healthchecks.io has it.
    #[serde(default = "good_news")]
    pub on: Vec<Occasion>,
    /// The address, if it is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The address, if it is one: where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretSource>,
}

/// `[[notify]] type = "mail"`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mail {
    /// What it is called in messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it is used.
    #[serde(default = "bad_news")]
    pub on: Vec<Occasion>,
    /// The SMTP server: `smtp://host:port` in clear (to the own machine), `smtp://host:587?tls=required` with STARTTLS,
    /// `smtps://host:465` with TLS.
    #[serde(default = "local_smtp")]
    pub server: String,
    /// The user to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// That user's password: where it is, never itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

/// `[[notify]] type = "command"`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NotifyCommand {
    /// What it is called in messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it is used.
    #[serde(default = "bad_news")]
    pub on: Vec<Occasion>,
    /// The program (an absolute path), and its arguments. It gets the notification as JSON on its stdin, and the short of
    /// it in `BKHOST_OCCASION`, `BKHOST_INSTANCE`, `BKHOST_SUBJECT` and, if there is one, `BKHOST_SET`.
    pub command: Vec<String>,
}

impl NotifyCommand {
    /// The program, if one is named.
    #[must_use]
    pub fn program(&self) -> Option<PathBuf> {
        self.command.first().map(PathBuf::from)
    }
}

fn bad_news() -> Vec<Occasion> {
    vec![Occasion::Failure, Occasion::Locked]
}

fn good_news() -> Vec<Occasion> {
    vec![Occasion::Success]
}

fn local_smtp() -> String {
    "smtp://localhost:25".to_owned()
}
