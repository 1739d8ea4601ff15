//! Roles and URLs that the host signs, against servers that check the signatures by themselves.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use http_body_util::{BodyExt, Full};
use reqwest::Url;
use sha2::{Digest, Sha256};

use super::super::{Code, HttpTimeouts};
use super::signing::{KEY, SECRET, hex, signature_by};
use super::*;

const ROLE: &str = "arn:aws:iam::222222222222:role/dr";
const ROLE_KEY: &str = "ASIAROLE";
const ROLE_SECRET: &str = "the/role's+secret";
const ROLE_TOKEN: &str = "a//b==";
const EXTERNAL: &str = "the external id";

/// What a server saw: the path, the headers, the body.
type Seen = Arc<Mutex<Vec<(String, http::HeaderMap, String)>>>;

/// A token service below `/sts`, which answers with this status; elsewhere any other service.
async fn server(status: u16) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().to_owned();
        log.lock().unwrap().push((path.clone(), parts.headers, String::from_utf8(body.to_vec()).unwrap()));
        let answer = axum::response::Response::builder();
        let (status, text) = match (path.as_str(), status) {
            ("/sts", 200) => (
                200,
                format!(
                    "<AssumeRoleResponse xmlns=\"x\"><AssumeRoleResult><Credentials><AccessKeyId>{ROLE_KEY}</AccessKeyId>\
                     <SecretAccessKey>{ROLE_SECRET}</SecretAccessKey><SessionToken>{ROLE_TOKEN}</SessionToken>\
                     <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
                ),
            ),
            ("/sts", 403) => (
                403,
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>".to_owned(),
            ),
            ("/sts", status) => (status, "<html><br>".to_owned()),
            _ => (200, "hello".to_owned()),
        };
        answer.status(status).body(axum::body::Body::from(text)).unwrap()
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, seen)
}

fn fixture(url: &str) -> Fixture {
    let sign = |region: &str, more: &str| {
        format!("[http.sign]\ntype = \"aws-sigv4\"\nservice = \"ec2\"\nregion = \"config.{region}\"\n{more}")
    };
    let role =
        "role = { arn = \"config.there.role\", external-id = \"external-id\", endpoint = \"config.there.sts\" }\n";
    let secrets = ["access-key-id", "secret-access-key", "external-id"]
        .map(|name| format!("[[secret]]\nname = \"{name}\"\nreason = \"x\"\n"))
        .concat();
    let text = format!(
        "[[http]]\nurl = \"config.endpoint\"\nreason = \"x\"\n{}[[http]]\nurl = \"config.endpoint\"\nas = \"there\"\n\
         reason = \"x\"\n{}[[http]]\nurl = \"config.other\"\nreason = \"x\"\n{}{secrets}",
        sign("region", ""),
        sign("there.region", role),
        sign("region", "").replace("ec2", "kms"),
    );
    let there = json!({"region": "eu-west-1", "role": ROLE, "sts": format!("{url}/sts")});
    let config = json!({"endpoint": url, "other": "http://127.0.0.1:1", "region": "us-east-1", "there": there});
    Fixture::new(&manifest(&text))
        .config(config)
        .secret("access-key-id", KEY)
        .secret("secret-access-key", SECRET)
        .secret("external-id", EXTERNAL)
}

fn post(url: &str, headers: &[(&str, &str)]) -> http::Request<Full<bytes::Bytes>> {
    let request = http::Request::post(format!("{url}/")).header("content-type", "application/x-www-form-urlencoded");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(bytes::Bytes::from("Action=Copy"))).unwrap()
}

async fn send(gate: &Gate, request: http::Request<Full<bytes::Bytes>>) -> Result<u16, CallError> {
    gate.http(request, HttpTimeouts::default()).await.map(|response| response.status().as_u16())
}

/// By whom, for which region and service a request is signed.
fn scope(headers: &http::HeaderMap) -> String {
    let authorization = headers["authorization"].to_str().unwrap();
    let credential = authorization.split("Credential=").nth(1).unwrap().split(',').next().unwrap();
    let fields: Vec<_> = credential.split('/').collect();
    format!("{} {} {}", fields[0], fields[2], fields[3])
}

#[tokio::test]
async fn a_request_for_another_entry_is_signed_by_the_role() {
    let (address, seen) = server(200).await;
    let url = format!("http://{address}");
    let fixture = fixture(&url);
    let gate = fixture.gate();
    for headers in [&[][..], &[("bkhost-as", "there")], &[("bkhost-as", "there")]] {
        assert_eq!(send(&gate, post(&url, headers)).await.unwrap(), 200);
    }
    let seen = seen.lock().unwrap().clone();
    let told: Vec<_> = seen.iter().map(|(path, headers, _)| format!("{path} {}", scope(headers))).collect();
    // It is assumed once, with the host's own keys.
    let by_role = format!("/ {ROLE_KEY} eu-west-1 ec2");
    assert_eq!(told, [format!("/ {KEY} us-east-1 ec2"), format!("/sts {KEY} eu-west-1 sts"), by_role.clone(), by_role]);
    let assumed = &seen[1].2;
    for part in [
        "Action=AssumeRole&",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A222222222222%3Arole%2Fdr&",
        "ExternalId=the%20external%20id",
    ] {
        assert!(assumed.contains(part), "{assumed}");
    }
    assert!(seen.iter().all(|(_, headers, _)| !headers.contains_key("bkhost-as")));
    assert_eq!(seen[2].1["x-amz-security-token"], ROLE_TOKEN);
    // No other entry, and no header by which a plugin could be somebody.
    let error = send(&gate, post(&url, &[("bkhost-as", "elsewhere")])).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert!(error.message.contains("as \"elsewhere\""), "{}", error.message);
    let events = format!("{:?}", fixture.events.lock().unwrap());
    assert!(!events.contains(ROLE_SECRET) && !events.contains(EXTERNAL) && !events.contains(SECRET), "{events}");
}

#[tokio::test]
async fn a_url_is_signed_into_the_body_by_whoever_sends_it() {
    let (address, seen) = server(200).await;
    let url = format!("http://{address}");
    let gate = fixture(&url).gate();
    let asked = format!("PresignedUrl {url}/?Action=Copy&b=x%20y%2F&a=%C3%A4");
    send(&gate, post(&url, &[("bkhost-as", "there"), ("bkhost-presign", &asked)])).await.unwrap();
    let (_, headers, body) = seen.lock().unwrap().last().unwrap().clone();
    assert!(!headers.contains_key("bkhost-presign"));
    assert_eq!(headers["content-length"].to_str().unwrap(), body.len().to_string());
    let form: Vec<_> = Url::parse(&format!("http://x/?{body}")).unwrap().query_pairs().into_owned().collect();
    assert_eq!((form.len(), form[0].1.as_str(), form[1].0.as_str()), (2, "Copy", "PresignedUrl"));
    let signed = Url::parse(&form[1].1).unwrap();
    // Anybody who knows the secret comes to the same signature.
    let (query, given) = signed.query().unwrap().split_once("&X-Amz-Signature=").unwrap();
    let pairs: std::collections::BTreeMap<_, _> = signed.query_pairs().into_owned().collect();
    assert_eq!((pairs["b"].as_str(), pairs["a"].as_str(), pairs["X-Amz-Expires"].as_str()), ("x y/", "ä", "3600"));
    assert_eq!((pairs["X-Amz-Security-Token"].as_str(), pairs["X-Amz-SignedHeaders"].as_str()), (ROLE_TOKEN, "host"));
    let scope = pairs["X-Amz-Credential"].strip_prefix(&format!("{ROLE_KEY}/")).unwrap();
    assert!(scope.ends_with("/us-east-1/ec2/aws4_request"), "where the URL leads, not where the request goes: {scope}");
    let host = [("host".to_owned(), address.to_string())];
    let by = (ROLE_SECRET, pairs["X-Amz-Date"].as_str());
    assert_eq!(signature_by(by, "GET", "/", query, &host, &hex(&Sha256::digest("")), scope), given);

    let before = seen.lock().unwrap().len();
    for (asked, why) in [
        ("PresignedUrl http://127.0.0.1:2/?a=b".to_owned(), "not one that the plugin asks for"),
        ("PresignedUrl http://127.0.0.1:1/?a=b".to_owned(), "one service"),
        (format!("PresignedUrl {url}/?X-Amz-Signature=1"), "host's to add"),
        (format!("PresignedUrl http://u:p@{address}/"), "user name"),
        (format!("Presigned&Url {url}/"), "parameter"),
        (format!("{url}/"), "parameter"),
        ("PresignedUrl nonsense".to_owned(), "signed"),
    ] {
        let error = send(&gate, post(&url, &[("bkhost-presign", &asked)])).await.unwrap_err();
        assert_eq!(error.code, Code::Denied, "{asked}");
        assert!(error.message.contains(why), "{asked}: {}", error.message);
    }
    let mut json = post(&url, &[("bkhost-presign", &format!("PresignedUrl {url}/"))]);
    json.headers_mut().insert("content-type", "application/json".parse().unwrap());
    assert_eq!(send(&gate, json).await.unwrap_err().code, Code::Denied);
    assert_eq!(seen.lock().unwrap().len(), before, "nothing was sent");
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_named() {
    for (status, code, says) in
        [(403, Code::InvalidConfig, "not you (AccessDenied)"), (502, Code::Unavailable, "HTTP 502")]
    {
        let (address, seen) = server(status).await;
        let url = format!("http://{address}");
        let error = send(&fixture(&url).gate(), post(&url, &[("bkhost-as", "there")])).await.unwrap_err();
        assert_eq!(error.code, code, "{}", error.message);
        assert!(error.message.contains(ROLE) && error.message.contains(says), "{}", error.message);
        assert!(error.hint.unwrap().contains("sts:AssumeRole"));
        assert!(seen.lock().unwrap().iter().all(|(path, ..)| path == "/sts"), "nothing was sent with other keys");
    }
}

#[test]
fn roles_that_are_none() {
    let refused = |change: fn(&mut serde_json::Value)| {
        let mut fixture = fixture("http://127.0.0.1:3");
        change(&mut fixture.config);
        fixture.rights().unwrap_err().message().to_owned()
    };
    assert!(refused(|c| c["there"]["role"] = json!("dr")).contains("there.role"));
    assert!(refused(|c| c["there"]["sts"] = json!("http://sts.example")).contains("readable"));
    // Without one, the host's own keys are meant.
    let mut plain = fixture("http://127.0.0.1:3");
    plain.config["there"]["role"] = serde_json::Value::Null;
    plain.rights().unwrap();
    let parse = |role: &str| {
        let text = format!(
            "[[http]]\nurl = \"config.endpoint\"\nreason = \"x\"\n[http.sign]\ntype = \"aws-sigv4\"\nservice = \"ec2\"\n\
             region = \"config.region\"\nrole = {{ {role} }}\n"
        );
        Manifest::parse(&manifest(&text)).unwrap_err().message().to_owned()
    };
    assert!(parse(&format!("arn = \"{ROLE}\"")).contains("no arn of a role"), "a plugin does not choose who it is");
    assert!(parse("arn = \"config.role\", endpoint = \"https://evil.example\"").contains("no endpoint of a role"));
    assert!(parse("arn = \"config.role\", external-id = \"x\"").contains("no secret"));
}
