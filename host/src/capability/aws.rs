//! AWS credentials: where the host looks for them. They never leave it but as signatures (and a session's token) in
//! requests to the servers they are for.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider, EnvCredentialProvider,
    IMDSv2CredentialProvider, ProfileCredentialProvider,
};
use reqsign_core::{Context, Env, HttpSend, OsEnv, ProvideCredential, ProvideCredentialDyn, SigningCredential};
use reqsign_file_read_tokio::TokioFileRead;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{CallError, Code, Secret, http};

/// The secrets that, if a manifest asks for them and they are configured, are the keys.
pub(crate) const ACCESS_KEY_ID: &str = "access-key-id";
pub(crate) const SECRET_ACCESS_KEY: &str = "secret-access-key";
pub(super) const SESSION_TOKEN: &str = "session-token";

/// For one source of credentials: a metadata service that is not there does not answer at all.
const SOURCE: Duration = Duration::from_secs(8);
/// The longest answer of a metadata or token service.
const MAX_ANSWER: usize = 1 << 20;

/// The credentials of one part. `Debug` does not show them.
pub(crate) struct Keys {
    /// From `[part.secrets]`. Then nothing else is looked at.
    configured: Option<Credential>,
    context: Context,
    found: Mutex<Option<Credential>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl Keys {
    /// Those that `secret` names, or else the ones that the system has for us.
    pub(crate) fn new(secret: impl Fn(&str) -> Option<Secret>) -> Self {
        let text = |name: &str| secret(name).map(|secret| secret.reveal().to_owned());
        let configured = match (text(ACCESS_KEY_ID), text(SECRET_ACCESS_KEY)) {
            (Some(access_key_id), Some(secret_access_key)) => Some(Credential {
                access_key_id,
                secret_access_key,
                session_token: text(SESSION_TOKEN),
                expires_in: None,
            }),
            _ => None,
        };
        Self::with(configured, OsEnv)
    }

    fn with(configured: Option<Credential>, environment: impl Env) -> Self {
        let context = Context::new().with_env(environment).with_file_read(TokioFileRead).with_http_send(Metadata);
        Self { configured, context, found: Mutex::new(None) }
    }

    /// The credentials; those that were found before, while they are good.
    ///
    /// # Errors
    /// `invalid-config`: there are none; it names all that was tried.
    pub(crate) async fn get(&self) -> Result<Credential, CallError> {
        if let Some(configured) = &self.configured {
            return Ok(configured.clone());
        }
        let mut found = self.found.lock().await;
        if let Some(known) = found.as_ref()
            && known.is_valid()
        {
            return Ok(known.clone());
        }
        let new = self.look().await?;
        *found = Some(new.clone());
        Ok(new)
    }

    /// Look for them again at the next request: the ones in use were refused, and may have been replaced.
    pub(crate) async fn forget(&self) {
        *self.found.lock().await = None;
    }

    async fn look(&self) -> Result<Credential, CallError> {
        let profile = self.context.env_var("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let sources: [(String, Box<dyn ProvideCredentialDyn<Credential = Credential>>); 5] = [
            ("the environment (AWS_ACCESS_KEY_ID)".to_owned(), Box::new(EnvCredentialProvider::new())),
            (
                format!("the profile {profile:?} of the shared configuration (~/.aws)"),
                Box::new(ProfileCredentialProvider::new()),
            ),
            (
                "a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)".to_owned(),
                Box::new(AssumeRoleWithWebIdentityCredentialProvider::new()),
            ),
            (
                "the container (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI)".to_owned(),
                Box::new(ECSCredentialProvider::new()),
            ),
            ("the instance's metadata service".to_owned(), Box::new(IMDSv2CredentialProvider::new())),
        ];
        let mut tried = Vec::new();
        for (name, source) in sources {
            let outcome = match timeout(SOURCE, source.provide_credential_dyn(&self.context)).await {
                Ok(Ok(Some(credential))) if credential.is_valid() => return Ok(credential),
                Ok(Ok(Some(_))) => "what is there is incomplete or has expired".to_owned(),
                Ok(Ok(None)) => "nothing there".to_owned(),
                Ok(Err(e)) => http::chain(&e).lines().next().unwrap_or_default().to_owned(),
                Err(_) => format!("no answer within {} s", SOURCE.as_secs()),
            };
            tried.push(format!("{name}: {outcome}"));
        }
        Err(CallError::new(
            Code::InvalidConfig,
            format!("no AWS credentials were found to sign with. Tried: {}", tried.join("; ")),
        )
        .hint(format!(
            "under [part.secrets]: {ACCESS_KEY_ID} = {{ env = \"…\" }} and {SECRET_ACCESS_KEY} = {{ file = \"…\" }} (and \
             {SESSION_TOKEN} for temporary ones); or set AWS_PROFILE, or give the instance a role"
        )))
    }
}

/// How the sources ask metadata and token services.
#[derive(Debug)]
struct Metadata;

impl HttpSend for Metadata {
    async fn http_send(&self, request: ::http::Request<Bytes>) -> reqsign_core::Result<::http::Response<Bytes>> {
        let failed = |e: reqwest::Error| {
            reqsign_core::Error::unexpected(format!("no answer: {}", http::chain(&e.without_url())))
        };
        let tls = request.uri().scheme_str() == Some("https");
        let client = http::client(tls).connect_timeout(Duration::from_secs(2)).timeout(SOURCE).build();
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let mut response = client.map_err(failed)?.execute(request).await.map_err(failed)?;
        let mut answer = ::http::Response::builder().status(response.status());
        if let Some(headers) = answer.headers_mut() {
            headers.clone_from(response.headers());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(reqsign_core::Error::unexpected("the answer is too long"));
            }
        }
        answer.body(body.into()).map_err(|e| reqsign_core::Error::unexpected(e.to_string()))
    }
}

/// Credentials that are known already, for the signer.
#[derive(Debug)]
pub(crate) struct Known(pub(crate) Credential);

impl ProvideCredential for Known {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> reqsign_core::Result<Option<Credential>> {
        Ok(Some(self.0.clone()))
    }
}

/// An environment for tests: variables and a home directory.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Fixed(pub(super) std::collections::HashMap<String, String>, pub(super) Option<std::path::PathBuf>);

#[cfg(test)]
impl Env for Fixed {
    fn var(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }

    fn vars(&self) -> std::collections::HashMap<String, String> {
        self.0.clone()
    }

    fn home_dir(&self) -> Option<std::path::PathBuf> {
        self.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Fixed {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Fixed(pairs.chain([("AWS_EC2_METADATA_DISABLED".into(), "true".into())]).collect(), None)
    }

    #[tokio::test]
    async fn what_is_configured_wins_and_is_never_shown() {
        let keys = Keys::new(|name| Some(Secret::new(format!("the-{name}"))));
        let found = keys.get().await.unwrap();
        assert_eq!(found.access_key_id, "the-access-key-id");
        assert_eq!(found.session_token.as_deref(), Some("the-session-token"));
        assert!(!format!("{keys:?}").contains("the-"));
        keys.forget().await;
        assert_eq!(keys.get().await.unwrap().secret_access_key, "the-secret-access-key");
    }

    #[tokio::test]
    async fn the_environment_then_the_profile() {
        let from = |pairs: &[(&str, &str)]| Keys::with(None, environment(pairs));
        let keys = from(&[("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")]);
        assert_eq!(keys.get().await.unwrap().access_key_id, "AKIAENV");
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let text = |id: &str| format!("[work]\naws_access_key_id = {id}\naws_secret_access_key = x\n");
        std::fs::write(file.path(), text("AKIAONE")).unwrap();
        let keys = from(&[("AWS_PROFILE", "work"), ("AWS_SHARED_CREDENTIALS_FILE", path)]);
        assert_eq!(keys.get().await.unwrap().access_key_id, "AKIAONE");
        // Somebody rotates them: seen as soon as the old ones are refused.
        std::fs::write(file.path(), text("AKIATWO")).unwrap();
        assert_eq!(keys.get().await.unwrap().access_key_id, "AKIAONE");
        keys.forget().await;
        assert_eq!(keys.get().await.unwrap().access_key_id, "AKIATWO");
    }

    #[tokio::test]
    async fn none_at_all_names_what_was_tried() {
        let error = Keys::with(None, environment(&[("AWS_PROFILE", "absent")])).get().await.unwrap_err();
        assert_eq!(error.code, Code::InvalidConfig);
        for tried in ["AWS_ACCESS_KEY_ID", "profile \"absent\"", "web identity", "container", "metadata service"] {
            assert!(error.message.contains(tried), "{tried}: {}", error.message);
        }
        assert!(error.hint.unwrap().contains("[part.secrets]"));
    }

    /// A metadata service that answers as the instance's does.
    #[tokio::test]
    async fn the_instance_is_asked_by_its_second_protocol() {
        use axum::routing::{get, put};
        let app = axum::Router::new()
            .route("/latest/api/token", put(async || "a-token"))
            .route("/latest/meta-data/iam/security-credentials/", get(async || "a-role"))
            .route(
                "/latest/meta-data/iam/security-credentials/a-role",
                get(async |headers: ::http::HeaderMap| {
                    assert_eq!(headers.get("x-aws-ec2-metadata-token").unwrap(), "a-token");
                    r#"{"Code":"Success","AccessKeyId":"ASIAROLE","SecretAccessKey":"s","Token":"t",
                        "Expiration":"2099-01-01T00:00:00Z"}"#
                }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let pairs = [("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), url)];
        let found = Keys::with(None, Fixed(pairs.into_iter().collect(), None)).get().await.unwrap();
        assert_eq!((found.access_key_id.as_str(), found.session_token.as_deref()), ("ASIAROLE", Some("t")));
    }
}
