//! Requests to the servers of the plugin's manifest (`[[http]]`).
//!
//! The host connects, checks where the name leads to, and signs where the manifest says `[http.sign]`: keys are never in
//! here. So are the passwords and keys that it adds where the manifest says `[[http.authenticate]]`. Redirects are not followed. In a dry run (`bkhost plan`) only GET and HEAD are sent, so ask by GET what only
//! looks; everything else is recorded and answered with [`Response::planned`]. A component imports `wasi:http` only if it calls [`send`], and the host runs it only
//! if its manifest asks for a server.

use std::time::Duration;

use crate::{Error, ErrorCode, Result};

/// The longest answer that [`send`] takes, in bytes.
pub const MAX_ANSWER: usize = 16 << 20;

/// The header by which a request is meant for the manifest's `[[http]]` entry of this name (`as`), where one server has
/// several: signed for another region, or by a role. The host takes it out.
pub const AS: &str = "bkhost-as";
/// The header `<parameter> <URL>` by which the host signs a URL of another server of the manifest, of the same service, for a
/// GET by whoever signs the request, and adds it to the request's form as this parameter. The host takes the header out, and the
/// plugin never sees the signed URL.
pub const PRESIGN: &str = "bkhost-presign";

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// Where: `https://host/path?query`, encoded. Its server has to be one of the manifest's.
    pub url: String,
    /// Headers. Those of the connection and of the host's signature are not for a plugin to set.
    pub headers: Vec<(String, String)>,
    /// The body; empty: none.
    pub body: Vec<u8>,
    /// Until the whole answer is there.
    pub timeout: Duration,
}

impl Request {
    /// A request without headers and body, which may take a minute.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: Vec::new(), timeout: Duration::from_secs(60) }
    }

    /// The same request with one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same request with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same request with this deadline.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Its headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// A dry run: the request was recorded and not sent; the status is 202 and the body empty.
    pub planned: bool,
}

impl Response {
    /// The first header of this name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Send a request and wait for the whole answer.
///
/// # Errors
/// `denied`: not a server of the manifest, or not granted; `unavailable`: no connection, or it broke off, and then nobody
/// knows whether the server has done it; `timed-out`; `interrupted`; `invalid-config`: the host finds no credentials to
/// sign with; `unsupported`: the answer is longer than [`MAX_ANSWER`]. A status such as 404 is no error.
pub fn send(request: Request) -> Result<Response> {
    #[cfg(target_arch = "wasm32")]
    return guest::send(&request);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::with(|host| host.http(&request))
}

/// What the host wrote into `internal-error`: `<code>: <message>`, and on further lines the hint.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
fn told(text: &str) -> Error {
    let (line, hint) = text.split_once('\n').map_or((text, None), |(line, hint)| (line, Some(hint)));
    let (code, message) = line.split_once(": ").unwrap_or(("", line));
    let code = match code {
        "invalid-config" => ErrorCode::InvalidConfig,
        "not-found" => ErrorCode::NotFound,
        "already-exists" => ErrorCode::AlreadyExists,
        "denied" => ErrorCode::Denied,
        "conflict" => ErrorCode::Conflict,
        "unavailable" => ErrorCode::Unavailable,
        "timed-out" => ErrorCode::TimedOut,
        "corrupt" => ErrorCode::Corrupt,
        "unsupported" => ErrorCode::Unsupported,
        "interrupted" => ErrorCode::Interrupted,
        "other" => ErrorCode::Other,
        _ => return Error::other(text),
    };
    let error = Error::new(code, message);
    if let Some(hint) = hint { error.hint(hint) } else { error }
}

#[cfg(target_arch = "wasm32")]
mod guest {
    use std::time::{Duration, Instant};

    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{
        self, ErrorCode as WasiError, Fields, IncomingResponse, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
    };
    use wasip2::io::streams::StreamError;

    use super::{MAX_ANSWER, Method, Request, Response, told};
    use crate::{Error, ErrorCode, Result};

    /// The header of an answer that the host made up in a dry run; it takes it out of a server's.
    const PLANNED: &str = "bkhost-planned";

    pub(super) fn send(request: &Request) -> Result<Response> {
        let start = Instant::now();
        let outgoing = outgoing(request)?;
        let body = outgoing.body().map_err(|()| Error::other("the request has no body"))?;
        let future = outgoing_handler::handle(outgoing, Some(options(request.timeout)))
            .map_err(|error| failed(request, &error))?;
        write(&body, &request.body).map_err(|error| stream(request, error))?;
        OutgoingBody::finish(body, None).map_err(|error| failed(request, &error))?;
        let response = loop {
            match future.get() {
                Some(Ok(outcome)) => break outcome.map_err(|error| failed(request, &error))?,
                Some(Err(())) => return Err(Error::other("the answer was taken twice")),
                None => future.subscribe().block(),
            }
        };
        let headers: Vec<_> = response
            .headers()
            .entries()
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(&value).into_owned()))
            .collect();
        let planned = headers.iter().any(|(name, _)| name == PLANNED);
        Ok(Response { status: response.status(), headers, body: read(request, &response, start)?, planned })
    }

    fn outgoing(request: &Request) -> Result<OutgoingRequest> {
        let bad = |what: &str| Error::invalid_config(format!("{:?} cannot be asked for: {what}", request.url));
        let (scheme, rest) = request.url.split_once("://").ok_or_else(|| bad("it is no URL"))?;
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            other => Scheme::Other(other.to_owned()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let headers = Fields::new();
        for (name, value) in &request.headers {
            headers
                .append(name, value.as_bytes())
                .map_err(|error| bad(&format!("the header {name} is refused: {error:?}")))?;
        }
        if !request.body.is_empty() {
            let length = request.body.len().to_string();
            headers.append("content-length", length.as_bytes()).map_err(|error| bad(&format!("{error:?}")))?;
        }
        let outgoing = OutgoingRequest::new(headers);
        let method = match request.method {
            Method::Get => types::Method::Get,
            Method::Head => types::Method::Head,
            Method::Post => types::Method::Post,
            Method::Put => types::Method::Put,
            Method::Patch => types::Method::Patch,
            Method::Delete => types::Method::Delete,
        };
        outgoing.set_method(&method).map_err(|()| bad("its method"))?;
        outgoing.set_scheme(Some(&scheme)).map_err(|()| bad("its scheme"))?;
        outgoing.set_authority(Some(authority)).map_err(|()| bad("its server"))?;
        outgoing.set_path_with_query(Some(&path)).map_err(|()| bad("its path"))?;
        Ok(outgoing)
    }

    fn options(timeout: Duration) -> RequestOptions {
        let options = RequestOptions::new();
        let nanoseconds = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        // One that this host does not know keeps its own deadline.
        let _ = options.set_connect_timeout(nanoseconds);
        let _ = options.set_first_byte_timeout(nanoseconds);
        let _ = options.set_between_bytes_timeout(nanoseconds);
        options
    }

    fn write(body: &OutgoingBody, bytes: &[u8]) -> Result<(), StreamError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let stream = body.write().map_err(|()| StreamError::Closed)?;
        for chunk in bytes.chunks(4096) {
            stream.blocking_write_and_flush(chunk)?;
        }
        Ok(())
    }

    fn read(request: &Request, response: &IncomingResponse, start: Instant) -> Result<Vec<u8>> {
        let gone = |()| Error::other("the answer was taken twice");
        let body = response.consume().map_err(gone)?;
        let stream = body.stream().map_err(gone)?;
        let mut bytes = Vec::new();
        loop {
            match stream.blocking_read(64 << 10) {
                Ok(chunk) => bytes.extend(chunk),
                Err(StreamError::Closed) => return Ok(bytes),
                Err(error) => return Err(self::stream(request, error)),
            }
            if bytes.len() > MAX_ANSWER {
                let message = format!("the answer of {} is longer than {MAX_ANSWER} bytes", server(request));
                return Err(Error::unsupported(message));
            }
            if start.elapsed() > request.timeout {
                let message = format!("{} did not end its answer within {:?}", server(request), request.timeout);
                return Err(Error::new(ErrorCode::TimedOut, message));
            }
        }
    }

    fn stream(request: &Request, error: StreamError) -> Error {
        match error {
            StreamError::LastOperationFailed(error) => match types::http_error_code(&error) {
                Some(code) => failed(request, &code),
                None => broke_off(request, &error.to_debug_string()),
            },
            StreamError::Closed => broke_off(request, "the stream was closed"),
        }
    }

    fn broke_off(request: &Request, why: &str) -> Error {
        Error::new(ErrorCode::Unavailable, format!("the exchange with {} broke off: {why}", server(request)))
    }

    fn failed(request: &Request, error: &WasiError) -> Error {
        match error {
            // The host knows the reason, and adds it to what this call of the plugin reports.
            WasiError::HttpRequestDenied => {
                Error::new(ErrorCode::Denied, format!("the host refused the request to {}", server(request)))
            }
            WasiError::InternalError(Some(text)) => told(text),
            WasiError::ConnectionTimeout
            | WasiError::ConnectionReadTimeout
            | WasiError::ConnectionWriteTimeout
            | WasiError::HttpResponseTimeout
            | WasiError::DnsTimeout => {
                Error::new(ErrorCode::TimedOut, format!("{} did not answer in time", server(request)))
            }
            other => {
                Error::new(ErrorCode::Unavailable, format!("the request to {} failed: {other:?}", server(request)))
            }
        }
    }

    /// Without the path, which may be anything.
    fn server(request: &Request) -> &str {
        let after = request.url.find("://").map_or(0, |at| at + 3);
        let end = request.url.get(after..).and_then(|rest| rest.find(['/', '?', '#'])).map(|at| after + at);
        end.and_then(|end| request.url.get(..end)).unwrap_or(&request.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_tells_is_typed() {
        let error = told("unavailable: the request to https://a failed: refused\ntry again");
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert_eq!(error.message, "the request to https://a failed: refused");
        assert_eq!(error.hint.as_deref(), Some("try again"));
        let error = told("another host: says this");
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::Other, "another host: says this"));
        assert_eq!(told("odd").message, "odd");
    }
}
