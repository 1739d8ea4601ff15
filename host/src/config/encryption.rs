//! `[encryption]`: to whom what is stored is encrypted.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checker;
use super::document::Step;
use crate::archive::Recipients;
use crate::capability::SecretSource;
use crate::error::Result;

/// `[encryption]`: to whom what is stored is encrypted, as age files. Either to recipients or with a passphrase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AgeEncryption {
    /// Public keys, `age1…`: whoever holds the identity of one of them can restore. This machine needs none of those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// A file with more of them, one a line: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients_file: Option<PathBuf>,
    /// A passphrase instead: where it is, never itself. Then this machine can read what it stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<SecretSource>,
    /// An identity (the text of an age identity file: where it is, never itself). With one, each run reads the content back
    /// and compares it file by file, not only the stored bytes. Who takes over this machine then has the key, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<SecretSource>,
}

impl Checker<'_> {
    pub(super) fn encryption(&self, encryption: &AgeEncryption) -> Result<()> {
        let table = [Step::Key("encryption")];
        let at = |key| [Step::Key("encryption"), Step::Key(key)];
        let to_keys = !encryption.recipients.is_empty() || encryption.recipients_file.is_some();
        match (to_keys, &encryption.passphrase) {
            (false, None) => {
                let error = self.error(&table, "[encryption] says neither to whom nor with which passphrase");
                return Err(error.hint(
                    "recipients = [\"age1…\"], the public key that age-keygen prints; an identity alone is for restoring: \
                     --identity FILE",
                ));
            }
            (true, Some(_)) => {
                let error = self.error(&at("passphrase"), "a passphrase cannot be mixed with recipients");
                return Err(error.hint("keep one: age files are encrypted either with a passphrase or to recipients"));
            }
            _ => {}
        }
        if encryption.passphrase.is_some() && encryption.identity.is_some() {
            return Err(self
                .error(&at("identity"), "`identity` does nothing beside a passphrase, which opens what it encrypts")
                .hint("take it out"));
        }
        for (index, recipient) in encryption.recipients.iter().enumerate() {
            if let Err(e) = Recipients::keys([recipient]) {
                let path = [Step::Key("encryption"), Step::Key("recipients"), Step::Index(index)];
                // The line is not shown: what was pasted may be the secret half.
                let error = self.hidden(&path, e.message());
                return Err(match e.hint_text() {
                    Some(hint) => error.hint(hint),
                    None => error,
                });
            }
        }
        match &encryption.recipients_file {
            Some(file) => self.absolute(&at("recipients-file"), file),
            None => Ok(()),
        }
    }
}
