//! What goes wrong, with which calls.

use std::time::Duration;

use serde_json::Value;

use crate::aws::http::Message;

/// A call.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// As it came.
    pub raw_path: String,
    /// The query, as it came.
    pub query: String,
    /// Names as they came.
    pub headers: Vec<(String, String)>,
    /// The body, as it came.
    pub bytes: Vec<u8>,
    /// The body.
    pub body: Value,
}

impl Request {
    pub(super) fn parse(message: &Message) -> Option<Self> {
        let mut words = message.start.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(Self {
            method: method.to_owned(),
            path: decode(path),
            raw_path: path.to_owned(),
            query: query.to_owned(),
            headers: message.headers.clone(),
            bytes: message.body.clone(),
            body: serde_json::from_slice(&message.body).unwrap_or(Value::Null),
        })
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the query holds this pair.
    #[must_use]
    pub fn asks(&self, pair: &str) -> bool {
        self.query.split('&').any(|known| known == pair)
    }
}

fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let digits: Vec<u8> = if byte == b'%' { rest.by_ref().take(2).collect() } else { Vec::new() };
        let code = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The cluster refuses: status, type and reason.
    Status(u16, String, String),
    /// Somebody else answers, with a page.
    Html(u16),
    /// This answers.
    Text(u16, String),
    /// The connection ends before anything is done.
    LoseRequest,
    /// It is done, and the connection ends without an answer.
    LoseReply,
    /// It is done, and the answer breaks off in its middle.
    CutReply,
    /// It takes so long.
    Slow(Duration),
}

impl Fault {
    /// A refusal.
    #[must_use]
    pub fn status(status: u16, kind: &str, reason: &str) -> Self {
        Self::Status(status, kind.to_owned(), reason.to_owned())
    }
}

/// Which calls something happens to.
#[derive(Debug, Clone)]
pub struct Rule {
    method: String,
    path: String,
    fault: Fault,
    from: usize,
    to: usize,
    seen: usize,
}

impl Rule {
    /// All calls of this method whose path holds this text.
    #[must_use]
    pub fn on(method: &str, path: &str, fault: Fault) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), fault, from: 1, to: usize::MAX, seen: 0 }
    }

    /// Only the first so many of these.
    #[must_use]
    pub fn first(self, count: usize) -> Self {
        Self { to: count, ..self }
    }

    pub(super) fn applies(&mut self, request: &Request) -> Option<Fault> {
        if request.method != self.method || !request.path.contains(&self.path) {
            return None;
        }
        self.seen += 1;
        (self.from..=self.to).contains(&self.seen).then(|| self.fault.clone())
    }
}
