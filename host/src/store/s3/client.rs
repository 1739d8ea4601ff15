//! Requests to a bucket: signed, with the hash of what is sent, which the server compares; watched for progress; and
//! repeated while there is hope.

use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::{HeaderMap, Method};
use md5::{Digest as _, Md5};
use reqsign_aws_v4::RequestSigner;
use reqsign_core::{Context, Signer};
use sha2::Sha256;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::place::Place;
use super::xml;
use crate::capability::{Keys, Known};
use crate::error::{ErrorKind, Result};

/// So much is handed to the connection at once. What is handed over counts as progress.
const PIECE: usize = 128 << 10;
/// The longest answer that is read whole: a page of a listing, a manifest.
const MAX_ANSWER: u64 = 65 << 20;
/// The first pause between two attempts, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What talks to one bucket.
pub(super) struct Client {
    pub(super) place: Place,
    pub(super) region: String,
    pub(super) keys: Keys,
    pub(super) http: reqwest::Client,
    /// So long may nothing move before a request has failed.
    pub(super) stall: Duration,
    /// So long is a request repeated.
    pub(super) patience: Duration,
    /// The server does not know conditions.
    pub(super) unconditional: AtomicBool,
}

/// A request.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// None: the bucket's own.
    pub(super) key: Option<&'a str>,
    pub(super) query: Vec<(&'a str, &'a str)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// The answer names the tag of an object, or is none.
    pub(super) tagged: bool,
    /// The answer is XML with this root, or is none.
    root: Option<&'static str>,
}

impl<'a> Request<'a> {
    /// A request to an object, or (none) to the bucket.
    pub(super) fn new(method: Method, key: Option<&'a str>) -> Self {
        let tagged = key.is_some() && matches!(method, Method::PUT | Method::GET | Method::HEAD);
        Self { method, key, query: Vec::new(), headers: Vec::new(), body: Bytes::new(), tagged, root: None }
    }

    pub(super) fn query(mut self, name: &'a str, value: &'a str) -> Self {
        self.query.push((name, value));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn answered(mut self, root: &'static str) -> Self {
        self.root = Some(root);
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// An answer that is no failure.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// An earlier attempt may have been carried out without its answer reaching us.
    pub(super) repeated: bool,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)?.to_str().ok().map(str::to_owned)
    }
}

/// When something moved last.
struct Progress(std::time::Instant, AtomicU64);

impl Progress {
    fn new() -> Arc<Self> {
        Arc::new(Self(std::time::Instant::now(), AtomicU64::new(0)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn moved(&self) {
        self.1.store(self.now(), Ordering::Relaxed);
    }

    /// Ends when nothing has moved for so long.
    async fn stalled(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        loop {
            let idle = self.now().saturating_sub(self.1.load(Ordering::Relaxed));
            if idle >= limit {
                return;
            }
            sleep(Duration::from_millis(limit.saturating_sub(idle).max(5))).await;
        }
    }
}

impl Client {
    /// A request, repeated for so long while there is hope, and its whole answer.
    pub(super) async fn send(
        &self,
        request: &Request<'_>,
        patience: Duration,
        cancel: &CancellationToken,
    ) -> Result<Answer, Failure> {
        let mut again = Again::new(patience);
        let (mut repeated, mut renewed) = (false, false);
        loop {
            let failure = match self.once(request, cancel).await {
                Ok(mut answer) => {
                    answer.repeated = repeated;
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            if failure.keys() && !renewed {
                // They may have been replaced where they are kept.
                self.keys.forget().await;
                renewed = true;
                continue;
            }
            // The answer may have been lost, or been that of something between us and the server.
            let unsure = failure.status.is_none_or(|status| status.is_server_error());
            match again.after(failure, cancel).await {
                Ok(()) => repeated |= unsure,
                Err(mut failure) => {
                    failure.repeated = repeated;
                    return Err(failure);
                }
            }
        }
    }

    async fn once(&self, request: &Request<'_>, cancel: &CancellationToken) -> Result<Answer, Failure> {
        let mut response = self.begin(request, cancel).await?;
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, cancel).await? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > MAX_ANSWER {
                return Err(Failure::new(ErrorKind::Store, "the server's answer is far too long", false));
            }
        }
        let headers = std::mem::take(response.headers_mut());
        let answer = Answer { headers, body: body.into(), repeated: false };
        // A page of something between us and the server, which says that all is well.
        if request.tagged && answer.header("etag").is_none_or(|tag| tag.is_empty()) {
            return Err(Failure::nonsense(request.method.as_str()));
        }
        if request.root.is_some_and(|root| !xml::is(&answer.text(), root)) {
            return Err(Failure::nonsense(request.method.as_str()));
        }
        Ok(answer)
    }

    /// A request, and the head of its answer. A failure is read whole.
    pub(super) async fn begin(
        &self,
        request: &Request<'_>,
        cancel: &CancellationToken,
    ) -> Result<reqwest::Response, Failure> {
        let progress = Progress::new();
        let built = self.build(request, &progress).await?;
        let mut response = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::cancelled()),
            response = self.http.execute(built) => response.map_err(|e| Failure::unreachable(&self.place, e))?,
            () = progress.stalled(self.stall) => return Err(Failure::silent(&self.place, self.stall)),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.chunk(&mut response, cancel).await {
            body.extend_from_slice(&chunk);
            if body.len() > 1 << 20 {
                break;
            }
        }
        Err(Failure::refused(&self.place, response.status(), response.headers(), &String::from_utf8_lossy(&body)))
    }

    /// The next piece of an answer.
    pub(super) async fn chunk(
        &self,
        response: &mut reqwest::Response,
        cancel: &CancellationToken,
    ) -> Result<Option<Bytes>, Failure> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::cancelled()),
            chunk = response.chunk() => chunk.map_err(|e| Failure::unreachable(&self.place, e)),
            () = sleep(self.stall) => Err(Failure::silent(&self.place, self.stall)),
        }
    }

    async fn build(&self, request: &Request<'_>, progress: &Arc<Progress>) -> Result<reqwest::Request, Failure> {
        let bug = |e: &dyn std::fmt::Display| {
            Failure::new(ErrorKind::Internal, format!("no request can be made: {e}"), false)
        };
        let url = self.place.url(request.key, &request.query);
        let mut built = http::Request::builder().method(request.method.clone()).uri(&url);
        for (name, value) in &request.headers {
            built = built.header(*name, value);
        }
        // The server compares both: with the signature, and for buckets whose objects are locked.
        built = built.header("x-amz-content-sha256", hex(&Sha256::digest(&request.body)));
        if !request.body.is_empty() {
            built = built.header("content-md5", base64(&Md5::digest(&request.body)));
        }
        let (mut parts, ()) = built.body(()).map_err(|e| bug(&e))?.into_parts();
        let credential = self.keys.get().await.map_err(|e| {
            let mut failure = Failure::new(ErrorKind::Config, e.message, false);
            failure.hint = Some(
                "name them in the [[store]]: access-key = { file = \"…\" } and secret-key = { file = \"…\" }; or set \
                 AWS_PROFILE, or give the machine a role"
                    .to_owned(),
            );
            failure
        })?;
        let signer = RequestSigner::new("s3", &self.region).with_standard_session_token();
        let signer = Signer::new(Context::new(), Known(credential), signer);
        signer.sign(&mut parts, None).await.map_err(|e| bug(&e))?;
        parts.headers.remove(HOST);
        let mut outgoing = reqwest::Request::new(parts.method, url.parse().map_err(|e| bug(&e))?);
        *outgoing.headers_mut() = parts.headers;
        if matches!(request.method, Method::PUT | Method::POST) {
            outgoing.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(request.body.len()));
        }
        if !request.body.is_empty() {
            let progress = Arc::clone(progress);
            let pieces = stream::unfold(request.body.clone(), move |mut rest| {
                progress.moved();
                let piece = rest.split_to(PIECE.min(rest.len()));
                async move { (!piece.is_empty()).then_some((Ok::<_, io::Error>(piece), rest)) }
            });
            *outgoing.body_mut() = Some(reqwest::Body::wrap_stream(pieces));
        }
        Ok(outgoing)
    }
}

/// The pauses between attempts.
pub(super) struct Again {
    since: Option<Instant>,
    patience: Duration,
    pause: Duration,
}

impl Again {
    pub(super) fn new(patience: Duration) -> Self {
        Self { since: None, patience, pause: PAUSE.0 }
    }

    /// Something went well again.
    pub(super) fn recovered(&mut self) {
        (self.since, self.pause) = (None, PAUSE.0);
    }

    /// Waits for the next attempt; or gives the failure back, if another makes no sense.
    pub(super) async fn after(&mut self, failure: Failure, cancel: &CancellationToken) -> Result<(), Failure> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !failure.again || since.elapsed() + self.pause > self.patience {
            return Err(failure);
        }
        // Many that failed at once do not come back at once.
        let mut random = [0; 1];
        let _ = getrandom::fill(&mut random);
        let pause = self.pause.mul_f64(0.5 + f64::from(u8::from_ne_bytes(random)) / 512.0);
        self.pause = self.pause.saturating_mul(2).min(PAUSE.1);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::cancelled()),
            () = sleep(pause) => Ok(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let value = group.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for n in 0..4_usize {
            let digit = usize::try_from(value >> (18 - 6 * n) & 63).ok().and_then(|digit| DIGITS.get(digit));
            text.push(if n <= group.len() { digit.map_or('=', |digit| char::from(*digit)) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }
}
