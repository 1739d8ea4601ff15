//! Where a bucket is, and how requests to it are addressed.

use std::fmt::Write;

use reqwest::Url;

use crate::error::{Error, ErrorKind, Result};

const SCHEME: &str = "s3://";

/// Whether a store's location is a bucket.
pub(in crate::store) fn is_location(location: &str) -> bool {
    location.starts_with(SCHEME)
}

/// Whether the location of a bucket can be one.
///
/// # Errors
/// What is wrong, and a hint.
pub(in crate::store) fn check_location(location: &str) -> std::result::Result<(), (String, String)> {
    let wrong = |what: &str| {
        Err((
            format!("the store `{}` {what}", location.escape_debug()),
            "write \"s3://bucket\" or \"s3://bucket/prefix\"".to_owned(),
        ))
    };
    let (bucket, prefix) = split(location);
    if bucket.is_empty() {
        return wrong("names no bucket");
    }
    if bucket.len() > 255
        || !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        || bucket.starts_with('.')
    {
        return wrong("names a bucket of letters, digits, dots and dashes only");
    }
    if !prefix.is_empty()
        && prefix.split('/').any(|name| matches!(name, "" | "." | "..") || name.chars().any(char::is_control))
    {
        return wrong("has a prefix with an empty name, `.`, `..` or a control character in it");
    }
    if prefix.contains(['?', '#']) {
        return wrong("has a `?` or a `#` in its prefix: endpoint, region and keys are keys of the [[store]]");
    }
    Ok(())
}

fn split(location: &str) -> (&str, &str) {
    let rest = location.strip_prefix(SCHEME).unwrap_or(location);
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    (bucket, prefix.trim_end_matches('/'))
}

/// A bucket on a server.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) bucket: String,
    /// Before every key, with a `/` at its end; empty for the whole bucket.
    pub(super) prefix: String,
    /// Scheme, host and perhaps a path, without a `/` at its end. With the bucket's name in its host if that is where it
    /// belongs.
    base: String,
    /// Whether the bucket stands in the path.
    in_path: bool,
    /// The server, if it is not Amazon's.
    pub(super) endpoint: Option<String>,
}

impl Place {
    /// The place of a location that was checked. Without an endpoint it is Amazon's of the region.
    ///
    /// # Errors
    /// `Config` for an endpoint that is none.
    pub(super) fn new(location: &str, endpoint: Option<&str>, region: &str, path_style: Option<bool>) -> Result<Self> {
        let (bucket, prefix) = split(location);
        let endpoint = endpoint.map(|text| text.trim_end_matches('/').to_owned());
        // A dot in a bucket's name does not fit into a certificate for its host. Other servers seldom have names for buckets.
        let in_path = path_style.unwrap_or(endpoint.is_some() || bucket.contains('.'));
        let server = endpoint.clone().unwrap_or_else(|| {
            let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            format!("https://s3.{region}.{suffix}")
        });
        let base = if in_path { server.clone() } else { server.replacen("://", &format!("://{bucket}."), 1) };
        let url = Url::parse(&base).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.host().is_some()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        });
        if url.is_none() {
            return Err(Error::new(ErrorKind::Config, "the endpoint of a store is not the address of a server")
                .hint("write endpoint = \"https://minio.example.org:9000\", without keys in it"));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { bucket: bucket.to_owned(), prefix, base, in_path, endpoint })
    }

    /// The server, for messages.
    pub(super) fn server(&self) -> &str {
        &self.base
    }

    /// Whether what goes there is encrypted on its way.
    pub(super) fn tls(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// Whether it is this machine.
    pub(super) fn is_local(&self) -> bool {
        let host = Url::parse(&self.base).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        address.map_or(host == "localhost", |address| address.is_loopback())
    }

    /// The key of a path.
    pub(super) fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The URL of an object, or (none) of the bucket, with a query.
    pub(super) fn url(&self, key: Option<&str>, query: &[(&str, &str)]) -> String {
        let mut url = self.base.clone();
        if self.in_path {
            url.push('/');
            encode(&self.bucket, false, &mut url);
        }
        url.push('/');
        if let Some(key) = key {
            encode(key, true, &mut url);
        }
        for (n, (name, value)) in query.iter().enumerate() {
            url.push(if n == 0 { '?' } else { '&' });
            encode(name, false, &mut url);
            url.push('=');
            encode(value, false, &mut url);
        }
        url
    }
}

/// As signatures want it: everything but the unreserved characters.
fn encode(text: &str, path: bool, url: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => url.push(char::from(byte)),
            b'/' if path => url.push('/'),
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for good in ["s3://b", "s3://my-bucket/a/b", "s3://bucket/", "s3://b.c_d/with space"] {
            assert_eq!(check_location(good), Ok(()), "{good}");
        }
        for bad in [
            "s3://",
            "s3:///x",
            "s3://a b",
            "s3://b/../c",
            "s3://b//c",
            "s3://b/./c",
            "s3://b/c?region=x",
            "s3://k:s@b",
            "s3://.b",
            "s3://b/c\n",
        ] {
            assert!(check_location(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls() {
        let amazon = Place::new("s3://b/p/q/", None, "eu-central-1", None).unwrap();
        assert_eq!(
            amazon.url(Some(&amazon.key("i/x ä+.zst")), &[]),
            "https://b.s3.eu-central-1.amazonaws.com/p/q/i/x%20%C3%A4%2B.zst"
        );
        let dotted = Place::new("s3://b.c", None, "cn-north-1", None).unwrap();
        assert_eq!(
            dotted.url(None, &[("list-type", "2"), ("prefix", "a/b")]),
            "https://s3.cn-north-1.amazonaws.com.cn/b.c/?list-type=2&prefix=a%2Fb"
        );
        let other = Place::new("s3://b/p", Some("http://127.0.0.1:9000/"), "x", None).unwrap();
        assert_eq!(other.url(Some("p/f"), &[("uploads", "")]), "http://127.0.0.1:9000/b/p/f?uploads=");
        assert!(other.is_local() && !other.tls() && !amazon.is_local() && amazon.tls());
        let named = Place::new("s3://b/p", Some("https://s3.example.org"), "x", Some(false)).unwrap();
        assert_eq!(named.url(Some("p/f"), &[]), "https://b.s3.example.org/p/f");
        for bad in ["minio:9000", "ftp://x", "https://", "https://k:s@host", "https://host?x=y"] {
            assert!(Place::new("s3://b", Some(bad), "x", None).is_err(), "{bad}");
        }
    }
}
