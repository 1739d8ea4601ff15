//! Who the host says is asking, and whom it trusts.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use http_body_util::{Empty, Full};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::{Code, HttpTimeouts};
use super::*;

const SECRET: &str = "a-secret-that-nobody-sees";
const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/application/bitbucket/tests/tls/ca.pem");

/// Answers everybody, and keeps the heads of the requests.
fn serve(tls: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    let heads = Arc::clone(&seen);
    let certificate = include_bytes!("../../application/bitbucket/tests/tls/server.pem");
    let key = include_bytes!("../../application/bitbucket/tests/tls/server.key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(key).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        fn answer(stream: &mut (impl Read + Write), heads: &Mutex<Vec<String>>) {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            if head.is_empty() {
                return;
            }
            heads.lock().unwrap().push(String::from_utf8(head).unwrap());
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
            let _ = stream.flush();
        }
        while let Ok((mut tcp, _)) = listener.accept() {
            if tls {
                let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, tcp);
                answer(&mut stream, &heads);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            } else {
                answer(&mut tcp, &heads);
            }
        }
    });
    (url, seen)
}

const ASKS: &str = "[[http]]\nurl = \"config.url\"\nca-file = \"config.ca-file\"\nreason = \"x\"\n\
    [[http.authenticate]]\nscheme = \"Basic\"\nsecret = \"password\"\nusername = \"config.username\"\n\
    [[http.authenticate]]\nscheme = \"ApiKey\"\nsecret = \"api-key\"\n\
    [[secret]]\nname = \"password\"\nreason = \"x\"\n[[secret]]\nname = \"api-key\"\nreason = \"x\"\n";

fn asking(config: serde_json::Value) -> Fixture {
    Fixture::new(&manifest(ASKS)).config(config)
}

fn get(url: &str) -> http::Request<Empty<bytes::Bytes>> {
    http::Request::get(url).body(Empty::new()).unwrap()
}

async fn status(gate: &Gate, url: &str) -> Result<u16, CallError> {
    gate.http(get(url), HttpTimeouts::default()).await.map(|response| response.status().as_u16())
}

#[tokio::test]
async fn a_password_or_a_key_is_put_on_every_request() {
    let (url, seen) = serve(false);
    let config = || json!({"url": url, "username": "Aladdin"});
    for (fixture, header) in [
        (asking(config()), None),
        (asking(config()).secret("password", "open sesame"), Some("authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
        (
            asking(json!({"url": url})).secret("api-key", SECRET),
            Some("authorization: ApiKey a-secret-that-nobody-sees"),
        ),
    ] {
        let gate = fixture.gate();
        assert_eq!(status(&gate, &format!("{url}/x")).await.unwrap(), 200);
        let head = seen.lock().unwrap().pop().unwrap();
        match header {
            Some(header) => assert!(head.lines().any(|line| line.eq_ignore_ascii_case(header)), "{head}"),
            None => assert!(!head.to_lowercase().contains("authorization"), "{head}"),
        }
        let events = format!("{:?}{:?}", fixture.events.lock().unwrap(), fixture.rights().unwrap());
        assert!(!events.contains(SECRET) && !events.contains("QWxhZGRpbjpv"), "{events}");
    }
    // A plugin does not say it itself.
    let gate = asking(config()).secret("password", SECRET).gate();
    let request = http::Request::get(&url).header("authorization", "Basic eDp5").body(Full::<bytes::Bytes>::default());
    let error = gate.http(request.unwrap(), HttpTimeouts::default()).await.map(drop).unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert!(seen.lock().unwrap().is_empty(), "nothing was sent");
}

#[test]
fn who_asks_has_to_be_clear() {
    let url = "https://search.example";
    let refused = |fixture: Fixture| fixture.rights().unwrap_err();
    let both = asking(json!({"url": url, "username": "x"})).secret("password", SECRET).secret("api-key", SECRET);
    for (fixture, says) in [
        (both, "one of the secrets password and api-key"),
        (asking(json!({"url": url})).secret("password", SECRET), "needs a user name in username"),
        (asking(json!({"url": url, "username": "a:b"})).secret("password", SECRET), "without a colon"),
        (asking(json!({"url": url})).secret("api-key", "two\nlines-of-it"), "cannot be sent"),
    ] {
        let error = refused(fixture);
        assert!(error.message().contains(says), "{error}");
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
}

#[tokio::test]
async fn only_the_certificates_of_the_file_are_trusted() {
    let (url, seen) = serve(true);
    let gate = asking(json!({"url": url, "ca-file": CA})).gate();
    assert_eq!(status(&gate, &format!("{url}/")).await.unwrap(), 200);
    assert_eq!(seen.lock().unwrap().len(), 1);
    assert!(status(&asking(json!({"url": url})).gate(), &url).await.is_err());
    for (file, says) in
        [("/nonexistent/ca.pem", "No such file"), ("/dev/zero", "no file"), ("/etc/hostname", "certificate")]
    {
        let error = status(&asking(json!({"url": url, "ca-file": file})).gate(), &url).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidConfig, "{error:?}");
        assert!(error.message.contains(says) && error.message.contains(file), "{error:?}");
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn manifests() {
    let parse = |text: &str| Manifest::parse(&manifest(text));
    parse(ASKS).unwrap();
    for (from, to, says) in [
        ("secret = \"password\"", "secret = \"other\"", "no secret \"other\""),
        ("username = \"config.username\"\n", "", "do not fit"),
        ("username = \"config.username\"", "username = \"admin\"", "do not fit"),
        ("scheme = \"ApiKey\"", "scheme = \"Api Key\"", "no scheme"),
        ("ca-file = \"config.ca-file\"", "ca-file = \"/etc/ca.pem\"", "is no key"),
    ] {
        let error = parse(&ASKS.replacen(from, to, 1)).unwrap_err();
        assert!(error.message().contains(says), "{error}");
    }
    let sign = "[[http]]\nurl = \"config.url\"\nreason = \"x\"\n[http.sign]\ntype = \"aws-sigv4\"\nservice = \"es\"\noptional = true\n";
    parse(&format!("{sign}region = \"config.region\"\n")).unwrap();
    assert!(parse(&format!("{sign}region = \"eu-west-1\"\n")).unwrap_err().message().contains("optional"));
}
