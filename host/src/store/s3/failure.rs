//! Failed requests: what they mean, and what to do.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::place::Place;
use super::xml;
use crate::error::{Error, ErrorKind};

/// A failed request.
#[derive(Debug)]
pub(super) struct Failure {
    /// What the server answered; none: it did not.
    pub(super) status: Option<StatusCode>,
    /// The code of its answer.
    pub(super) code: String,
    message: String,
    pub(super) hint: Option<String>,
    kind: ErrorKind,
    /// It may go better the next time.
    pub(super) again: bool,
    /// See [`Answer::repeated`].
    pub(super) repeated: bool,
}

impl Failure {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>, again: bool) -> Self {
        let (message, code) = (message.into(), String::new());
        Self { status: None, code, message, hint: None, kind, again, repeated: false }
    }

    /// A failure that another attempt would not change.
    pub(super) fn new_plain(message: &str) -> Self {
        Self::new(ErrorKind::Store, message, false)
    }

    /// It was repeated often enough.
    pub(super) fn last(self) -> Self {
        Self { again: false, ..self }
    }

    /// What an answer says whose status says that all is well.
    pub(super) fn said(body: &str, what: &str) -> Self {
        match xml::failure(body) {
            Some((code, said)) => {
                let text = format!("the server's answer to {what} is {code}, {said}");
                Self { code, ..Self::new(ErrorKind::Store, text, true) }
            }
            None => Self::nonsense(what),
        }
    }

    /// An answer that makes no sense.
    pub(super) fn nonsense(what: &str) -> Self {
        Self::new(ErrorKind::Store, format!("the server's answer to {what} cannot be understood"), true)
    }

    pub(super) fn is(&self, status: StatusCode) -> bool {
        self.status == Some(status)
    }

    /// The condition of a request did not hold.
    pub(super) fn condition(&self) -> bool {
        self.is(StatusCode::PRECONDITION_FAILED) || self.is(StatusCode::CONFLICT)
    }

    /// The keys are not those that the server wants.
    pub(super) fn keys(&self) -> bool {
        matches!(self.code.as_str(), "ExpiredToken" | "InvalidAccessKeyId" | "InvalidToken")
    }

    /// The server cannot do it.
    pub(super) fn unsupported(&self) -> bool {
        self.is(StatusCode::NOT_IMPLEMENTED) || self.is(StatusCode::METHOD_NOT_ALLOWED) || self.code == "NotImplemented"
    }

    /// As the rest of a store knows failures.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match self.status.map(|status| status.as_u16()) {
            Some(507) => io::ErrorKind::StorageFull,
            Some(403) => io::ErrorKind::PermissionDenied,
            None if self.kind == ErrorKind::Cancelled => io::ErrorKind::Interrupted,
            None => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        let error = Error::new(self.kind, self.message);
        io::Error::new(
            kind,
            match self.hint {
                Some(hint) => error.hint(hint),
                None => error,
            },
        )
    }

    pub(super) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled while the store was worked with", false)
    }

    /// No answer.
    pub(super) fn unreachable(place: &Place, e: reqwest::Error) -> Self {
        let text = format!("{} cannot be reached: {}", place.server(), crate::capability::chain(&e.without_url()));
        let mut failure = Self::new(ErrorKind::Store, text, true);
        failure.hint = Some(
            "look at `endpoint` of the [[store]], at the network and at the server's certificate (`ca-file`)"
                .to_owned(),
        );
        failure
    }

    /// Nothing moves.
    pub(super) fn silent(place: &Place, stall: Duration) -> Self {
        let text = format!("nothing moved for {:?} between here and {}", stall, place.server());
        let mut failure = Self::new(ErrorKind::Store, text, true);
        failure.hint = Some(
            "is the server, or a proxy before it, overloaded? `timeout` of the [[store]] says how long is waited"
                .into(),
        );
        failure
    }

    /// What a refusal means, and what to do.
    pub(super) fn refused(place: &Place, status: StatusCode, headers: &HeaderMap, body: &str) -> Failure {
        let (code, said) = xml::failure(body).unwrap_or_default();
        let again = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
            || matches!(code.as_str(), "RequestTimeout" | "SlowDown" | "BadDigest" | "XAmzContentSHA256Mismatch" | "InternalError")
            // Two that write at once: the other one may be over soon.
            || matches!(code.as_str(), "ConditionalRequestConflict" | "OperationAborted");
        let mut text = format!("{} answered {status}", place.server());
        for said in [&code, &said].into_iter().filter(|said| !said.is_empty()) {
            let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
            let _ = write!(text, ", {said}");
        }
        let region = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        let bucket = &place.bucket;
        let hint = match (code.as_str(), status.as_u16()) {
            ("NoSuchBucket", _) => {
                Some(format!("make the bucket `{bucket}`, or look at `to` and `endpoint` of the [[store]]"))
            }
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken", _) => {
                Some("look at the keys: are they those of this server, and `region` its region?".to_owned())
            }
            ("ExpiredToken" | "RequestExpired", _) => Some("the credentials have expired: renew them".to_owned()),
            ("RequestTimeTooSkewed", _) => Some("set this machine's clock: it differs from the server's".to_owned()),
            ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
            | (_, 301 | 307) => Some(match region {
                Some(region) => format!("the bucket is elsewhere: region = \"{region}\""),
                None => "the bucket is elsewhere: look at `region` and `endpoint` of the [[store]]".to_owned(),
            }),
            ("EntityTooLarge" | "QuotaExceeded", _) | (_, 507) => {
                Some("the store is full, or its quota is used up: make room, or prune old sets".to_owned())
            }
            (_, 403) => Some(format!(
                "allow these keys s3:ListBucket and s3:ListBucketMultipartUploads on `{bucket}`, and s3:GetObject, \
                 s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload below `{}`",
                place.prefix
            )),
            (_, 500..=599) => Some("the server has a problem, or is overloaded: try again later".to_owned()),
            _ => None,
        };
        Failure { status: Some(status), code, message: text, hint, kind: ErrorKind::Store, again, repeated: false }
    }
}
