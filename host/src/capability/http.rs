//! Outgoing requests: to granted servers only, at addresses that were looked at, never on to another one.
//!
//! A name is resolved here and its addresses are checked; the connection goes to exactly these. If a name has public
//! and other addresses, only the public ones are used. An address or `localhost` that is granted as such is taken as
//! it stands. Redirects are handed to the guest, never followed; proxies of the environment are not used.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Empty, Full, Limited};
use reqwest::{Certificate, Client, Url};
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::address::is_public;
use super::authenticate;
use super::aws::Keys;
use super::rights::Reachable;
use super::role::Roles;
use super::server::{Host, Server};
use super::sign;
use super::{CallError, Code};

const LOOKUP: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(10);
/// Until the response's head is there, the request's body included.
const HEAD: Duration = Duration::from_secs(300);
const BETWEEN: Duration = Duration::from_secs(60);
/// The longest body of a response that a guest gets: bulk data does not pass through it.
const MAX_BODY: u64 = 64 << 20;

/// The header of the answer that a dry run makes up.
const PLANNED: HeaderName = HeaderName::from_static("bkhost-planned");
/// The header by which a request asks for one of the manifest's entries of a server, by its name.
const AS: HeaderName = HeaderName::from_static("bkhost-as");
/// The header by which a request asks for a signed URL in its body: `<parameter> <URL>`. The guest never sees that.
const PRESIGN: HeaderName = HeaderName::from_static("bkhost-presign");

/// The body of a response, as it arrives. It ends with an error at the size cap (64 MiB) or a deadline.
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

/// Finds the addresses of a name.
#[async_trait::async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of a host name.
    ///
    /// # Errors
    /// The system's.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait::async_trait]
impl Resolver for SystemResolver {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        // With the dot at its end, the search list of /etc/resolv.conf cannot make another name of it; `localhost` and
        // names of /etc/hosts are not found that way.
        let absolute = if host.contains('.') { format!("{host}.") } else { host.to_owned() };
        let found = match tokio::net::lookup_host((absolute.as_str(), 0)).await {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(e) if absolute == host => return Err(e),
            Err(_) => Vec::new(),
        };
        if found.is_empty() && absolute != host {
            return Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect());
        }
        Ok(found)
    }
}

/// Decides on a request's target.
///
/// # Errors
/// `denied`, with the rule.
pub(super) fn target<'a>(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    reachable: &'a [Reachable],
) -> Result<Target<'a>, CallError> {
    let authority = uri.authority().ok_or_else(|| CallError::denied("a request names no server"))?.as_str();
    let refuse = |why: String| CallError::denied(format!("a request to {}: {why}", super::slots::shown(authority)));
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(refuse(format!("the method {method} is not allowed")));
    }
    if authority.contains('@') {
        return Err(refuse("it holds a user name or a password".to_owned()));
    }
    let url = Url::parse(&uri.to_string()).map_err(|e| refuse(e.to_string()))?;
    let server = Server::of(&url).map_err(refuse)?;
    let name = headers.get(AS).map(|name| name.to_str().unwrap_or("?"));
    let known = entry(reachable, &server, name).ok_or_else(|| {
        let told = |known: &Reachable| match &known.name {
            Some(name) => format!("{} as {name}", known.server),
            None => known.server.to_string(),
        };
        let asked: Vec<_> = reachable.iter().map(told).collect();
        let asked = if asked.is_empty() { "no server".to_owned() } else { asked.join(", ") };
        let named = name.map(|name| format!(" as {}", super::slots::shown(name))).unwrap_or_default();
        refuse(format!("the server {server}{named} is not one that the plugin asks for (it asks for {asked})")).hint(
            "no [[grant]] allows this: a server has to be in the plugin's manifest, and if that takes it from \
             [part.config], be configured there",
        )
    })?;
    known.allowed.clone()?;
    if let Some(sign) = &known.sign {
        sign.allowed.clone()?;
        let ours = headers.keys().map(HeaderName::as_str).find(|name| sign::reserved(name));
        if let Some(name) = ours {
            return Err(refuse(format!("the host signs it, and the header {name} is not for a plugin to set")));
        }
        if sign::signed_query(&url) {
            return Err(refuse("the host signs it, and a plugin's own signature has no place in it".to_owned()));
        }
    }
    if known.authorization.is_some() && headers.contains_key(AUTHORIZATION) {
        return Err(refuse(
            "the host says who asks, and the header authorization is not for a plugin to set".to_owned(),
        ));
    }
    for (name, value) in headers {
        let name = name.as_str();
        if name == HOST.as_str() {
            let same = value.to_str().ok().and_then(|host| Url::parse(&format!("{}://{host}/", url.scheme())).ok());
            if same.and_then(|url| Server::of(&url).ok()).as_ref() != Some(&server) {
                return Err(refuse(format!("its Host header is not {server}")));
            }
        } else if name.starts_with("proxy-")
            || ["connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "http2-settings"]
                .contains(&name)
        {
            return Err(refuse(format!("the header {name} is not for a plugin to set")));
        }
    }
    let presigned = headers.get(PRESIGN).map(|asked| presigned(asked, headers, known, reachable)).transpose()?;
    Ok(Target { known, url, presigned })
}

fn entry<'a>(reachable: &'a [Reachable], server: &Server, name: Option<&str>) -> Option<&'a Reachable> {
    reachable.iter().find(|known| known.server == *server && known.name.as_deref() == name)
}

/// What a request asks to have signed into its body: a GET to another server of the same service, which is the plugin's to ask
/// too, by whoever signs the request itself.
fn presigned<'a>(
    asked: &HeaderValue,
    headers: &HeaderMap,
    known: &Reachable,
    reachable: &'a [Reachable],
) -> Result<Presigned<'a>, CallError> {
    let refuse = |why: String| CallError::denied(format!("a URL that is to be signed: {why}"));
    let text = asked.to_str().map_err(|_| refuse("it is no text".to_owned()))?;
    let (parameter, url) = text.split_once(' ').ok_or_else(|| refuse("it has no parameter".to_owned()))?;
    let url = Url::parse(url).map_err(|e| refuse(e.to_string()))?;
    let server = Server::of(&url).map_err(refuse)?;
    let form = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_form = form.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !is_form || parameter.is_empty() || !parameter.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(refuse("it is not for a parameter of a form".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() || sign::signed_query(&url) || url.fragment().is_some() {
        return Err(refuse("it holds what is the host's to add".to_owned()));
    }
    let other = entry(reachable, &server, None)
        .ok_or_else(|| refuse(format!("the server {server} is not one that the plugin asks for")))?;
    other.allowed.clone()?;
    match (&other.sign, &known.sign) {
        (Some(other), Some(own)) if other.same_service(own) => {
            other.allowed.clone()?;
            Ok(Presigned { parameter: parameter.to_owned(), url, sign: other })
        }
        _ => Err(refuse(format!("requests to {server} and to {} are not signed for one service", known.server))),
    }
}

/// Where a request goes, and what is done for it on its way.
pub(super) struct Target<'a> {
    pub(super) known: &'a Reachable,
    pub(super) url: Url,
    presigned: Option<Presigned<'a>>,
}

/// A URL that is signed and put into the body.
struct Presigned<'a> {
    parameter: String,
    url: Url,
    sign: &'a sign::Signing,
}

/// Sends what [`target`] allowed.
pub(super) struct Egress {
    resolver: Arc<dyn Resolver>,
    keys: Keys,
    roles: Roles,
    /// Clients that are tied to the addresses that were checked.
    clients: Mutex<HashMap<(Server, Vec<IpAddr>), Client>>,
}

impl Egress {
    pub(super) fn new(resolver: Arc<dyn Resolver>, keys: Keys) -> Self {
        Self { resolver, keys, roles: Roles::default(), clients: Mutex::new(HashMap::new()) }
    }

    pub(super) fn resolve_by(&mut self, resolver: Arc<dyn Resolver>) {
        self.resolver = resolver;
    }

    /// The addresses of a server that may be connected to.
    pub(super) async fn addresses(&self, known: &Reachable) -> Result<Vec<IpAddr>, CallError> {
        let server = &known.server;
        let name = match &server.host {
            Host::Ip(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let found = timeout(LOOKUP, self.resolver.lookup(name))
            .await
            .map_err(|_| {
                CallError::new(Code::TimedOut, format!("{name} was not resolved within {} s", LOOKUP.as_secs()))
            })?
            .map_err(|e| CallError::new(Code::Unavailable, format!("{name} cannot be resolved: {e}")))?;
        let mut found: Vec<_> = found.into_iter().map(|address| address.to_canonical()).collect();
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            return Err(CallError::new(Code::Unavailable, format!("{name} has no address")));
        }
        if known.private {
            return Ok(found);
        }
        let allowed = |address: &IpAddr| if name == "localhost" { address.is_loopback() } else { is_public(*address) };
        let (good, bad): (Vec<_>, Vec<_>) = found.into_iter().partition(allowed);
        if good.is_empty() {
            let bad: Vec<_> = bad.iter().map(ToString::to_string).collect();
            return Err(CallError::denied(format!(
                "{name} resolves to {}, which is no public address",
                bad.join(", ")
            ))
            .hint(format!("in the [[grant]] for this plugin: http = [{{ url = \"{server}\", private = true }}]")));
        }
        Ok(good)
    }

    fn client(&self, known: &Reachable, addresses: Vec<IpAddr>) -> Result<Client, CallError> {
        let server = &known.server;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (server.clone(), addresses);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let sockets: Vec<_> = key.1.iter().map(|address| SocketAddr::new(*address, server.port)).collect();
        let trusted = known.ca_file.as_deref().map(authenticate::certificates).transpose()?;
        let client = build(server, &sockets, trusted)
            .map_err(|e| CallError::new(Code::Other, format!("no HTTP client for {server}: {}", chain(&e))))?;
        // A name whose addresses change all the time must not fill the memory.
        if clients.len() >= 64 {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// Send a request.
    pub(super) async fn send<B>(
        &self,
        Target { known, url, presigned }: Target<'_>,
        request: Request<B>,
        timeouts: HttpTimeouts,
        cancel: &CancellationToken,
    ) -> Result<Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let server = &known.server;
        let head = shorter(HEAD, timeouts.first_byte.map(|t| t.saturating_add(timeouts.connect.unwrap_or(CONNECT))));
        let exchange = async {
            let addresses = self.addresses(known).await?;
            let client = self.client(known, addresses)?;
            let url = normal(url);
            let mut request = match &known.sign {
                None => outgoing(url, request),
                Some(sign) => self.signed(sign, url, presigned, request).await?,
            };
            if let Some(authorization) = &known.authorization {
                request = authorization.add(&client, request)?;
            }
            client.execute(request).await.map_err(|e| failed(server, e))
        };
        let response = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(interrupted(server)),
            response = timeout(head, exchange) => response
                .map_err(|_| CallError::new(Code::TimedOut, format!("{server} did not answer in time")))??,
        };
        let (mut parts, body) = Response::<reqwest::Body>::from(response).into_parts();
        parts.headers.remove(PLANNED);
        if let Some(sign) = &known.sign
            && [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&parts.status)
        {
            sign.forget(&self.keys, &self.roles).await;
        }
        let between = shorter(BETWEEN, timeouts.between_bytes);
        let guarded = Guarded {
            server: server.to_string(),
            body: Some(body),
            remaining: MAX_BODY,
            between,
            silence: Box::pin(tokio::time::sleep(between)),
            cancelled: Box::pin(cancel.clone().cancelled_owned()),
        };
        Ok(Response::from_parts(parts, guarded.boxed_unsync()))
    }

    /// The request as it leaves, with its signature.
    async fn signed<B>(
        &self,
        sign: &sign::Signing,
        url: Url,
        presigned: Option<Presigned<'_>>,
        request: Request<B>,
    ) -> Result<reqwest::Request, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let body = Limited::new(body, sign::MAX_BODY).collect().await.map_err(|e| {
            let limit = super::units::Size(sign::MAX_BODY as u64);
            let message = format!("the body of a request that is signed cannot be had ({limit} is the most): {e}");
            CallError::new(Code::Unsupported, message)
        })?;
        let mut body = body.to_bytes();
        let credential = sign.credential(&self.keys, &self.roles).await?;
        if let Some(Presigned { parameter, url, sign }) = presigned {
            let signed = sign.presigned(&credential, &normal(url), jiff::Timestamp::now());
            body = [&body, format!("&{parameter}={}", sign::encoded(&signed)).as_bytes()].concat().into();
            // It is longer now.
            parts.headers.remove(CONTENT_LENGTH);
        }
        sign.sign(credential, &parts.method, &url, &mut parts.headers, &body).await?;
        Ok(outgoing(url, Request::from_parts(parts, Full::new(body))))
    }
}

/// Read the body of a request that a dry run does not send: a guest that could not write it to its end would take that for
/// a broken connection.
pub(super) async fn drain<B: Body>(body: B, cancel: &CancellationToken) {
    let mut body = std::pin::pin!(body);
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = read => {}
    }
}

/// What a request is answered with that a dry run does not send.
pub(super) fn planned() -> Response<ResponseBody> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(PLANNED, HeaderValue::from_static("1"));
    response
}

fn shorter(ours: Duration, theirs: Option<Duration>) -> Duration {
    theirs.map_or(ours, |theirs| theirs.min(ours))
}

/// A client that goes where it is told and nowhere else.
pub(super) fn client(tls: bool) -> reqwest::ClientBuilder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    super::choose_tls();
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(Duration::from_secs(15));
    if !tls {
        // Without TLS, a machine without root certificates is good enough.
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        if let Ok(config) = config {
            let roots = rustls::RootCertStore::empty();
            builder = builder.tls_backend_preconfigured(config.with_root_certificates(roots).with_no_client_auth());
        }
    }
    builder
}

fn build(server: &Server, sockets: &[SocketAddr], trusted: Option<Vec<Certificate>>) -> reqwest::Result<Client> {
    let mut builder = client(server.tls);
    if let Some(trusted) = trusted.filter(|_| server.tls) {
        builder = builder.tls_certs_only(trusted);
    }
    if let Host::Name(name) = &server.host {
        builder = builder.resolve_to_addrs(name, sockets);
    }
    builder.build()
}

/// The URL with its server in normal form.
fn normal(mut url: Url) -> Url {
    if let Some(name) = url.host_str().and_then(|host| host.strip_suffix('.')).map(str::to_owned) {
        // The name is the same, and has passed as a host name: it cannot be refused.
        let _same = url.set_host(Some(&name));
    }
    url
}

/// The request as it leaves.
fn outgoing<B>(url: Url, request: Request<B>) -> reqwest::Request
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let mut outgoing = reqwest::Request::new(parts.method, url);
    *outgoing.headers_mut() = parts.headers;
    [HOST, AS, PRESIGN].iter().for_each(|name| drop(outgoing.headers_mut().remove(name)));
    if body.is_end_stream() {
        return outgoing;
    }
    if let Some(length) = body.size_hint().exact() {
        outgoing.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    *outgoing.body_mut() = Some(reqwest::Body::wrap_stream(BodyDataStream::new(body)));
    outgoing
}

fn failed(server: &Server, e: reqwest::Error) -> CallError {
    let code = if e.is_timeout() { Code::TimedOut } else { Code::Unavailable };
    CallError::new(code, format!("the request to {server} failed: {}", chain(&e.without_url())))
}

fn interrupted(server: impl std::fmt::Display) -> CallError {
    CallError::new(Code::Interrupted, format!("the request to {server} was given up because the run was cancelled"))
}

/// An error with its causes in one line.
pub(crate) fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// A response's body with a size cap, a deadline between its chunks, and an ear for cancellation.
struct Guarded {
    server: String,
    /// None once it has failed.
    body: Option<reqwest::Body>,
    remaining: u64,
    between: Duration,
    silence: Pin<Box<Sleep>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Guarded {
    fn fail(&mut self, error: CallError) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        self.body = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        use std::future::Future;

        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if this.cancelled.as_mut().poll(cx).is_ready() {
            let error = interrupted(&this.server);
            return this.fail(error);
        }
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(remaining) = this.remaining.checked_sub(length) else {
                    let error = CallError::new(
                        Code::Unsupported,
                        format!("the response of {} is longer than {}", this.server, super::units::Size(MAX_BODY)),
                    );
                    return this.fail(error);
                };
                this.remaining = remaining;
                let deadline = Instant::now() + this.between;
                this.silence.as_mut().reset(deadline);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(e))) => {
                let text = chain(&e.without_url());
                let error =
                    CallError::new(Code::Unavailable, format!("the response of {} broke off: {text}", this.server));
                this.fail(error)
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.silence.as_mut().poll(cx).is_ready() => {
                let error = CallError::new(Code::TimedOut, format!("the response of {} stopped coming", this.server));
                this.fail(error)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
