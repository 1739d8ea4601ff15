//! How objects open with stock tools: age, zstd, gzip and tar.

use std::io::Read;
use std::path::Path;

use crate::archive::set::{ObjectRecord, ObjectRole};
use crate::archive::{Compression, Layers};
use crate::store::StoredSet;

/// What tar is to keep of the files.
const TAR: &str = "tar --xattrs --xattrs-include='*' --acls -xp";

/// The shell command that opens an object: an archive into the current directory, everything else to stdout. `at` is where
/// the object lies; `identity` opens it, if it is encrypted to recipients.
pub(super) fn command(set: &StoredSet, object: &ObjectRecord, at: &str, identity: Option<&Path>) -> String {
    let Layers { compression, encrypted } = Layers::of(&object.file);
    let at = quoted(at);
    let mut steps = Vec::new();
    // What lies in a bucket has to come here first.
    let bucket = set.store().remote();
    let remote = bucket.is_some();
    if let Some(bucket) = bucket {
        let server = bucket.endpoint.map(|url| format!("--endpoint-url {} ", quoted(&url))).unwrap_or_default();
        steps.push(format!("aws s3 cp {server}--region {} {at} -", quoted(&bucket.region)));
    }
    let from = |command: &str, remote: bool| if remote { command.to_owned() } else { format!("{command} {at}") };
    if encrypted {
        let age = match identity {
            // It asks for the passphrase itself.
            _ if with_passphrase(set, object) => "age -d".to_owned(),
            Some(identity) => format!("age -d -i {}", quoted(&identity.display().to_string())),
            None => "age -d -i key.txt".to_owned(),
        };
        steps.push(from(&age, remote));
    }
    let piped = remote || encrypted;
    if object.role == ObjectRole::Data {
        let flag = if matches!(compression, Compression::Gzip { .. }) { "-z" } else { "--zstd" };
        let file = if piped { "-f -".to_owned() } else { format!("-f {at}") };
        steps.push(format!("{TAR} {flag} {file}"));
    } else {
        let tool = if matches!(compression, Compression::Gzip { .. }) { "gzip -dc" } else { "zstd -dc" };
        steps.push(from(tool, piped));
    }
    steps.join(" | ")
}

/// Whether an object is encrypted with a passphrase: its first lines say so.
fn with_passphrase(set: &StoredSet, object: &ObjectRecord) -> bool {
    let mut head = Vec::new();
    let read = set.object(&object.file).map(|object| object.take(200).read_to_end(&mut head));
    matches!(read, Ok(Ok(_))) && head.windows(10).any(|at| at == b"-> scrypt ")
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-:=+@%,".contains(&b);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain) {
        return text.to_owned();
    }
    let text = if text.starts_with('-') { format!("./{text}") } else { text.to_owned() };
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_stay_words() {
        for (text, word) in [
            ("/backups/a.zst", "/backups/a.zst"),
            ("/a b", "'/a b'"),
            ("", "''"),
            ("$(x)", "'$(x)'"),
            ("it's", r"'it'\''s'"),
            ("-x", "'./-x'"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }
}
