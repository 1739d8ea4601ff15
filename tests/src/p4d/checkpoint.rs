//! Checkpoints: made, verified, replayed; the journal: rotated.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::archive::md5;
use super::{Database, Result, io, now, record};

/// `-z` and `-Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compress {
    Nothing,
    Checkpoint,
    Both,
}

/// The metadata as a checkpoint's text.
fn dump(db: &Database, sequence: u64) -> String {
    let root = db.root.to_string_lossy().into_owned();
    let mut text = record::note(0, sequence, &root);
    text.push_str(&tables(db, None, Some(sequence)));
    text.push_str(&record::note(1, sequence, &root));
    text
}

/// The records of one table or all.
pub(super) fn tables(db: &Database, only: Option<&str>, sequence: Option<u64>) -> String {
    let mut text = String::new();
    for (name, table) in db.tables().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        for columns in table.values() {
            let counts = name == "db.counters" && columns[0] == "journal" && sequence.is_some();
            let value = sequence.unwrap_or_default().to_string();
            let mut fields: Vec<&str> = ["1", name].into_iter().chain(columns.iter().map(String::as_str)).collect();
            if counts {
                fields[3] = &value;
            }
            text.push_str(&record::line("pv", &fields));
        }
    }
    text
}

fn write(path: &Path, bytes: &[u8], zip: bool) -> Result<()> {
    let file = File::create_new(path).map_err(io("open for write", path))?;
    let written = if zip {
        let mut encoder = GzEncoder::new(file, Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).map(drop)
    } else {
        let mut file = file;
        file.write_all(bytes)
    };
    written.map_err(io("write", path))
}

fn action(db: &mut Database, what: &str) -> Result<()> {
    // The manual's form: seconds, the same as a date, what happened.
    let text = format!("{} (2026/11/21 05:00:00 +0000 UTC) checkpoint {what}", now());
    db.commit(&[("db.counters", &["lastCheckpointAction", &text])])
}

/// A name as it is printed: relative to the root, unless the prefix is absolute.
fn name(db: &Database, prefix: Option<&str>, kind: &str, long: &str, sequence: u64) -> String {
    match prefix.map(str::to_owned).or_else(|| db.config("journalPrefix")) {
        Some(prefix) => format!("{prefix}.{kind}.{sequence}"),
        None => format!("{long}.{sequence}"),
    }
}

/// `-jc`: the checkpoint, then the rotation. `say` prints a line.
pub(super) fn checkpoint(
    db: &mut Database,
    compress: Compress,
    prefix: Option<&str>,
    say: &mut dyn FnMut(String),
) -> Result<()> {
    let sequence = db.sequence() + 1;
    let plain = name(db, prefix, "ckp", "checkpoint", sequence);
    let zip = compress != Compress::Nothing;
    let shown = if zip { format!("{plain}.gz") } else { plain.clone() };
    say(format!("Checkpointing to {shown}..."));
    let path = db.root.join(&shown);
    let text = dump(db, sequence);
    let bytes = text.as_bytes();
    // Not in the middle of a line: what is cut there is plain to see.
    let half = text[..bytes.len() / 2].rfind('\n').map_or(0, |at| at + 1);
    let fault = db.fault();
    if path.exists() {
        return Err(format!("Perforce server error:\n\topen for write: {}: File exists", path.display()));
    }
    match fault.as_str() {
        "fail-middle" | "full" => {
            write(&path, &bytes[..half], false)?;
            action(db, "failed")?;
            let why = if fault == "full" { "No space left on device" } else { "Input/output error" };
            return Err(format!("Perforce server error:\n\twrite: {}: {why}", path.display()));
        }
        "hang" => {
            write(&path, &bytes[..half], false)?;
            std::thread::sleep(Duration::from_secs(600));
            return Err("hung".into());
        }
        "truncated" | "truncated-consistent" => write(&path, &bytes[..half], zip)?,
        _ => write(&path, bytes, zip)?,
    }
    if let Some(milliseconds) = fault.strip_prefix("slow:") {
        std::thread::sleep(Duration::from_millis(milliseconds.parse().unwrap()));
    }
    let digest = match fault.as_str() {
        "wrong-md5" => md5(b"another"),
        "truncated-consistent" => md5(&bytes[..half]),
        _ => md5(bytes),
    };
    let md5_path = db.root.join(format!("{}.md5", if db.option("md5-after-gz") { &shown } else { &plain }));
    let digest = format!("MD5 ({}) = {digest}", plain.rsplit('/').next().unwrap_or_default());
    write(&md5_path, format!("{digest}\n").as_bytes(), false)?;
    say(digest);
    if fault != "no-rotation" {
        rotate(db, compress == Compress::Both, prefix, say)?;
    }
    if fault != "not-recorded" {
        action(db, "completed")?;
    }
    Ok(())
}

/// `-jj`: the journal becomes a numbered one, and a new one begins.
pub(super) fn rotate(db: &mut Database, zip: bool, prefix: Option<&str>, say: &mut dyn FnMut(String)) -> Result<()> {
    let sequence = db.sequence();
    let Some(journal) = db.journal().map(Path::to_owned) else {
        return db.commit(&[("db.counters", &["journal", &(sequence + 1).to_string()])]);
    };
    let shown = format!("{}{}", name(db, prefix, "jnl", "journal", sequence), if zip { ".gz" } else { "" });
    say(format!("Rotating journal to {shown}..."));
    let path = db.root.join(shown);
    if path.exists() {
        return Err(format!("Perforce server error:\n\trename: {}: File exists", path.display()));
    }
    db.commit(&[("db.counters", &["journal", &(sequence + 1).to_string()])])?;
    let root = db.root.to_string_lossy().into_owned();
    let mut text = std::fs::read(&journal).map_err(io("open for read", &journal))?;
    text.extend_from_slice(record::note(3, sequence, &root).as_bytes());
    write(&path, &text, zip)?;
    std::fs::write(&journal, record::note(2, sequence + 1, &root)).map_err(io("write", &journal))
}

fn read(path: &Path, unzip: bool) -> Result<String> {
    let file = BufReader::new(File::open(path).map_err(io("open for read", path))?);
    let mut text = String::new();
    let unzip = unzip || path.extension().is_some_and(|extension| extension == "gz");
    if unzip {
        flate2::bufread::MultiGzDecoder::new(file).read_to_string(&mut text)
    } else {
        { file }.read_to_string(&mut text)
    }
    .map_err(io("read", path))?;
    Ok(text)
}

/// The records of a checkpoint or rotated journal, if it is whole: readable to its end, with header and trailer.
fn records(path: &Path, unzip: bool) -> Result<(Vec<Vec<String>>, u64)> {
    let wrong = |what: &str| format!("Perforce server error:\n\tJournal file '{}' {what}", path.display());
    let text = read(path, unzip)?;
    let mut all = Vec::new();
    for line in text.lines() {
        all.push(record::parse(line).filter(|fields| fields.len() > 1).ok_or_else(|| wrong("has a bad record"))?);
    }
    let header = all.first().filter(|fields| fields[0] == "nx" && matches!(fields[1].as_str(), "0" | "2"));
    let header = header.ok_or_else(|| wrong("has no header"))?;
    let trailer = if header[1] == "0" { "1" } else { "3" };
    let ends = all.last().is_some_and(|fields| fields[0] == "nx" && fields[1] == trailer && fields[3] == header[3]);
    if !ends {
        return Err(wrong("is not complete: it has no trailer"));
    }
    let sequence = header[3].parse().map_err(|_| wrong("has no sequence"))?;
    Ok((all, sequence))
}

/// `-jv`.
pub(super) fn validate(path: &Path, unzip: bool) -> Result<()> {
    records(path, unzip)?;
    let text = path.to_string_lossy().into_owned();
    let plain = text.trim_end_matches(".gz");
    for md5_path in [format!("{plain}.md5"), format!("{text}.md5")] {
        if let Ok(line) = std::fs::read_to_string(&md5_path)
            && !line.trim_end().ends_with(&md5(read(path, unzip)?.as_bytes()))
        {
            return Err(format!("Perforce server error:\n\tChecksum mismatch for {text}"));
        }
    }
    Ok(())
}

/// `-jr`.
pub(super) fn replay(db: &mut Database, path: &Path, unzip: bool) -> Result<()> {
    let (all, sequence) = records(path, unzip)?;
    let journal = all[0][1] == "2";
    if journal && db.sequence() != sequence {
        return Err(format!(
            "Perforce server error:\n\tJournal file '{}' has sequence {sequence}, and {} is expected",
            path.display(),
            db.sequence()
        ));
    }
    let fault = db.fault();
    let limit = if fault == "jr-fails" { all.len() / 2 } else { all.len() };
    for fields in all.iter().take(limit).filter(|fields| !matches!(fields[0].as_str(), "nx" | "ex" | "mx")) {
        db.replay(fields)?;
    }
    if limit < all.len() {
        return Err("Perforce server error:\n\twrite: db.rev: Input/output error".into());
    }
    Ok(())
}
