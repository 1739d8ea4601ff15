//! To whom objects are encrypted.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use age::Encryptor;
use age::secrecy::SecretString;
use age::stream::StreamWriter;

use crate::error::{Error, ErrorKind, Result};

/// How much work a guess of a passphrase takes, as a power of two. 128 MiB and about half a second: more would not fit
/// into what bkhost may use, and would be spent again for each object.
const WORK_FACTOR: u8 = 17;

/// What scrypt takes is taken once at a time, whatever is written or read side by side.
pub(super) static SCRYPT: Mutex<()> = Mutex::new(());

/// Those who can read what is written. Cheap to clone.
#[derive(Clone)]
pub struct Recipients(Arc<To>);

enum To {
    Keys(Vec<age::x25519::Recipient>),
    Passphrase(SecretString),
}

impl Recipients {
    /// The holders of the identities of these public keys, each `age1…`. Any one of them can read.
    ///
    /// # Errors
    /// `Config` for what is no such key, and for none.
    pub fn keys<T: AsRef<str>>(keys: impl IntoIterator<Item = T>) -> Result<Self> {
        let keys = keys.into_iter().map(|key| recipient(key.as_ref())).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(Error::new(ErrorKind::Config, "there is no recipient to encrypt to"));
        }
        Ok(Self(Arc::new(To::Keys(keys))))
    }

    /// Whoever knows this passphrase.
    ///
    /// # Errors
    /// `Config` if it is empty.
    pub fn passphrase(passphrase: &str) -> Result<Self> {
        if passphrase.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the passphrase to encrypt with is empty"));
        }
        Ok(Self(Arc::new(To::Passphrase(SecretString::from(passphrase.to_owned())))))
    }

    /// Whether they are public keys, and no passphrase.
    #[must_use]
    pub fn are_keys(&self) -> bool {
        matches!(&*self.0, To::Keys(_))
    }

    /// Encrypts what is written to it. Its end has to be written by `finish`.
    pub(super) fn writer<W: Write>(&self, to: W) -> io::Result<StreamWriter<W>> {
        let encryptor = match &*self.0 {
            To::Keys(keys) => Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient)),
            To::Passphrase(passphrase) => {
                let _alone = SCRYPT.lock().unwrap_or_else(PoisonError::into_inner);
                let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK_FACTOR);
                Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            }
        };
        encryptor.map_err(|e| io::Error::other(format!("cannot encrypt: {e}")))?.wrap_output(to)
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            To::Keys(keys) => f.debug_list().entries(keys.iter().map(ToString::to_string)).finish(),
            To::Passphrase(_) => f.write_str("Passphrase(***)"),
        }
    }
}

/// Reads a public key.
pub(super) fn recipient(text: &str) -> Result<age::x25519::Recipient> {
    if text.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("AGE-SECRET-KEY-")) {
        let message = "this is an age identity, the secret half of a key";
        return Err(Error::new(ErrorKind::Config, message).hint(
            "write the public half, age1…: `age-keygen -y FILE` prints it; and keep the identity off this machine",
        ));
    }
    text.parse().map_err(|why| {
        Error::new(ErrorKind::Config, format!("`{}` is no age recipient: {why}", text.escape_debug()))
            .hint("a recipient is the public key that age-keygen prints: age1… and 58 more characters")
    })
}
