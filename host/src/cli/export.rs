//! `bkhost export`

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{FlockOperation, flock};
use tempfile::NamedTempFile;

use super::args::ExportArgs;
use super::context::Context;
use super::output;
use crate::archive::{Compression, Format, Layers};
use crate::drafts::remove_unheld;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::Level;
use crate::run::{self, Crypto, Exported};
use crate::units;

/// How the files begin and end that are written until they are whole.
const DRAFT: (&str, &str) = (".bkhost-export-", ".part");
/// What may be written.
const FORMATS: [&str; 6] = [".tar", ".tar.gz", ".tar.zst", ".tar.age", ".tar.gz.age", ".tar.zst.age"];

pub(super) async fn export(context: &Context, args: ExportArgs) -> Result<ExitCode> {
    let opened = context.open(&args.place, &args.keys).await?;
    let set = context.reveal(opened.set(&args.id).await?).await?;
    let stdout = args.output.as_os_str() == "-";
    let name = if stdout {
        format!("stdout.{}", args.format.as_deref().unwrap_or("tar.gz"))
    } else {
        args.output.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    if !FORMATS.iter().any(|format| name.len() > format.len() && name.ends_with(format)) {
        return Err(Error::new(ErrorKind::Config, format!("`{}` does not say in which format", args.output.display()))
            .hint(format!("end the name in {}", FORMATS.join(", "))));
    }
    let layers = Layers::of(&name);
    let mut compression = layers.compression;
    let recipients = match (layers.encrypted, opened.config()) {
        (false, _) => None,
        (true, Some(config)) if config.encryption.is_some() => {
            Crypto::resolve(config, &context.reporter()).await?.recipients
        }
        (true, _) => {
            return Err(Error::new(
                ErrorKind::Config,
                format!("`{name}` is to be encrypted, and nothing says to whom"),
            )
            .hint("write [encryption] into the configuration, or leave .age away"));
        }
    };
    if let Some(config) = opened.config() {
        // The level and the threads are the operator's, where it is the same format.
        let own = config.archive.compression();
        if own.suffix() == compression.suffix() && compression != Compression::None {
            compression = own;
        }
    }
    if run::is_encrypted(&set) && !layers.encrypted {
        let text = "the set is encrypted, and the archive is not: whoever has it can read it";
        context.reporter().message(Level::Warning, None, text);
    }
    let format = Format { compression, recipients };
    let exported = if stdout {
        if context.global.json {
            return Err(Error::new(ErrorKind::Config, "--json and an archive cannot both go to stdout")
                .hint("leave --json out, or write the archive to a file"));
        }
        if std::io::stdout().is_terminal() {
            return Err(Error::new(ErrorKind::Config, "an archive is nothing for a terminal")
                .hint("write it to a file with -o one.tar.gz, or pipe it somewhere"));
        }
        run::export(&context.reporter(), &set, Box::new(std::io::stdout()), format, &context.cancel()?).await?
    } else {
        let exported = to_file(context, &set, &args.output, format, args.force).await?;
        if context.global.json {
            output::json(&exported)?;
        } else {
            output::line(format!(
                "set {} exported to {}: {} entries, {}, read back",
                exported.id,
                args.output.display(),
                exported.entries,
                units::human_bytes(exported.bytes)
            ));
        }
        exported
    };
    drop(exported);
    Ok(ExitCode::SUCCESS)
}

/// Under a name that is given to it last: what is there is whole.
async fn to_file(
    context: &Context,
    set: &crate::store::StoredSet,
    to: &Path,
    format: Format,
    force: bool,
) -> Result<Exported> {
    let exists = || {
        Error::new(ErrorKind::Conflict, format!("{} exists already", to.display()))
            .hint("choose another name, or replace it with --force")
    };
    match to.symlink_metadata() {
        Ok(meta) if !meta.is_file() => {
            return Err(Error::new(ErrorKind::Conflict, format!("{} is not a file", to.display())));
        }
        Ok(_) if !force => return Err(exists()),
        _ => {}
    }
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    let cannot = || format!("cannot write {}", to.display());
    remove_left(&dir);
    let part =
        tempfile::Builder::new().prefix(DRAFT.0).suffix(DRAFT.1).tempfile_in(&dir).or_error(ErrorKind::Io, cannot)?;
    // So that nobody takes it for one that was left. On a file system without locks, those stay.
    let _ = flock(part.as_file(), FlockOperation::NonBlockingLockExclusive);
    let (cancel, reporter) = (context.cancel()?, context.reporter());
    let writer = part.reopen().or_error(ErrorKind::Io, cannot)?;
    let mut exported = run::export(&reporter, set, Box::new(Synced(writer)), format, &cancel).await?;
    let reader = File::open(part.path()).or_error(ErrorKind::Io, cannot)?;
    run::read_back(reader, &exported, &cancel).await?;
    persist(part, to, force).map_err(|e| {
        if e.kind() == std::io::ErrorKind::AlreadyExists {
            exists()
        } else {
            Error::new(ErrorKind::Io, cannot()).because(e)
        }
    })?;
    File::open(&dir).and_then(|dir| dir.sync_all()).or_error(ErrorKind::Io, cannot)?;
    exported.to = Some(to.display().to_string());
    Ok(exported)
}

/// Removes what killed exports have left in the directory: files that are called so, and that nobody holds.
fn remove_left(dir: &Path) {
    // A directory that cannot be read is told when it is written to.
    let _ = remove_unheld(dir, |name| {
        let random = name.strip_prefix(DRAFT.0).and_then(|rest| rest.strip_suffix(DRAFT.1));
        random.is_some_and(|random| random.len() == 6 && random.bytes().all(|b| b.is_ascii_alphanumeric()))
    });
}

fn persist(part: NamedTempFile, to: &Path, force: bool) -> std::io::Result<()> {
    let done = if force { part.persist(to) } else { part.persist_noclobber(to) };
    done.map(drop).map_err(|e| e.error)
}

/// On disk when it is flushed.
struct Synced(File);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.sync_all()
    }
}
