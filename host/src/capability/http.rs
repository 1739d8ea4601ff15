//! Outgoing requests: to granted servers only, at addresses that were looked at, never on to another one.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

use super::CallError;

/// The body of a response, as it arrives. It ends with an error at the size cap or a deadline.
pub type ResponseBody = UnsyncBoxBody<Bytes, CallError>;

/// The deadlines a guest asks for. They only shorten ours.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpTimeouts {
    /// Until the connection stands.
    pub connect: Option<Duration>,
    /// Until the response's head is there.
    pub first_byte: Option<Duration>,
    /// Between two chunks of the response's body.
    pub between_bytes: Option<Duration>,
}
