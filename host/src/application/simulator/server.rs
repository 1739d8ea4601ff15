//! The simulator's HTTP side.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::connection::Switch;
use super::options::{Call, Failure};
use super::state::{Answer, Given, State, refusal};

/// What every request needs.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) state: Arc<State>,
    pub(super) stop: CancellationToken,
}

impl Server {
    pub(super) fn router(self) -> Router {
        Router::new().fallback(handle).with_state(self)
    }

    /// A pause that ends early when the simulator stops.
    async fn sleep(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn call(&self, call: Call, given: &Given, switch: &Switch) -> Response {
        let Some(fault) = self.state.fault(call) else {
            let answer = self.work(call, given);
            self.state.record(call, given, Some(answer.status), None);
            return respond(answer);
        };
        // Slowness and a missing token are about the answer to work that was done.
        let works = fault.after || matches!(fault.failure, Failure::Slow(_) | Failure::NoToken);
        let mut answer = match works {
            true => self.work(call, given),
            false => Answer { status: StatusCode::ACCEPTED, body: Some(json!({})) },
        };
        self.state.record(call, given, works.then_some(answer.status), Some(fault));
        match fault.failure {
            Failure::Status(status) => {
                let mut response = respond(refusal(status, "The simulator was told to answer this."));
                if status.is_redirection() {
                    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/login"));
                }
                response
            }
            Failure::Hang => {
                self.stop.cancelled().await;
                respond(refusal(StatusCode::SERVICE_UNAVAILABLE, "The simulator stops."))
            }
            Failure::Html => {
                let page = "<!DOCTYPE html><html><body>Please log in to the (simulated) proxy.</body></html>";
                ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
            }
            Failure::NoToken => {
                match &mut answer.body {
                    Some(Value::Object(body)) => {
                        body.retain(|key, _| {
                            !matches!(key.as_str(), "unlockToken" | "cancelToken" | "version" | "db-state")
                        });
                    }
                    body => *body = Some(json!({})),
                }
                respond(answer)
            }
            Failure::Close => {
                switch.close();
                respond(answer)
            }
            Failure::Cut => {
                switch.cut();
                respond(answer)
            }
            Failure::Slow(time) => {
                self.sleep(time).await;
                respond(answer)
            }
        }
    }

    fn work(&self, call: Call, given: &Given) -> Answer {
        self.state.work(call, given).unwrap_or_else(|error| refusal(StatusCode::INTERNAL_SERVER_ERROR, error.message()))
    }

    fn given(&self, headers: &HeaderMap, mut query: HashMap<String, String>) -> Given {
        let credentials = format!("{}:{}", self.state.options.username, self.state.options.password.reveal());
        let expected = format!("Basic {}", base64(credentials.as_bytes()));
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        Given {
            authenticated: text("authorization") == Some(expected.as_str()),
            lock_token: text("x-atlassian-maintenance-token").map(str::to_owned),
            percentage: query.get("percentage").and_then(|p| p.parse().ok()),
            token: query.remove("token"),
        }
    }
}

async fn handle(
    Shared(server): Shared<Server>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let call = match (method.as_str(), uri.path()) {
        ("POST", "/mvc/maintenance/lock") => Some(Call::Lock),
        ("DELETE", "/mvc/maintenance/lock") => Some(Call::Unlock),
        ("POST", "/mvc/admin/backups") => Some(Call::Begin),
        ("GET", "/mvc/maintenance") => Some(Call::Poll),
        ("POST", "/mvc/maintenance") => Some(Call::Cancel),
        ("POST", "/mvc/admin/backups/progress/client") => Some(Call::Progress),
        ("GET", "/rest/api/1.0/application-properties") => Some(Call::Version),
        _ => None,
    };
    let mut response = match (call, method.as_str(), uri.path()) {
        (Some(call), _, _) => server.call(call, &server.given(&headers, query), &switch).await,
        (None, "GET", "/mvc/maintenance/lock") => respond(server.state.owner(&server.given(&headers, query))),
        (None, "GET", "/simulator/state") => axum::Json(server.state.report()).into_response(),
        (None, "POST", "/simulator/cancel") => match server.state.operator_cancels() {
            true => StatusCode::OK.into_response(),
            false => respond(refusal(StatusCode::CONFLICT, "No backup is running.")),
        },
        _ => respond(refusal(StatusCode::NOT_FOUND, "The simulator has only the maintenance API.")),
    };
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static(super::NAME));
    response
}

fn respond(answer: Answer) -> Response {
    match answer.body {
        Some(body) => (answer.status, axum::Json(body)).into_response(),
        None => (answer.status, Body::empty()).into_response(),
    }
}

/// Base64 with padding, as in an `Authorization` header.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, i| bits << 8 | usize::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = ALPHABET.get(bits >> (18 - 6 * i) & 63).copied().unwrap_or(b'=');
            text.push(if i > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
