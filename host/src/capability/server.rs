//! Servers by their origin (scheme, host, port), in one normal form for manifests, grants and requests.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;
use serde_json::Value;

use super::manifest::config_key;
use super::slots::{config_value, texts};

/// A host: a name in lower case without a dot at its end, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Host {
    Name(String),
    Ip(IpAddr),
}

/// An origin. Two texts that a client would send to the same server are the same `Server`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Server {
    pub(super) tls: bool,
    pub(super) host: Host,
    pub(super) port: u16,
}

impl Server {
    /// The origin of a URL that was parsed already.
    ///
    /// # Errors
    /// Why it is not one that could be granted.
    pub(super) fn of(url: &Url) -> Result<Self, String> {
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(format!("the scheme {other:?} is neither https nor http")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a user name or a password".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        // The parser has turned every odd form of an IPv4 address (decimal, octal, hexadecimal) into the usual one.
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let host = match bare.parse::<IpAddr>() {
            Ok(address) => Host::Ip(address.to_canonical()),
            Err(_) => Host::Name(name(bare)?),
        };
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or("it has no port")?;
        Ok(Self { tls, host, port })
    }

    /// An origin as it stands in a manifest or a grant.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("{text:?} is no origin: {why}");
        let after_scheme = text.split_once("://").map(|(_, rest)| rest).ok_or_else(|| refuse("write https://host"))?;
        if after_scheme.trim_end_matches('/').contains(['/', '?', '#', '\\', '@']) {
            return Err(refuse("it is scheme, host and port alone"));
        }
        if text.contains('*') {
            return Err(refuse("there are no wildcards; name each host"));
        }
        let url = Url::parse(text).map_err(|e| refuse(&e.to_string()))?;
        Self::of(&url).map_err(|e| refuse(&e))
    }

    /// The host as it stands in a URL.
    pub(super) fn host_text(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Ip(IpAddr::V4(address)) => address.to_string(),
            Host::Ip(IpAddr::V6(address)) => format!("[{address}]"),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default) = if self.tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host_text())?;
        if self.port == default { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// A host name in its normal form.
fn name(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('.').unwrap_or(&text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no host name"))
    }
}

/// The `{config.<key>}`s of a manifest's URL: `replace` gives the text for each key, or none if it is not set.
fn expand(
    template: &str,
    mut replace: impl FnMut(&str) -> Result<Option<String>, String>,
) -> Result<Option<String>, String> {
    let bad = || format!("{template:?}: write {{config.<key>}} for a value of [part.config]");
    let (mut text, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (reference, tail) = after.split_once('}').ok_or_else(bad)?;
        let key = config_key(reference).ok_or_else(bad)?;
        text.push_str(before);
        match replace(key)? {
            Some(value) => text.push_str(&value),
            None => return Ok(None),
        }
        rest = tail;
    }
    if rest.contains('}') {
        return Err(bad());
    }
    text.push_str(rest);
    Ok(Some(text))
}

/// Checks the `url` of a manifest's `[[http]]`.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn check_template(template: &str) -> Result<(), String> {
    if config_key(template).is_some() {
        return Ok(());
    }
    match expand(template, |_| Ok(Some("x".to_owned())))? {
        Some(text) => Server::parse(&text).map(drop),
        None => Ok(()),
    }
}

/// Whether it is on this machine.
pub(super) fn local(server: &Server) -> bool {
    match &server.host {
        Host::Ip(address) => address.is_loopback(),
        Host::Name(name) => name == "localhost",
    }
}

/// The servers that a manifest's `url` means with this configuration; none if a key of it is not set.
///
/// # Errors
/// A value of the configuration makes no origin of it.
pub(super) fn resolve_template(template: &str, config: &Value) -> Result<Vec<Server>, String> {
    if let Some(key) = config_key(template) {
        let origin = |text: &String| {
            // A configured endpoint may have a path; only its origin is a right.
            let url = Url::parse(text).map_err(|e| format!("{key} = {text:?} is no URL: {e}"))?;
            Server::of(&url).map_err(|e| format!("{key} = {text:?}: {e}"))
        };
        return config_value(config, key).map(texts).unwrap_or_default().iter().map(origin).collect();
    }
    let text = expand(template, |key| {
        let Some(value) = config_value(config, key) else { return Ok(None) };
        match texts(value).as_slice() {
            // What goes into a host name must not be able to end it.
            [text] if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') => {
                Ok(Some(text.clone()))
            }
            _ => Err(format!("{key} cannot be a part of {template:?}: letters, digits, - and . are allowed")),
        }
    })?;
    text.map(|text| Server::parse(&text)).transpose().map(|server| server.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Server {
        Server::parse(text).unwrap()
    }

    #[test]
    fn one_normal_form() {
        for (text, expected) in [
            ("https://API.Example.COM", "https://api.example.com"),
            ("https://api.example.com.", "https://api.example.com"),
            ("https://api.example.com:443/", "https://api.example.com"),
            ("http://api.example.com:80", "http://api.example.com"),
            ("https://api.example.com:8443", "https://api.example.com:8443"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://2130706433", "http://127.0.0.1"),
            ("http://0177.0.0.1", "http://127.0.0.1"),
            ("http://0x7f.1", "http://127.0.0.1"),
            ("http://127.1", "http://127.0.0.1"),
            ("http://[::ffff:127.0.0.1]:81", "http://127.0.0.1:81"),
            ("http://[0:0::1]", "http://[::1]"),
            ("http://127.0.0.1.", "http://127.0.0.1"),
        ] {
            assert_eq!(server(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn no_origins() {
        for text in [
            "",
            "api.example.com",
            "https://",
            "ftp://a.example",
            "https://*.example",
            "https://a.example/path",
            "https://a.example?x",
            "https://a.example#x",
            "https://user@a.example",
            "https://a.example@evil.example",
            "https://a.example\\@evil.example",
            "https://a.example:0",
            "https://a..example",
            "https://a example",
            "file:///etc/passwd",
            "https://a.example:99999",
        ] {
            assert!(Server::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn templates() {
        let config = serde_json::json!({
            "region": "eu-west-1", "evil": "x@evil.example/", "endpoint": "http://127.0.0.1:5000/base", "none": null,
        });
        let resolve = |t: &str| resolve_template(t, &config);
        assert_eq!(
            resolve("https://ec2.{config.region}.amazonaws.com").unwrap(),
            [server("https://ec2.eu-west-1.amazonaws.com")]
        );
        assert_eq!(resolve("config.endpoint").unwrap(), [server("http://127.0.0.1:5000")]);
        assert!(resolve("config.none").unwrap().is_empty());
        assert!(resolve("https://{config.none}.example").unwrap().is_empty());
        assert!(resolve("https://{config.evil}.example").is_err());
        for good in ["config.endpoint", "https://{config.host}", "https://a.{config.x}.b:444"] {
            check_template(good).unwrap();
        }
        for bad in
            ["endpoint", "https://{host}", "https://{config.}", "https://{config.x", "https://config.x}", "https://*.b"]
        {
            assert!(check_template(bad).is_err(), "{bad}");
        }
    }
}
