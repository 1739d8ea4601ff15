//! One channel: how a notification gets out.

use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use reqwest::{Url, redirect};
use serde::{Deserialize, Serialize};

use super::Notification;
use crate::capability::{OperatorCommand, SecretSource, choose_tls};
use crate::config::{Mail, Notify, Occasion};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// How long a notification may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// No more of what a pager writes is read.
const MAX_OUTPUT: usize = 1 << 20;

/// A channel, its secrets resolved.
#[derive(Clone, Serialize, Deserialize)]
pub struct Channel {
    notify: Notify,
    /// The address of a webhook or ping; the password of a mail server's user.
    secret: Option<String>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Channel {
    /// Resolve a channel's secret, and see that a message could be made.
    ///
    /// # Errors
    /// `Config` if not.
    pub async fn resolve(notify: &Notify) -> Result<Self> {
        let name = notify.name();
        let read = async |source: &SecretSource, key: &str| {
            source
                .resolve(&format!("[[notify]] {name}: {key}"))
                .await
                .map(|resolved| resolved.secret.reveal().to_owned())
        };
        let secret = match notify {
            Notify::Webhook(crate::config::Webhook { url, url_from, .. })
            | Notify::Ping(crate::config::Ping { url, url_from, .. }) => match (url, url_from) {
                (Some(url), _) => Some(url.clone()),
                (None, Some(source)) => Some(read(source, "url-from").await?),
                (None, None) => None,
            },
            Notify::Mail(Mail { password: Some(source), .. }) => Some(read(source, "password").await?),
            Notify::Mail(_) | Notify::Command(_) => None,
        };
        let channel = Self { notify: notify.clone(), secret };
        match &channel.notify {
            Notify::Webhook(_) | Notify::Ping(_) => channel.url().map(|_| ()),
            Notify::Mail(mail) => {
                channel.message(mail, "", "").map(|_| ())?;
                channel.transport(mail).map(|_| ())
            }
            Notify::Command(_) => Ok(()),
        }
        .map_err(|e| e.within(format!("[[notify]] {name}")))?;
        Ok(channel)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.notify.name()
    }

    /// Whether it is used on this occasion. A locked application is told to everybody but a switch that counts only
    /// successes, and would take the call for one.
    #[must_use]
    pub fn wants(&self, occasion: Occasion) -> bool {
        match (&self.notify, occasion) {
            (Notify::Ping(_), Occasion::Locked) => {
                self.notify.on().iter().any(|on| matches!(on, Occasion::Failure | Occasion::Locked))
            }
            (_, Occasion::Locked) => true,
            (_, occasion) => self.notify.on().contains(&occasion),
        }
    }

    /// Send, within 15 seconds.
    ///
    /// # Errors
    /// Why it was not taken. An address that may be a secret is not in it.
    pub async fn send(&self, notification: &Notification) -> std::result::Result<(), String> {
        let sent = async {
            match &self.notify {
                Notify::Webhook(_) => self.post(notification).await,
                Notify::Ping(_) => self.ping(notification).await,
                Notify::Mail(mail) => self.mail(mail, notification).await,
                Notify::Command(command) => run(&command.command, notification).await,
            }
        };
        tokio::time::timeout(DEADLINE, sent)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())))
    }

    fn url(&self) -> Result<Url> {
        let text = self.secret.as_deref().unwrap_or_default();
        // The parser's own message does not show the address.
        let url = Url::parse(text).or_error(ErrorKind::Config, || "its url is no address")?;
        if matches!(url.scheme(), "http" | "https") && url.has_host() {
            return Ok(url);
        }
        Err(Error::new(ErrorKind::Config, "its url must begin with http:// or https:// and name a host"))
    }

    async fn post(&self, notification: &Notification) -> std::result::Result<(), String> {
        let url = self.url().map_err(|e| e.to_string())?;
        call(client()?.post(url).json(notification)).await
    }

    async fn ping(&self, notification: &Notification) -> std::result::Result<(), String> {
        let mut url = self.url().map_err(|e| e.to_string())?;
        let suffix = match notification.occasion {
            Occasion::Success => "",
            Occasion::Start => "/start",
            Occasion::Failure | Occasion::Locked => "/fail",
        };
        let path = format!("{}{suffix}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        call(client()?.post(url).body(notification.subject.clone())).await
    }

    async fn mail(&self, mail: &Mail, notification: &Notification) -> std::result::Result<(), String> {
        let body = format!(
            "{}\n\ninstance: {}\nrun: {}\nhost: {}\ntime: {:.0}\n",
            notification.text,
            notification.instance,
            notification.set.as_ref().map_or("-", |set| set.as_str()),
            notification.host,
            notification.time,
        );
        let message = self.message(mail, &notification.subject, &body).map_err(|e| e.to_string())?;
        let transport = self.transport(mail).map_err(|e| e.to_string())?;
        transport.send(message).await.map(|_| ()).map_err(|e| format!("{}: {e}", mail.server))
    }

    fn message(&self, mail: &Mail, subject: &str, body: &str) -> Result<Message> {
        let mailbox = |text: &str| {
            text.parse::<Mailbox>()
                .or_error(ErrorKind::Config, || format!("`{}` is no mail address", text.escape_debug()))
                .map_err(|e| e.hint("write it as \"backup@example.org\", or \"Backups <backup@example.org>\""))
        };
        let mut message = Message::builder().from(mailbox(&mail.from)?).subject(subject);
        for to in &mail.to {
            message = message.to(mailbox(to)?);
        }
        message
            .header(ContentType::TEXT_PLAIN)
            .body(body.to_owned())
            .or_error(ErrorKind::Config, || "the mail cannot be written")
    }

    fn transport(&self, mail: &Mail) -> Result<AsyncSmtpTransport<Tokio1Executor>> {
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&mail.server)
            .or_error(ErrorKind::Config, || format!("`{}` is no mail server", mail.server.escape_debug()))
            .map_err(|e| e.hint("write smtp://localhost:25, smtp://host:587?tls=required or smtps://host:465"))?
            .timeout(Some(DEADLINE));
        if let Some(username) = &mail.username {
            let password = self.secret.clone().unwrap_or_default();
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        Ok(builder.build())
    }
}

fn client() -> std::result::Result<reqwest::Client, String> {
    choose_tls();
    reqwest::Client::builder()
        .timeout(DEADLINE)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("bkhost/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| e.to_string())
}

async fn call(request: reqwest::RequestBuilder) -> std::result::Result<(), String> {
    let reply = request.send().await.map_err(|e| {
        // Without its address: that may be the secret.
        let e = e.without_url();
        let mut text = e.to_string();
        let mut cause = std::error::Error::source(&e);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    })?;
    if reply.status().is_success() { Ok(()) } else { Err(format!("the server answered {}", reply.status())) }
}

async fn run(argv: &[String], notification: &Notification) -> std::result::Result<(), String> {
    let json = serde_json::to_vec(notification).map_err(|e| e.to_string())?;
    let mut env = vec![
        ("BKHOST_OCCASION", notification.occasion.name()),
        ("BKHOST_INSTANCE", notification.instance.as_str()),
        ("BKHOST_SUBJECT", notification.subject.as_str()),
    ];
    if let Some(set) = &notification.set {
        env.push(("BKHOST_SET", set.as_str()));
    }
    OperatorCommand { argv, env: &env, stdin: &json, timeout: DEADLINE, max_output: MAX_OUTPUT }.run().await.map(|_| ())
}
