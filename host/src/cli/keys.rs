//! What opens encrypted sets: from flags, else from the configuration.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::args::KeyArgs;
use super::context::Context;
use crate::archive::Keys;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::run::Crypto;

/// A passphrase that is longer is none.
const MAX_PASSPHRASE: u64 = 64 << 10;

impl Context {
    /// The keys that the flags name, or those of the configuration if they name none.
    pub(super) async fn keys(&self, args: &KeyArgs, config: Option<&Config>) -> Result<Keys> {
        let mut keys = Keys::default();
        for path in &args.identity {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|e| {
                Error::new(ErrorKind::Config, format!("the identity file {name} cannot be read")).because(e)
            })?;
            let passphrase = || match &args.passphrase_file {
                Some(file) => read(file),
                None => ask(&format!("Passphrase of {name}: ")),
            };
            keys = keys.and(&Keys::identity_file(file, &name, passphrase)?);
        }
        if let Some(file) = &args.passphrase_file {
            keys = keys.and(&Keys::passphrase(&read(file)?));
        }
        if args.ask_passphrase {
            keys = keys.and(&Keys::passphrase(&ask("Passphrase of the set: ")?));
        }
        match config {
            Some(config) if keys.is_empty() => Ok(Crypto::resolve(config, &self.reporter()).await?.keys),
            _ => Ok(keys),
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let cannot = || format!("the passphrase file {} cannot be read", path.display());
    let mut text = String::new();
    let file = File::open(path).or_error(ErrorKind::Config, cannot)?;
    file.take(MAX_PASSPHRASE).read_to_string(&mut text).or_error(ErrorKind::Config, cannot)?;
    line(&text, &format!("the passphrase file {}", path.display()))
}

/// One newline at the end does not belong to it.
fn line(text: &str, what: &str) -> Result<String> {
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(Error::new(ErrorKind::Config, format!("{what} is empty")));
    }
    Ok(text.to_owned())
}

/// Asks on the terminal, whatever stdin and stdout are, without showing what is typed.
fn ask(prompt: &str) -> Result<String> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").map_err(|e| {
        Error::new(ErrorKind::Config, "there is no terminal to ask for a passphrase on")
            .hint("give it with --passphrase-file FILE")
            .because(e)
    })?;
    let failed = || "cannot read from the terminal";
    let before = tcgetattr(terminal.as_fd()).or_error(ErrorKind::Io, failed)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    write!(terminal, "{prompt}").or_error(ErrorKind::Io, failed)?;
    tcsetattr(terminal.as_fd(), OptionalActions::Flush, &silent).or_error(ErrorKind::Io, failed)?;
    let mut typed = String::new();
    let read = BufReader::new(&terminal).take(MAX_PASSPHRASE).read_line(&mut typed);
    let restored = tcsetattr(terminal.as_fd(), OptionalActions::Flush, &before);
    let _ = writeln!(terminal);
    read.or_error(ErrorKind::Io, failed)?;
    restored.or_error(ErrorKind::Io, failed)?;
    line(&typed, "the passphrase")
}
