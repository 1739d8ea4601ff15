use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use http_body_util::{BodyExt, Empty, Full};

use super::super::aws::Keys;
use super::super::http::Egress;
use super::super::{Code, HttpTimeouts, Resolver};
use super::*;

/// A server on loopback that counts its requests.
async fn server() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&seen);
    let note = move |request: &Request| {
        let host = request.headers().get("host").and_then(|h| h.to_str().ok()).unwrap_or("?");
        let length = request.headers().get("content-length").and_then(|h| h.to_str().ok()).unwrap_or("-");
        log.lock().unwrap().push(format!("{} {host} {} {length}", request.method(), request.uri()));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = async move |request: Request| {
        note(&request);
        match request.uri().path() {
            "/echo" => axum::response::Response::new(request.into_body()),
            "/redirect" => axum::response::Response::builder()
                .status(302)
                .header("location", "http://169.254.169.254/latest/")
                .body(axum::body::Body::empty())
                .unwrap(),
            "/huge" => {
                let chunk = bytes::Bytes::from(vec![0; 1 << 20]);
                let body = Full::new(chunk.repeat(70).into());
                axum::response::Response::new(axum::body::Body::new(body))
            }
            "/hang" => std::future::pending().await,
            "/stall" => {
                let body = http_body_util::BodyExt::boxed_unsync(Stall(false));
                axum::response::Response::new(axum::body::Body::new(body))
            }
            _ => axum::response::Response::new(axum::body::Body::from("hello")),
        }
    };
    let app = Router::new().route("/", any(handler.clone())).route("/{*path}", any(handler));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, seen)
}

/// A body that says one thing and then nothing.
struct Stall(bool);

impl http_body::Body for Stall {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        if std::mem::replace(&mut self.0, true) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data("some".into()))))
    }
}

struct Fake(Vec<IpAddr>);

#[async_trait::async_trait]
impl Resolver for Fake {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(self.0.clone())
    }
}

fn asking(url: &str) -> Fixture {
    Fixture::new(&manifest("[[http]]\nurl = \"config.endpoint\"\nreason = \"x\"")).config(json!({"endpoint": url}))
}

fn get(url: &str) -> http::Request<Empty<bytes::Bytes>> {
    http::Request::get(url).body(Empty::new()).unwrap()
}

async fn code(gate: &Gate, request: http::Request<Empty<bytes::Bytes>>) -> Code {
    gate.http(request, HttpTimeouts::default()).await.map(|r| r.status()).unwrap_err().code
}

async fn text(response: http::Response<super::super::ResponseBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn an_address_that_is_granted() {
    let (address, seen) = server().await;
    let gate = asking(&format!("http://{address}/base")).gate();
    let response = gate.http(get(&format!("http://{address}/a?b=c")), HttpTimeouts::default()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, "hello");
    let body = Full::new(bytes::Bytes::from("a body"));
    let request = http::Request::post(format!("http://{address}/echo")).header("Host", address.to_string()).body(body);
    let response = gate.http(request.unwrap(), HttpTimeouts::default()).await.unwrap();
    assert_eq!(text(response).await, "a body");
    assert_eq!(*seen.lock().unwrap(), [format!("GET {address} /a?b=c -"), format!("POST {address} /echo 6")]);
}

#[tokio::test]
async fn everything_else_is_denied() {
    let (address, seen) = server().await;
    let port = address.port();
    let gate = asking(&format!("http://127.0.0.1:{port}")).gate();
    for url in [
        format!("http://127.0.0.1:{}", port.wrapping_add(1).max(1)),
        format!("https://127.0.0.1:{port}"),
        "http://127.0.0.1/".to_owned(),
        format!("http://127.0.0.2:{port}"),
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{port}@evil.example/"),
        format!("http://user@127.0.0.1:{port}/"),
        format!("http://evil.example:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://[::1]:{port}/"),
    ] {
        let Ok(uri) = url.parse::<http::Uri>() else { continue };
        let mut request = get("http://x/");
        *request.uri_mut() = uri;
        assert_eq!(code(&gate, request).await, Code::Denied, "{url}");
    }
    assert_eq!(code(&gate, get("/relative")).await, Code::Denied);
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "127.0.0.1"),
        ("transfer-encoding", "chunked"),
        ("connection", "upgrade"),
        ("upgrade", "h2c"),
        ("proxy-authorization", "x"),
        ("te", "trailers"),
    ] {
        let mut request = get(&format!("http://127.0.0.1:{port}/"));
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(code(&gate, request).await, Code::Denied, "{name}");
    }
    for method in [http::Method::CONNECT, http::Method::TRACE] {
        let mut request = get(&format!("http://127.0.0.1:{port}/"));
        *request.method_mut() = method;
        assert_eq!(code(&gate, request).await, Code::Denied);
    }
    assert!(seen.lock().unwrap().is_empty(), "nothing was sent");
    let none = Fixture::new(&manifest("")).gate();
    assert_eq!(code(&none, get(&format!("http://127.0.0.1:{port}/"))).await, Code::Denied);
}

#[tokio::test]
async fn odd_forms_of_a_granted_address_are_the_address() {
    let (address, _) = server().await;
    let port = address.port();
    let gate = asking(&format!("http://127.0.0.1:{port}")).gate();
    for host in ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"] {
        let response = gate.http(get(&format!("http://{host}:{port}/")), HttpTimeouts::default()).await;
        assert_eq!(response.map(|r| r.status().as_u16()), Ok(200), "{host}");
    }
    // And of one that is not, are not.
    let gate = asking(&format!("http://api.example:{port}")).gate();
    for host in ["2130706433", "0x7f000001", "127.1", "[::ffff:127.0.0.1]"] {
        assert_eq!(code(&gate, get(&format!("http://{host}:{port}/"))).await, Code::Denied, "{host}");
    }
}

#[tokio::test]
async fn addresses_behind_a_name() {
    let (address, seen) = server().await;
    let url = format!("http://api.example:{}", address.port());
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for private in [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "224.0.0.1",
    ] {
        let gate = asking(&url).gate().with_resolver(Arc::new(Fake(vec![ip(private)])));
        let error = gate.http(get(&url), HttpTimeouts::default()).await.map(drop).unwrap_err();
        assert_eq!(error.code, Code::Denied, "{private}");
        assert!(hint(&error).contains(&format!("{{ url = \"{url}\", private = true }}")), "{error:?}");
    }
    assert!(seen.lock().unwrap().is_empty());
    let mixed = Fake(vec![ip("127.0.0.1"), ip("192.0.2.1"), ip("203.0.113.9")]);
    let gate = asking(&url).gate().with_resolver(Arc::new(mixed));
    assert_eq!(code(&gate, get(&url)).await, Code::Denied);
    let gate = asking(&url).gate().with_resolver(Arc::new(Fake(vec![])));
    assert_eq!(code(&gate, get(&url)).await, Code::Unavailable);

    // With the operator's word, and then under any spelling of the name.
    let grant = |grant: &str| {
        let mut fixture = asking(&url).granted(grant);
        fixture.origin = Origin::Shipped;
        fixture.gate().with_resolver(Arc::new(Fake(vec![ip("127.0.0.1")])))
    };
    assert_eq!(code(&grant(&format!("http = [\"{url}\"]")), get(&url)).await, Code::Denied);
    let gate = grant(&format!("http = [{{ url = \"{url}\", private = true }}]"));
    for spelling in [url.clone(), url.replace("api", "API"), url.replace("example", "example.")] {
        assert_eq!(gate.http(get(&spelling), HttpTimeouts::default()).await.unwrap().status(), 200, "{spelling}");
    }
    for request in seen.lock().unwrap().iter() {
        assert!(request.starts_with(&format!("GET api.example:{} ", address.port())), "{request}");
    }
}

#[tokio::test]
async fn mixed_answers_use_the_public_ones() {
    let rights = asking("http://api.example").rights().unwrap();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let resolver = Fake(vec![ip("127.0.0.1"), ip("8.8.8.8"), ip("169.254.169.254"), ip("::ffff:8.8.8.8")]);
    let addresses = Egress::new(Arc::new(resolver), Keys::new(|_| None)).addresses(&rights.reachable[0]).await;
    assert_eq!(addresses.unwrap(), [ip("8.8.8.8")]);
}

#[tokio::test]
async fn localhost_is_loopback_only() {
    let (address, _) = server().await;
    let url = format!("http://localhost:{}", address.port());
    let with = |ip: &str| asking(&url).gate().with_resolver(Arc::new(Fake(vec![ip.parse().unwrap()])));
    assert_eq!(with("127.0.0.1").http(get(&url), HttpTimeouts::default()).await.unwrap().status(), 200);
    assert_eq!(code(&with("10.0.0.1"), get(&url)).await, Code::Denied);
}

#[tokio::test]
async fn redirects_are_the_guests() {
    let (address, seen) = server().await;
    let url = format!("http://{address}");
    let gate = asking(&url).gate();
    let response = gate.http(get(&format!("{url}/redirect")), HttpTimeouts::default()).await.unwrap();
    assert_eq!(response.status(), 302);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(code(&gate, get(&location)).await, Code::Denied);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn bodies_and_waits_are_bounded() {
    let (address, _) = server().await;
    let url = format!("http://{address}");
    let fixture = asking(&url);
    let gate = fixture.gate();
    let response = gate.http(get(&format!("{url}/huge")), HttpTimeouts::default()).await.unwrap();
    let error = response.into_body().collect().await.map(drop).unwrap_err();
    assert!(error.code == Code::Unsupported && error.message.contains("64MiB"), "{error:?}");

    let short = Some(Duration::from_millis(200));
    let timeouts = HttpTimeouts { connect: short, first_byte: short, between_bytes: short };
    let started = Instant::now();
    let error = gate.http(get(&format!("{url}/hang")), timeouts).await.map(drop).unwrap_err();
    assert_eq!(error.code, Code::TimedOut);
    let response = gate.http(get(&format!("{url}/stall")), timeouts).await.unwrap();
    assert_eq!(response.into_body().collect().await.map(drop).unwrap_err().code, Code::TimedOut);
    assert!(started.elapsed() < Duration::from_secs(5));

    let hang = get(&format!("{url}/hang"));
    let cancelled = tokio::join!(gate.http(hang, HttpTimeouts::default()), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fixture.cancel.cancel();
    });
    assert_eq!(cancelled.0.map(drop).unwrap_err().code, Code::Interrupted);
}

#[tokio::test]
async fn nobody_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(code(&asking(&url).gate(), get(&url)).await, Code::Unavailable);
}

#[tokio::test]
async fn dry_runs_only_look() {
    let (address, seen) = server().await;
    let url = format!("http://{address}");
    let mut fixture = asking(&url);
    fixture.mode = Mode::DryRun;
    let gate = fixture.gate();
    gate.http(get(&format!("{url}/x?secret=1")), HttpTimeouts::default()).await.unwrap();
    let mut request = get(&url);
    *request.method_mut() = http::Method::POST;
    let planned = gate.http(request, HttpTimeouts::default()).await.unwrap();
    assert_eq!((planned.status().as_u16(), planned.headers().contains_key("bkhost-planned")), (202, true));
    assert_eq!(seen.lock().unwrap().len(), 1);
    let events = format!("{:?}", fixture.events.lock().unwrap());
    assert!(events.contains("planned: true") && !events.contains("secret=1"), "{events}");
}
