//! Signatures: the host puts them on what goes to a server whose manifest entry says so, and on nothing else.

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Request, Uri};
use jiff::{SignedDuration, Timestamp};
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::hash::{hex_hmac_sha256, hex_sha256, hmac_sha256};
use reqsign_core::{Context, Signer};
use reqwest::Url;
use sha2::{Digest, Sha256};

use super::aws::{ACCESS_KEY_ID, Keys, Known, SECRET_ACCESS_KEY, SESSION_TOKEN};
use super::manifest::{Sign, SignForm, config_key};
use super::rights::{RightsRequest, grant_line};
use super::role::{Role, Roles, role};
use super::server::{Server, local};
use super::slots::{config_value, texts};
use super::{CallError, Code, stanza};
use crate::capability::Origin;
use crate::{Error, ErrorKind, Result};

/// The longest body that is signed: it is hashed whole before it is sent.
pub(super) const MAX_BODY: usize = 4 << 20;
/// What the services allow.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// The header that says which operation is meant, in the JSON protocols.
const TARGET: &str = "x-amz-target";
/// How long a URL is good that a service is given to act with.
const PRESIGNED: &str = "3600";

/// How what goes to one server is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signing {
    service: String,
    region: String,
    /// As whom, if not as the host itself.
    role: Option<Role>,
    pub(super) allowed: std::result::Result<(), CallError>,
}

/// What a manifest's `[http.sign]` means for this server; none if it is optional and no region is configured.
pub(super) fn signing(
    request: &RightsRequest<'_>,
    sign: &Sign,
    server: &Server,
    granted: &[Server],
) -> Result<Option<Signing>> {
    let region = config_key(&sign.region);
    if sign.optional && region.is_some_and(|key| config_value(request.config, key).is_none()) {
        return Ok(None);
    }
    let SignForm::AwsSigv4 = sign.form;
    let plugin = request.plugin;
    let has = |name: &str| request.secrets.contains_key(name);
    if has(ACCESS_KEY_ID) != has(SECRET_ACCESS_KEY) || (has(SESSION_TOKEN) && !has(ACCESS_KEY_ID)) {
        let message = format!("the AWS keys of the plugin {plugin} are incomplete");
        return Err(Error::new(ErrorKind::Config, message).hint(format!(
            "under [part.secrets]: both {ACCESS_KEY_ID} and {SECRET_ACCESS_KEY}, with or without {SESSION_TOKEN}; or none"
        )));
    }
    let region = match config_key(&sign.region) {
        None => sign.region.clone(),
        Some(key) => {
            let value = config_value(request.config, key).map(texts).unwrap_or_default();
            let good = |text: &&String| {
                (1..=64).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            };
            value.first().filter(good).cloned().ok_or_else(|| {
                let message = format!("{key} is not set to a region, and requests to {server} are signed for one");
                Error::new(ErrorKind::Config, message).hint(format!("under [part.config]: {key} = \"eu-central-1\""))
            })?
        }
    };
    let allowed = if !server.tls && !local(server) {
        // A session's token goes with it, in clear text.
        Err(CallError::denied(format!("a request to {server} is not signed: it would go there unencrypted"))
            .hint("use https; only this machine itself is asked with signatures over http"))
    } else if request.origin == Origin::Shipped || granted.contains(server) {
        Ok(())
    } else {
        let line = stanza::sign(granted.iter().chain([server]).map(ToString::to_string));
        Err(CallError::denied(format!(
            "the grant for {plugin} does not let requests to {server} be signed with the keys of this host"
        ))
        .hint(grant_line(plugin, &line)))
    };
    let role = match &sign.role {
        Some(asked) => role(request, asked, &region)?,
        None => None,
    };
    Ok(Some(Signing { service: sign.service.clone(), region, role, allowed }))
}

/// What is the host's to set in a signed request.
pub(super) fn reserved(header: &str) -> bool {
    header == AUTHORIZATION.as_str() || (header.starts_with("x-amz-") && header != TARGET)
}

/// Whether a query tries to be a signature.
pub(super) fn signed_query(url: &Url) -> bool {
    url.query_pairs().any(|(name, _)| name.to_ascii_lowercase().starts_with("x-amz-"))
}

impl Signing {
    /// With what it is signed.
    ///
    /// # Errors
    /// `invalid-config`: no credentials, or a role that cannot be assumed.
    pub(super) async fn credential(&self, keys: &Keys, roles: &Roles) -> std::result::Result<Credential, CallError> {
        self.allowed.clone()?;
        match &self.role {
            Some(role) => roles.get(role, keys).await,
            None => keys.get().await,
        }
    }

    /// What was signed with was refused: look for it again at the next request.
    pub(super) async fn forget(&self, keys: &Keys, roles: &Roles) {
        match &self.role {
            Some(role) => roles.forget(role).await,
            None => keys.forget().await,
        }
    }

    /// Adds the signature of this request to its headers.
    ///
    /// # Errors
    /// It cannot be signed.
    pub(super) async fn sign(
        &self,
        credential: Credential,
        method: &::http::Method,
        url: &Url,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> std::result::Result<(), CallError> {
        self.allowed.clone()?;
        sign((&self.service, &self.region), credential, method, url, headers, body).await
    }

    /// Whether both are for the same service.
    pub(super) fn same_service(&self, other: &Self) -> bool {
        self.service == other.service
    }

    /// This URL with a signature in its query, good for an hour: with it, whoever has it can make this one GET request.
    pub(super) fn presigned(&self, credential: &Credential, url: &Url, now: Timestamp) -> String {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = now.strftime("%Y%m%d").to_string();
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let own = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", format!("{}/{scope}", credential.access_key_id)),
            ("X-Amz-Date", time.clone()),
            ("X-Amz-Expires", PRESIGNED.to_owned()),
            ("X-Amz-SignedHeaders", "host".to_owned()),
        ];
        let token = credential.session_token.clone().map(|token| ("X-Amz-Security-Token", token));
        let own = own.into_iter().chain(token).map(|(name, value)| (encoded(name), encoded(&value)));
        let mut pairs: Vec<_> = url.query_pairs().map(|(name, value)| (encoded(&name), encoded(&value))).collect();
        pairs.extend(own);
        pairs.sort();
        let query = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let host = match (url.host_str().unwrap_or_default(), url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let path = url.path();
        let canonical = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\n{}", hex_sha256(b""));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex_sha256(canonical.as_bytes()));
        let key = scope.split('/').fold(format!("AWS4{}", credential.secret_access_key).into_bytes(), |key, part| {
            hmac_sha256(&key, part.as_bytes())
        });
        let signature = hex_hmac_sha256(&key, text.as_bytes());
        format!("{}://{host}{path}?{query}&X-Amz-Signature={signature}", url.scheme())
    }
}

/// Adds the signature of a request to its headers, for this service and region.
///
/// # Errors
/// It cannot be signed.
pub(super) async fn sign(
    (service, region): (&str, &str),
    credential: Credential,
    method: &::http::Method,
    url: &Url,
    headers: &mut HeaderMap,
    body: &[u8],
) -> std::result::Result<(), CallError> {
    let failed = |why: String| CallError::new(Code::Other, format!("the request cannot be signed: {why}"));
    let uri: Uri = url.as_str().parse().map_err(|e| failed(format!("{e}")))?;
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    // What a proxy on the way may change stays out of the signature.
    for name in [CONTENT_TYPE, HeaderName::from_static(TARGET)] {
        if let Some(value) = headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    let hash = Sha256::digest(body).iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"));
    let hash = HeaderValue::try_from(hash).map_err(|e| failed(e.to_string()))?;
    request.headers_mut().insert("x-amz-content-sha256", hash);
    let (mut parts, ()) = request.into_parts();
    let signer = RequestSigner::new(service, region).with_standard_session_token();
    let signer = Signer::new(Context::new(), Known(credential), signer);
    signer.sign(&mut parts, None).await.map_err(|e| failed(e.to_string()))?;
    headers.extend(parts.headers);
    Ok(())
}

/// As AWS wants it in a query or a form: everything but letters, digits and `-_.~` as `%XX`.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

/// A refusal whose reason is this machine's clock, in words. `headers` are those of a refused answer.
pub(super) fn skew(headers: &HeaderMap, server: &Server, now: Timestamp) -> Option<String> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let difference = now.duration_since(theirs);
    if difference.abs() <= MAX_SKEW {
        return None;
    }
    let minutes = difference.as_secs().abs() / 60;
    let side = if difference.is_negative() { "behind" } else { "ahead of" };
    Some(format!(
        "the clock of this machine is {minutes} minutes {side} that of {server}, which refuses signatures for that: set it \
         (timedatectl set-ntp true)"
    ))
}
