//! Who is let in: a user with a password, a key, or whoever signs as Amazon wants it (Signature Version 4).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::answers::error;
use super::rules::Request;
use super::world::{Auth, Flavor};
use crate::aws::http::Message;

/// The refusal, if so.
pub(super) fn lets_in(auth: &Auth, flavor: Flavor, request: &Request) -> Option<Message> {
    let given = request.header("authorization");
    let wanted = match auth {
        Auth::Anybody => return None,
        Auth::Amazon { key, secret, region } => {
            let why = signed(request, key, secret, region).err()?;
            let body = serde_json::json!({ "message": format!("The request signature does not match: {why}") });
            return Some(Message::response(403, "application/json", &body.to_string()));
        }
        Auth::Basic(user, password) => format!("Basic {}", base64(format!("{user}:{password}").as_bytes())),
        Auth::Key(key) => format!("ApiKey {key}"),
    };
    if given == Some(wanted.as_str()) {
        return None;
    }
    if flavor.is_opensearch() {
        return Some(Message::response(401, "text/plain", "Unauthorized"));
    }
    let what = if given.is_some() { "unable to authenticate user" } else { "missing authentication credentials" };
    Some(error(401, "security_exception", &format!("{what} for REST request [{}]", request.path)))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let all = chunk.iter().chain(&[0, 0]).take(3).fold(0_usize, |all, byte| all << 8 | usize::from(*byte));
        for n in 0..4 {
            let digit = char::from(DIGITS[all >> (18 - 6 * n) & 63]);
            text.push(if n <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

fn encoded(text: &str, keep: &[u8]) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() || keep.contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

/// Whether a request is signed with this key, for `es` in this region.
fn signed(request: &Request, key: &str, secret: &str, region: &str) -> Result<(), String> {
    let authorization = request.header("authorization").ok_or("there is none")?;
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another algorithm")?;
    let fields: BTreeMap<_, _> = rest.split(", ").filter_map(|field| field.split_once('=')).collect();
    let scope = fields
        .get("Credential")
        .and_then(|c| c.strip_prefix(key))
        .and_then(|c| c.strip_prefix('/'))
        .ok_or("another key")?;
    if !scope.ends_with(&format!("/{region}/es/aws4_request")) {
        return Err(format!("it is for {scope}"));
    }
    let hash = hex(&Sha256::digest(&request.bytes));
    if request.header("x-amz-content-sha256") != Some(&hash) {
        return Err("of another body".to_owned());
    }
    let names: Vec<_> = fields.get("SignedHeaders").ok_or("no headers")?.split(';').collect();
    let headers: String =
        names.iter().map(|name| format!("{name}:{}\n", request.header(name).unwrap_or_default().trim())).collect();
    // A path is encoded once more than it is sent; of a query what stands for itself is encoded.
    let path = encoded(&request.raw_path, b"-_.~/");
    let mut pairs: Vec<_> =
        request.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| encoded(pair, b"-_.~%=")).collect();
    pairs.sort_unstable();
    let canonical = format!("{}\n{path}\n{}\n{headers}\n{}\n{hash}", request.method, pairs.join("&"), names.join(";"));
    let date = request.header("x-amz-date").ok_or("no date")?;
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    if fields.get("Signature") == Some(&hex(&hmac(&key, text.as_bytes())).as_str()) {
        Ok(())
    } else {
        Err("the signature is another".to_owned())
    }
}
