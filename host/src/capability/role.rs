//! Roles of AWS: the host assumes them with its own keys, and signs with the temporary ones. Those stay here too.

use std::collections::HashMap;
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use ::http::{Method, StatusCode};
use reqsign_aws_v4::Credential;
use reqsign_core::SigningCredential;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::Mutex;

use super::aws::Keys;
use super::manifest::{SignRole, config_key};
use super::rights::RightsRequest;
use super::server::{Server, local};
use super::sign::{encoded, sign};
use super::slots::{config_value, texts};
use super::{CallError, Code, Secret, http};
use crate::{Error, ErrorKind, Result};

/// For one answer of the token service.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the keys are asked for: what every role allows.
const LASTS: &str = "3600";
/// The longest answer that is one.
const MAX_ANSWER: usize = 1 << 20;

/// A role, and how it is assumed.
#[derive(Debug, Clone)]
pub(super) struct Role {
    arn: String,
    external_id: Option<Secret>,
    endpoint: Url,
    region: String,
    session: String,
}

impl PartialEq for Role {
    fn eq(&self, other: &Self) -> bool {
        let secret = |role: &Self| role.external_id.as_ref().map(|id| id.reveal().to_owned());
        self.arn == other.arn && self.endpoint == other.endpoint && secret(self) == secret(other)
    }
}

impl Eq for Role {}

/// The role that the configuration names, if it does.
///
/// # Errors
/// It is none, or the token service is asked where its answer could be read by others.
pub(super) fn role(request: &RightsRequest<'_>, role: &SignRole, region: &str) -> Result<Option<Role>> {
    let text = |reference: &str| text(request.config, reference);
    let Some(arn) = text(&role.arn) else { return Ok(None) };
    let key = role.arn.trim_start_matches("config.");
    if !is_role(&arn) {
        let message = format!("{key} = {arn:?} is not the ARN of a role");
        return Err(Error::new(ErrorKind::Config, message).hint("write arn:aws:iam::<account>:role/<name>"));
    }
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let own = role.endpoint.as_deref().and_then(text);
    let endpoint = own.clone().unwrap_or_else(|| format!("https://sts.{region}.{domain}"));
    let wrong = |why: String| {
        let message = format!("the security token service is asked at {endpoint:?}: {why}");
        Error::new(ErrorKind::Config, message).hint("write https://host")
    };
    let url = Url::parse(&endpoint).map_err(|e| wrong(e.to_string()))?;
    let server = Server::of(&url).map_err(wrong)?;
    if !server.tls && !local(&server) {
        return Err(wrong("keys come back from it, and would be readable on their way".to_owned()));
    }
    Ok(Some(Role {
        arn,
        external_id: role.external_id.as_ref().and_then(|name| request.secrets.get(name).cloned()),
        endpoint: url,
        region: region.to_owned(),
        session: format!("bkhost-{}", request.part),
    }))
}

fn text(config: &Value, reference: &str) -> Option<String> {
    config_value(config, config_key(reference)?).map(texts)?.into_iter().next()
}

fn is_role(arn: &str) -> bool {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = fields.as_slice() else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-/".contains(c);
    partition.starts_with("aws")
        && partition.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty() && name.chars().all(plain))
        && arn.len() <= 2048
}

/// The keys of roles that were assumed.
#[derive(Default)]
pub(super) struct Roles {
    found: Mutex<HashMap<String, Credential>>,
}

impl Roles {
    /// The keys of a role; those that were got before, while they are good.
    ///
    /// # Errors
    /// `invalid-config`: it cannot be assumed, and why; `unavailable`: the token service does not answer; as [`Keys::get`].
    pub(super) async fn get(&self, role: &Role, keys: &Keys) -> Result<Credential, CallError> {
        let mut found = self.found.lock().await;
        if let Some(known) = found.get(&role.arn).filter(|known| known.is_valid()) {
            return Ok(known.clone());
        }
        let new = role.assume(keys).await?;
        found.insert(role.arn.clone(), new.clone());
        Ok(new)
    }

    /// Assume it again at the next request.
    pub(super) async fn forget(&self, role: &Role) {
        self.found.lock().await.remove(&role.arn);
    }
}

impl Role {
    async fn assume(&self, keys: &Keys) -> Result<Credential, CallError> {
        let own = keys.get().await?;
        let mut form = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.arn),
            ("RoleSessionName", &self.session),
            ("DurationSeconds", LASTS),
        ];
        form.extend(self.external_id.as_ref().map(|id| ("ExternalId", id.reveal())));
        let form: Vec<_> = form.into_iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let body = form.join("&").into_bytes();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"));
        sign(("sts", &self.region), own, &Method::POST, &self.endpoint, &mut headers, &body).await?;
        let (status, answer) = self.ask(headers, body).await?;
        if status == StatusCode::OK
            && let Some(credential) = read(&answer)
        {
            return Ok(credential);
        }
        if [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN].contains(&status) {
            keys.forget().await;
        }
        Err(self.refused(status, &answer))
    }

    async fn ask(&self, headers: HeaderMap, body: Vec<u8>) -> Result<(StatusCode, String), CallError> {
        let silent = |why: String| {
            CallError::new(Code::Unavailable, format!("the role {} cannot be assumed: {why}", self.arn))
                .hint(format!("does this host reach {}?", self.endpoint))
        };
        let failed = |e: reqwest::Error| silent(http::chain(&e.without_url()));
        let client = http::client(self.endpoint.scheme() == "https").timeout(PATIENCE).build().map_err(failed)?;
        let request = client.post(self.endpoint.clone()).headers(headers).body(body);
        let mut response = request.send().await.map_err(failed)?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            answer.extend_from_slice(&chunk);
            if answer.len() > MAX_ANSWER {
                return Err(silent("the answer is too long".to_owned()));
            }
        }
        Ok((response.status(), String::from_utf8_lossy(&answer).into_owned()))
    }

    fn refused(&self, status: StatusCode, answer: &str) -> CallError {
        let told = element(answer, "Message").zip(element(answer, "Code"));
        let why = match &told {
            Some((message, code)) => format!("{message} ({code})"),
            None => format!("what came back is no answer of the token service: HTTP {status}"),
        };
        let passing = status.is_server_error() || told.as_ref().is_some_and(|(_, code)| code.contains("Throttl"));
        let code = if passing || told.is_none() { Code::Unavailable } else { Code::InvalidConfig };
        CallError::new(code, format!("the role {} cannot be assumed: {why}", self.arn)).hint(
            "its trust policy has to allow sts:AssumeRole to the credentials of this host (with the external id, if it asks for \
             one), and their own policy sts:AssumeRole on it",
        )
    }
}

/// The temporary keys of an answer.
fn read(answer: &str) -> Option<Credential> {
    let text = |name: &str| element(answer, name);
    Some(Credential {
        access_key_id: text("AccessKeyId")?,
        secret_access_key: text("SecretAccessKey")?,
        session_token: Some(text("SessionToken")?),
        expires_in: Some(text("Expiration")?.parse().ok()?),
    })
}

/// The text of the first element of this name.
fn element(answer: &str, name: &str) -> Option<String> {
    let document = roxmltree::Document::parse(answer).ok()?;
    let node = document.descendants().find(|node| node.tag_name().name() == name)?;
    node.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_roles() {
        for good in ["arn:aws:iam::123456789012:role/dr", "arn:aws-cn:iam::123456789012:role/a/b+=,.@_-c"] {
            assert!(is_role(good), "{good}");
        }
        for wrong in [
            "",
            "dr",
            "arn:aws:iam::123456789012:user/dr",
            "arn:aws:iam::12345678901:role/dr",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:iam::123456789012:role/a&ExternalId=x",
            "arn:evil:iam::123456789012:role/dr",
            "arn:aws:sts::123456789012:role/dr",
            "arn:aws:iam:us-east-1:123456789012:role/dr",
        ] {
            assert!(!is_role(wrong), "{wrong}");
        }
    }

    #[test]
    fn answers() {
        let answer = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
                      <SessionToken>a//b==</SessionToken><SecretAccessKey>s</SecretAccessKey>\
                      <Expiration>2026-11-21T05:44:32Z</Expiration><AccessKeyId>ASIA1</AccessKeyId></Credentials>\
                      </AssumeRoleResult></AssumeRoleResponse>";
        let read = read(answer).unwrap();
        assert_eq!((read.access_key_id.as_str(), read.session_token.as_deref()), ("ASIA1", Some("a//b==")));
        assert!(read.expires_in.is_some());
        for wrong in ["", "<html><br>", "<A><AccessKeyId>x</AccessKeyId></A>", "<A><Expiration>never</Expiration></A>"]
        {
            assert!(super::read(wrong).is_none(), "{wrong}");
        }
    }
}
