//! Telling somebody who does not sit at the terminal: how a run ended, and that the application is still locked.
//!
//! A notification never fails or delays a backup by more than its deadline; one that cannot be sent is a warning. What is
//! sent holds no secret: neither lock tokens nor passwords are ever part of an error's text.

mod channel;
mod mark;
mod shout;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::archive::SetId;
use crate::config::{Notify, Occasion};
use crate::error::{Error, Result};
use crate::report::{Level, Reporter};

pub use channel::Channel;
pub use mark::Mark;
pub use shout::{Shouting, locked, while_waiting};

/// What is told.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Notification {
    /// On which occasion.
    pub occasion: Occasion,
    /// The instance.
    pub instance: String,
    /// The run, if there is one.
    pub set: Option<SetId>,
    /// The machine.
    pub host: String,
    /// When, UTC.
    pub time: Timestamp,
    /// In one line.
    pub subject: String,
    /// At length.
    pub text: String,
}

impl Notification {
    /// What is told about an instance, now.
    #[must_use]
    pub fn new(occasion: Occasion, instance: &str, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            occasion,
            instance: instance.to_owned(),
            set: None,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            time: Timestamp::now(),
            subject: subject.into(),
            text: text.into(),
        }
    }

    /// The same, about a run.
    #[must_use]
    pub fn about(mut self, set: &SetId) -> Self {
        self.set = Some(set.clone());
        self
    }

    /// A run that failed.
    #[must_use]
    pub fn failure(instance: &str, error: &Error) -> Self {
        let mut text = error.to_string();
        if let Some(hint) = error.hint_text() {
            text.push_str(&format!("\nhint: {hint}"));
        }
        for (name, value) in error.details() {
            text.push_str(&format!("\n{name}: {value}"));
        }
        Self::new(Occasion::Failure, instance, format!("bkhost: the backup of {instance} FAILED"), text)
    }
}

/// All channels of an instance, their secrets resolved. They are handed to the guard, which has to shout when its run is
/// dead.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Channels {
    channels: Vec<Channel>,
    /// Where it is remembered how it went.
    marks: Option<PathBuf>,
}

impl Channels {
    /// Resolve the secrets of the configured channels.
    ///
    /// # Errors
    /// `Config` if one cannot be had, or makes no valid channel.
    pub async fn resolve(configured: &[Notify]) -> Result<Self> {
        let mut channels = Vec::with_capacity(configured.len());
        for notify in configured {
            channels.push(Channel::resolve(notify).await?);
        }
        Ok(Self { channels, marks: None })
    }

    /// How it goes is remembered in this directory, for `bkhost status`.
    #[must_use]
    pub fn remembered_in(mut self, dir: PathBuf) -> Self {
        self.marks = Some(dir);
        self
    }

    /// Send on one channel.
    async fn send_on(&self, channel: &Channel, notification: &Notification) -> std::result::Result<(), String> {
        let sent = channel.send(notification).await;
        if let Some(dir) = &self.marks {
            Mark::new(channel.name(), notification.occasion.name(), sent.clone().err()).write(dir);
        }
        sent
    }

    /// Tell all those who want to be told on this occasion, all at once; each has 15 seconds.
    pub async fn send(&self, notification: &Notification, reporter: &Reporter) {
        let sending =
            self.channels.iter().filter(|channel| channel.wants(notification.occasion)).map(|channel| async move {
                if let Err(why) = self.send_on(channel, notification).await {
                    let text = format!("the notification on channel `{}` failed: {why}", channel.name());
                    reporter.message(Level::Warning, None, text);
                }
            });
        join_all(sending).await;
    }

    /// Send a trial on every channel, whatever it is configured for. Gives each channel's name and, if it failed, why.
    pub async fn try_all(&self, notification: &Notification) -> Vec<(String, std::result::Result<(), String>)> {
        let sending = self.channels.iter().map(|channel| async {
            let sent = self.send_on(channel, notification).await;
            (channel.name().to_owned(), sent)
        });
        join_all(sending).await
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }
}
