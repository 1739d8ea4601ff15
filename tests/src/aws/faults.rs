//! What goes wrong, and when.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What goes wrong with a call.
pub enum Fault {
    /// The service refuses it, in its own words, and nothing is done.
    Error {
        /// The HTTP status.
        status: u16,
        /// The error's code.
        code: String,
        /// Its message.
        message: String,
    },
    /// The service answers with this XML, and nothing is done.
    Answer(String),
    /// A broken proxy on the way answers with a page of HTML, and nothing is done.
    Html(u16),
    /// The call never arrives: the connection is closed, and nothing is done.
    LoseRequest,
    /// It is done, but the connection is closed before the answer.
    LoseReply,
    /// It is done, but the answer breaks off in its middle.
    CutReply,
    /// It takes so much longer until the call arrives.
    Slow(Duration),
    /// It is done, and the answer's text is another one.
    Rewrite(Box<dyn Fn(&str) -> String + Send>),
    /// Nothing: this call is let through, and no later rule applies.
    Pass,
}

impl Fault {
    /// Refused by the service.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Error { status, code: code.to_owned(), message: message.to_owned() }
    }

    /// Too many calls, as EC2 says it.
    #[must_use]
    pub fn request_limit_exceeded() -> Self {
        Self::error(503, "RequestLimitExceeded", "Request limit exceeded.")
    }

    /// Too many calls, as RDS and STS say it.
    #[must_use]
    pub fn throttling() -> Self {
        Self::error(400, "Throttling", "Rate exceeded")
    }

    /// Too many snapshots of one volume.
    #[must_use]
    pub fn snapshot_rate_exceeded() -> Self {
        let message = "The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or \
                       variable sleep interval between requests.";
        Self::error(400, "SnapshotCreationPerVolumeRateExceeded", message)
    }

    /// Temporary credentials that ran out, as EC2 says it.
    #[must_use]
    pub fn request_expired() -> Self {
        Self::error(400, "RequestExpired", "Request has expired.")
    }

    /// Temporary credentials that ran out, as RDS and STS say it.
    #[must_use]
    pub fn expired_token() -> Self {
        Self::error(403, "ExpiredToken", "The security token included in the request is expired")
    }

    /// No right, as EC2 says it.
    #[must_use]
    pub fn unauthorized_operation() -> Self {
        Self::error(403, "UnauthorizedOperation", "You are not authorized to perform this operation.")
    }

    /// No right, as RDS says it.
    #[must_use]
    pub fn access_denied(action: &str) -> Self {
        let message = format!(
            "User: arn:aws:iam::123456789012:user/backup is not authorized to perform: {action} because no \
             identity-based policy allows the {action} action"
        );
        Self::error(403, "AccessDenied", &message)
    }

    /// The service is in trouble.
    #[must_use]
    pub fn internal_failure() -> Self {
        Self::error(500, "InternalFailure", "An internal error has occurred")
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Error { code, .. } => code.clone(),
            Self::Answer(_) => "answered".to_owned(),
            Self::Html(status) => format!("html {status}"),
            Self::LoseRequest => "lost request".to_owned(),
            Self::LoseReply => "lost reply".to_owned(),
            Self::CutReply => "cut reply".to_owned(),
            Self::Slow(_) => "slow".to_owned(),
            Self::Rewrite(_) => "rewritten".to_owned(),
            Self::Pass => "passed".to_owned(),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// Which calls a fault happens to.
#[derive(Debug)]
pub struct Rule {
    action: String,
    with: Vec<(String, String)>,
    region: Option<String>,
    calls: RangeInclusive<u32>,
    seen: u32,
    pub(super) fault: Fault,
}

impl Rule {
    /// Every call of this action (`CreateDBSnapshot`; `*` for all).
    #[must_use]
    pub fn on(action: &str, fault: Fault) -> Self {
        Self { action: action.to_owned(), with: Vec::new(), region: None, calls: 1..=u32::MAX, seen: 0, fault }
    }

    /// Only calls whose parameter has this value.
    #[must_use]
    pub fn with(mut self, parameter: &str, value: &str) -> Self {
        self.with.push((parameter.to_owned(), value.to_owned()));
        self
    }

    /// Only calls that are signed for this region.
    #[must_use]
    pub fn signed_for(mut self, region: &str) -> Self {
        self.region = Some(region.to_owned());
        self
    }

    /// Of the calls that match, only these: the first is 1.
    #[must_use]
    pub fn calls(mut self, calls: RangeInclusive<u32>) -> Self {
        self.calls = calls;
        self
    }

    /// Of the calls that match, only the nth: the first is 1.
    #[must_use]
    pub fn nth(self, n: u32) -> Self {
        self.calls(n..=n)
    }

    /// Of the calls that match, only the first so many.
    #[must_use]
    pub fn first(self, n: u32) -> Self {
        self.calls(1..=n)
    }

    /// Count a call; whether the fault happens to it.
    pub(super) fn hits(&mut self, action: &str, region: &str, parameters: &[(String, String)]) -> bool {
        let matches = (self.action == "*" || self.action == action)
            && self.region.as_ref().is_none_or(|wanted| wanted == region)
            && self.with.iter().all(|wanted| parameters.iter().any(|given| given == wanted));
        if !matches {
            return false;
        }
        self.seen += 1;
        self.calls.contains(&self.seen)
    }
}
