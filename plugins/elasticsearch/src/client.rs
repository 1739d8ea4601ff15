//! Calls of the cluster.

use std::time::Duration;

use bkhost_sdk::http::{self, Method, Request};
use bkhost_sdk::{Error, Result, debug, info};
use bkhost_sdk_aws::{Backoff, Deadline};
use serde_json::Value;

use crate::failure::Failure;

/// The cluster.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: String,
    patience: Duration,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        Self { base: url.trim_end_matches('/').to_owned(), patience: Duration::from_secs(60) }
    }

    /// The same client that goes on for so long with a call that fails only for now.
    pub(crate) fn patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Where the cluster is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// A call that only looks.
    ///
    /// # Errors
    /// The last attempt's.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.repeat(Method::Get, path, None)?.unwrap_or_default())
    }

    /// The same, of a call that says in its body what it is about.
    ///
    /// # Errors
    /// The last attempt's.
    pub(crate) fn ask(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Ok(self.repeat(Method::Get, path, Some(body))?.unwrap_or_default())
    }

    /// A call that may arrive twice, because it names what it makes or deletes. None in a dry run. A repetition may meet
    /// what the first attempt has done.
    ///
    /// # Errors
    /// The last attempt's.
    pub(crate) fn change(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, Failure> {
        self.repeat(method, path, body)
    }

    /// A call that must not arrive twice. None in a dry run.
    ///
    /// # Errors
    /// Its own; if that is [uncertain](Failure::is_uncertain), look for what it should have done.
    pub(crate) fn once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, Failure> {
        self.attempt(method, path, body, &Deadline::after(self.patience))
    }

    fn repeat(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, Failure> {
        let deadline = Deadline::after(self.patience);
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            match self.attempt(method, path, body, &deadline) {
                Err(failure) if failure.is_passing() && backoff.wait(&deadline) => {
                    debug!("again: {}", Error::from(failure).message);
                }
                outcome => return outcome,
            }
        }
    }

    fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        deadline: &Deadline,
    ) -> Result<Option<Value>, Failure> {
        let verb = match method {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            _ => "POST",
        };
        let call = format!("{verb} {}/{}", self.base, path.split('?').next().unwrap_or_default());
        // Even the last attempt gets the time that an answer usually takes.
        let timeout = Duration::from_secs(30).min(deadline.left().max(Duration::from_secs(5)));
        let mut request = Request::new(method, format!("{}/{path}", self.base)).timeout(timeout);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = http::send(request).map_err(|error| Failure::of_host(&call, error))?;
        if response.planned {
            info!("{call} would be called");
            return Ok(None);
        }
        if (200..300).contains(&response.status)
            && let Ok(answer @ (Value::Object(_) | Value::Array(_))) = serde_json::from_slice(&response.body)
        {
            return Ok(Some(answer));
        }
        Err(Failure::of_answer(&call, &response))
    }
}

/// Pauses between two looks.
pub(crate) fn pauses() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(10))
}
