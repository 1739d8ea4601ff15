//! Who is asking: the `Authorization` that the host puts on requests, and the certificates that it trusts for a server. The
//! guest sees neither.

use std::path::Path;

use ::http::HeaderValue;
use ::http::header::AUTHORIZATION;
use reqwest::{Certificate, Client, RequestBuilder};

use super::manifest::{Authenticate, config_key};
use super::rights::RightsRequest;
use super::slots::config_value;
use super::{CallError, Code, Secret};
use crate::{Error, ErrorKind, Result};

/// No bundle of certificates is longer, in bytes.
const MAX_BUNDLE: u64 = 4 << 20;

/// Who the host says is asking.
#[derive(Debug, Clone)]
pub(super) enum Authorization {
    /// A user name and its password.
    Basic(String, Secret),
    /// The header, whole.
    Header(HeaderValue),
}

impl PartialEq for Authorization {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Basic(user, password), Self::Basic(another, its)) => {
                user == another && password.reveal() == its.reveal()
            }
            (Self::Header(one), Self::Header(other)) => one == other,
            _ => false,
        }
    }
}

impl Authorization {
    /// The request with it.
    ///
    /// # Errors
    /// `other`: the request cannot be built.
    pub(super) fn add(
        &self,
        client: &Client,
        mut request: reqwest::Request,
    ) -> std::result::Result<reqwest::Request, CallError> {
        match self {
            Self::Header(value) => {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
                Ok(request)
            }
            Self::Basic(user, password) => RequestBuilder::from_parts(client.clone(), request)
                .basic_auth(user, Some(password.reveal()))
                .build()
                .map_err(|e| CallError::new(Code::Other, format!("the request cannot be built: {}", super::chain(&e)))),
        }
    }
}

/// What a manifest's `[[http.authenticate]]` mean with this configuration; none if none of their secrets is configured.
///
/// # Errors
/// Two of the secrets are configured, or a password without a user name, or one that cannot stand in a header.
pub(super) fn authorization(request: &RightsRequest<'_>, ways: &[Authenticate]) -> Result<Option<Authorization>> {
    let mut chosen: Vec<_> = ways.iter().filter(|how| request.secrets.contains_key(&how.secret)).collect();
    chosen.dedup();
    let refuse = |message: String, hint: &str| Err(Error::new(ErrorKind::Config, message).hint(hint));
    let how = match chosen.as_slice() {
        [] => return Ok(None),
        [how] => *how,
        [one, other, ..] => {
            let message =
                format!("the plugin {} takes one of the secrets {} and {}", request.plugin, one.secret, other.secret);
            return refuse(message, "leave one of them out under [part.secrets]");
        }
    };
    let Some(secret) = request.secrets.get(&how.secret) else { return Ok(None) };
    let secret_in_header = HeaderValue::try_from(format!("{} {}", how.scheme, secret.reveal()));
    let Ok(mut header) = secret_in_header else {
        return refuse(
            format!("the secret {} cannot be sent: it holds a line end or a control character", how.secret),
            "store it as it was issued, in one line",
        );
    };
    let Some(key) = how.username.as_deref().and_then(config_key) else {
        header.set_sensitive(true);
        return Ok(Some(Authorization::Header(header)));
    };
    let user = config_value(request.config, key).and_then(|value| value.as_str()).unwrap_or_default();
    if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
        let message = format!("the secret {} needs a user name in {key}, without a colon", how.secret);
        return refuse(message, &format!("under [part.config]: {key} = \"…\""));
    }
    Ok(Some(Authorization::Basic(user.to_owned(), secret.clone())))
}

/// The certificates of a PEM file.
///
/// # Errors
/// `invalid-config`: it cannot be read, or holds none.
pub(super) fn certificates(file: &Path) -> std::result::Result<Vec<Certificate>, CallError> {
    let wrong = |why: String| {
        CallError::new(Code::InvalidConfig, format!("no certificate can be taken from {}: {why}", file.display()))
            .hint("it has to be a PEM file: -----BEGIN CERTIFICATE-----, readable for bkhost")
    };
    // Not one that never ends, and not a device that blocks.
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_BUNDLE => {}
        Ok(_) => return Err(wrong("it is no file, or too long for one of certificates".to_owned())),
        Err(e) => return Err(wrong(e.to_string())),
    }
    let bytes = std::fs::read(file).map_err(|e| wrong(e.to_string()))?;
    let found = Certificate::from_pem_bundle(&bytes).map_err(|e| wrong(super::chain(&e)))?;
    if found.is_empty() { Err(wrong("it holds none".to_owned())) } else { Ok(found) }
}
