//! A bucket as a place for sets, on any server that speaks S3.
//!
//! There are no directories: a set is there as long as anything below its prefix is. What a directory does by names and
//! locks is done by conditional writes (`If-None-Match: *` for what must not exist, `If-Match` for the lease); a server
//! that ignores conditions is found out by the probe. Each request carries the SHA-256 of its body within its signature,
//! and its MD5, and the server compares both.

mod backend;
mod client;
mod failure;
mod place;
mod read;
mod shared;
mod upload;
mod xml;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use reqwest::Certificate;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::CancellationToken;

pub(super) use self::place::{check_location, is_location};

use self::client::{Answer, Client, Request};
use self::failure::Failure;
use self::place::Place;
use self::shared::Shared;
use super::backend::{Entry, EntryKind};
use crate::capability::{Keys, Secret, SecretSource, aws_secrets, choose_tls};
use crate::config::{Encryption, StoreConfig};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// A request on which nothing moves for so long has failed, if the configuration says nothing else.
const STALL: Duration = Duration::from_secs(60);
/// A failed request is repeated for so long, if the configuration says nothing else.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a lease holds that was given back: an object that is replaced can be competed for, one that is deleted not.
const RELEASED: &[u8] = b"{}\n";
/// A lease is not waited for: whoever renews it tries again soon.
const CLAIM_PATIENCE: Duration = Duration::from_secs(4);
/// Larger is no lease.
const MAX_CLAIM: u64 = 64 << 10;

/// The keys of a store, as they were read.
#[derive(Default)]
pub(super) struct Secrets {
    access_key: Option<Secret>,
    secret_key: Option<Secret>,
    session_token: Option<Secret>,
}

impl Secrets {
    /// # Errors
    /// `Config` if one cannot be had.
    pub(super) async fn resolve(config: &StoreConfig) -> Result<Self> {
        async fn one(source: Option<&SecretSource>, name: &str) -> Result<Option<Secret>> {
            match source {
                Some(source) => Ok(Some(source.resolve(name).await?.secret)),
                None => Ok(None),
            }
        }
        Ok(Self {
            access_key: one(config.access_key.as_ref(), "store.access-key").await?,
            secret_key: one(config.secret_key.as_ref(), "store.secret-key").await?,
            session_token: one(config.session_token.as_ref(), "store.session-token").await?,
        })
    }
}

/// A bucket, or what is below a prefix of it.
#[derive(Clone)]
pub(super) struct S3 {
    client: Arc<Client>,
    /// With each object: how the server keeps it.
    keeping: Arc<Vec<(&'static str, String)>>,
    /// With each object, but not with the small files beside them, which are read all the time.
    class: Option<String>,
    location: Arc<str>,
    cancel: CancellationToken,
    handle: Handle,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("place", &self.client.place).finish_non_exhaustive()
    }
}

impl S3 {
    /// Opens it, without asking the server anything.
    ///
    /// # Errors
    /// `Config` for an endpoint, a region or certificates that cannot be; `Internal` outside of a tokio runtime.
    pub(super) fn open(config: &StoreConfig, secrets: Secrets) -> Result<Self> {
        let handle =
            Handle::try_current().or_error(ErrorKind::Internal, || "a store was opened outside of the runtime")?;
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let shared = Shared::read(variable);
        let endpoint = config
            .endpoint
            .clone()
            .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .or_else(|| shared.get("endpoint_url"));
        let region = config
            .region
            .clone()
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .or_else(|| shared.get("region"))
            // What servers other than Amazon's have, if they have none.
            .or_else(|| endpoint.is_some().then(|| "us-east-1".to_owned()))
            .ok_or_else(|| {
                Error::new(ErrorKind::Config, format!("the store {} has no region", config.to)).hint(
                    "write region = \"eu-central-1\" in its [[store]], set AWS_REGION, or name it in ~/.aws/config",
                )
            })?;
        let place = Place::new(&config.to, endpoint.as_deref(), &region, config.path_style)?;
        let location = match &place.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", config.to),
            None => config.to.clone(),
        };
        let keys = Keys::new(|name| match name {
            aws_secrets::ACCESS_KEY_ID => secrets.access_key.clone(),
            aws_secrets::SECRET_ACCESS_KEY => secrets.secret_key.clone(),
            _ => secrets.session_token.clone(),
        });
        let mut keeping = Vec::new();
        match config.encryption {
            Some(Encryption::Aes256) => keeping.push(("x-amz-server-side-encryption", "AES256".to_owned())),
            Some(Encryption::AwsKms) => keeping.push(("x-amz-server-side-encryption", "aws:kms".to_owned())),
            None => {}
        }
        keeping.extend(config.kms_key.clone().map(|key| ("x-amz-server-side-encryption-aws-kms-key-id", key)));
        let client = Client {
            http: http(config, &place)?,
            place,
            region,
            keys,
            stall: stall(config),
            patience: config.retry_for.map_or(PATIENCE, |time| time.0),
            unconditional: AtomicBool::new(false),
        };
        Ok(Self {
            client: Arc::new(client),
            keeping: Arc::new(keeping),
            class: config.storage_class.clone(),
            location: location.into(),
            cancel: CancellationToken::new(),
            handle,
        })
    }

    pub(super) fn location(&self) -> String {
        self.location.to_string()
    }

    /// Runs something to its end. On a thread that drives other tasks, those move elsewhere first.
    fn wait<F: Future>(&self, future: F) -> F::Output {
        match self.handle.runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(|| self.handle.block_on(future)),
            _ => self.handle.block_on(future),
        }
    }

    async fn send(&self, request: Request<'_>) -> Result<Answer, Failure> {
        self.client.send(&request, self.client.patience, &self.cancel).await
    }

    /// The size and the tag of an object; none if there is none.
    async fn head(&self, key: &str) -> Result<Option<(u64, String)>, Failure> {
        let request = Request::new(Method::HEAD, Some(key));
        let answer = match self.send(request).await {
            Err(failure) if failure.is(StatusCode::NOT_FOUND) => return Ok(None),
            other => other?,
        };
        let size = answer.header("content-length").and_then(|text| text.parse().ok());
        let size = size.ok_or_else(|| Failure::nonsense("HEAD"))?;
        Ok(Some((size, answer.header("etag").unwrap_or_default())))
    }

    /// The bytes and the tag of a small object; none if there is none.
    async fn small(&self, key: &str, patience: Duration) -> Result<Option<(Vec<u8>, String)>, Failure> {
        let request = Request::new(Method::GET, Some(key));
        match self.client.send(&request, patience, &self.cancel).await {
            Err(failure) if failure.is(StatusCode::NOT_FOUND) && failure.code != "NoSuchBucket" => Ok(None),
            Err(failure) => Err(failure),
            Ok(answer) => Ok(Some((answer.body.to_vec(), answer.header("etag").unwrap_or_default()))),
        }
    }

    /// Writes a small object under a condition: false if it does not hold.
    async fn write(
        &self,
        key: &str,
        bytes: &[u8],
        condition: (&'static str, &str),
        patience: Duration,
    ) -> Result<bool, Failure> {
        let mut request = Request::new(Method::PUT, Some(key)).body(bytes.to_vec());
        request.headers.extend(self.keeping.iter().cloned());
        let plain = request.clone();
        if !self.client.unconditional.load(Ordering::Relaxed) {
            request = request.header(condition.0, condition.1);
        }
        match self.client.send(&request, patience, &self.cancel).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.unsupported() => {
                self.client.unconditional.store(true, Ordering::Relaxed);
                self.client.send(&plain, patience, &self.cancel).await.map(|_| true)
            }
            // With If-Match, what is not there.
            Err(failure) if failure.condition() || (condition.0 == "if-match" && failure.is(StatusCode::NOT_FOUND)) => {
                // It may be ours, if the answer to an earlier attempt was lost.
                let ours = failure.repeated && self.small(key, patience).await?.is_some_and(|(held, _)| held == bytes);
                Ok(ours)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.send(Request::new(Method::DELETE, Some(key))).await {
            Err(failure) if failure.is(StatusCode::NOT_FOUND) && failure.code != "NoSuchBucket" => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// What is directly below a prefix.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut request = Request::new(Method::GET, None)
                .query("list-type", "2")
                .query("prefix", prefix)
                .query("delimiter", "/")
                .query("encoding-type", "url")
                .answered("ListBucketResult");
            if let Some(token) = &next {
                request = request.query("continuation-token", token);
            }
            let answer = self.send(request).await?;
            let page = xml::listing(&answer.text()).ok_or_else(|| Failure::nonsense("the listing"))?;
            let named = |key: &str| key.strip_prefix(prefix).filter(|name| !name.is_empty()).map(str::to_owned);
            entries.extend(
                page.objects
                    .iter()
                    .filter_map(|(key, size)| Some(Entry { name: named(key)?, kind: EntryKind::File(*size) })),
            );
            entries.extend(
                page.prefixes
                    .iter()
                    .filter_map(|key| Some(Entry { name: named(key.strip_suffix('/')?)?, kind: EntryKind::Directory })),
            );
            match page.next {
                Some(token) if next.as_ref() != Some(&token) => next = Some(token),
                Some(_) => return Err(Failure::nonsense("the listing")),
                None => break,
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The uploads below a prefix that were begun and neither completed nor aborted.
    async fn uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, Failure> {
        let mut all = Vec::new();
        let mut next: Option<(String, String)> = None;
        loop {
            let mut request = Request::new(Method::GET, None)
                .query("uploads", "")
                .query("prefix", prefix)
                .answered("ListMultipartUploadsResult");
            if let Some((key, id)) = &next {
                request = request.query("key-marker", key).query("upload-id-marker", id);
            }
            let answer = self.send(request).await?;
            let page = xml::uploads(&answer.text()).ok_or_else(|| Failure::nonsense("the listing of uploads"))?;
            // Not every server heeds the prefix.
            all.extend(page.uploads.into_iter().filter(|(key, _)| key.starts_with(prefix)));
            match page.next {
                Some(markers) if next.as_ref() != Some(&markers) => next = Some(markers),
                Some(_) => return Err(Failure::nonsense("the listing of uploads")),
                None => return Ok(all),
            }
        }
    }

    /// Aborts them.
    async fn forget(&self, prefix: &str) -> Result<(), Failure> {
        let uploads = match self.uploads(prefix).await {
            // The check has said so.
            Err(failure) if failure.unsupported() || failure.is(StatusCode::FORBIDDEN) => return Ok(()),
            other => other?,
        };
        for (key, id) in uploads {
            self.abort(&key, &id).await?;
        }
        Ok(())
    }

    async fn abort(&self, key: &str, id: &str) -> Result<(), Failure> {
        match self.send(Request::new(Method::DELETE, Some(key)).query("uploadId", id)).await {
            Err(failure) if failure.is(StatusCode::NOT_FOUND) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Tries what everything here relies on, with an object that is removed again.
    async fn try_out(&self, key: &str) -> Result<Vec<String>, Failure> {
        let mut doubts = Vec::new();
        let put = |condition: Option<(&'static str, &str)>, content: &'static str| {
            let mut request = Request::new(Method::PUT, Some(key)).body(content);
            request.headers.extend(self.keeping.iter().cloned());
            match condition {
                Some((name, value)) => request.header(name, value),
                None => request,
            }
        };
        self.send(put(None, "check\n")).await?;
        for (condition, value, lost) in [
            (
                "if-none-match",
                "*",
                "nothing but this bkhost's own look before each write keeps an object from being replaced",
            ),
            ("if-match", "\"0\"", "two hosts that begin a run at the same moment are not kept apart"),
        ] {
            let text = match self.send(put(Some((condition, value)), "check again\n")).await {
                Err(failure) if failure.condition() => continue,
                Err(failure) if failure.unsupported() => "refuses",
                Err(failure) => return Err(failure),
                Ok(_) => "ignores",
            };
            doubts.push(format!("the server {text} conditional writes ({condition}): {lost}"));
        }
        match self.uploads(&self.client.place.key(".bkhost-check-")).await {
            Ok(_) => {}
            Err(failure) if failure.unsupported() || failure.is(StatusCode::FORBIDDEN) => doubts.push(
                "uploads that were begun cannot be listed: what a killed run has sent of large objects stays until the \
                 bucket's own rule removes it (AbortIncompleteMultipartUpload)"
                    .to_owned(),
            ),
            Err(failure) => return Err(failure),
        }
        if !self.client.place.tls() && !self.client.place.is_local() {
            doubts.push("the server is not asked by https: what is stored goes there unencrypted".to_owned());
        }
        Ok(doubts)
    }
}

fn stall(config: &StoreConfig) -> Duration {
    config.timeout.map_or(STALL, |time| time.0)
}

/// The connection's rules, as for everything that bkhost asks: no redirects, no proxy from the environment.
fn http(config: &StoreConfig, place: &Place) -> Result<reqwest::Client> {
    choose_tls();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("bkhost/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(stall(config).min(Duration::from_secs(10)))
        .pool_idle_timeout(Duration::from_secs(5));
    if !place.tls() {
        builder = builder.tls_certs_only([]);
    } else if let Some(file) = &config.ca_file {
        let cannot = |what: &str| format!("store.ca-file {} {what}", file.display());
        let pem = std::fs::read(file).or_error(ErrorKind::Config, || cannot("cannot be read"))?;
        let certificates = Certificate::from_pem_bundle(&pem).or_error(ErrorKind::Config, || cannot("is not PEM"))?;
        if certificates.is_empty() {
            return Err(Error::new(ErrorKind::Config, cannot("holds no certificate"))
                .hint("it has to hold -----BEGIN CERTIFICATE----- blocks"));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .or_error(ErrorKind::Config, || "cannot set up HTTPS")
        .map_err(|e| e.hint("install the system's CA certificates (Debian: ca-certificates)"))
}
