//! `[encryption]` as keys: to whom is encrypted, and what opens.

use std::path::Path;

use crate::archive::{Keys, Recipients};
use crate::config::{AgeEncryption, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, Reporter};

/// A file with more recipients than fit into this is none.
const MAX_FILE: u64 = 1 << 20;

/// What `[encryption]` comes to.
#[derive(Debug, Clone, Default)]
pub struct Crypto {
    /// To whom is encrypted; none: nothing is.
    pub recipients: Option<Recipients>,
    /// What opens, as far as this machine has it.
    pub keys: Keys,
}

impl Crypto {
    /// Read the files and secrets that the configuration names.
    ///
    /// # Errors
    /// `Config` if one cannot be read, or is not what it should be.
    pub async fn resolve(config: &Config, reporter: &Reporter) -> Result<Self> {
        let Some(encryption) = &config.encryption else { return Ok(Self::default()) };
        if let Some(source) = &encryption.passphrase {
            let resolved = source.resolve("passphrase").await.map_err(|e| e.within("[encryption]"))?;
            tell(reporter, resolved.warnings);
            let passphrase = resolved.secret.reveal();
            return Ok(Self {
                recipients: Some(Recipients::passphrase(passphrase)?),
                keys: Keys::passphrase(passphrase),
            });
        }
        let keys = match &encryption.identity {
            None => Keys::default(),
            Some(source) => {
                let resolved = source.resolve("identity").await.map_err(|e| e.within("[encryption]"))?;
                tell(reporter, resolved.warnings);
                Keys::identity_file(resolved.secret.reveal().as_bytes(), "of [encryption]", || {
                    Err(Error::new(ErrorKind::Config, "the identity of [encryption] is itself encrypted")
                        .hint("nobody is there to type its passphrase: store it as it is, or do without one"))
                })?
            }
        };
        Ok(Self { recipients: Some(recipients(encryption)?), keys })
    }
}

fn tell(reporter: &Reporter, warnings: Vec<String>) {
    warnings.into_iter().for_each(|warning| reporter.message(Level::Warning, None, warning));
}

fn recipients(encryption: &AgeEncryption) -> Result<Recipients> {
    let mut all = encryption.recipients.clone();
    if let Some(file) = &encryption.recipients_file {
        all.extend(read(file)?);
    }
    Recipients::keys(all)
}

/// One recipient a line, blank lines, and comments.
fn read(file: &Path) -> Result<Vec<String>> {
    let wrong = |what: String| Error::new(ErrorKind::Config, format!("{}{what}", file.display()));
    let text = std::fs::File::open(file).and_then(|open| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(open, MAX_FILE), &mut text)?;
        Ok(text)
    });
    let text = text.map_err(|e| {
        wrong(": the recipients cannot be read".to_owned())
            .because(e)
            .hint("`recipients-file` of [encryption] names a file with one age1… a line")
    })?;
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        Recipients::keys([line]).map_err(|e| {
            let error = wrong(format!(":{}: {}", number.saturating_add(1), e.message()));
            match e.hint_text() {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        all.push(line.to_owned());
    }
    if all.is_empty() {
        return Err(wrong(": there is no recipient in it".to_owned()).hint("write one age1… a line"));
    }
    Ok(all)
}
