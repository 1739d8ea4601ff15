//! The calls of the maintenance API, with their shapes.

use http::Method;
use serde::Deserialize;

use super::client::{Client, Failed, Reply, Request};
use super::settings::Timing;
use crate::application::Token;

pub(super) const LOCK: &str = "mvc/maintenance/lock";
pub(super) const BACKUPS: &str = "mvc/admin/backups";
pub(super) const MAINTENANCE: &str = "mvc/maintenance";
pub(super) const PROGRESS: &str = "mvc/admin/backups/progress/client";
pub(super) const PROPERTIES: &str = "rest/api/1.0/application-properties";

const RUNNING: &str = "RUNNING";
const DRAINED: &str = "DRAINED";

/// A backup that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) cancel_token: Token,
    /// `RUNNING`, if it will go on.
    pub(super) state: Option<String>,
}

/// What Bitbucket says about its maintenance.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    #[serde(rename = "db-state")]
    db_state: String,
    #[serde(rename = "scm-state")]
    scm_state: String,
    task: Option<Task>,
}

#[derive(Debug, Deserialize)]
struct Task {
    state: String,
}

impl Status {
    /// Nothing runs any more and nothing new starts.
    pub(super) fn is_drained(&self) -> bool {
        self.db_state == DRAINED && self.scm_state == DRAINED
    }

    /// A maintenance task is under way.
    pub(super) fn is_running(&self) -> bool {
        self.task_state() == Some(RUNNING)
    }

    /// The maintenance task's state, if there is a task.
    pub(super) fn task_state(&self) -> Option<&str> {
        self.task.as_ref().map(|task| task.state.as_str())
    }

    /// For people.
    pub(super) fn states(&self) -> String {
        format!("database {}, repositories {}", printable(&self.db_state), printable(&self.scm_state))
    }
}

/// What Bitbucket says about itself.
#[derive(Debug, Deserialize)]
pub(super) struct Properties {
    pub(super) version: String,
    #[serde(rename = "displayName")]
    pub(super) display_name: Option<String>,
}

/// A word of a server, fit for a terminal.
pub(super) fn printable(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(60).collect()
}

impl Begun {
    pub(super) fn is_running(&self) -> bool {
        // Old servers leave the state out; the first poll tells.
        self.state.as_deref().is_none_or(|state| state == RUNNING)
    }
}

/// The API over a client.
pub(super) struct Api {
    pub(super) client: Client,
    timing: Timing,
}

impl Api {
    pub(super) fn new(client: Client, timing: Timing) -> Self {
        Self { client, timing }
    }

    pub(super) fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Takes the lock. Not to be repeated.
    pub(super) async fn lock(&self) -> Result<Token, Failed> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(rename = "unlockToken")]
            unlock_token: Option<String>,
        }
        let reply = self.client.send(Request::new(Method::POST, LOCK, self.timing.token)).await?;
        let body: Body = reply.json()?;
        token(&reply, body.unlock_token, "unlockToken")
    }

    /// Whose the lock is, where Bitbucket tells. Best effort.
    pub(super) async fn owner(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Body {
            owner: Owner,
        }
        #[derive(Deserialize)]
        struct Owner {
            #[serde(rename = "displayName")]
            display_name: Option<String>,
            name: Option<String>,
        }
        let reply = self.client.send(Request::new(Method::GET, LOCK, self.timing.courtesy)).await.ok()?;
        let Body { owner } = reply.json().ok()?;
        owner.display_name.or(owner.name).map(|name| printable(&name)).filter(|name| !name.is_empty())
    }

    /// Begins the backup, which drains. Not to be repeated.
    pub(super) async fn begin(&self, unlock_token: &Token) -> Result<Begun, Failed> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(rename = "cancelToken")]
            cancel_token: Option<String>,
            state: Option<String>,
        }
        let mut request = Request::new(Method::POST, BACKUPS, self.timing.token);
        request.query = vec![("external", "true")];
        request.lock_token = Some(unlock_token);
        let reply = self.client.send(request).await?;
        let body: Body = reply.json()?;
        Ok(Begun { cancel_token: token(&reply, body.cancel_token, "cancelToken")?, state: body.state })
    }

    /// How it stands.
    pub(super) async fn status(&self, unlock_token: Option<&Token>) -> Result<Status, Failed> {
        let mut request = Request::new(Method::GET, MAINTENANCE, self.timing.call);
        request.lock_token = unlock_token;
        self.client.send(request).await?.json()
    }

    /// Tells how far the backup is; 100 ends it.
    pub(super) async fn progress(&self, unlock_token: &Token, percent: u8) -> Result<(), Failed> {
        let percent = percent.to_string();
        let mut request = Request::new(Method::POST, PROGRESS, self.timing.courtesy);
        request.query = vec![("token", unlock_token.reveal()), ("percentage", &percent)];
        request.secrets = vec![unlock_token.reveal()];
        self.client.send(request).await.map(drop)
    }

    /// Cancels the backup; the lock stays.
    pub(super) async fn cancel(&self, cancel_token: &Token) -> Result<(), Failed> {
        let mut request = Request::new(Method::POST, MAINTENANCE, self.timing.courtesy);
        request.query = vec![("token", cancel_token.reveal())];
        request.secrets = vec![cancel_token.reveal()];
        self.client.send(request).await.map(drop)
    }

    /// Releases the lock.
    pub(super) async fn unlock(&self, unlock_token: &Token) -> Result<(), Failed> {
        let mut request = Request::new(Method::DELETE, LOCK, self.timing.call);
        request.query = vec![("token", unlock_token.reveal())];
        request.secrets = vec![unlock_token.reveal()];
        // Whatever says that it is done has to be the application.
        self.client.send(request).await?.nothing_or_json()
    }

    /// What it is.
    pub(super) async fn properties(&self) -> Result<Properties, Failed> {
        self.client.send(Request::new(Method::GET, PROPERTIES, self.timing.call)).await?.json()
    }
}

fn token(reply: &Reply, token: Option<String>, name: &str) -> Result<Token, Failed> {
    // It goes into a header and a query: what is not plain text is no token of Bitbucket's.
    token
        .filter(|t| !t.is_empty() && t.len() <= 512 && t.bytes().all(|b| b.is_ascii_graphic()))
        .map(Token::new)
        .ok_or_else(|| reply.not_understood(&format!("has no {name}")))
}
