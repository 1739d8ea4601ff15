//! What went wrong with a call.

use bkhost_sdk::http::Response;
use bkhost_sdk::{Error, ErrorCode};

use crate::Element;

/// A call that failed.
#[derive(Debug, Clone)]
pub struct Failure(Box<Facts>);

#[derive(Debug, Clone)]
struct Facts {
    action: String,
    /// The service's code; empty if it was not the service that answered.
    code: String,
    request: String,
    status: u16,
    error: Error,
    uncertain: bool,
    transient: bool,
}

/// Too many calls: nothing was done.
const THROTTLED: [&str; 12] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "BandwidthLimitExceeded",
    "PriorRequestNotComplete",
    "SlowDown",
    "SnapshotCreationPerVolumeRateExceeded",
    "EC2ThrottledException",
];

/// Credentials that ran out: nothing was done, and the host may have newer ones by now.
const EXPIRED: [&str; 4] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"];

const DENIED: [&str; 14] = [
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "Client.UnauthorizedOperation",
    "AuthFailure",
    "Blocked",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "UnrecognizedClientException",
    "UnrecognizedClient",
];

impl Failure {
    fn new(facts: Facts) -> Self {
        Self(Box::new(facts))
    }

    /// The host did not send it, or brought no answer.
    pub(crate) fn of_host(action: &str, error: Error) -> Self {
        let transient = matches!(error.code, ErrorCode::Unavailable | ErrorCode::TimedOut);
        let error = match error.hint {
            None if transient => error.hint("are region and endpoint right, and does this host reach them?"),
            _ => error,
        };
        let unsent = matches!(error.code, ErrorCode::Denied | ErrorCode::InvalidConfig | ErrorCode::NotFound);
        Self::new(Facts {
            action: action.to_owned(),
            code: String::new(),
            request: String::new(),
            status: 0,
            uncertain: !unsent,
            transient,
            error,
        })
    }

    /// An answer that is no success.
    pub(crate) fn of_answer(action: &str, response: &Response) -> Self {
        let text = response.text();
        let Some((code, message, request)) = Element::parse(&text).ok().as_ref().and_then(told) else {
            return Self::of_stranger(action, response, &text);
        };
        let request = if request.is_empty() {
            response.header("x-amzn-requestid").unwrap_or_default().to_owned()
        } else {
            request
        };
        let throttled = THROTTLED.contains(&code.as_str());
        let expired = EXPIRED.contains(&code.as_str());
        let trouble = response.status >= 500 && !throttled;
        let told = if message.is_empty() { code.clone() } else { format!("{message} ({code})") };
        let (kind, hint) = kind(&code, response.status);
        let mut error = Error::new(kind, told);
        error.hint = hint.map(str::to_owned);
        Self::new(Facts {
            action: action.to_owned(),
            code,
            request,
            status: response.status,
            error,
            uncertain: trouble,
            transient: throttled || trouble || expired,
        })
    }

    /// Something on the way answered, or the service did with something that nobody understands.
    fn of_stranger(action: &str, response: &Response, text: &str) -> Self {
        let status = response.status;
        let kind = response.header("content-type").unwrap_or("no content type");
        let start: String = text.trim().chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let message = format!("what came back is no answer of the service: HTTP {status}, {kind}: {start:?}");
        let mut error = Error::new(ErrorCode::Unavailable, message);
        if (300..500).contains(&status) {
            error = error.hint("is there a proxy on the way, and are region and endpoint right?");
        }
        Self::new(Facts {
            action: action.to_owned(),
            code: String::new(),
            request: String::new(),
            status,
            error,
            uncertain: !(300..400).contains(&status),
            transient: status >= 500 || (200..300).contains(&status),
        })
    }

    /// The service's code: `DBSnapshotNotFound`. Empty if it was not the service that answered.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Nobody knows whether it was done: the answer was lost, or the service is in trouble.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        self.0.uncertain
    }

    /// The same call may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// What it is about does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.0.error.code == ErrorCode::NotFound
    }

    /// What it was to make exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.error.code == ErrorCode::AlreadyExists
    }

    /// The right is missing.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.0.error.code == ErrorCode::Denied
    }

    /// The run was cancelled.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.0.error.code == ErrorCode::Interrupted
    }

    /// The credentials ran out.
    pub(crate) fn is_expired(&self) -> bool {
        EXPIRED.contains(&self.0.code.as_str())
    }

    /// Told after so many attempts.
    pub(crate) fn after(mut self, attempts: u32) -> Self {
        if attempts > 1 {
            self.0.error.message = format!("{} (after {attempts} attempts)", self.0.error.message);
        }
        self
    }

    /// An answer that contradicts itself.
    pub(crate) fn corrupt(action: &str, message: &str) -> Self {
        Self::new(Facts {
            action: action.to_owned(),
            code: String::new(),
            request: String::new(),
            status: 200,
            error: Error::corrupt(message),
            uncertain: false,
            transient: false,
        })
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let failure = *failure.0;
        let mut error = failure.error.context(&failure.action);
        for (key, value) in [("aws-code", failure.code), ("aws-request", failure.request)] {
            if !value.is_empty() {
                error = error.detail(key, value);
            }
        }
        if failure.status != 0 {
            error = error.detail("http-status", failure.status.to_string());
        }
        error
    }
}

/// Code, message and request of an error document: `<Response><Errors><Error>…<RequestID>` of EC2, or
/// `<ErrorResponse><Error>…<RequestId>` of the others.
fn told(answer: &Element) -> Option<(String, String, String)> {
    let error = answer.at("Errors/Error").or_else(|| answer.at("Error"))?;
    let request = answer.get("RequestID").or_else(|| answer.get("RequestId")).or_else(|| error.get("RequestId"));
    Some((error.get("Code")?.to_owned(), error.text("Message").to_owned(), request.unwrap_or_default().to_owned()))
}

/// The contract's code for one of a service, and what to do about it.
fn kind(code: &str, status: u16) -> (ErrorCode, Option<&'static str>) {
    // RDS writes some of them with, some without this end.
    let bare = code.strip_suffix("Fault").unwrap_or(code);
    if THROTTLED.contains(&code) {
        return (
            ErrorCode::Unavailable,
            Some("Amazon refuses this account's calls because there are too many: try again later"),
        );
    }
    if EXPIRED.contains(&code) {
        let hint = "the temporary credentials of this host have run out: renew them, and look at its clock";
        return (ErrorCode::Denied, Some(hint));
    }
    if code == "SignatureDoesNotMatch" {
        return (ErrorCode::Denied, Some("is the secret key right, and the clock of this host?"));
    }
    if DENIED.contains(&code) {
        return (
            ErrorCode::Denied,
            Some("the credentials of this host need the right: see the plugin's README for a policy"),
        );
    }
    let kind = if bare.ends_with("NotFound") || bare.ends_with(".Malformed") || bare.ends_with(".NotFound") {
        return (ErrorCode::NotFound, Some("check the name, and whether it is in this region and account"));
    } else if bare.ends_with("AlreadyExists") || bare.ends_with(".Duplicate") {
        ErrorCode::AlreadyExists
    } else if bare.contains("QuotaExceeded") || bare.contains("LimitExceeded") {
        return (ErrorCode::Conflict, Some("raise the account's quota, or delete what is no longer needed"));
    } else if bare.starts_with("Insufficient") {
        return (
            ErrorCode::Unavailable,
            Some("Amazon has no capacity of this kind now: try again, or choose another class or zone"),
        );
    } else if bare.ends_with("State") || bare.ends_with("InUse") || bare.starts_with("IncorrectState") {
        ErrorCode::Conflict
    } else if ["InvalidParameter", "ValidationError", "MissingParameter", "UnknownParameter", "Malformed"]
        .iter()
        .any(|start| bare.starts_with(start))
    {
        ErrorCode::InvalidConfig
    } else if status >= 500 {
        ErrorCode::Unavailable
    } else {
        ErrorCode::Other
    };
    (kind, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Failure {
        let response = Response { status, body: body.as_bytes().to_vec(), ..Response::default() };
        Failure::of_answer("Act", &response)
    }

    fn rds(status: u16, code: &str) -> Failure {
        answer(
            status,
            &format!(
                "<ErrorResponse xmlns=\"x\"><Error><Type>Sender</Type><Code>{code}</Code><Message>No.</Message></Error>\
                 <RequestId>r-1</RequestId></ErrorResponse>"
            ),
        )
    }

    #[test]
    fn both_dialects_are_understood() {
        let ec2 = answer(
            400,
            "<Response><Errors><Error><Code>InvalidSnapshot.NotFound</Code><Message>The snapshot 'x' does not exist.</Message>\
             </Error></Errors><RequestID>r-2</RequestID></Response>",
        );
        assert!(ec2.is_missing() && !ec2.is_uncertain() && !ec2.is_transient());
        let error = Error::from(ec2);
        assert_eq!(error.message, "Act: The snapshot 'x' does not exist. (InvalidSnapshot.NotFound)");
        assert_eq!((error.detail_of("aws-request"), error.detail_of("http-status")), (Some("r-2"), Some("400")));
        let error = Error::from(rds(404, "DBSnapshotNotFound"));
        assert_eq!((error.code, error.detail_of("aws-request")), (ErrorCode::NotFound, Some("r-1")));
    }

    #[test]
    fn codes_become_those_of_the_contract() {
        for (status, code, expected) in [
            (404, "DBClusterSnapshotNotFoundFault", ErrorCode::NotFound),
            (400, "DBSnapshotAlreadyExists", ErrorCode::AlreadyExists),
            (400, "DBClusterAlreadyExistsFault", ErrorCode::AlreadyExists),
            (400, "InvalidDBInstanceState", ErrorCode::Conflict),
            (400, "InvalidDBClusterStateFault", ErrorCode::Conflict),
            (400, "SnapshotQuotaExceeded", ErrorCode::Conflict),
            (400, "InvalidParameterValue", ErrorCode::InvalidConfig),
            (400, "Throttling", ErrorCode::Unavailable),
            (503, "RequestLimitExceeded", ErrorCode::Unavailable),
            (500, "InternalFailure", ErrorCode::Unavailable),
            (403, "AccessDenied", ErrorCode::Denied),
            (403, "ExpiredToken", ErrorCode::Denied),
            (400, "RequestExpired", ErrorCode::Denied),
            (400, "SomethingNew", ErrorCode::Other),
        ] {
            assert_eq!(Error::from(rds(status, code)).code, expected, "{code}");
        }
    }

    #[test]
    fn what_may_have_been_done() {
        let facts = |failure: Failure| (failure.is_uncertain(), failure.is_transient());
        assert_eq!(facts(rds(400, "Throttling")), (false, true));
        assert_eq!(facts(rds(503, "RequestLimitExceeded")), (false, true));
        assert_eq!(facts(rds(500, "InternalFailure")), (true, true));
        assert_eq!(facts(rds(403, "AccessDenied")), (false, false));
        assert_eq!(facts(answer(502, "<html><br>")), (true, true));
        assert_eq!(facts(answer(200, "<html><br>")), (true, true));
        assert_eq!(facts(answer(403, "<html><br>")), (true, false));
        assert_eq!(facts(answer(302, "")), (false, false));
        let lost = Error::new(ErrorCode::Unavailable, "broke off");
        assert_eq!(facts(Failure::of_host("Act", lost)), (true, true));
        assert_eq!(facts(Failure::of_host("Act", Error::new(ErrorCode::Denied, "no"))), (false, false));
        assert_eq!(facts(Failure::of_host("Act", Error::new(ErrorCode::Interrupted, "no"))), (true, false));
    }

    #[test]
    fn a_page_of_a_broken_proxy_is_shown_in_part_and_in_one_line() {
        let failure = Error::from(answer(502, &format!("<html>\n<h1>Bad</h1>{}", "x".repeat(5000))));
        assert!(
            failure.message.contains("HTTP 502") && failure.message.contains("<h1>Bad</h1>"),
            "{}",
            failure.message
        );
        assert!(failure.message.len() < 250 && !failure.message.contains('\n'), "{}", failure.message);
    }
}
