//! What opens encrypted objects.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::{Arc, PoisonError};

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor};

use super::recipients::{Recipients, SCRYPT};
use crate::error::{Error, ErrorKind, Result};

/// The most work that opening with a passphrase may take, as a power of two: the file says how much it is.
const MAX_WORK_FACTOR: u8 = 20;
/// The header of an age file is a few hundred bytes for each recipient.
const MAX_HEADER: usize = 64 << 10;
/// An identity file that is larger is none.
const MAX_IDENTITY_FILE: u64 = 1 << 20;

/// Identities and passphrases. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keys(Arc<Vec<Key>>);

#[derive(Clone)]
enum Key {
    Identity(Arc<age::x25519::Identity>),
    Passphrase(SecretString),
}

impl Keys {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and others.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        Self(Arc::new(self.0.iter().chain(others.0.iter()).cloned().collect()))
    }

    /// A passphrase.
    #[must_use]
    pub fn passphrase(passphrase: &str) -> Self {
        Self(Arc::new(vec![Key::Passphrase(SecretString::from(passphrase.to_owned()))]))
    }

    /// Whether one of them opens what is encrypted to these recipients.
    ///
    /// # Errors
    /// `Internal` if nothing can be encrypted to them.
    pub fn open_what_is_for(&self, recipients: &Recipients) -> Result<bool> {
        let cannot = |e| Error::new(ErrorKind::Internal, "nothing can be encrypted to the recipients").because(e);
        let mut sealed = Vec::new();
        recipients.writer(&mut sealed).and_then(|writer| writer.finish()).map_err(cannot)?;
        match self.reader(sealed.as_slice()) {
            Ok(_) => Ok(true),
            Err(Opening::Locked(_)) => Ok(false),
            Err(Opening::Broken(e)) => Err(cannot(e)),
        }
    }

    /// Reads an identity file as `age-keygen` writes it: `AGE-SECRET-KEY-1…` on lines of their own, and comments. One that
    /// is encrypted with a passphrase (`age -p`) is opened with what `passphrase` gives. `name` names the file in errors.
    ///
    /// # Errors
    /// `Config` if it is no such file, or the passphrase does not open it.
    pub fn identity_file(from: impl Read, name: &str, passphrase: impl FnOnce() -> Result<String>) -> Result<Self> {
        let wrong = |what: String| Error::new(ErrorKind::Config, format!("the identity file {name} {what}"));
        let slurp = |from: &mut dyn Read, what: &str| {
            let mut bytes = Vec::new();
            let read = from.take(MAX_IDENTITY_FILE).read_to_end(&mut bytes);
            read.map_err(|e| wrong(what.to_owned()).because(e)).map(|_| bytes)
        };
        let mut from = from;
        let mut bytes = slurp(&mut from, "cannot be read")?;
        if bytes.starts_with(b"age-encryption.org/") || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") {
            let keys = Self::passphrase(&passphrase()?);
            let armored = age::armor::ArmoredReader::new(bytes.as_slice());
            let mut reader = keys.reader(armored).map_err(|e| match e {
                Opening::Locked(_) => wrong("is not opened by this passphrase".to_owned()),
                Opening::Broken(e) => wrong("is encrypted, and damaged".to_owned()).because(e),
            })?;
            let opened = slurp(&mut reader, "is encrypted, and damaged")?;
            drop(reader);
            bytes = opened;
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is no text".to_owned()))?;
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // What stands there may be a secret that was mistyped: it is not shown.
            let identity = line.parse::<age::x25519::Identity>().map_err(|why| {
                let hint = if line.starts_with("age1") {
                    "this is a recipient, the public half: the identity begins with AGE-SECRET-KEY-1"
                } else {
                    "write the file as age-keygen does: AGE-SECRET-KEY-1… on a line of its own"
                };
                wrong(format!("has no identity on line {}: {why}", number.saturating_add(1))).hint(hint)
            })?;
            keys.push(Key::Identity(Arc::new(identity)));
        }
        if keys.is_empty() {
            return Err(wrong("holds no identity".to_owned()).hint("age-keygen -o FILE makes one"));
        }
        Ok(Self(Arc::new(keys)))
    }

    /// Decrypts `from`.
    pub(super) fn reader<'a>(&self, from: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>, Opening> {
        let mut from = BufReader::with_capacity(256 << 10, from);
        let head = header(&mut from)?;
        if self.is_empty() {
            return Err(Opening::Locked("it is encrypted, and no identity was given".to_owned()));
        }
        let decryptor = Decryptor::new_buffered(Cursor::new(head).chain(from)).map_err(|e| Opening::of(&e))?;
        let alone = decryptor.is_scrypt().then(|| SCRYPT.lock().unwrap_or_else(PoisonError::into_inner));
        let reader = decryptor.decrypt(std::iter::once(self as &dyn age::Identity)).map_err(|e| Opening::of(&e))?;
        drop(alone);
        Ok(Box::new(reader))
    }
}

/// Why an encrypted object could not be opened.
pub(crate) enum Opening {
    /// None of the keys fits.
    Locked(String),
    /// It is no age file, or cannot be read.
    Broken(io::Error),
}

impl Opening {
    fn of(error: &DecryptError) -> Self {
        match error {
            DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
                Self::Locked("none of the identities that were given opens it".to_owned())
            }
            DecryptError::Io(e) => Self::Broken(io::Error::new(e.kind(), e.to_string())),
            other => Self::Broken(io::Error::new(io::ErrorKind::InvalidData, other.to_string())),
        }
    }
}

/// The head of an age file, which is not read without bounds: it may be anybody's.
fn header(from: &mut impl BufRead) -> Result<Vec<u8>, Opening> {
    let bad = |what: &str| Opening::Broken(io::Error::new(io::ErrorKind::InvalidData, what));
    let mut head = Vec::new();
    loop {
        let start = head.len();
        let left = MAX_HEADER.saturating_sub(start) as u64;
        from.by_ref().take(left).read_until(b'\n', &mut head).map_err(Opening::Broken)?;
        if !head.starts_with(b"age-encryption.org/v1\n") || !head.ends_with(b"\n") {
            return Err(bad("it is no age file"));
        }
        if head.get(start..).is_some_and(|line| line.starts_with(b"--- ")) {
            return Ok(head);
        }
    }
}

/// Every key is tried, not only the first that could have fitted.
impl age::Identity for Keys {
    fn unwrap_stanza(
        &self,
        stanza: &age_core::format::Stanza,
    ) -> Option<Result<age_core::format::FileKey, DecryptError>> {
        let mut refused = None;
        for key in self.0.iter() {
            let tried = match key {
                Key::Identity(identity) => age::Identity::unwrap_stanza(&**identity, stanza),
                Key::Passphrase(passphrase) => {
                    let mut identity = age::scrypt::Identity::new(passphrase.clone());
                    identity.set_max_work_factor(MAX_WORK_FACTOR);
                    age::Identity::unwrap_stanza(&identity, stanza)
                }
            };
            match tried {
                Some(Err(e)) => refused = Some(Err(e)),
                Some(Ok(key)) => return Some(Ok(key)),
                None => {}
            }
        }
        refused
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}
