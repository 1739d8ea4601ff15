//! Secrets: where they come from, and a type that does not print them.

use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mask;
use super::operator::OperatorCommand;
use crate::{Error, ErrorKind, Result};

/// A secret's value. Neither `Debug` nor `Display` shows it.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret of this value.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The value itself. For a child's environment, or a request that the host signs; nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    /// An environment variable of bkhost.
    Env(String),
    /// A file; one newline at its end is cut off.
    File(PathBuf),
    /// The stdout of a program (absolute path, then arguments; no shell); one newline at its end is cut off.
    Command(Vec<String>),
    /// A systemd credential (`LoadCredential=` of the unit).
    Credential(String),
}

/// A secret as it was read, and what the operator should know about its source.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The secret.
    pub secret: Secret,
    /// For example that others can read its file.
    pub warnings: Vec<String>,
}

/// How long a secret's command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest secret, in bytes.
const MAX_LENGTH: usize = 64 << 10;

impl SecretSource {
    /// Read the secret. `name` is how the configuration calls it, for messages.
    ///
    /// A command inherits our environment (it is the operator's own, and a password manager needs its settings), gets an
    /// empty stdin, and has 30 seconds.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: it cannot be read, it is empty, or it is no text.
    pub async fn resolve(&self, name: &str) -> Result<Resolved> {
        let fail = |why: String, hint: String| {
            Error::new(ErrorKind::Config, format!("the secret {name:?} cannot be read: {why}")).hint(hint)
        };
        let mut warnings = Vec::new();
        let (bytes, place) = match self {
            Self::Env(variable) => {
                let value = std::env::var_os(variable).ok_or_else(|| {
                    let why = format!("the environment variable {variable} is not set");
                    fail(why, format!("set {variable} for bkhost, or use {{ file = \"/path\" }}"))
                })?;
                (value.into_vec(), format!("the environment variable {variable}"))
            }
            Self::File(path) => {
                (read(path, name, &mut warnings).map_err(|why| fail(why, file_hint(path)))?, path.display().to_string())
            }
            Self::Credential(credential) => {
                let hint = || format!("add LoadCredential={credential}:/path to the systemd unit");
                if credential.is_empty() || credential.contains('/') || credential.starts_with('.') {
                    return Err(fail(format!("{credential:?} is no credential name"), hint()));
                }
                let dir = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    fail(format!("bkhost was not started by systemd with the credential {credential:?}"), hint())
                })?;
                let path = PathBuf::from(dir).join(credential);
                (read(&path, name, &mut Vec::new()).map_err(|why| fail(why, hint()))?, path.display().to_string())
            }
            Self::Command(argv) => {
                let hint =
                    "the command is an absolute path and its arguments, such as [\"/usr/bin/pass\", \"show\", \"db\"]";
                let command =
                    OperatorCommand { argv, env: &[], stdin: &[], timeout: COMMAND_TIMEOUT, max_output: MAX_LENGTH };
                let bytes = command.run().await.map_err(|why| fail(why, hint.into()))?;
                (bytes, format!("the output of {}", argv.first().map_or("", String::as_str)))
            }
        };
        let text =
            String::from_utf8(bytes).map_err(|_| fail(format!("{place} is not UTF-8"), "store it as text".into()))?;
        let text = match self {
            Self::Env(_) => text.as_str(),
            _ => text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)),
        };
        if text.is_empty() {
            return Err(fail(
                format!("{place} is empty"),
                "an empty secret is refused; leave it out if none is needed".into(),
            ));
        }
        if text.contains('\0') {
            return Err(fail(format!("{place} holds a NUL"), "store it as text".into()));
        }
        if text.trim().len() < mask::SHORTEST {
            warnings.push(format!("the secret {name:?} is too short to be masked in what commands write"));
        }
        Ok(Resolved { secret: Secret::new(text), warnings })
    }
}

fn file_hint(path: &Path) -> String {
    format!("put it into {} and make that readable for bkhost alone (chmod 600)", path.display())
}

fn read(path: &Path, name: &str, warnings: &mut Vec<String>) -> Result<Vec<u8>, String> {
    let tell = |e: std::io::Error| format!("{}: {e}", path.display());
    // Not blocking: a FIFO without a writer must not hang us.
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let flags = i32::try_from(flags).map_err(|e| e.to_string())?;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(tell)?;
    let metadata = file.metadata().map_err(tell)?;
    if !metadata.is_file() {
        return Err(format!("{} is no regular file", path.display()));
    }
    if metadata.mode() & 0o007 != 0 {
        let mode = metadata.mode() & 0o777;
        warnings
            .push(format!("others can read the secret {name:?}: {} has mode {mode:o}; chmod 600 it", path.display()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_LENGTH as u64 + 1).read_to_end(&mut bytes).map_err(tell)?;
    if bytes.len() > MAX_LENGTH {
        return Err(format!("{} is longer than 64KiB", path.display()));
    }
    Ok(bytes)
}
