//! Signatures against a server that checks them by itself, as the documentation of AWS describes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use http_body_util::{BodyExt, Full};
use sha2::{Digest, Sha256};

use super::super::{Code, HttpTimeouts};
use super::*;

pub(super) const KEY: &str = "AKIDEXAMPLE";
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "session//token==";

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// The signature of what AWS calls the canonical request.
fn signature(method: &str, path: &str, query: &str, headers: &[(String, String)], hash: &str, scope: &str) -> String {
    let date = &headers.iter().find(|(name, _)| name == "x-amz-date").unwrap().1;
    signature_by((SECRET, date), method, path, query, headers, hash, scope)
}

/// The same, by another secret, and with the date given.
pub(super) fn signature_by(
    (secret, date): (&str, &str),
    method: &str,
    path: &str,
    query: &str,
    headers: &[(String, String)],
    hash: &str,
    scope: &str,
) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let mut pairs: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    let canonical = format!("{method}\n{path}\n{}\n{lines}\n{}\n{hash}", pairs.join("&"), names.join(";"));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    hex(&hmac(&key, text.as_bytes()))
}

#[test]
fn the_checker_knows_the_published_example() {
    let headers = [
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let empty = hex(&Sha256::digest(""));
    let scope = "20150830/us-east-1/iam/aws4_request";
    let found = signature("GET", "/", "Action=ListUsers&Version=2010-05-08", &headers, &empty, scope);
    assert_eq!(found, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

/// Whether a request is signed as it has to be, for this service and region.
fn good(request: &http::request::Parts, body: &[u8]) -> Result<(), String> {
    let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let authorization = header("authorization").ok_or("no signature")?;
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another algorithm")?;
    let fields: BTreeMap<_, _> = rest.split(", ").filter_map(|field| field.split_once('=')).collect();
    let scope = fields["Credential"].strip_prefix(KEY).and_then(|s| s.strip_prefix('/')).ok_or("another key")?;
    if !scope.ends_with("/eu-west-1/ec2/aws4_request") {
        return Err(format!("for {scope}"));
    }
    let names: Vec<_> = fields["SignedHeaders"].split(';').collect();
    for needed in ["host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"] {
        if !names.contains(&needed) {
            return Err(format!("{needed} is not signed"));
        }
    }
    let headers: Vec<_> = names.iter().map(|name| ((*name).to_owned(), header(name).unwrap())).collect();
    let hash = hex(&Sha256::digest(body));
    if header("x-amz-content-sha256").as_deref() != Some(&hash) {
        return Err("another body".into());
    }
    let uri = &request.uri;
    let expected =
        signature(request.method.as_str(), uri.path(), uri.query().unwrap_or_default(), &headers, &hash, scope);
    if fields["Signature"] == expected { Ok(()) } else { Err("another signature".into()) }
}

type Seen = Arc<Mutex<Vec<(String, http::HeaderMap, Result<(), String>)>>>;

/// A server that looks at every signature.
async fn server() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body: Bytes = body.collect().await.unwrap().to_bytes();
        let verdict = good(&parts, &body);
        log.lock().unwrap().push((parts.uri.to_string(), parts.headers.clone(), verdict.clone()));
        let answer = axum::response::Response::builder();
        let answer = match parts.uri.path() {
            "/redirect" => answer.status(307).header("location", "http://127.0.0.1:1/"),
            "/late" => answer.status(403).header("date", "Sat, 01 Jan 2022 00:00:00 GMT"),
            _ if verdict.is_ok() => answer.header("bkhost-planned", "1"),
            _ => answer.status(401),
        };
        answer.body(axum::body::Body::from("hello")).unwrap()
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, seen)
}

const SIGN: &str = "[http.sign]\ntype = \"aws-sigv4\"\nservice = \"ec2\"\nregion = \"config.region\"\n";

fn signing(url: &str) -> Fixture {
    let secrets = ["access-key-id", "secret-access-key", "session-token"]
        .map(|name| format!("[[secret]]\nname = \"{name}\"\nreason = \"x\"\n"))
        .concat();
    let text = format!(
        "[[http]]\nurl = \"config.endpoint\"\nreason = \"x\"\n{SIGN}[[http]]\nurl = \"config.other\"\nreason = \"x\"\n{secrets}"
    );
    Fixture::new(&manifest(&text))
        .config(json!({"endpoint": url, "region": "eu-west-1"}))
        .secret("access-key-id", KEY)
        .secret("secret-access-key", SECRET)
        .secret("session-token", TOKEN)
}

fn post(url: &str, body: &'static str) -> http::Request<Full<bytes::Bytes>> {
    let body = Full::new(bytes::Bytes::from(body));
    http::Request::post(url).header("content-type", "application/x-www-form-urlencoded").body(body).unwrap()
}

async fn status(gate: &Gate, request: http::Request<Full<bytes::Bytes>>) -> Result<u16, CallError> {
    gate.http(request, HttpTimeouts::default()).await.map(|response| response.status().as_u16())
}

#[tokio::test]
async fn a_server_that_checks_signatures_is_content() {
    let (address, seen) = server().await;
    let url = format!("http://{address}");
    let gate = signing(&url).gate();
    assert_eq!(
        status(&gate, post(&format!("{url}/"), "Action=DescribeVolumes&Version=2016-11-15")).await.unwrap(),
        200
    );
    let query = format!("{url}/?Version=2016-11-15&Action=A&Value=a%20b%2F%C3%A4&Empty=");
    let get = http::Request::get(query).body(Full::default()).unwrap();
    let response = gate.http(get, HttpTimeouts::default()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("bkhost-planned"), "only the host says that");
    assert_eq!(status(&gate, post(&format!("{url}/"), "")).await.unwrap(), 200);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|(_, headers, _)| headers["x-amz-security-token"] == TOKEN));
}

#[tokio::test]
async fn another_key_is_noticed_by_the_checker() {
    let (address, _) = server().await;
    let url = format!("http://{address}");
    let gate = signing(&url).secret("secret-access-key", "another").gate();
    assert_eq!(status(&gate, post(&format!("{url}/"), "x")).await.unwrap(), 401);
    let gate = signing(&url).config(json!({"endpoint": url, "region": "eu-west-2"})).gate();
    assert_eq!(status(&gate, post(&format!("{url}/"), "x")).await.unwrap(), 401);
}

#[tokio::test]
async fn a_signature_goes_to_its_own_server_and_nowhere_else() {
    let (own, own_seen) = server().await;
    let (other, other_seen) = server().await;
    let (url, second) = (format!("http://{own}"), format!("http://{other}"));
    let mut fixture = signing(&url);
    fixture.config = json!({"endpoint": url, "other": second, "region": "eu-west-1"});
    let gate = fixture.gate();
    // One that the plugin asks for without a signature gets none, and no key.
    assert_eq!(status(&gate, post(&format!("{second}/"), "x")).await.unwrap(), 401);
    {
        let seen = other_seen.lock().unwrap();
        let (_, headers, verdict) = &seen[0];
        assert_eq!(verdict, &Err("no signature".to_owned()));
        let text = format!("{headers:?}");
        assert!(!text.contains(KEY) && !text.contains(TOKEN) && !text.contains("x-amz"), "{text}");
    }
    // A redirect is the guest's to read, and not followed.
    assert_eq!(status(&gate, post(&format!("{url}/redirect"), "x")).await.unwrap(), 307);
    assert_eq!(own_seen.lock().unwrap().len(), 1);
    // One that it does not ask for gets nothing at all.
    let port = other.port();
    let error = status(&gate, post(&format!("http://localhost:{port}/"), "x")).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert_eq!(other_seen.lock().unwrap().len(), 1);
    let same = Fixture { config: json!({"endpoint": url, "other": url, "region": "eu-west-1"}), ..fixture };
    assert!(same.rights().unwrap_err().message().contains("signed differently"));
}

#[tokio::test]
async fn what_the_host_sets_is_not_for_a_plugin() {
    let (address, seen) = server().await;
    let url = format!("http://{address}");
    let gate = signing(&url).gate();
    for name in ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "X-Amz-Anything"] {
        let mut request = post(&format!("{url}/"), "x");
        request.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), "x".parse().unwrap());
        assert_eq!(status(&gate, request).await.unwrap_err().code, Code::Denied, "{name}");
    }
    for query in ["X-Amz-Signature=1", "a=b&x-amz-credential=1", "X%2DAmz-Date=1"] {
        let error = status(&gate, post(&format!("{url}/?{query}"), "x")).await.unwrap_err();
        assert_eq!(error.code, Code::Denied, "{query}");
    }
    assert!(seen.lock().unwrap().is_empty(), "nothing was sent");
    let mut request = post(&format!("{url}/"), "{}");
    request.headers_mut().insert("x-amz-target", "AWSEvents.Do".parse().unwrap());
    request.headers_mut().insert("accept-language", "tlh".parse().unwrap());
    assert_eq!(status(&gate, request).await.unwrap(), 200);
}

#[tokio::test]
async fn a_third_party_needs_a_grant_for_the_signature() {
    let (address, seen) = server().await;
    let url = format!("http://{address}");
    let gate = signing(&url).granted(&format!("http = [\"{url}\"]")).gate();
    let error = status(&gate, post(&format!("{url}/"), "x")).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert_eq!(error.hint.unwrap(), format!("in the [[grant]] for acme.wasm: sign = [\"{url}\"]"));
    assert!(seen.lock().unwrap().is_empty(), "not even without its signature");
    let gate = signing(&url).granted(&format!("http = [\"{url}\"]\nsign = [\"{url}/\"]")).gate();
    assert_eq!(status(&gate, post(&format!("{url}/"), "x")).await.unwrap(), 200);
    // The right to sign is none to call.
    let gate = signing(&url).granted(&format!("sign = [\"{url}\"]")).gate();
    assert_eq!(status(&gate, post(&format!("{url}/"), "x")).await.unwrap_err().code, Code::Denied);
    let mut none = signing(&url);
    none.origin = Origin::ThirdParty;
    let error = none.rights().unwrap_err();
    assert!(error.hint_text().unwrap().contains(&format!("sign = [\"{url}\"]")), "{error:?}");
    assert!(signing(&url).granted("sign = [\"nonsense\"]").rights().unwrap_err().message().contains("sign"));
}

#[tokio::test]
async fn over_the_network_only_with_tls() {
    let gate = signing("http://10.1.2.3:4566").gate();
    let error = status(&gate, post("http://10.1.2.3:4566/", "x")).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert!(error.message.contains("unencrypted"), "{}", error.message);
}

#[test]
fn what_the_configuration_lacks() {
    let url = "https://ec2.eu-west-1.amazonaws.com";
    let refused = |fixture: Fixture| fixture.rights().unwrap_err();
    let error = refused(signing(url).config(json!({"endpoint": url})));
    assert!(error.message().contains("region is not set"), "{error}");
    let error = refused(signing(url).config(json!({"endpoint": url, "region": "eu/../x"})));
    assert!(error.message().contains("region is not set"), "{error}");
    for missing in ["access-key-id", "secret-access-key"] {
        let mut fixture = signing(url);
        fixture.secrets.remove(missing);
        assert!(refused(fixture).message().contains("incomplete"), "{missing}");
    }
    let mut fixture = signing(url);
    fixture.secrets.clear();
    fixture.rights().unwrap();
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told() {
    let (address, _) = server().await;
    let url = format!("http://{address}");
    let fixture = signing(&url);
    let gate = fixture.gate();
    assert_eq!(status(&gate, post(&format!("{url}/late"), "x")).await.unwrap(), 403);
    let events = format!("{:?}", fixture.events.lock().unwrap());
    assert!(events.contains("clock of this machine") && events.contains("minutes ahead of"), "{events}");
    assert!(!events.contains(SECRET) && !events.contains(TOKEN), "{events}");
    status(&gate, post(&format!("{url}/"), "x")).await.unwrap();
    let told = format!("{:?}", fixture.events.lock().unwrap()).matches("clock of this machine").count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_body_that_cannot_be_hashed_is_not_sent() {
    let (address, seen) = server().await;
    let url = format!("http://{address}");
    let body = Full::new(bytes::Bytes::from(vec![0; 5 << 20]));
    let error = status(&signing(&url).gate(), http::Request::post(format!("{url}/")).body(body).unwrap()).await;
    assert_eq!(error.unwrap_err().code, Code::Unsupported);
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn manifests() {
    let parse = |sign: &str| {
        let text = format!("[[http]]\nurl = \"config.endpoint\"\nreason = \"x\"\n[http.sign]\n{sign}");
        Manifest::parse(&manifest(&text))
    };
    parse("type = \"aws-sigv4\"\nservice = \"rds\"\nregion = \"eu-west-1\"").unwrap();
    for (bad, what) in [
        ("type = \"aws-sigv2\"\nservice = \"ec2\"\nregion = \"config.region\"", "aws-sigv2"),
        ("type = \"aws-sigv4\"\nservice = \"EC2/x\"\nregion = \"config.region\"", "no service"),
        ("type = \"aws-sigv4\"\nservice = \"ec2\"\nregion = \"{config.region}\"", "no region"),
        ("type = \"aws-sigv4\"\nservice = \"ec2\"", "region"),
        ("type = \"aws-sigv4\"\nservice = \"ec2\"\nregion = \"x\"\nkey = \"AKIA\"", "key"),
    ] {
        let error = parse(bad).unwrap_err();
        assert!(error.message().contains(what), "{error}");
        assert!(error.message().contains("plugin.toml:"), "{error}");
    }
}
